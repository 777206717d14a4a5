//go:build nvidia && cgo

package cuda

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/kernels"
)

// A runner is a kernels.Runner: a graph, or where launches are waited for one by one, the launches.
type runner struct {
	device   *device
	names    []string // of the kernels
	launches []launch
	graph    graph
	closed   bool
}

// A launch is one that can be started.
type launch struct {
	kernels.Launch
	kernel *kernel
}

func (l launch) String() string {
	const text = "kernel %s with a grid of %d×%d×%d, %d threads and %d bytes of shared memory"
	return fmt.Sprintf(text, l.Kernel, l.Grid[0], l.Grid[1], l.Grid[2], l.Threads, l.Shared)
}

// Compile implements kernels.Device.
func (d *device) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	r := &runner{device: d}
	err := d.do(func() error {
		for _, l := range launches {
			ready, err := d.prepare(l)
			if err != nil {
				return err
			}
			r.launches = append(r.launches, ready)
			if !slices.Contains(r.names, l.Kernel) {
				r.names = append(r.names, l.Kernel)
			}
		}
		if !d.stepwise && len(launches) > 0 {
			var err error
			if r.graph, err = d.gpu.record(func() error { return r.start(true) }); err != nil {
				return fmt.Errorf("%d launches: %w", len(launches), err)
			}
			r.launches = nil // the graph has them
		}
		d.made++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// prepare finds the kernel of a launch and sees that the device can start it.
func (d *device) prepare(l kernels.Launch) (launch, error) {
	k, err := d.find(l.Kernel)
	ready := launch{l, k}
	if err != nil {
		return ready, err
	}
	for i, most := range []int{math.MaxInt32, math.MaxUint16, math.MaxUint16} {
		if l.Grid[i] < 1 || l.Grid[i] > most {
			const text = "%v: the grid must be from 1 to %d×%d×%[3]d blocks"
			return ready, fmt.Errorf(text, ready, math.MaxInt32, math.MaxUint16)
		}
	}
	if l.Threads < 1 || l.Threads > k.threads {
		return ready, fmt.Errorf("%v: a block must have from 1 to %d threads", ready, k.threads)
	}
	if l.Shared < 0 || l.Shared > d.gpu.shared {
		return ready, fmt.Errorf("%v: a block can have %d bytes of shared memory at most",
			ready, d.gpu.shared)
	}
	if len(l.Params) == 0 || len(l.Params) > mostParams {
		return ready, fmt.Errorf("%v: its parameter has %d bytes, and must have from 1 to %d",
			ready, len(l.Params), mostParams)
	}
	if l.Shared > k.shared {
		if err := d.gpu.allow(k.function, l.Shared); err != nil {
			return ready, fmt.Errorf("%v: %w", ready, err)
		}
		k.shared = l.Shared
	}
	ready.Params, ready.Touches = slices.Clone(l.Params), nil // the caller may change its own
	return ready, nil
}

// start starts the launches, or has them captured.
func (r *runner) start(captured bool) error {
	g := r.device.gpu
	params := make([]byte, mostParams) // the driver reads as much as the kernel declares
	for i, l := range r.launches {
		copy(params, l.Params)
		err := g.launch(l.kernel.function, l.Grid, l.Threads, l.Shared, params, captured)
		if err == nil && !captured {
			err = g.sync()
		}
		if err != nil {
			return fmt.Errorf("launch %d of %d, %v: %w", i+1, len(r.launches), l, err)
		}
	}
	return nil
}

// Run implements kernels.Runner.
func (r *runner) Run() error {
	d := r.device
	return d.do(func() error {
		if r.closed {
			return errors.New("the runner is closed")
		}
		if r.graph == nil {
			return r.start(false)
		}
		if !slices.Contains(d.running, r) {
			d.running = append(d.running, r)
		}
		return d.gpu.play(r.graph)
	})
}

// Close implements kernels.Runner.
func (r *runner) Close() error {
	d := r.device
	return d.do(func() error {
		if r.closed {
			return nil
		}
		if r.graph != nil {
			if err := d.wait(); err != nil {
				return err
			}
			if err := d.gpu.forget(r.graph); err != nil {
				return err
			}
		}
		r.closed, r.launches = true, nil
		d.made--
		return nil
	})
}
