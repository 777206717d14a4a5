package finetune

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Memory is a Plan of training, and what some of its parts consist of. All sizes are in bytes. Of
// training on a Device it is the memory there. The data are on the host.
type Memory struct {
	kernels.Plan
	Device  string // names Machine.Device; empty if there is none
	Data    int64  // of Plan.Other: latents and conditions of all samples
	Average int64  // of Plan.Other: the moving average; 0 without EMA
	// Gradients are all of them, where they are kept until all are there: with Clip alone, or on a
	// Device, they are of Plan.Outputs, with Accumulate of Plan.Other. 0 where they are used up as
	// they appear.
	Gradients int64
	inOutputs bool
}

// Memory is Plan, part by part. It is zero before Prepare or Fit.
func (t *Tuner) Memory() Memory {
	if t.run == nil {
		return Memory{}
	}
	m := Memory{Plan: t.Plan()}
	parameters := int64(0)
	for _, p := range t.run.params {
		parameters += 4 * int64(p.Value.Size())
	}
	if t.EMA > 0 {
		m.Average = parameters
	}
	if d := t.Machine.Device; d != nil {
		m.Device = d.String()
	} else {
		data := map[*tensor.Dense]bool{}
		m.Data = t.run.own.bytes(data) + t.run.pretrain.bytes(data)
	}
	switch {
	case t.Accumulate > 1:
		m.Gradients = parameters
	case t.Clip > 0 || m.Device != "":
		m.Gradients, m.inOutputs = m.Outputs, true
	}
	return m
}

// Table shows people what training takes. limit is what they call the bound on it where there is
// one ("-memory 16GiB"). names are what they call the Tuner's fields EMA, Clip and Accumulate (a
// program's flags, {"EMA": "-ema"}). A field without one has its own name.
func (m Memory) Table(limit string, names map[string]string) report.Table {
	called := func(field string) string { return cmp.Or(names[field], field) }
	activations, batch := m.Arena, m.Inputs+m.Other-m.Data-m.Average
	gradients := "gradients, kept for " + called("Accumulate")
	if m.inOutputs {
		activations -= m.Gradients
		gradients = "gradients, kept for " + called("Clip")
	} else {
		batch -= m.Gradients
	}
	if m.Device != "" {
		gradients = "gradients"
	}
	title := "Planned peak memory"
	if m.Device != "" {
		title += " of " + m.Device
	}
	t := report.Table{Title: title, Header: []string{"", ""}}
	for _, row := range []struct {
		name  string
		bytes int64
	}{
		{"weights", m.Weights},
		{"AdamW's means", m.Optimizer},
		{"moving average, for " + called("EMA"), m.Average},
		{gradients, m.Gradients},
		{"activations", activations},
		{"workspace", m.Workspace},
		{"batch", batch},
		{"latents and conditions of all pictures", m.Data},
		{"all", m.Total()},
	} {
		if row.bytes > 0 {
			t.Rows = append(t.Rows, []string{row.name, report.Size(row.bytes).String()})
		}
	}
	t.Note = "Nothing is computed again."
	if m.Recomputed > 0 {
		t.Note = fmt.Sprintf("To fit %s, %d of %d operations are computed again, "+
			"%.0f %% of the arithmetic.",
			cmp.Or(limit, "Machine.ActivationBytes"), m.Recomputed, m.Steps, 100*m.RecomputedCost)
	}
	return t
}

// DataHash names data by what training learns of it, in order: the SHA-256 (nn.Hash) of prompts,
// rewards and latents. Conditions are left out, as they are their prompts'. In a Run's Config it
// keeps a run from being resumed with other data.
func DataHash(samples ...[]dataset.Sample) string {
	var all []kernels.Parameter
	for _, s := range slices.Concat(samples...) {
		name := fmt.Sprintf("%q", s.Captions())
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]") // one prompt is that alone
		if s.Reward != nil {
			name += fmt.Sprint(" ", *s.Reward)
		}
		all = append(all, kernels.Parameter{Name: name, Value: s.Latent})
	}
	return weights.Hash(all)
}
