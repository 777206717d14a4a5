package main

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
)

// A dry device takes launches and runs none, which it may say.
type dry struct{ says error }

var errDry = errors.New("it is dry")

func (dry) String() string                                     { return "dry" }
func (dry) Close() error                                       { return nil }
func (dry) Free() (int64, error)                               { return 1 << 40, nil }
func (d dry) Alloc(int64) (kernels.DeviceMemory, error)        { return dryPiece{}, nil }
func (d dry) Compile([]kernels.Launch) (kernels.Runner, error) { return dryPiece(d), nil }

// A dryPiece is its memory, and its runner.
type dryPiece struct{ says error }

func (dryPiece) Address() uint64           { return 0 }
func (dryPiece) Write(int64, []byte) error { return nil }
func (dryPiece) Read([]byte, int64) error  { return nil }
func (dryPiece) Free() error               { return nil }
func (p dryPiece) Run() error              { return p.says }
func (dryPiece) Close() error              { return nil }

// kernelNames returns the kernels of the images.
func kernelNames(t *testing.T) (names []string) {
	f, err := os.Open("../../kernels/internal/cuda/images/data/resources.txt")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name := strings.Fields(lines.Text())[0]; name != "kernel" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Every kernel is launched by a check, or there is a reason why not.
func TestAllKernelsAreLaunched(t *testing.T) {
	launched := make(map[string]bool)
	for _, c := range checks() {
		d := dry{errDry}
		if c.name == "primitives" {
			d.says = nil // it ends at the first error
		}
		r := c.perform(d)
		require.NotEmpty(t, r.Kernels, r.Name)
		if d.says != nil {
			require.Contains(t, r.Wrong, errDry.Error(), r.Name) // nothing went wrong before
		}
		for _, k := range r.Kernels {
			launched[k] = true
		}
	}
	for _, name := range kernelNames(t) {
		switch reason := reasons[name]; {
		case launched[name] && reason != "":
			t.Errorf("%s is launched, and listed: %s", name, reason)
		case !launched[name] && reason == "":
			t.Errorf("no check launches %s", name)
		}
	}
}
