package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/finetune/report"
)

// ready is a session that has read what it is given, and has yet to plan.
func (p place) ready(t *testing.T, args ...string) *session {
	t.Helper()
	s := newSession()
	s.print = new(strings.Builder)
	var err error
	s.options, err = parse(p.args("run", args...))
	require.NoError(t, err)
	s.model, err = pipeline.LoadFrozen(s.options.model)
	require.NoError(t, err)
	require.NoError(t, s.read(t.Context()))
	return s
}

// The plan says what each flag costs to the byte, and is made before any number of the UNet is read or anything is in the folder.
func TestPlan(t *testing.T) {
	p := at(t)
	s := p.ready(t)
	plan := func(change func(o *options)) fitting {
		o := s.options
		change(&o)
		f, err := s.fit(t.Context(), o)
		require.NoError(t, err)
		return f
	}
	plain := plan(func(*options) {})
	weights := int64(0)
	for _, q := range s.model.UNet.Trainable() {
		weights += 4 * int64(q.Value.Size())
	}
	require.Equal(t, weights, plain.Weights)
	require.Equal(t, 2*weights, plain.Optimizer)
	require.Equal(t, int64(4*9*16*16*4+4*len(s.prompts())*16*64), plain.data)
	require.Less(t, len(s.prompts()), 10)
	average := plan(func(o *options) { o.ema = 0.5 })
	require.Equal(t, weights, average.Total()-plain.Total())
	kept := plan(func(o *options) { o.maxNorm = 1 })
	require.Equal(t, 2*weights, kept.Optimizer)
	require.InEpsilon(t, weights, kept.Outputs, 0.02)
	require.Greater(t, kept.Total(), plain.Total(), "gradients are kept at no cost")
	larger := plan(func(o *options) { o.batch, o.pretrainBatch = 4, 4 })
	require.InEpsilon(t, 2*plain.Activations, larger.Activations, 0.05)
	pairs := plan(func(o *options) { o.rank = 4 })
	require.Less(t, pairs.Optimizer, weights/20)
	require.Zero(t, plain.Recomputed)

	// The table has it all.
	require.NoError(t, s.plan(t.Context()))
	require.Contains(t, s.print.(*strings.Builder).String(), report.Size(plain.Total()).String())
	require.NotContains(t, s.print.(*strings.Builder).String(), "moving average")
	require.NoDirExists(t, s.out)
	for _, q := range s.model.UNet.Trainable() {
		require.Zero(t, q.Value.Float32s()[0], "the UNet was read")
	}

	// And it is what training then has.
	o := s.options
	require.NoError(t, s.encodeFor(t))
	require.NoError(t, s.model.LoadUNet())
	network, _, err := o.network(s.model.UNet)
	require.NoError(t, err)
	tuner := o.tuner(network, s.model.Schedule, dataset.FromSlice(s.samples), dataset.FromSlice(s.captioned), s.empty)
	defer tuner.Close()
	got, err := tuner.Prepare(t.Context())
	require.NoError(t, err)
	require.Equal(t, plain.Plan, got)
}

// What does not fit is computed again, as far as it must; what cannot be made to fit is refused, and each way out that the refusal names is
// one.
func TestMemory(t *testing.T) {
	p := at(t)
	args := []string{"-model", "../../testdata/golden/shards", "-batch", "4", "-ema", "0.5", "-max-grad-norm", "1"}
	s := p.ready(t, args...)
	free, err := s.fit(t.Context(), s.options)
	require.NoError(t, err)
	leastOf := func(o options) fitting {
		o.memory = 1
		f, err := s.fit(t.Context(), o)
		require.NoError(t, err)
		require.True(t, f.short)
		return f
	}
	least := leastOf(s.options)
	require.Less(t, least.Total(), free.Total())
	small := s.options
	small.ema, small.maxNorm, small.batch, small.pretrainBatch, small.rank = 0, 0, 1, 1, 4
	smallest := leastOf(small)
	fit := func(memory int64) fitting {
		s.memory = report.Size(memory)
		f, err := s.fit(t.Context(), s.options)
		require.NoError(t, err)
		return f
	}
	require.Equal(t, free, fit(free.Total()), "it fits as it is")
	middle := (free.Total() + least.Total()) / 2
	some := fit(middle)
	require.LessOrEqual(t, some.Total(), middle)
	require.Greater(t, some.Total(), middle-middle/20, "memory is left over")
	require.Positive(t, some.Recomputed)
	require.Less(t, some.RecomputedCost, least.RecomputedCost)
	require.LessOrEqual(t, fit(least.Total()).Total(), least.Total())

	refused := func(memory int64) []string {
		s.memory = report.Size(memory)
		err := s.plan(t.Context())
		require.ErrorContains(t, err, "training takes "+report.Size(least.Total()).String()+" where")
		_, ways, ok := strings.Cut(err.Error(), "It would fit with ")
		require.True(t, ok, err)
		return regexp.MustCompile(`,? (or )?with `).Split(ways, -1)
	}
	for memory, want := range map[int64][]string{
		least.Total() * 9 / 10: {"-ema 0", "-batch 2 -pretrain-batch 2", "-lora-rank 4", "-memory "},
		1 << 20:                {"-batch 1 -pretrain-batch 1", "-lora-rank 4", "-memory "},
		smallest.Total():       {"-ema 0 -max-grad-norm 0 -batch 1 -pretrain-batch 1 -lora-rank 4", "-memory "},
		1 << 10:                {"-memory ", "-memory "},
	} {
		ways := refused(memory)
		require.Len(t, ways, len(want), ways)
		for i, way := range ways {
			require.True(t, strings.HasPrefix(way, want[i]), way)
			again := p.ready(t, slices.Concat(args, []string{"-memory", report.Size(memory).String()}, strings.Fields(strings.ReplaceAll(way, "and ", "")))...)
			if !strings.Contains(way, "-memory") {
				again.memory = report.Size(memory)
			}
			require.NoError(t, again.plan(t.Context()), way)
		}
	}

	_, printed, err := try(t, p.args("run", "-memory", "1MiB")...)
	require.ErrorContains(t, err, "-memory is 1.00MiB")
	require.Empty(t, printed)
	require.NoDirExists(t, p.out("run"))
}

// encodeFor is encode, without what it saves.
func (s *session) encodeFor(t *testing.T) (err error) {
	s.folder, err = report.EmptyFolder(t.TempDir())
	require.NoError(t, err)
	return s.encode(t.Context())
}
