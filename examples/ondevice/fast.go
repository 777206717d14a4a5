package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
)

// timings is what fast found.
type timings struct {
	Command string  `json:"command"`
	Date    string  `json:"date"`
	Seconds float64 `json:"seconds"`
	Program program `json:"program"`
	Device  device  `json:"device"`

	Results []cases.Result    `json:"results"`
	Cuts    []cut             `json:"cuts"`   // products, cut in every way
	Kernels []census          `json:"census"` // what each kernel of a model takes
	Curves  []curve           `json:"curves"`
	Peers   *peers            `json:"peers"`
	Failed  map[string]string `json:"failed"`   // by what was timed: the error
	LeftOut []string          `json:"left_out"` // that there was no time for
	NotRun  string            `json:"not_run_on_a_device"`
}

// A cut is a product's time where its result is cut into such tiles, and its sum into so many
// parts. The name is that of the case; an empty cut is the one that is chosen.
type cut struct {
	Name    string  `json:"name"`
	Cut     string  `json:"cut"`
	Seconds float64 `json:"seconds"`
}

// A census is what the kernels of a model take.
type census struct {
	Name    string             `json:"name"`
	Kernels []cases.KernelTime `json:"kernels"`
}

// A curve is the losses of training.
type curve struct {
	Name      string    `json:"name"`
	Device    string    `json:"device"`
	Precision string    `json:"precision"`
	Losses    []float64 `json:"losses"`
}

// peers is what a program of a peer's has printed.
type peers struct {
	Command string   `json:"command"`
	Printed []string `json:"printed"`
	Error   string   `json:"error,omitempty"`
}

// A timing is one thing that fast does.
type timing struct {
	name string
	do   func(ctx context.Context) error
}

// A stopwatch is fast in action.
type stopwatch struct {
	device   kernels.Device
	count    int
	least    time.Duration
	peers    string // a folder
	updates  int    // of a curve
	batch    int    // of an update of the miniature's
	progress io.Writer
	timings
}

// fast is the command.
func fast(args []string, out, progress io.Writer) int {
	s := &stopwatch{progress: progress, updates: 100, batch: 8, least: 50 * time.Millisecond}
	f := flag.NewFlagSet("fast", flag.ContinueOnError)
	f.SetOutput(progress)
	file := f.String("out", "fast.json", "`file` for the report, or - for stdout")
	only := f.String("run", "", "time only what matches this `expression`")
	index := f.Int("device", 0, "number of the GPU")
	minutes := f.Float64("minutes", 8, "stop after so many minutes, and say what is left out")
	f.IntVar(&s.count, "count", 5, "times of each case")
	f.StringVar(&s.peers, "peers", "", "`folder` of gpu_peers.py, which python3 runs in the time "+
		"that is left")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	chosen, err := regexp.Compile(*only)
	switch {
	case err != nil:
		fmt.Fprintf(progress, "ondevice fast: -run: %v\n", err)
		return 2
	case f.NArg() > 0:
		fmt.Fprintf(progress, "ondevice fast: what is %q?\n", f.Arg(0))
		return 2
	case s.count < 1 || !(*minutes > 0):
		fmt.Fprintln(progress, "ondevice fast: -count and -minutes must be above 0")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*minutes*float64(time.Minute)))
	defer cancel()
	if err = s.open(*index); err == nil {
		err = s.time(ctx, chosen, func() error { return s.save(*file, out) })
	}
	if err != nil {
		fmt.Fprintf(progress, "ondevice fast: %v\n", err)
		return 1
	}
	if len(s.Failed) > 0 {
		return 1
	}
	return 0
}

// open opens a GPU.
func (s *stopwatch) open(index int) error {
	gpus, err := cuda.Devices()
	if err != nil {
		return err
	}
	if s.device, err = cuda.Open(index); err != nil {
		return err
	}
	s.Device = deviceOf(gpus[index])
	return nil
}

// time times what is chosen, saves after each, and closes the device.
func (s *stopwatch) time(
	ctx context.Context, chosen *regexp.Regexp, save func() error,
) (err error) {
	defer func() { err = errors.Join(err, s.device.Close()) }()
	begin := time.Now()
	s.Command, s.Date, s.NotRun = "fast", begin.UTC().Format(time.RFC3339), cuda.NotRun()
	s.Program, s.Failed = about(), map[string]string{}
	fmt.Fprintf(s.progress, "%s\n\nWhat has not run on a device:\n\n%s\n", s.device, cuda.NotRun())
	for _, t := range s.all() {
		if !chosen.MatchString(t.name) {
			continue
		}
		if ctx.Err() == nil {
			err := t.do(ctx)
			if err != nil && ctx.Err() == nil {
				s.Failed[t.name] = err.Error()
				fmt.Fprintf(s.progress, "%-60s %v\n", t.name, err)
			}
		}
		if ctx.Err() != nil {
			s.LeftOut = append(s.LeftOut, t.name)
		}
		s.Seconds = rounded(time.Since(begin))
		if err := save(); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.progress, "\n%d times, %d failed, %d left out for want of time\n",
		len(s.Results), len(s.Failed), len(s.LeftOut))
	return nil
}

// all is what there is to time. What matters most comes first.
func (s *stopwatch) all() []timing {
	float32s, bfloat16s := s.machine(kernels.Float32), s.machine(kernels.BFloat16)
	var all []timing
	one := func(m kernels.Config, cs ...cases.Case) {
		for _, c := range cs {
			all = append(all, s.caseOf(c, m))
		}
	}
	few := func(batch int, pattern string) (some []cases.Case) {
		r := regexp.MustCompile(pattern)
		for _, c := range cases.Operations(batch) {
			if r.MatchString(c.Name) {
				some = append(some, c)
			}
		}
		return some
	}
	one(bfloat16s, cases.Step(1), cases.Step(8), cases.Step(32))
	all = append(all, s.census(cases.Step(1)), s.census(cases.Step(8)))
	all = append(all, s.curve("sd15", 4, bfloat16s))
	for _, m := range []kernels.Config{bfloat16s, float32s, {}} {
		all = append(all, s.curve("miniature", s.batch, m))
	}
	one(bfloat16s, few(8, "^attention")...)
	one(bfloat16s, few(32, "^attention")...)
	one(bfloat16s, few(16, "^(conv|linear|group|layer|GEGLU)")...)
	one(bfloat16s, few(1, "^(conv|linear)")...)
	one(bfloat16s, cases.AdamW(1<<28))
	one(bfloat16s, cases.Models(1)...)
	all = append(all, s.cuts(few(8, "tokens=(4096|256)/.*/|conv/(320→320|1280→1280).*/"))...)
	one(float32s, cases.Step(1))
	one(float32s, few(1, "^(conv|linear|attention)")...)
	if s.peers != "" {
		all = append(all, timing{"peers", s.runPeers})
	}
	return all
}

func (s *stopwatch) machine(p kernels.Precision) kernels.Config {
	return kernels.Config{Device: s.device, Precision: p}
}

// caseOf times a case.
func (s *stopwatch) caseOf(c cases.Case, m kernels.Config) timing {
	name := fmt.Sprint(c.Name, "/", m.Precision)
	return timing{name, func(ctx context.Context) error {
		r, err := c.Time(ctx, cases.Options{Machine: m, Count: s.count, Least: s.least})
		if err != nil {
			return err
		}
		s.Results = append(s.Results, r)
		fmt.Fprintf(s.progress, "%-60s %10.3f ms%s\n", name, 1e3*r.Median, rate(r))
		return nil
	}}
}

// rate is how much of what matters is done in a second.
func rate(r cases.Result) string {
	text := ""
	switch {
	case r.Flops > 0:
		text = fmt.Sprintf("  %7.1f TFLOP/s", r.Flops/1e12)
	case r.Bytes > 0:
		text = fmt.Sprintf("  %7.1f GB/s", r.Bytes/1e9)
	}
	if r.Items > 0 {
		text += fmt.Sprintf("  %7.1f pictures/s", r.Items)
	}
	return text
}

// census counts the time of the kernels of a case.
func (s *stopwatch) census(c cases.Case) timing {
	name := "census of " + c.Name
	return timing{name, func(ctx context.Context) error {
		all, err := c.Kernels(ctx, s.machine(kernels.BFloat16))
		if err != nil {
			return err
		}
		s.Kernels = append(s.Kernels, census{c.Name, all})
		fmt.Fprintln(s.progress, name)
		for _, k := range all[:min(len(all), 15)] {
			fmt.Fprintf(s.progress, "  %-40s %5d launches %10.3f ms\n",
				k.Kernel, k.Launches, 1e3*k.Seconds)
		}
		return nil
	}}
}

// curve trains, and keeps the losses.
func (s *stopwatch) curve(model string, batch int, m kernels.Config) timing {
	c := curve{Name: model, Device: "cpu", Precision: m.Precision.String()}
	if m.Device != nil {
		c.Device = m.Device.String()
	}
	name := fmt.Sprintf("curve of %s/batch=%d/%s", model, batch, m.Arithmetic())
	return timing{name, func(ctx context.Context) (err error) {
		if c.Losses, err = cases.Curve(ctx, m, model, batch, s.updates); err != nil {
			return err
		}
		s.Curves = append(s.Curves, c)
		fmt.Fprintf(s.progress, "%s: %.6f to %.6f\n", name, c.Losses[0], c.Losses[s.updates-1])
		return nil
	}}
}

// cuts times products with every tile and several numbers of parts.
func (s *stopwatch) cuts(of []cases.Case) (all []timing) {
	ways := []string{""}
	for _, tile := range []string{"128x128", "128x64", "64x64"} {
		for _, parts := range []int{1, 2, 4, 8, 16} {
			ways = append(ways, fmt.Sprintf("%s/%d", tile, parts))
		}
	}
	for _, c := range of {
		name := "cuts of " + c.Name
		all = append(all, timing{name, func(ctx context.Context) error {
			how := cases.Options{
				Machine: s.machine(kernels.BFloat16), Count: 3, Least: 5 * time.Millisecond,
			}
			best, times := "", map[string]float64{}
			for _, way := range ways {
				r, err := timeCut(ctx, c, how, way)
				if err != nil {
					return err
				}
				s.Cuts = append(s.Cuts, cut{c.Name, way, r.Median})
				if times[way] = r.Median; r.Median < times[best] {
					best = way
				}
			}
			fmt.Fprintf(s.progress, "%-60s %10.3f ms, best %10.3f ms %s\n",
				name, 1e3*times[""], 1e3*times[best], best)
			return nil
		}})
	}
	return all
}

// timeCut times a case whose products are cut in a way.
func timeCut(ctx context.Context, c cases.Case, o cases.Options, way string) (
	r cases.Result, err error,
) {
	if err := os.Setenv(cuda.CutVariable, way); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.Unsetenv(cuda.CutVariable)) }()
	return c.Time(ctx, o)
}

// runPeers runs the peers' program until the time is over. What it has printed by then counts.
func (s *stopwatch) runPeers(ctx context.Context) error {
	run := exec.CommandContext(ctx, "python3", filepath.Join(s.peers, "gpu_peers.py"))
	var printed bytes.Buffer
	run.Stdout, run.Stderr = &printed, &printed
	run.WaitDelay = time.Second
	err := run.Run()
	text := strings.TrimSpace(printed.String())
	s.Peers = &peers{Command: run.String(), Printed: strings.Split(text, "\n")}
	if err != nil {
		s.Peers.Error = err.Error()
	}
	fmt.Fprintln(s.progress, text)
	return err
}

// save writes the report.
func (s *stopwatch) save(file string, out io.Writer) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	e.SetEscapeHTML(false)
	if err := e.Encode(s.timings); err != nil {
		return err
	}
	return write(b.Bytes(), file, out)
}
