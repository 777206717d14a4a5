package weights_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// resident returns how many bytes of the process are in memory, by a line of /proc/self/status:
// VmRSS is how many there are now, and VmHWM how many there were at most.
func resident(t *testing.T, line string) int {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(status), line+":")
	require.True(t, ok)
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kilobytes << 10
}

// Loading takes the memory of the weights and of one tensor of the file, however large the file is.
func TestLoadingTakesTheWeightsAndOneTensor(t *testing.T) {
	const count, size = 8, 1 << 20 // 32 MB of float32
	make := func() (m struct {
		Layers []*tensor.Dense `weight:"layers"`
	}) {
		for range count {
			layer := tensor.New(tensor.WithShape(size), tensor.Of(tensor.Float32))
			m.Layers = append(m.Layers, layer)
		}
		return m
	}
	name := filepath.Join(t.TempDir(), "m.safetensors")
	full := make()
	for _, l := range full.Layers {
		l.Float32s()[1] = 7
	}
	require.NoError(t, weights.Save(name, &full, kernels.Float32, nil))
	f, err := weights.Open(name)
	require.NoError(t, err)
	defer f.Close()
	empty := make()
	for _, l := range empty.Layers {
		for i := range l.Float32s() {
			l.Float32s()[i] = 1 // it is in memory from here on
		}
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("the peak of resident memory cannot be reset: %v", err)
	}
	before := resident(t, "VmRSS")
	require.NoError(t, weights.Load(&empty, f, weights.Names{}))
	require.Equal(t, float32(7), empty.Layers[count-1].Float32s()[1])
	require.Less(t, resident(t, "VmHWM")-before, 2*4*size,
		"the file's pages are given back tensor by tensor")
}

// A pipe under a model's name is refused, and nobody waits for what will come out of it.
func TestPipesAreNoFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err := weights.Open(pipe)
	require.ErrorContains(t, err, pipe+" is not a file")
	_, err = weights.OpenFolder(os.DirFS(filepath.Dir(pipe)), "m")
	require.ErrorContains(t, err, "m.safetensors is not a file")
}
