package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"time"

	"github.com/kudos-ml/kudos/kernels/cuda"
)

// options are the flags of right.
type options struct {
	out, record string
	only        string
	device      int
	minutes     float64
	each        time.Duration
	small       bool
	sanitizes   bool
	child       bool
	first       int
}

func (o *options) flags(progress io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("right", flag.ContinueOnError)
	f.SetOutput(progress)
	f.StringVar(&o.out, "out", "right.json", "`file` for the report, or - for stdout")
	f.StringVar(&o.record, "record", "", "`file` for what the primitives gave, to take the place "+
		"of kernels/internal/cuda/primitive/recorded.json")
	f.StringVar(&o.only, "run", "", "make only checks whose name matches this `expression`")
	f.IntVar(&o.device, "device", 0, "number of the GPU")
	f.Float64Var(&o.minutes, "minutes", 8, "stop after so many minutes, and say what is left out")
	f.DurationVar(&o.each, "each", time.Minute, "give up a check after so long")
	f.BoolVar(&o.small, "small", false, "make only checks that are small")
	f.BoolVar(&o.sanitizes, "sanitize", true, "run small checks under compute-sanitizer too, if "+
		"it is found")
	f.BoolVar(&o.child, "child", false, "make checks in this process, for the one that reports")
	f.IntVar(&o.first, "first", 0, "the first check of a child")
	return f
}

// right is the command.
func right(args []string, out, progress io.Writer) int {
	var o options
	f := o.flags(progress)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if f.NArg() > 0 {
		fmt.Fprintf(progress, "ondevice right: what is %q?\n", f.Arg(0))
		return 2
	}
	chosen, err := o.choose(checks())
	if err != nil {
		fmt.Fprintf(progress, "ondevice right: %v\n", err)
		return 2
	}
	if o.child {
		if err := o.serve(chosen, out); err != nil {
			fmt.Fprintf(progress, "ondevice right: %v\n", err)
			return 1
		}
		return 0
	}
	r, err := o.report(chosen, out, progress)
	if err != nil {
		fmt.Fprintf(progress, "ondevice right: %v\n", err)
		return 1
	}
	if !r.Right {
		return 1
	}
	return 0
}

// choose returns the checks that the flags ask for.
func (o *options) choose(all []check) ([]check, error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []check
	for _, c := range all {
		if only.MatchString(c.name) && (c.small || !o.small) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no check matches %q", o.only)
	}
	return chosen, nil
}

// serve makes checks on a GPU, as a child.
func (o *options) serve(chosen []check, out io.Writer) error {
	d, err := cuda.Open(o.device)
	if err != nil {
		return err
	}
	if err := serve(d, chosen, o.first, out); err != nil {
		return err
	}
	return d.Close()
}

// report makes checks on a GPU and writes the report.
func (o *options) report(chosen []check, out, progress io.Writer) (*report, error) {
	begin := time.Now()
	r := &report{
		Command: "right", Date: begin.UTC().Format(time.RFC3339), Program: about(),
		NotRun: cuda.NotRun(),
	}
	gpus, err := cuda.Devices()
	if err == nil && (o.device < 0 || o.device >= len(gpus)) {
		err = fmt.Errorf("there is no GPU %d among %d", o.device, len(gpus))
	}
	if err != nil {
		return nil, err
	}
	r.Device = deviceOf(gpus[o.device])
	fmt.Fprintf(progress, "%s, compute capability %d.%d, driver for CUDA %s, kernels for %s\n\n",
		r.Device.Name, r.Device.Capability/10, r.Device.Capability%10, r.Device.CUDA,
		r.Device.Images)
	fmt.Fprintf(progress, "What has not run on a device:\n\n%s\n", cuda.NotRun())

	save := func() error { return r.save(o.out, out) }
	saved := begin
	deadline := begin.Add(time.Duration(o.minutes * float64(time.Minute)))
	until, found := deadline, ""
	if o.sanitizes {
		if found = sanitizer(); found != "" {
			until = begin.Add(deadline.Sub(begin) * 2 / 3) // the rest is for the sanitizer
		}
	}
	s := supervisor{
		checks: chosen, start: o.start, each: o.each, progress: progress,
		until: until,
		done: func(x result) {
			r.add(x)
			r.Seconds = rounded(time.Since(begin))
			if o.out != "-" && time.Since(saved) > time.Second {
				save() // what there is, if the machine is taken away
				saved = time.Now()
			}
		},
	}
	s.run()
	if o.only == "" && !o.small {
		r.never(cuda.Kernels())
	}
	if o.sanitizes {
		r.Sanitizer = o.sanitize(found, deadline, progress)
	} else {
		r.Sanitizer.LeftOut = "-sanitize=false"
	}
	r.end(progress)
	r.Seconds = rounded(time.Since(begin))
	if o.record != "" && r.Primitives != nil && len(r.Primitives.Record) > 0 {
		if err := writeRecord(o.record, r.Primitives.Record); err != nil {
			return nil, err
		}
	}
	return r, save()
}

// writeRecord writes what primitives gave, as it is to be committed.
func writeRecord(file string, record []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(record), "", "\t"); err != nil {
		return err
	}
	return os.WriteFile(file, append(b.Bytes(), '\n'), 0o644)
}

// start starts a process that makes checks from one on.
func (o *options) start(first int) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return started(exec.Command(exe, o.childArgs(first)...))
}

// childArgs are the arguments of a child.
func (o *options) childArgs(first int) []string {
	args := []string{"right", "-child", "-device", fmt.Sprint(o.device), "-run", o.only,
		"-first", fmt.Sprint(first)}
	if o.small {
		args = append(args, "-small")
	}
	return args
}
