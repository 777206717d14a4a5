//go:build !nvidia || !cgo

package tiny_test

import (
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda/cudatest"
)

// device returns an emulated GPU.
func device(t *testing.T) kernels.Device { return cudatest.Open(t) }
