package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
)

// A printer prints results, as a table or as lines of JSON.
type printer struct {
	w     io.Writer
	json  bool
	peers []peer
}

// head says what computes, and what the most is that it can do.
func (p *printer) head(how cases.Options) error {
	if p.json {
		return nil
	}
	text := fmt.Sprintf("%s, median of %d, in brackets the quickest and the slowest\n",
		how.Machine.Arithmetic(), how.Count)
	if probe := how.Probe; probe != nil {
		touching, err := probe.Touching()
		if err != nil {
			return err
		}
		text += fmt.Sprintf("%s%s, threads: %d", nickname(cases.Here()), cases.Here(),
			probe.Workers())
		if exchange := probe.Exchange(); exchange > 0 {
			text += fmt.Sprintf(" (exchange in %.0f ns: %s)", 1e9*exchange,
				cases.Placement(exchange))
		}
		text += fmt.Sprintf(", peaks: %.1f GFLOP/s float32, %.1f bfloat16; "+
			"%.1f GB/s reading, %.1f copying, %.1f touching fresh memory\n",
			probe.Arithmetic(kernels.Float32)/1e9, probe.Arithmetic(kernels.BFloat16)/1e9,
			probe.Reading()/1e9, probe.Copying()/1e9, touching/1e9)
	}
	_, err := fmt.Fprintln(p.w, text)
	return err
}

// nickname is what people call a kind of machine, with a colon, if it is known here.
func nickname(machine string) string {
	var family, model int
	fmt.Sscanf(machine, "AuthenticAMD family %d model %d", &family, &model)
	switch {
	case family == 26:
		return "Zen 5: "
	case family == 25 && (model >= 16 && model < 32 || model >= 96 && model < 128 || model >= 160):
		return "Zen 4: "
	}
	return ""
}

// print prints a result, and what peers need for the same.
func (p *printer) print(r cases.Result) error {
	if p.json {
		return json.NewEncoder(p.w).Encode(r)
	}
	if _, err := fmt.Fprintln(p.w, line(r)); err != nil {
		return err
	}
	for _, other := range p.peers {
		if !other.times(r) {
			continue
		}
		_, err := fmt.Fprintf(p.w, "    %-54s %s %.2f times as long\n", other.name,
			duration(other.seconds), other.seconds/r.Median)
		if err != nil {
			return err
		}
	}
	return nil
}

// line is a result for people.
func line(r cases.Result) string {
	rate := ""
	switch {
	case r.Flops > 0:
		rate = fmt.Sprintf("%8.1f GFLOP/s", r.Flops/1e9)
	case r.Bytes > 0:
		rate = fmt.Sprintf("%8.1f GB/s", r.Bytes/1e9)
	}
	if r.Share > 0 {
		rate += fmt.Sprintf(" %5.1f %% of peak %s", 100*r.Share, r.Placement)
	}
	text := fmt.Sprintf("%-58s %s [%s %s] %s", r.Name, duration(r.Median),
		duration(slices.Min(r.Seconds)), duration(slices.Max(r.Seconds)), rate)
	if r.Items > 0 {
		text += fmt.Sprintf("%10.3g pictures/s, first %s, plan %v", r.Items, duration(r.First),
			report.Size(r.Planned))
		if r.Touching > 0 {
			text += fmt.Sprintf(" (touched in %s)", duration(float64(r.Planned)/r.Touching))
		}
		if r.Taken > 0 {
			text += fmt.Sprintf(", took %v", report.Size(r.Taken))
		}
	}
	if r.Disturbed > 0 {
		text += fmt.Sprintf(", disturbed: %d of %d times", r.Disturbed, len(r.Seconds))
	}
	return text
}

// duration is some seconds in eight columns.
func duration(seconds float64) string {
	switch {
	case seconds >= 1:
		return fmt.Sprintf("%6.2f s", seconds)
	case seconds >= 1e-3:
		return fmt.Sprintf("%6.2fms", 1e3*seconds)
	}
	return fmt.Sprintf("%6.2fµs", 1e6*seconds)
}
