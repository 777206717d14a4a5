// Package cases are the operations and models whose time counts, at the shapes that they have in
// Stable Diffusion 1.5 and in the miniature, and how they are timed.
package cases

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/kudos-ml/kudos/kernels"
)

// A Case is something to time.
type Case struct {
	Name string
	// Flops is the arithmetic of a run that nothing could leave out, a multiplication and an
	// addition counted as two. 0 is where memory decides: then Bytes is the fewest that a run reads
	// and writes, in the machine's precision.
	Flops float64
	Bytes func(p kernels.Precision) float64
	// Items is how many pictures a run makes or learns from; 0 where that says nothing.
	Items int
	// Optimizes says that it steps weights, which all the workers of the process do.
	Optimizes bool
	// Prepare makes it ready to run.
	Prepare func(ctx context.Context, m kernels.Config) (*Runner, error)
}

// A Runner is a Case that is ready to run.
type Runner struct {
	Plan  kernels.Plan
	Run   func() error
	Close func() error
}

// A Result is what timing found.
type Result struct {
	Name      string `json:"name"`
	Device    string `json:"device"`
	Precision string `json:"precision"`
	// Winograd says that convolutions may have been computed by Winograd's algorithm.
	Winograd bool `json:"winograd,omitempty"`
	// Machine is the kind of the processor and how many cores it has, unless a device computes.
	// Threads is how many of them worked.
	Machine string `json:"machine,omitempty"`
	Threads int    `json:"threads,omitempty"`
	// Seconds are the times of a run. Each is the mean of so many that they take a while, and where
	// a run is long it is one.
	Seconds []float64 `json:"seconds"`
	Median  float64   `json:"median"`
	// First is the time of the first run, in which memory is touched for the first time.
	First float64 `json:"first"`
	// Rate is the arithmetic, or the bytes where memory decides, in a second of Median.
	Flops float64 `json:"flop_per_s,omitempty"`
	Bytes float64 `json:"bytes_per_s,omitempty"`
	Items float64 `json:"items_per_s,omitempty"`
	// Peaks are the rates that were probed around each time, and Shares what the case reached of
	// them; Share is their median. They are there if there was a probe of their kind.
	Peaks  []float64 `json:"peaks,omitempty"`
	Shares []float64 `json:"shares,omitempty"`
	Share  float64   `json:"share,omitempty"`
	// Placement says how near the cores were to each other: see Placement. Times at one placement
	// are not compared with those at another.
	Placement string `json:"placement,omitempty"`
	// Disturbed is how many of the times have probes before and after that do not agree: other
	// programs ran, the clock changed, or a virtual machine was moved to other cores.
	Disturbed int `json:"disturbed,omitempty"`
	// Touching is the rate at which fresh memory was touched before the first run, in bytes a
	// second.
	Touching float64 `json:"touched_per_s,omitempty"`
	// Planned is the memory that the plan says, in bytes. Taken is what preparing has taken of the
	// device's memory; 0 without a device.
	Planned int64 `json:"planned"`
	Taken   int64 `json:"taken,omitempty"`
}

// Options say how to time.
type Options struct {
	Machine kernels.Config
	Count   int           // how many times
	Least   time.Duration // that each takes, of so many runs
	// Probe, of the machine's workers, says what the peaks are around each time. nil leaves them
	// out.
	Probe *kernels.Probe
}

// agreement is how far the probes before and after a time may be apart.
const agreement = 0.03

// Agree reports whether rates that were probed are the same, but for what probes vary.
func Agree(rates ...float64) bool {
	return slices.Max(rates) <= (1+agreement)*slices.Min(rates)
}

// Placement is how near cores are to each other that need so many seconds to exchange a value:
// threads of "one core", "near", which is to share a cache, or "far". With one worker it is empty.
// A virtual machine may be moved from one placement to another while it runs: those of one core
// share its arithmetic, those that are far have more memory bandwidth and exchange less.
func Placement(exchange float64) string {
	switch {
	case exchange <= 0:
		return ""
	case exchange < 60e-9:
		return "one core"
	case exchange < 200e-9:
		return "near"
	case exchange < 5e-6:
		return "far"
	}
	return busy
}

// busy is the placement where another program had one of the cores all the time.
const busy = "busy"

// Here is the kind of this processor and how many cores it has.
func Here() string { return fmt.Sprintf("%s, %d cores", kernels.Processor(), runtime.NumCPU()) }

// Time prepares a case and times it.
func (c Case) Time(ctx context.Context, o Options) (r Result, err error) {
	r = Result{Name: c.Name, Device: "cpu", Precision: o.Machine.Precision.String()}
	r.Winograd = o.Machine.Device == nil && o.Machine.Arithmetic() != r.Precision
	clock := clock{}
	if d := o.Machine.Device; d != nil {
		r.Device = d.String()
		if clock.fence, err = d.Alloc(4); err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, clock.fence.Free()) }()
	}
	if o.Probe != nil {
		r.Machine, r.Threads = Here(), o.Probe.Workers()
	}
	before, err := free(o.Machine.Device)
	if err != nil {
		return r, err
	}
	run, err := c.Prepare(ctx, o.Machine)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.Name, err)
	}
	defer func() { err = errors.Join(err, run.Close()) }()
	after, err := free(o.Machine.Device)
	if err != nil {
		return r, err
	}
	r.Planned, r.Taken = run.Plan.Total(), before-after
	if o.Probe != nil && c.Items > 0 {
		if r.Touching, err = o.Probe.Touching(); err != nil {
			return r, err
		}
	}
	one, err := clock.time(ctx, run.Run, 1)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.Name, err)
	}
	r.First = one.Seconds()
	probe := func() probed { return c.probe(o) }
	samples, err := clock.sample(ctx, o, run.Run, probe)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.Name, err)
	}
	c.summarize(&r, o, samples)
	return r, nil
}

// A sample is a time, and what was probed before and after it.
type sample struct {
	seconds       float64
	before, after probed
}

// probed is the peak and the placement of cores.
type probed struct {
	peak      float64
	placement string
}

// calm says that nothing disturbed it, as far as probes tell.
func (s sample) calm() bool {
	return Agree(s.before.peak, s.after.peak) && s.before.placement == s.after.placement &&
		s.before.placement != busy
}

// sample times runs and probes around each time. Times that were disturbed, or taken at another
// placement than the first, are taken again, as many as are asked for. If that is not enough, they
// are at the end of the list.
func (c clock) sample(
	ctx context.Context, o Options, run func() error, probe func() probed,
) ([]sample, error) {
	var calm, disturbed []sample
	before := probe()
	runs := 1
	for len(calm) < o.Count && len(calm)+len(disturbed) < 2*o.Count {
		var took time.Duration
		for {
			var err error
			if took, err = c.time(ctx, run, runs); err != nil {
				return nil, err
			}
			if took >= o.Least {
				break
			}
			runs = max(runs+1, int(1.1*float64(runs)*float64(o.Least)/float64(took+1)))
			before = probe()
		}
		s := sample{seconds: took.Seconds() / float64(runs), before: before, after: probe()}
		before = s.after
		if s.calm() && (len(calm) == 0 || s.before.placement == calm[0].before.placement) {
			calm = append(calm, s)
		} else {
			disturbed = append(disturbed, s)
		}
	}
	return append(calm, disturbed...)[:o.Count], nil
}

// probe says what the most is that there is of what the case needs: arithmetic, or bytes read and
// written. It is 0 where that is not known.
func (c Case) probe(o Options) (p probed) {
	switch {
	case o.Probe == nil:
		return p
	case c.Flops > 0:
		p.peak = o.Probe.Arithmetic(o.Machine.Precision)
	default:
		p.peak = max(o.Probe.Reading(), o.Probe.Copying())
	}
	p.placement = Placement(o.Probe.Exchange())
	return p
}

// summarize says what samples mean.
func (c Case) summarize(r *Result, o Options, samples []sample) {
	work := c.Flops
	if work == 0 && c.Bytes != nil {
		work = c.Bytes(o.Machine.Precision)
	}
	for _, s := range samples {
		r.Seconds = append(r.Seconds, s.seconds)
		if !s.calm() || s.before.placement != samples[0].before.placement {
			r.Disturbed++
		}
		if peak := (s.before.peak + s.after.peak) / 2; peak > 0 && work > 0 {
			r.Peaks = append(r.Peaks, peak)
			r.Shares = append(r.Shares, work/s.seconds/peak)
		}
	}
	r.Placement = samples[0].before.placement
	r.Median, r.Share = median(r.Seconds), median(r.Shares)
	if c.Flops > 0 {
		r.Flops = work / r.Median
	} else {
		r.Bytes = work / r.Median
	}
	r.Items = float64(c.Items) / r.Median
}

// A clock waits for a device, if there is one.
type clock struct{ fence kernels.DeviceMemory }

// time is how long so many runs take.
func (c clock) time(ctx context.Context, run func() error, runs int) (time.Duration, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	began := time.Now()
	for range runs {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		if err := run(); err != nil {
			return 0, err
		}
	}
	err := c.wait()
	return time.Since(began), err
}

func (c clock) wait() error {
	if c.fence == nil {
		return nil
	}
	return c.fence.Read(make([]byte, 4), 0)
}

// free is how much memory a device has free, if it is one.
func free(d kernels.Device) (int64, error) {
	if d == nil {
		return 0, nil
	}
	return d.Free()
}

// median is the middle of some numbers, or the mean of the two in the middle.
func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
