// Package cudatest has an NVIDIA GPU for tests, where there is none.
//
// The device is an emulation: the CUDA kernels of this module, compiled for the processor by g++.
// It computes what a GPU does, up to the rounding of a few functions, and about a thousand times as
// slowly. So it is for small models. It needs g++ on x86-64.
package cudatest

import (
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// Open returns a device for [kernels.Config]. It ends with the test, and it fails the test if what
// was made on it was not closed. Where there is no g++ it skips the test, and says so.
func Open(t testing.TB) kernels.Device {
	t.Helper()
	return cudatest.OpenDevice(t)
}
