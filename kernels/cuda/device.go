//go:build nvidia && cgo

package cuda

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/kudos-ml/kudos/kernels"
)

// stageBytes is how much is copied at a time. A copy has costs of its own, of some microseconds,
// and this takes some hundreds.
const stageBytes = 4 << 20

// freeShared is the shared memory that a block has without asking for it.
const freeShared = 48 << 10

// mostParams is how long a kernel's parameter can be.
const mostParams = 4096

// A device is a kernels.Device.
type device struct {
	info     Info
	stepwise bool // each launch is started by itself and waited for

	mu     sync.Mutex // is held while the driver is called: work has one order
	gpu    *gpu
	closed bool
	broken error // the first that lasts

	images  []image
	modules map[string]module  // of images that are loaded, by name
	kernels map[string]*kernel // that are loaded, by name

	stages  [2]*stage // are used in turn
	turn    int
	running []*runner // that may not be done
	made    int       // how much memory and how many runners were made and not freed
}

// A stage is pinned memory that bytes pass through on their way from or to the device.
type stage struct {
	bytes []byte
	idle  event // after the last copy
}

// A kernel is one that is loaded.
type kernel struct {
	function
	threads int // the most that a block can have
	shared  int // the most that a block may have by now
}

func devices() ([]Info, error) {
	n, err := deviceCount()
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	all := make([]Info, n)
	for i := range all {
		if all[i], err = describe(i); err != nil {
			return nil, fmt.Errorf("cuda: device %d: %w", i, err)
		}
		v := driverVersion()
		all[i].CUDA = fmt.Sprintf("%d.%d", v/1000, v/10%100)
		all[i].Images = architectureFor(all[i].Capability)
	}
	return all, nil
}

func open(index int) (kernels.Device, error) {
	all, err := devices()
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= len(all) {
		return nil, fmt.Errorf("cuda: there is no GPU %d. There are %d, the first is 0",
			index, len(all))
	}
	d := &device{
		info:     all[index],
		stepwise: !slices.Contains([]string{"", "0"}, os.Getenv("KUDOS_CUDA_SYNC")),
		modules:  make(map[string]module),
		kernels:  make(map[string]*kernel),
	}
	if d.info.Capability < 80 {
		return nil, d.wrong(errors.New("its compute capability is too low: the kernels need 8.0"))
	}
	if d.images, err = imagesFor(d.info.Capability); err != nil {
		return nil, d.wrong(err)
	}
	if d.gpu, err = retain(index); err != nil {
		return nil, d.wrong(err)
	}
	if err := d.do(d.start); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// start makes what the device has as long as it is open. It loads an image, to see that the driver
// understands it. Others are loaded when they are needed.
func (d *device) start() error {
	if err := d.gpu.start(); err != nil {
		return err
	}
	for i := range d.stages {
		b, err := d.gpu.pin(stageBytes)
		if err != nil {
			return err
		}
		d.stages[i] = &stage{bytes: b}
		if d.stages[i].idle, err = d.gpu.event(); err != nil {
			return err
		}
	}
	for _, m := range d.images[:min(1, len(d.images))] {
		if _, err := d.load(m); err != nil {
			return err
		}
	}
	return nil
}

func (d *device) String() string {
	c := d.info.Capability
	return fmt.Sprintf("%s (compute capability %d.%d)", d.info.Name, c/10, c%10)
}

// wrong is an error that names the device and its driver.
func (d *device) wrong(err error) error {
	return fmt.Errorf("cuda: %s, driver for CUDA %s: %w", d, d.info.CUDA, err)
}

// do calls f when nobody else calls the driver, in a thread that has the device's context.
func (d *device) do(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return d.wrong(errors.New("it is closed"))
	}
	if d.broken != nil {
		return d.broken
	}
	err := d.gpu.enter()
	if err == nil {
		defer d.gpu.leave()
		err = f()
	}
	if err == nil {
		return nil
	}
	err = d.wrong(err)
	if e, ok := errors.AsType[*failure](err); ok && e.lasting() {
		d.broken = fmt.Errorf("%w%s. The process can use this GPU no more", err, d.suspects())
		return d.broken
	}
	return err
}

// suspects says which kernels may have failed.
func (d *device) suspects() string {
	const most = 12
	var names []string
	for _, r := range d.running {
		for _, k := range r.names {
			if !slices.Contains(names, k) {
				names = append(names, k)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	more := ""
	if n := len(names) - most; n > 0 {
		names, more = names[:most], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf(", in one of the kernels %s%s: with KUDOS_CUDA_SYNC=1 in the environment "+
		"the error names it", strings.Join(names, ", "), more)
}

// wait waits until all work is done.
func (d *device) wait() error {
	if err := d.gpu.sync(); err != nil {
		return err
	}
	clear(d.running)
	d.running = d.running[:0]
	return nil
}

// Close implements kernels.Device.
func (d *device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	err := d.gpu.enter()
	if err == nil {
		if d.broken == nil {
			err = d.stop()
		}
		d.gpu.leave()
	}
	if e := d.gpu.release(); err == nil {
		err = e
	}
	switch {
	case d.broken != nil:
		return nil // everything fails now
	case d.made > 0:
		const left = "it was closed before %d things that were made of it were freed"
		return d.wrong(fmt.Errorf(left, d.made))
	case err != nil:
		return d.wrong(err)
	}
	return nil
}

// stop undoes start.
func (d *device) stop() error {
	if err := d.gpu.sync(); err != nil {
		return err
	}
	for _, m := range d.modules {
		if err := d.gpu.unload(m); err != nil {
			return err
		}
	}
	for _, s := range d.stages {
		if s == nil {
			continue
		}
		if err := d.gpu.unpin(s.bytes); err != nil {
			return err
		}
		if s.idle == (event{}) {
			continue
		}
		if err := d.gpu.drop(s.idle); err != nil {
			return err
		}
	}
	return d.gpu.stop()
}

// load returns the module of an image.
func (d *device) load(m image) (module, error) {
	if loaded, ok := d.modules[m.name]; ok {
		return loaded, nil
	}
	loaded, err := d.gpu.load(m.data)
	if f, ok := errors.AsType[*failure](err); ok && f.tooOld() {
		err = fmt.Errorf("%w: the driver is too old for them", err)
	}
	if err != nil {
		return loaded, fmt.Errorf("kernels %s for %s: %w", m.name, m.architecture, err)
	}
	d.modules[m.name] = loaded
	return loaded, nil
}

// find returns a kernel by its name.
func (d *device) find(name string) (*kernel, error) {
	if k, ok := d.kernels[name]; ok {
		return k, nil
	}
	i := slices.IndexFunc(d.images, func(m image) bool { return slices.Contains(m.kernels, name) })
	if i < 0 {
		return nil, fmt.Errorf("there is no kernel %q", name)
	}
	m, err := d.load(d.images[i])
	if err != nil {
		return nil, err
	}
	k := &kernel{shared: freeShared}
	if k.function, k.threads, err = d.gpu.find(m, name); err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	d.kernels[name] = k
	return k, nil
}
