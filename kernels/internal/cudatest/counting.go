package cudatest

import "github.com/kudos-ml/kudos/kernels"

// A Counting is a device that counts how often each kernel is started.
type Counting struct {
	kernels.Device
	Runs map[string]int // by kernel
}

// Count returns d with counts of 0.
func Count(d kernels.Device) *Counting { return &Counting{d, map[string]int{}} }

// Compile implements kernels.Device.
func (d *Counting) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	r, err := d.Device.Compile(launches)
	return &counted{r, d, launches}, err
}

// A counted is launches that are counted when they run.
type counted struct {
	kernels.Runner
	by       *Counting
	launches []kernels.Launch
}

func (r *counted) Run() error {
	for _, l := range r.launches {
		r.by.Runs[l.Kernel]++
	}
	return r.Runner.Run()
}
