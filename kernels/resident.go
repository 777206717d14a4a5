package kernels

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"gorgonia.org/tensor"
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
	machines int  // that use it
	ahead    bool // whether it is newer than the host's
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
	return errors.Join(r.pull(), r.memory.Free())
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
	return DeviceTensor{r.memory.Address(), t.DataSize()}, r.leave, nil
}

// Refresh copies parameters from the host to the devices that have them. Machines on a Device read
// a parameter's values once, when the first of them is made. Whoever changes the values on the host
// after that, such as by loading a checkpoint, calls Refresh.
func Refresh(parameters ...*tensor.Dense) error {
	return each(parameters, func(r *resident) error {
		if err := r.memory.Write(0, bytesOfFloats(r.value.Float32s())); err != nil {
			return fmt.Errorf("kernels: %v: %w", r.device, err)
		}
		r.setAhead(false)
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
