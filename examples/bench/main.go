// Command bench times the operations and the models that kudos is made for: the shapes of Stable
// Diffusion 1.5, the miniature, and whole training steps, on a processor or on a GPU.
//
//	go run ./examples/bench -run '^conv/.*/forward' -count 7
//	go run -tags nvidia ./examples/bench -device cuda -precision bf16 -json >times.jsonl
//
// Every case is run once before it is timed: memory is touched for the first time then. A time is
// the mean of as many runs as take -least, so of one where a run is long. The table has the median
// of -count times and the quickest and the slowest. The rate is of the arithmetic, or of the memory
// traffic where that decides, that nothing could leave out.
//
// On a busy machine times mean little: compare ratios of what was timed in one sitting.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
)

// options are the flags.
type options struct {
	machine    command.Machine
	run        *regexp.Regexp
	batch      int
	count      int
	least      time.Duration
	json, list bool
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	run := f.String("run", "", "time the cases whose names match this regular `expression`; "+
		"without it all, which takes long on a processor")
	f.BoolVar(&o.list, "list", false, "list the names of the cases")
	f.IntVar(&o.batch, "batch", 1, "pictures of a batch; of a step, of each stream")
	f.IntVar(&o.count, "count", 5, "times of each case")
	f.DurationVar(&o.least, "least", 200*time.Millisecond, "runs are repeated for so long a time")
	f.BoolVar(&o.json, "json", false, "print a line of JSON for each case instead of a table")
	o.machine.Flags(f)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	if o.run, err = regexp.Compile(*run); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	if o.least < 0 {
		return o, fmt.Errorf("-least %v is below 0", o.least)
	}
	return o, report.Check(f, report.AtLeast(1, "batch", "count"))
}

func main() {
	report.Main("bench", func(ctx context.Context) error {
		o, err := parse(os.Args[1:])
		if err != nil {
			return err
		}
		return cmp.Or(o.time(ctx, report.Stdout(), report.Stderr()), o.machine.Close())
	}, func() string { return "what was timed is printed" })
}

// all are the cases that the flags choose.
func (o *options) all() []cases.Case {
	all := append(cases.Operations(o.batch), cases.AdamW(1<<25))
	return slices.DeleteFunc(append(all, cases.Models(o.batch)...), func(c cases.Case) bool {
		return !o.run.MatchString(c.Name)
	})
}

// time times the cases and prints what it finds to w, each as soon as it is timed.
func (o *options) time(ctx context.Context, w io.Writer, progress *report.Progress) error {
	all := o.all()
	if len(all) == 0 {
		return fmt.Errorf("-run %s matches no case; -list has their names", o.run)
	}
	if o.list {
		for _, c := range all {
			fmt.Fprintln(w, c.Name)
		}
		return nil
	}
	how := cases.Options{Machine: o.machine.Config, Count: o.count, Least: o.least}
	if !o.json {
		fmt.Fprintf(w, "%s, median of %d, in brackets the quickest and the slowest\n\n",
			o.machine.Arithmetic(), o.count)
	}
	bar := progress.Stage("bench", len(all))
	defer bar.End()
	for _, c := range all {
		bar.Note("%s", c.Name)
		r, err := c.Time(ctx, how)
		if err != nil {
			return err
		}
		bar.Add(1)
		if o.json {
			err = json.NewEncoder(w).Encode(r)
		} else {
			_, err = fmt.Fprintln(w, line(r))
		}
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
	text := fmt.Sprintf("%-58s %s [%s %s] %s", r.Name, duration(r.Median),
		duration(slices.Min(r.Seconds)), duration(slices.Max(r.Seconds)), rate)
	if r.Items > 0 {
		text += fmt.Sprintf("%10.3g pictures/s, first %s, plan %v", r.Items, duration(r.First),
			report.Size(r.Planned))
		if r.Taken > 0 {
			text += fmt.Sprintf(", took %v", report.Size(r.Taken))
		}
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
