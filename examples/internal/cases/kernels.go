package cases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kudos-ml/kudos/kernels"
)

// A KernelTime is what the launches of a kernel take in a run.
type KernelTime struct {
	Kernel   string  `json:"kernel"`
	Launches int     `json:"launches"`
	Seconds  float64 `json:"seconds"` // of all of them
}

// repeats is how often a launch is started at once to be timed.
const repeats = 10

// Kernels says what each kernel of a case takes on a device, the longest first. Each launch is
// timed by itself, ten times in a row: what it reads may still be in a cache.
func (c Case) Kernels(ctx context.Context, m kernels.Config) (all []KernelTime, err error) {
	recorded := &recording{Device: m.Device}
	m.Device = recorded
	run, err := c.Prepare(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	defer func() { err = errors.Join(err, run.Close()) }()
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	var clock clock
	if clock.fence, err = recorded.Device.Alloc(4); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, clock.fence.Free()) }()
	byName := map[string]*KernelTime{}
	for _, l := range recorded.launches {
		seconds, err := clock.launch(ctx, recorded.Device, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", c.Name, l.Kernel, err)
		}
		k := byName[l.Kernel]
		if k == nil {
			k = &KernelTime{Kernel: l.Kernel}
			byName[l.Kernel] = k
		}
		k.Launches++
		k.Seconds += seconds
	}
	for _, k := range byName {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b KernelTime) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Kernel, b.Kernel))
	})
	return all, nil
}

// launch is how long a launch takes.
func (c clock) launch(ctx context.Context, d kernels.Device, l kernels.Launch) (
	seconds float64, err error,
) {
	r, err := d.Compile(slices.Repeat([]kernels.Launch{l}, repeats))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	took, err := c.time(ctx, r.Run, 1)
	return took.Seconds() / repeats, err
}

// A recording is a device that keeps the launches of what has run.
type recording struct {
	kernels.Device
	launches []kernels.Launch
}

func (d *recording) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	r, err := d.Device.Compile(launches)
	return &recorded{Runner: r, by: d, launches: launches}, err
}

// A recorded is launches that are kept when they run.
type recorded struct {
	kernels.Runner
	by       *recording
	launches []kernels.Launch
}

func (r *recorded) Run() error {
	r.by.launches = append(r.by.launches, r.launches...)
	return r.Runner.Run()
}
