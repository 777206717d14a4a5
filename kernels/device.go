package kernels

import "math"

// A Device is hardware with memory of its own, such as a GPU, that runs the kernels of this module.
// Its methods, and those of what it returns, may be called by several goroutines. Work is done in
// the order in which it was asked for: a Read sees what every Write and Run before it has done.
type Device interface {
	// Alloc returns so many bytes of the device's memory, with any contents. Where there is not
	// enough, the error says how much is asked for and how much there is.
	Alloc(bytes int64) (DeviceMemory, error)
	// Compile makes launches ready to run, one after another, any number of times. It is an error
	// if the device does not have one of the kernels.
	Compile(launches []Launch) (Runner, error)
	// Free returns how many bytes of the device's memory nothing takes.
	Free() (int64, error)
	// String names the device for people, such as "NVIDIA H100 80GB HBM3".
	String() string
	// Close frees the device. What was made of it must be freed before.
	Close() error
}

// A DeviceMemory is a piece of a Device's memory.
type DeviceMemory interface {
	// Address is where the memory begins, as kernels see it. It is a multiple of 256.
	Address() uint64
	// Write copies from the host to the memory, beginning at byte at.
	Write(at int64, from []byte) error
	// Read copies the memory to the host, beginning at byte at. All work that was asked for before
	// is done then. An error may be that of an earlier Run.
	Read(to []byte, at int64) error
	// Free frees the memory.
	Free() error
}

// A Runner is launches that a Device has compiled.
type Runner interface {
	// Run starts the launches. It may return before they are done.
	Run() error
	// Close frees what the device holds for them.
	Close() error
}

// A Launch is a kernel of a Device with all that it is started with.
type Launch struct {
	Kernel  string
	Grid    [3]int // blocks
	Threads int    // of a block
	Shared  int    // bytes of dynamic shared memory of a block
	Params  []byte // the kernel's parameter, a struct, as it lies in memory
	Touches []Span // the memory that the kernel may read or write
}

// A Span is a piece of device memory.
type Span = struct {
	Address uint64
	Bytes   int
	Written bool // by the launch; otherwise it is only read
}

// A DeviceTensor is float32 values in a Device's memory.
type DeviceTensor struct {
	Address uint64
	Len     int // values
	// Half is where a parameter's copy in bfloat16 begins, if a machine reads one, else 0.
	Half uint64
}

// Planning returns a Device for plans: it has as much memory as is asked for, takes all launches
// and computes nothing. A Machine on it has the Plan that it has on d, whose name and free memory
// it says. d may be nil.
func Planning(d Device) Device { return planning{d} }

// planning is what Planning returns.
type planning struct{ of Device }

func (p planning) Alloc(int64) (DeviceMemory, error) { return nowhere{}, nil }
func (p planning) Compile([]Launch) (Runner, error)  { return nothing{}, nil }
func (p planning) Close() error                      { return nil }

func (p planning) Free() (int64, error) {
	if p.of == nil {
		return math.MaxInt64, nil
	}
	return p.of.Free()
}

func (p planning) String() string {
	if p.of == nil {
		return "planned device"
	}
	return p.of.String()
}

// nowhere is memory that keeps nothing.
type nowhere struct{}

func (nowhere) Address() uint64           { return 0 }
func (nowhere) Write(int64, []byte) error { return nil }
func (nowhere) Read([]byte, int64) error  { return nil }
func (nowhere) Free() error               { return nil }

// nothing is no launches at all.
type nothing struct{}

func (nothing) Run() error   { return nil }
func (nothing) Close() error { return nil }
