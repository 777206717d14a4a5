package kernels

import (
	"fmt"
	"sync"

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
	machines int // that use it
}

// residents are all parameters that machines have on devices.
var residents = struct {
	sync.Mutex
	all map[residence]*resident
}{all: make(map[residence]*resident)}

// reside returns the copy of a parameter on a device. The first machine that asks makes it.
func reside(d Device, t *tensor.Dense) (*resident, error) {
	if t.Dtype() != tensor.Float32 || t.RequiresIterator() {
		return nil, fmt.Errorf("is a tensor that is %v or not contiguous", t.Dtype())
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
			return nil, err
		}
		residents.all[r.residence] = r
	}
	r.machines++
	return r, nil
}

// leave says that a machine does not use r any more. The last one frees it.
func (r *resident) leave() error {
	residents.Lock()
	defer residents.Unlock()
	if r.machines--; r.machines > 0 {
		return nil
	}
	delete(residents.all, r.residence)
	return r.memory.Free()
}

// Refresh copies parameters to the devices that have them. Machines on a Device read a parameter's
// values once, when the first of them is made, and after their own updates. Whoever else changes
// the values, such as by loading a checkpoint, calls Refresh.
func Refresh(parameters ...*tensor.Dense) error {
	residents.Lock()
	defer residents.Unlock()
	for _, t := range parameters {
		for _, r := range residents.all {
			if r.value != t {
				continue
			}
			if err := r.memory.Write(0, bytesOfFloats(t.Float32s())); err != nil {
				return fmt.Errorf("kernels: %v: %w", r.device, err)
			}
		}
	}
	return nil
}
