//go:build !nvidia || !cgo

package cuda

import (
	"errors"

	"github.com/kudos-ml/kudos/kernels"
)

var errDisabled = errors.New("cuda: this program was built without NVIDIA GPUs. " +
	"With cgo and the build tag nvidia it has them: go build -tags nvidia")

func devices() ([]Info, error) { return nil, errDisabled }

func open(int) (kernels.Device, error) { return nil, errDisabled }

func kernelNames() []string { return nil }
