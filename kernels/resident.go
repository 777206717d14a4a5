package kernels

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A residence is a parameter on a device.
type residence struct {
	device Device
	value  *tensor.Dense
}

// A resident is a parameter's copy in a device's memory. All machines on the device share it.
type resident struct {
	residence
	memory   DeviceMemory
	half     DeviceMemory // a copy in bfloat16, for machines that read one; else nil
	machines int          // that use it
	ahead    bool         // whether memory is newer than the host's
	stale    bool         // whether half is older than memory
}

// residents are all parameters that machines have on devices.
var residents = struct {
	sync.Mutex
	all   map[residence]*resident
	ahead atomic.Int32 // how many are newer than the host's
}{all: make(map[residence]*resident)}

// reside returns the copy of a parameter on a device. The first machine that asks makes it.
func reside(d Device, t *tensor.Dense) (*resident, error) {
	if t.Dtype() != tensor.Float32 || t.RequiresIterator() {
		return nil, fmt.Errorf("is a tensor that is %v or not contiguous", t.Dtype())
	}
	if err := Pull(t); err != nil { // from another device
		return nil, err
	}
	residents.Lock()
	defer residents.Unlock()
	r, ok := residents.all[residence{d, t}]
	if !ok {
		data := bytesOfFloats(t.Float32s())
		memory, err := d.Alloc(int64(len(data)))
		if err != nil {
			return nil, err
		}
		r = &resident{residence: residence{d, t}, memory: memory}
		if err := memory.Write(0, data); err != nil {
			return nil, errors.Join(err, memory.Free())
		}
		residents.all[r.residence] = r
	}
	r.machines++
	return r, nil
}

// leave says that a machine does not use r any more. The last one frees it. The host has its values
// then.
func (r *resident) leave() error {
	residents.Lock()
	defer residents.Unlock()
	if r.machines--; r.machines > 0 {
		return nil
	}
	delete(residents.all, r.residence)
	err := errors.Join(r.pull(), r.memory.Free())
	if r.half != nil {
		err = errors.Join(err, r.half.Free())
	}
	return err
}

// tensor is where the device has the parameter.
func (r *resident) tensor() DeviceTensor {
	t := DeviceTensor{Address: r.memory.Address(), Len: r.value.DataSize()}
	if r.half != nil {
		t.Half = r.half.Address()
	}
	return t
}

// halve makes room for the copy in bfloat16.
func (r *resident) halve() (err error) {
	residents.Lock()
	defer residents.Unlock()
	if r.half == nil {
		r.half, err = r.device.Alloc(2 * int64(r.value.DataSize()))
		r.stale = true
	}
	return err
}

// A rounding makes copies in bfloat16 of parameters that have changed. As a rule the same ones have
// changed from run to run.
type rounding struct {
	of  []*resident
	run Runner
}

// bring makes sure that the copies of some parameters are as new as these.
func (o *rounding) bring(d Device, halves []*resident) error {
	residents.Lock()
	defer residents.Unlock()
	var stale []*resident
	for _, r := range halves {
		if r.stale {
			stale = append(stale, r)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	if !slices.Equal(stale, o.of) {
		if err := o.close(); err != nil {
			return err
		}
		var q cuda.Queue
		for _, r := range stale {
			t := r.tensor()
			from := cuda.Tensor{Address: t.Address, Len: t.Len}
			cuda.ToBF16s(&q, cuda.Tensor{Address: t.Half, Len: t.Len, Type: cuda.BFloat16}, from)
		}
		var err error
		if o.run, err = d.Compile(public(q.Launches)); err != nil {
			return err
		}
		o.of = stale
	}
	if err := o.run.Run(); err != nil {
		return err
	}
	for _, r := range stale {
		r.stale = false
	}
	return nil
}

func (o *rounding) close() error {
	if o.run == nil {
		return nil
	}
	run := o.run
	*o = rounding{}
	return run.Close()
}

// pull copies the values to the host if they are newer there.
func (r *resident) pull() error {
	if !r.ahead {
		return nil
	}
	if err := r.memory.Read(bytesOfFloats(r.value.Float32s()), 0); err != nil {
		return fmt.Errorf("kernels: %v: %w", r.device, err)
	}
	r.setAhead(false)
	outdate(r.value)
	return nil
}

func (r *resident) setAhead(ahead bool) {
	switch {
	case ahead && !r.ahead:
		residents.ahead.Add(1)
	case !ahead && r.ahead:
		residents.ahead.Add(-1)
	}
	r.ahead = ahead
}

// each calls f for every copy of the parameters.
func each(parameters []*tensor.Dense, f func(r *resident) error) error {
	residents.Lock()
	defer residents.Unlock()
	if len(residents.all) == 0 {
		return nil
	}
	wanted := make(map[*tensor.Dense]bool, len(parameters))
	for _, t := range parameters {
		wanted[t] = true
	}
	for _, r := range residents.all {
		if wanted[r.value] {
			if err := f(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reside puts a parameter into a device's memory, where machines on the device have it too, until
// free is called. Launches that change it there are followed by Changed.
func Reside(d Device, t *tensor.Dense) (at DeviceTensor, free func() error, err error) {
	r, err := reside(d, t)
	if err != nil {
		return DeviceTensor{}, nil, fmt.Errorf("kernels: %w", err)
	}
	return r.tensor(), r.leave, nil
}

// Refresh copies parameters from the host to the devices that have them. Machines on a Device read
// a parameter's values once, when the first of them is made, and machines with ConstantParameters
// when they run for the first time. Whoever changes the values on the host after that, such as by
// loading a checkpoint, calls Refresh.
func Refresh(parameters ...*tensor.Dense) error {
	outdate(parameters...)
	return each(parameters, func(r *resident) error {
		if err := r.memory.Write(0, bytesOfFloats(r.value.Float32s())); err != nil {
			return fmt.Errorf("kernels: %v: %w", r.device, err)
		}
		r.setAhead(false)
		r.stale = true
		return nil
	})
}

// Pull copies parameters to the host from the device that has changed them, if one has. Until then
// their tensors have older values: whoever reads these calls Pull first. Machines do, and so does
// what saves or copies parameters in this module. Closing the last machine that uses a parameter
// pulls it too.
func Pull(parameters ...*tensor.Dense) error {
	if residents.ahead.Load() == 0 {
		return nil
	}
	return each(parameters, (*resident).pull)
}

// Changed says that launches on a device have changed parameters there. Until Pull the host's
// values are old.
func Changed(d Device, parameters ...*tensor.Dense) {
	_ = each(parameters, func(r *resident) error {
		if r.device == d {
			r.setAhead(true)
			r.stale = true
		}
		return nil
	})
}

// Rounded says, after Changed, that the launches have changed the copies in bfloat16 with the
// parameters (DeviceTensor.Half). Copies that are older than their parameters are made anew before
// a machine reads them.
func Rounded(d Device, parameters ...*tensor.Dense) {
	_ = each(parameters, func(r *resident) error {
		if r.device == d {
			r.stale = false
		}
		return nil
	})
}

// pullInputs pulls the inputs of a machine on the host.
func (m *Machine) pullInputs() error {
	if residents.ahead.Load() == 0 {
		return nil
	}
	var all []*tensor.Dense
	for i := range m.externals {
		if t, ok := m.externals[i].value.node.Value().(*tensor.Dense); ok {
			all = append(all, t)
		}
	}
	return Pull(all...)
}
