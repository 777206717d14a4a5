//go:build nvidia && cgo

package cuda

/*
#include <cuda.h>

// launch starts a kernel with its one parameter, a struct.
static CUresult launch(CUfunction f, unsigned x, unsigned y, unsigned z, unsigned threads,
                       unsigned shared, CUstream s, void *params) {
	void *all[] = {params};
	return cuLaunchKernel(f, x, y, z, threads, 1, 1, shared, s, all, 0);
}
*/
import "C"

import (
	"fmt"
	"reflect"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"
)

// This file is all that knows of gorgonia.org/cu and of C. Functions of cu are called where it has
// them. The calls of the driver that it lacks are made here: shared memory beyond 48 KiB, launches
// with a struct, captures, graphs, pinned memory, the names of errors.

// A failure is an error of the driver.
type failure struct {
	call string
	code int
}

func (f *failure) Error() string {
	var name, text *C.char
	if C.cuGetErrorName(C.CUresult(f.code), &name) != C.CUDA_SUCCESS {
		return fmt.Sprintf("%s: error %d of CUDA", f.call, f.code)
	}
	C.cuGetErrorString(C.CUresult(f.code), &text)
	if text == nil {
		return fmt.Sprintf("%s: %s", f.call, C.GoString(name))
	}
	return fmt.Sprintf("%s: %s (%s)", f.call, C.GoString(name), C.GoString(text))
}

// check is the error of a call.
func check(call string, r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return &failure{call, int(r)}
}

// failed is the error of a call that cu has made. Its errors are numbers of a type that it does not
// export, and it has no names for newer ones.
func failed(call string, err error) error {
	if err == nil {
		return nil
	}
	number := reflect.ValueOf(err)
	if !number.CanInt() {
		return fmt.Errorf("%s: %w", call, err)
	}
	return &failure{call, int(number.Int())}
}

// outOfMemory reports whether the device has too little memory.
func (f *failure) outOfMemory() bool { return f.code == C.CUDA_ERROR_OUT_OF_MEMORY }

// tooOld reports whether the driver does not know the format of an image.
func (f *failure) tooOld() bool {
	return f.code == C.CUDA_ERROR_INVALID_IMAGE || f.code == C.CUDA_ERROR_UNSUPPORTED_PTX_VERSION
}

// lasting reports whether all later calls will fail too, because a kernel or the device has failed.
func (f *failure) lasting() bool {
	switch f.code {
	case C.CUDA_ERROR_ECC_UNCORRECTABLE, C.CUDA_ERROR_ILLEGAL_ADDRESS,
		C.CUDA_ERROR_LAUNCH_TIMEOUT, C.CUDA_ERROR_ASSERT, C.CUDA_ERROR_HARDWARE_STACK_ERROR,
		C.CUDA_ERROR_ILLEGAL_INSTRUCTION, C.CUDA_ERROR_MISALIGNED_ADDRESS,
		C.CUDA_ERROR_INVALID_ADDRESS_SPACE, C.CUDA_ERROR_INVALID_PC, C.CUDA_ERROR_LAUNCH_FAILED,
		C.CUDA_ERROR_UNKNOWN:
		return true
	}
	return false
}

// driverVersion is the newest version of CUDA that the driver knows: 12080 is 12.8.
func driverVersion() int { return cu.Version() }

func deviceCount() (int, error) {
	n, err := cu.NumDevices()
	return n, failed("cuDeviceGetCount", err)
}

// describe returns what is known of a device without its context.
func describe(index int) (Info, error) {
	d, err := cu.GetDevice(index)
	if err != nil {
		return Info{}, failed("cuDeviceGet", err)
	}
	info := Info{}
	if info.Name, err = d.Name(); err != nil {
		return Info{}, failed("cuDeviceGetName", err)
	}
	if info.Memory, err = d.TotalMem(); err != nil {
		return Info{}, failed("cuDeviceTotalMem", err)
	}
	major, err := d.Attribute(cu.ComputeCapabilityMajor)
	if err != nil {
		return Info{}, failed("cuDeviceGetAttribute", err)
	}
	minor, err := d.Attribute(cu.ComputeCapabilityMinor)
	info.Capability = 10*major + minor
	return info, failed("cuDeviceGetAttribute", err)
}

// A gpu is a device's primary context, with a stream for work and one for captures. Its methods but
// enter, leave and release are called between enter and leave.
type gpu struct {
	device        cu.Device
	context       cu.CUContext
	work, capture cu.Stream
	shared        int // the most shared memory that a block can ask for
}

type (
	module   = cu.Module
	function = cu.Function
	event    = cu.Event
	graph    = C.CUgraphExec
)

// retain returns a device without its streams.
func retain(index int) (*gpu, error) {
	d, err := cu.GetDevice(index)
	if err != nil {
		return nil, failed("cuDeviceGet", err)
	}
	const most = C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
	shared, err := d.Attribute(cu.DeviceAttribute(most))
	if err != nil {
		return nil, failed("cuDeviceGetAttribute", err)
	}
	c, err := d.RetainPrimaryCtx()
	return &gpu{device: d, context: c, shared: shared}, failed("cuDevicePrimaryCtxRetain", err)
}

// release gives up the context. Where nobody else has it, it ends, with all that was made in it.
func (g *gpu) release() error {
	return failed("cuDevicePrimaryCtxRelease", g.device.ReleasePrimaryCtx())
}

// enter binds the goroutine to a thread in which the context is current. CUContext.Lock would do
// so too, but to undo it waits for the device.
func (g *gpu) enter() error {
	runtime.LockOSThread()
	if err := cu.SetCurrentContext(g.context); err != nil {
		runtime.UnlockOSThread()
		return failed("cuCtxSetCurrent", err)
	}
	return nil
}

func (g *gpu) leave() { runtime.UnlockOSThread() }

// start makes the streams. They do not wait for the null stream, nor it for them.
func (g *gpu) start() (err error) {
	if g.work, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return failed("cuStreamCreate", err)
	}
	g.capture, err = cu.MakeStream(cu.NonBlocking)
	return failed("cuStreamCreate", err)
}

// stop ends the streams.
func (g *gpu) stop() error {
	for _, s := range []*cu.Stream{&g.work, &g.capture} {
		if *s == cu.NoStream {
			continue
		}
		if err := s.Destroy(); err != nil {
			return failed("cuStreamDestroy", err)
		}
	}
	return nil
}

// sync waits until all work is done.
func (g *gpu) sync() error { return failed("cuStreamSynchronize", g.work.Synchronize()) }

// memory returns how much memory of the device is free, and how much it has.
func (g *gpu) memory() (free, total int64, err error) {
	free, total, err = cu.MemInfo()
	return free, total, failed("cuMemGetInfo", err)
}

func (g *gpu) alloc(bytes int64) (uint64, error) {
	p, err := cu.MemAlloc(bytes)
	return uint64(p), failed("cuMemAlloc", err)
}

func (g *gpu) free(address uint64) error {
	return failed("cuMemFree", cu.MemFree(cu.DevicePtr(address)))
}

// pin returns host memory that the device copies from and to while the host goes on.
func (g *gpu) pin(bytes int) ([]byte, error) {
	var p unsafe.Pointer
	if err := check("cuMemHostAlloc", C.cuMemHostAlloc(&p, C.size_t(bytes), 0)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), bytes), nil
}

func (g *gpu) unpin(b []byte) error {
	return failed("cuMemFreeHost", cu.MemFreeHost(unsafe.Pointer(unsafe.SliceData(b))))
}

// write begins to copy pinned memory to the device.
func (g *gpu) write(address uint64, from []byte) error {
	return failed("cuMemcpyHtoDAsync", cu.MemcpyHtoDAsync(
		cu.DevicePtr(address), unsafe.Pointer(unsafe.SliceData(from)), int64(len(from)), g.work))
}

// read begins to copy memory of the device to pinned memory.
func (g *gpu) read(to []byte, address uint64) error {
	return failed("cuMemcpyDtoHAsync", cu.MemcpyDtoHAsync(
		unsafe.Pointer(unsafe.SliceData(to)), cu.DevicePtr(address), int64(len(to)), g.work))
}

func (g *gpu) event() (event, error) {
	e, err := cu.MakeEvent(cu.DisableTiming)
	return e, failed("cuEventCreate", err)
}

// mark has the event stand for all work so far.
func (g *gpu) mark(e event) error { return failed("cuEventRecord", e.Record(g.work)) }

// wait waits until the work that the event stands for is done.
func (g *gpu) wait(e event) error { return failed("cuEventSynchronize", e.Synchronize()) }

func (g *gpu) drop(e event) error { return failed("cuEventDestroy", cu.DestroyEvent(&e)) }

func (g *gpu) load(data string) (module, error) {
	m, err := cu.LoadData(data)
	return m, failed("cuModuleLoadData", err)
}

func (g *gpu) unload(m module) error { return failed("cuModuleUnload", m.Unload()) }

// find returns a kernel of a module, and how many threads a block of it may have. To ask for that
// makes a driver that loads late load the kernel now: during a capture it could not.
func (g *gpu) find(m module, kernel string) (f function, threads int, err error) {
	if f, err = m.Function(kernel); err != nil {
		return f, 0, failed("cuModuleGetFunction", err)
	}
	const most = C.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
	threads, err = f.Attribute(cu.FunctionAttribute(most))
	return f, threads, failed("cuFuncGetAttribute", err)
}

// The types of cu are structs of one handle. It hands some out, but as C types of its own package.

func handle(f function) C.CUfunction      { return *(*C.CUfunction)(unsafe.Pointer(&f)) }
func streamHandle(s cu.Stream) C.CUstream { return *(*C.CUstream)(unsafe.Pointer(&s)) }

// allow lets blocks of a kernel have more than 48 KiB of shared memory.
func (g *gpu) allow(f function, shared int) error {
	const most = C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	return check("cuFuncSetAttribute", C.cuFuncSetAttribute(handle(f), most, C.int(shared)))
}

// launch starts a kernel, or has it captured. params is as long as the kernel's parameter.
func (g *gpu) launch(
	f function, grid [3]int, threads, shared int, params []byte, captured bool,
) error {
	s := g.work
	if captured {
		s = g.capture
	}
	return check("cuLaunchKernel", C.launch(handle(f),
		C.uint(grid[0]), C.uint(grid[1]), C.uint(grid[2]), C.uint(threads), C.uint(shared),
		streamHandle(s), unsafe.Pointer(unsafe.SliceData(params))))
}

// record captures what launch launches, and returns it as a graph.
func (g *gpu) record(launch func() error) (graph, error) {
	s := streamHandle(g.capture)
	begin := C.cuStreamBeginCapture(s, C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
	if err := check("cuStreamBeginCapture", begin); err != nil {
		return nil, err
	}
	err := launch()
	var captured C.CUgraph
	end := check("cuStreamEndCapture", C.cuStreamEndCapture(s, &captured))
	if captured != nil {
		defer C.cuGraphDestroy(captured)
	}
	if err == nil {
		err = end
	}
	if err != nil {
		return nil, err
	}
	var e graph
	err = check("cuGraphInstantiateWithFlags", C.cuGraphInstantiateWithFlags(&e, captured, 0))
	return e, err
}

// play starts the work of a graph.
func (g *gpu) play(e graph) error {
	return check("cuGraphLaunch", C.cuGraphLaunch(e, streamHandle(g.work)))
}

func (g *gpu) forget(e graph) error { return check("cuGraphExecDestroy", C.cuGraphExecDestroy(e)) }
