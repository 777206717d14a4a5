package cuda

import (
	_ "embed"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// An Info is what is known of a GPU before it is opened.
type Info struct {
	Name       string // "NVIDIA H100 80GB HBM3"
	Capability int    // its compute capability, ten times: 90 is 9.0
	Memory     int64  // bytes
	CUDA       string // the version of CUDA that its driver is for: "12.8"
	Images     string // what its kernels are compiled for: "sm_90a", or "compute_80" for PTX
}

// Devices returns the GPUs that the process sees, in the order of their numbers. The environment
// variable CUDA_VISIBLE_DEVICES, which is the driver's, can hide some.
func Devices() ([]Info, error) { return devices() }

// Open opens a GPU by its number among [Devices]. One that is open already can be opened again.
func Open(index int) (kernels.Device, error) { return open(index) }

// Kernels returns the names of the kernels that GPUs have, sorted. There are none in a program
// without the tag nvidia.
func Kernels() []string { return kernelNames() }

//go:embed notrun.txt
var notRun string

// NotRun is the table of what has not run on a device, which the package comment has too.
func NotRun() string { return notRun }

// CutVariable is an environment variable for measuring. It says how a device cuts products of
// bfloat16, instead of choosing: into tiles of 128x128, 128x64 or 64x64, and along the sum into so
// many parts, as in 128x64/2. It is read when a machine is made.
const CutVariable = cuda.CutVariable
