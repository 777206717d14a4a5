package cudatest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// OpenDevice returns the plain build as a device for machines. It ends with the test, and it fails
// the test if machines have not freed what they took of it. It skips the test where the emulation
// cannot be compiled.
func OpenDevice(t testing.TB) kernels.Device {
	t.Helper()
	d := &device{Device: Open(t, Plain)}
	t.Cleanup(func() {
		if d.taken != 0 && !t.Failed() {
			t.Errorf("%d pieces of the device's memory were not freed", d.taken)
		}
	})
	return d
}

// ForMachines returns a device that all tests of a binary share, or nil where the emulation cannot
// be compiled, which is logged.
func ForMachines(t testing.TB) kernels.Device {
	t.Helper()
	if _, why := compiler(); why != "" {
		t.Log(why)
		return nil
	}
	forMachines.Device = use(t, Plain)
	return forMachines
}

var forMachines = new(device)

// A device is a Device as machines see it.
type device struct {
	*Device
	lock  sync.Mutex
	taken int
}

func (d *device) String() string { return "emulation" }
func (d *device) Close() error   { return nil }

// Free says that there is 1 GiB, whatever is taken.
func (d *device) Free() (int64, error) { return 1 << 30, nil }

func (d *device) Alloc(bytes int64) (kernels.DeviceMemory, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.taken++
	return &memory{d, d.Device.Alloc(int(bytes)), bytes}, nil
}

func (d *device) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	r := &runner{device: d}
	for _, l := range launches {
		own := cuda.Launch{
			Kernel: l.Kernel, Grid: l.Grid, Threads: l.Threads, Shared: l.Shared, Params: l.Params,
		}
		for _, s := range l.Touches {
			own.Touches = append(own.Touches, cuda.Span(s))
		}
		r.launches = append(r.launches, own)
	}
	return r, nil
}

type memory struct {
	*device
	address uint64
	bytes   int64
}

func (m *memory) Address() uint64 { return m.address }

func (m *memory) Write(at int64, from []byte) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if at < 0 || at+int64(len(from)) > m.bytes {
		return fmt.Errorf("%d bytes at %d of %d", len(from), at, m.bytes)
	}
	m.Device.Write(m.address+uint64(at), from)
	return nil
}

func (m *memory) Read(to []byte, at int64) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if at < 0 || at+int64(len(to)) > m.bytes {
		return fmt.Errorf("%d bytes at %d of %d", len(to), at, m.bytes)
	}
	m.Device.Read(to, m.address+uint64(at))
	return nil
}

func (m *memory) Free() error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.Device.Free(m.address)
	m.taken--
	return nil
}

type runner struct {
	*device
	launches []cuda.Launch
}

func (r *runner) Run() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.Device.Run(r.launches)
	return nil
}

func (r *runner) Close() error { return nil }
