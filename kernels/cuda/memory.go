//go:build nvidia && cgo

package cuda

import (
	"errors"
	"fmt"

	"github.com/kudos-ml/kudos/kernels"
)

// memory is a kernels.DeviceMemory.
type memory struct {
	device  *device
	address uint64
	size    int64
	freed   bool
}

// Alloc implements kernels.Device.
func (d *device) Alloc(bytes int64) (kernels.DeviceMemory, error) {
	m := &memory{device: d, size: bytes}
	err := d.do(func() (err error) {
		if bytes < 0 {
			return fmt.Errorf("%d bytes of memory are asked for", bytes)
		}
		m.address, err = d.gpu.alloc(max(bytes, 1)) // the driver has no memory of 0 bytes
		if f, ok := errors.AsType[*failure](err); ok && f.outOfMemory() {
			return d.full(bytes, err)
		}
		if err == nil {
			d.made++
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Free implements kernels.Device.
func (d *device) Free() (free int64, err error) {
	err = d.do(func() error {
		free, _, err = d.gpu.memory()
		return err
	})
	return free, err
}

// full says how much memory there is, where it is too little.
func (d *device) full(bytes int64, err error) error {
	free, total, unknown := d.gpu.memory()
	if unknown != nil {
		return err
	}
	const text = "%.3f GB of memory are asked for, %.3f of %.3f GB are free: %w"
	return fmt.Errorf(text, float64(bytes)/1e9, float64(free)/1e9, float64(total)/1e9, err)
}

// Address implements kernels.DeviceMemory.
func (m *memory) Address() uint64 { return m.address }

// check is the error if m has no such bytes.
func (m *memory) check(at int64, bytes int) error {
	if m.freed {
		return errors.New("the memory is freed")
	}
	if at < 0 || int64(bytes) > m.size-at {
		return fmt.Errorf("%d bytes at byte %d of memory of %d bytes", bytes, at, m.size)
	}
	return nil
}

// stage returns the next stage when it is idle.
func (d *device) stage() (*stage, error) {
	s := d.stages[d.turn]
	d.turn = (d.turn + 1) % len(d.stages)
	return s, d.gpu.wait(s.idle)
}

// Write implements kernels.DeviceMemory. It returns when the last bytes are staged.
func (m *memory) Write(at int64, from []byte) error {
	d := m.device
	return d.do(func() error {
		if err := m.check(at, len(from)); err != nil {
			return err
		}
		for to := m.address + uint64(at); len(from) > 0; {
			s, err := d.stage()
			if err != nil {
				return err
			}
			n := copy(s.bytes, from)
			if err := d.gpu.write(to, s.bytes[:n]); err != nil {
				return err
			}
			if err := d.gpu.mark(s.idle); err != nil {
				return err
			}
			from, to = from[n:], to+uint64(n)
		}
		return nil
	})
}

// Read implements kernels.DeviceMemory. While the device copies to one stage, the host copies from
// the other.
func (m *memory) Read(to []byte, at int64) error {
	d := m.device
	return d.do(func() error {
		if err := m.check(at, len(to)); err != nil {
			return err
		}
		var coming *stage
		var part []byte // of to, which is coming
		arrive := func() error {
			if coming == nil {
				return nil
			}
			err := d.gpu.wait(coming.idle)
			copy(part, coming.bytes)
			return err
		}
		for from := m.address + uint64(at); len(to) > 0; {
			s, err := d.stage()
			if err != nil {
				return err
			}
			n := min(len(to), len(s.bytes))
			if err := d.gpu.read(s.bytes[:n], from); err != nil {
				return err
			}
			if err := d.gpu.mark(s.idle); err != nil {
				return err
			}
			if err := arrive(); err != nil {
				return err
			}
			coming, part = s, to[:n]
			to, from = to[n:], from+uint64(n)
		}
		if err := arrive(); err != nil {
			return err
		}
		return d.wait()
	})
}

// Free implements kernels.DeviceMemory.
func (m *memory) Free() error {
	d := m.device
	return d.do(func() error {
		if m.freed {
			return nil
		}
		if err := d.wait(); err != nil {
			return err
		}
		if err := d.gpu.free(m.address); err != nil {
			return err
		}
		m.freed = true
		d.made--
		return nil
	})
}
