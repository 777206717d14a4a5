// Package cases are the operations and models whose time counts, at the shapes that they have in
// Stable Diffusion 1.5 and in the miniature, and how they are timed.
package cases

import (
	"context"
	"errors"
	"fmt"
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
}

// Time prepares a case and times it.
func (c Case) Time(ctx context.Context, o Options) (r Result, err error) {
	r = Result{Name: c.Name, Device: "cpu", Precision: o.Machine.Precision.String()}
	clock := clock{}
	if d := o.Machine.Device; d != nil {
		r.Device = d.String()
		if clock.fence, err = d.Alloc(4); err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, clock.fence.Free()) }()
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
	one, err := clock.time(ctx, run.Run, 1)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.Name, err)
	}
	r.First = one.Seconds()
	runs := 1
	for range o.Count {
		var took time.Duration
		for {
			if took, err = clock.time(ctx, run.Run, runs); err != nil {
				return r, fmt.Errorf("%s: %w", c.Name, err)
			}
			if took >= o.Least {
				break
			}
			runs = max(runs+1, int(1.1*float64(runs)*float64(o.Least)/float64(took+1)))
		}
		r.Seconds = append(r.Seconds, took.Seconds()/float64(runs))
	}
	r.Median = median(r.Seconds)
	switch {
	case c.Flops > 0:
		r.Flops = c.Flops / r.Median
	case c.Bytes != nil:
		r.Bytes = c.Bytes(o.Machine.Precision) / r.Median
	}
	r.Items = float64(c.Items) / r.Median
	return r, nil
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
