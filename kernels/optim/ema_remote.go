package optim

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// An emaOnDevice updates averages in a device's memory.
type emaOnDevice struct {
	device kernels.Device
	part   kernels.DeviceMemory // by how much averages move, a float32
	run    kernels.Runner
	free   []func() error
}

// MoveTo keeps the averages in the memory of a device, which is that of the parameters' machines.
// Update then is done there. Close moves them back.
func (e *EMA) MoveTo(d kernels.Device) (err error) {
	if e.remote != nil {
		return errors.New("optim: the moving average is on a device already")
	}
	r := &emaOnDevice{device: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.part, err = d.Alloc(4); err != nil {
		return err
	}
	part := cuda.Tensor{Address: r.part.Address(), Len: 1}
	var q cuda.Queue
	for i, p := range e.parameters {
		var on [2]cuda.Tensor
		for k, t := range []*tensor.Dense{e.average[i], p.Value} {
			at, free, err := kernels.Reside(d, t)
			if err != nil {
				return err
			}
			r.free = append(r.free, free)
			on[k] = cuda.Tensor{Address: at.Address, Len: at.Len}
		}
		cuda.Blend(&q, on[0], on[1], part)
	}
	if r.run, err = compileOn(d, &q); err != nil {
		return err
	}
	e.remote = r
	return nil
}

// blendRemote is blend on the device. Whether the averages move is looked at once, when it is an
// error if they do not.
func (e *EMA) blendRemote(part float32) error {
	b := binary.LittleEndian.AppendUint32(nil, math.Float32bits(part))
	if err := e.remote.part.Write(0, b); err != nil {
		return err
	}
	if err := e.remote.run.Run(); err != nil {
		return err
	}
	if e.moved || e.steps+1 < stillness {
		kernels.Changed(e.remote.device, e.average...)
		return nil
	}
	before := e.fingerprints()
	kernels.Changed(e.remote.device, e.average...)
	if err := e.newest(); err != nil {
		return err
	}
	e.moved = !slices.Equal(before, e.fingerprints())
	return nil
}

// fingerprints are those of the averages on the host.
func (e *EMA) fingerprints() []float64 {
	all := make([]float64, len(e.average))
	for i, a := range e.average {
		all[i] = e.fingerprint(a.Float32s())
	}
	return all
}

// Close moves the averages from their device to the host, if they are on one.
func (e *EMA) Close() error {
	if e.remote == nil {
		return nil
	}
	r := e.remote
	e.remote = nil
	return r.close()
}

func (r *emaOnDevice) close() error {
	var errs []error
	if r.run != nil {
		errs = append(errs, r.run.Close())
	}
	for _, free := range r.free {
		errs = append(errs, free())
	}
	if r.part != nil {
		errs = append(errs, r.part.Free())
	}
	return errors.Join(errs...)
}
