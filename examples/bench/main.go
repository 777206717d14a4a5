// Command bench times the operations and the models that kudos is made for: the shapes of Stable
// Diffusion 1.5, the miniature, and whole training steps, on a processor or on a GPU.
//
//	go run ./examples/bench -run '^conv/.*/forward' -count 7
//	go run ./examples/bench -run '^linear' -threads 1,2 -json >before.jsonl
//	go run ./examples/bench -run '^linear' -threads 1,2 -compare before.jsonl
//	go run -tags nvidia ./examples/bench -device cuda -precision bf16 -json >times.jsonl
//
// Every case is run once before it is timed: memory is touched for the first time then. A time is
// the mean of as many runs as take -least, so of one where a run is long. The table has the median
// of -count times and the quickest and the slowest. The rate is of the arithmetic, or of the memory
// traffic where that decides, that nothing could leave out.
//
// On a processor the most that it can do is probed before and after each time. A case is told as a
// share of that, which other programs and the clock change less than they change seconds.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
)

// options are the flags.
type options struct {
	machine           command.Machine
	run               *regexp.Regexp
	batch, threads    numbers
	count             int
	least             time.Duration
	json, list, short bool
	// compare, record and hold are files: of times, and of what machines of a kind reach. peers is
	// a folder.
	compare, record, hold, peers string
	files                        []string // of times that are read
}

// numbers are some, separated by commas.
type numbers []int

func (n *numbers) Set(text string) error {
	*n = nil
	for one := range strings.SplitSeq(text, ",") {
		i, err := strconv.Atoi(one)
		if err != nil || i < 1 || i > 1024 {
			return fmt.Errorf("%q is no number in 1 to 1024", one)
		}
		*n = append(*n, i)
	}
	return nil
}

func (n numbers) String() string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint([]int(n)), "[]"), " ", ",")
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), "usage: bench [flags] [TIMES...]\n\nTIMES are files that "+
			"-json has written. They are read, and nothing is timed.\n\n")
		f.PrintDefaults()
	}
	run := f.String("run", "", "time the cases whose names match this regular `expression`; "+
		"without it all, which takes long on a processor")
	f.BoolVar(&o.list, "list", false, "list the names of the cases")
	f.BoolVar(&o.short, "short", false, "time a short set of cases, which takes some seconds")
	o.batch, o.threads = numbers{1}, numbers{runtime.GOMAXPROCS(0)}
	f.Var(&o.batch, "batch", "`pictures` of a batch, such as 1,2,8; of a step, of each stream")
	f.Var(&o.threads, "threads", "`cores` that work, such as 1,2")
	f.IntVar(&o.count, "count", 5, "times of each case")
	f.DurationVar(&o.least, "least", 200*time.Millisecond, "runs are repeated for so long a time")
	f.BoolVar(&o.json, "json", false, "print a line of JSON for each case instead of a table")
	f.StringVar(&o.compare, "compare", "", "say what is slower or faster than the times in this "+
		"`file`, and fail if anything is slower")
	f.StringVar(&o.peers, "peers", "", "`folder` with what other programs printed: their times "+
		"are put below ours")
	f.StringVar(&o.record, "record", "", "write the shares into this `file`, for machines of "+
		"this kind to be held to")
	f.StringVar(&o.hold, "hold", "", "hold the shares in TIMES, of several runs, to those "+
		"recorded in this `file`, and fail if all runs of a case are well under it")
	f.BoolVar(&o.machine.Winograd, "winograd", false, "have large 3×3 convolutions done by "+
		"Winograd's algorithm on a processor; shares of the peak, which count what the "+
		"definition multiplies, may be above 100 %")
	o.machine.Flags(f)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	o.files = f.Args()
	if o.run, err = regexp.Compile(*run); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	if o.least < 0 {
		return o, fmt.Errorf("-least %v is below 0", o.least)
	}
	if o.hold != "" && len(o.files) < 2 {
		return o, errors.New("-hold needs files of the times of several runs")
	}
	if o.count < 1 {
		return o, fmt.Errorf("-count %d is below 1", o.count)
	}
	return o, nil
}

func main() {
	report.Main("bench", func(ctx context.Context) error {
		o, err := parse(os.Args[1:])
		if err != nil {
			return err
		}
		return cmp.Or(o.bench(ctx, report.Stdout(), report.Stderr()), o.machine.Close())
	}, func() string { return "what was timed is printed" })
}

// bench does what the flags say.
func (o *options) bench(ctx context.Context, w io.Writer, progress *report.Progress) error {
	if o.list {
		for _, b := range o.batch {
			for _, c := range o.all(b) {
				fmt.Fprintln(w, c.Name)
			}
		}
		return nil
	}
	if o.hold != "" {
		return o.holds(w)
	}
	p := printer{w: w, json: o.json}
	before, err := readTimes(o.compare)
	if err != nil {
		return err
	}
	if o.peers != "" {
		if p.peers, err = readPeers(o.peers); err != nil {
			return err
		}
	}
	var all []cases.Result
	each := func(r cases.Result) error {
		all = append(all, r)
		return p.print(r)
	}
	if len(o.files) > 0 {
		for _, file := range o.files {
			some, err := readTimes(file)
			if err != nil {
				return err
			}
			for _, r := range some {
				if err := each(r); err != nil {
					return err
				}
			}
		}
	} else if err := o.time(ctx, &p, progress, each); err != nil {
		return err
	}
	if o.record != "" {
		if err := record(w, o.record, all); err != nil {
			return err
		}
	}
	if o.compare != "" {
		return compare(w, before, all)
	}
	return nil
}

// shortSet are the cases of -short: of each kind one or a few.
var shortSet = []string{
	"linear/320→320/tokens=4096/batch=1/forward", "linear/320→320/tokens=4096/batch=1/input",
	"linear/320→320/tokens=4096/batch=1/weight", "linear/1280→10240/tokens=256/batch=1/forward",
	"conv/320→320/side=64/kernel=3/stride=1/batch=1/forward",
	"conv/320→320/side=64/kernel=3/stride=1/batch=1/input",
	"conv/320→320/side=64/kernel=3/stride=1/batch=1/weight",
	"conv/1280→1280/side=16/kernel=3/stride=1/batch=1/forward",
	"attention/d=80/queries=1024/keys=1024/batch=1/forward",
	"attention/d=80/queries=1024/keys=1024/batch=1/forward+backward",
	"group norm + SiLU/channels=320/tokens=4096/batch=1/forward",
	"GEGLU/channels=1280/tokens=4096/batch=1/forward",
	"AdamW/parameters=33554432", "miniature/evaluation/batch=2", "miniature/step/batch=1+1",
}

// all are the cases that the flags choose, of a batch.
func (o *options) all(batch int) []cases.Case {
	all := append(cases.Operations(batch), cases.AdamW(1<<25))
	return slices.DeleteFunc(append(all, cases.Models(batch)...), func(c cases.Case) bool {
		return !o.run.MatchString(c.Name) || o.short && !slices.Contains(shortSet, c.Name)
	})
}

// time times the cases, for each number of threads, and hands over each as soon as it is timed.
func (o *options) time(
	ctx context.Context, p *printer, progress *report.Progress, each func(cases.Result) error,
) error {
	var all []cases.Case
	for _, b := range o.batch {
		for _, c := range o.all(b) {
			same := func(other cases.Case) bool { return other.Name == c.Name }
			if !slices.ContainsFunc(all, same) { // AdamW has no batch
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("-run %s matches no case; -list has their names", o.run)
	}
	bar := progress.Stage("bench", len(all)*len(o.threads))
	defer bar.End()
	for _, threads := range o.threads {
		if err := o.timeOn(ctx, threads, all, p, bar, each); err != nil {
			return err
		}
	}
	return nil
}

// timeOn times cases on so many threads.
func (o *options) timeOn(
	ctx context.Context, threads int, all []cases.Case, p *printer, bar *report.Stage,
	each func(cases.Result) error,
) (err error) {
	how := cases.Options{Machine: o.machine.Config, Count: o.count, Least: o.least}
	if how.Machine.Device == nil {
		if threads != runtime.GOMAXPROCS(0) {
			how.Machine.Workers = kernels.NewWorkers(threads)
		}
		if how.Probe, err = kernels.NewProbe(how.Machine.Workers); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, how.Probe.Close()) }()
	}
	if err := p.head(how); err != nil {
		return err
	}
	for _, c := range all {
		if c.Optimizes && how.Machine.Workers != nil {
			// Its threads would not be those that are asked for.
			bar.Note("%s: all cores step weights: GOMAXPROCS=%d times it", c.Name, threads)
			bar.Add(1)
			continue
		}
		bar.Note("%s", c.Name)
		r, err := c.Time(ctx, how)
		if err != nil {
			return err
		}
		bar.Add(1)
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// readTimes reads a file of times, as -json writes it.
func readTimes(file string) (all []cases.Result, err error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var r cases.Result
		if err := d.Decode(&r); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: time %d: %w", file, len(all)+1, err)
		}
		all = append(all, r)
	}
}
