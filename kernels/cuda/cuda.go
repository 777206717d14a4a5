package cuda

import (
	_ "embed"

	"github.com/kudos-ml/kudos/kernels"
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

// NotRun is the table of what has not run on a device, which the package comment has too.
//
//go:embed notrun.txt
var NotRun string
