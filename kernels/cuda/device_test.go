//go:build nvidia && cgo

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// emulated skips a test on a driver that is not the one of internal/fakedriver, which is told by
// the environment what its devices are like.
func emulated(t *testing.T) {
	t.Helper()
	all, err := Devices()
	require.NoError(t, err)
	if len(all) == 0 || !strings.HasPrefix(all[0].Name, "Emulated GPU") {
		t.Skip("it is for emulated devices: go run ./kernels/cuda/internal/fakedriver")
	}
}

// opened is device 0, which must be left with nothing that was made of it.
func opened(t *testing.T) *device {
	t.Helper()
	_ = os.Getenv("LD_LIBRARY_PATH") // which names the driver: go test is to notice another
	d, err := Open(0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d.(*device)
}

// bothWays tests a device whose runners are graphs, and one that starts launches one by one.
func bothWays(t *testing.T, test func(t *testing.T, d *device)) {
	for name, stepwise := range map[string]string{"graphs": "0", "one by one": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUDOS_CUDA_SYNC", stepwise)
			test(t, opened(t))
		})
	}
}

// filled is memory with contents, until the test ends.
func filled(t *testing.T, d *device, contents []byte) kernels.DeviceMemory {
	t.Helper()
	m, err := d.Alloc(int64(len(contents)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Free()) })
	require.NoError(t, m.Write(0, contents))
	return m
}

// operand is memory with values, until the test ends.
func operand(
	t *testing.T, d *device, typ cuda.Type, values []float32,
) (cuda.Tensor, kernels.DeviceMemory) {
	t.Helper()
	m := filled(t, d, cudatest.Bytes(typ, values))
	return cuda.Tensor{Address: m.Address(), Type: typ, Len: len(values)}, m
}

// queued are the launches of a queue.
func queued(queue func(q *cuda.Queue)) []kernels.Launch {
	var q cuda.Queue
	queue(&q)
	all := make([]kernels.Launch, len(q.Launches))
	for i, l := range q.Launches {
		all[i] = kernels.Launch{
			Kernel: l.Kernel, Grid: l.Grid, Threads: l.Threads, Shared: l.Shared, Params: l.Params,
		}
	}
	return all
}

// compiled is a runner, until the test ends.
func compiled(t *testing.T, d *device, launches []kernels.Launch) kernels.Runner {
	t.Helper()
	r, err := d.Compile(launches)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// values are what memory holds.
func values(t *testing.T, m kernels.DeviceMemory, typ cuda.Type, n int) []float32 {
	t.Helper()
	b := make([]byte, n*typ.Size())
	require.NoError(t, m.Read(b, 0))
	return cudatest.Values(typ, b)
}

// normal returns n values that are random but always the same.
func normal(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func contents(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func TestMemory(t *testing.T) {
	d := opened(t)
	const s = stageBytes
	for _, n := range []int{0, 1, 255, s - 1, s, 2*s + 1, 3*s + 3} {
		want := contents(uint64(n), n)
		m := filled(t, d, want)
		require.Zero(t, m.Address()%256)
		got := make([]byte, n)
		require.NoError(t, m.Read(got, 0))
		require.True(t, slices.Equal(want, got), "%d bytes", n)

		// Pieces, written one after another and read together.
		cut := n / 3
		piece := contents(1, n-cut)
		require.NoError(t, m.Write(int64(cut), piece))
		copy(want[cut:], piece)
		require.NoError(t, m.Write(0, piece[:cut]))
		copy(want, piece[:cut])
		require.NoError(t, m.Read(got, 0))
		require.True(t, slices.Equal(want, got), "%d bytes in pieces", n)
		require.NoError(t, m.Read(got[:n-cut], int64(cut)))
		require.True(t, slices.Equal(want[cut:], got[:n-cut]), "%d bytes at %d", n-cut, cut)

		outside := fmt.Sprintf("of memory of %d bytes", n)
		for _, at := range []int64{-1, int64(n) + 1, math.MaxInt64, math.MinInt64} {
			require.ErrorContains(t, m.Write(at, got), outside)
			require.ErrorContains(t, m.Read(nil, at), outside)
		}
		require.ErrorContains(t, m.Write(0, make([]byte, n+1)), outside)
		require.ErrorContains(t, m.Read(make([]byte, n+1), 0), outside)
	}
}

// What is written is copied before Write returns.
func TestWriteKeepsNothing(t *testing.T) {
	d := opened(t)
	want := contents(1, 3*stageBytes+1)
	from := slices.Clone(want)
	m := filled(t, d, from)
	clear(from)
	got := make([]byte, len(want))
	require.NoError(t, m.Read(got, 0))
	require.True(t, slices.Equal(want, got))
}

func TestElementwise(t *testing.T) {
	d := opened(t)
	for _, typ := range []cuda.Type{cuda.Float32, cuda.BFloat16} {
		for _, n := range []int{1, 37, 5000} {
			x, y := normal(1, n), normal(2, n)
			xs, _ := operand(t, d, typ, x)
			ys, _ := operand(t, d, typ, y)
			sum, sums := operand(t, d, typ, make([]float32, n))
			scaled, result := operand(t, d, typ, make([]float32, n))
			r := compiled(t, d, queued(func(q *cuda.Queue) {
				cuda.Add(q, sum, xs, ys)
				cuda.Scale(q, scaled, sum, -1.5)
			}))
			require.NoError(t, r.Run())
			round := func(v float32) float32 { return cudatest.Round(typ, v) }
			added, got := values(t, sums, typ, n), values(t, result, typ, n)
			for i := range got {
				want := round(round(x[i]) + round(y[i]))
				require.Equal(t, want, added[i], "%d of %d", i, n)
				require.Equal(t, round(-1.5*want), got[i], "%d of %d", i, n)
			}
		}
	}
}

// A runner runs again on what its memory holds then. Nobody waits between runs and writes.
func TestRunsAndWritesAreInOrder(t *testing.T) {
	bothWays(t, func(t *testing.T, d *device) {
		const n, times = 300, 5
		x, input := operand(t, d, cuda.Float32, make([]float32, n))
		sum, total := operand(t, d, cuda.Float32, make([]float32, n))
		launches := queued(func(q *cuda.Queue) { cuda.Add(q, sum, sum, x) })
		r := compiled(t, d, launches)
		clear(launches[0].Params) // it is the caller's
		want := make([]float32, n)
		for i := range uint64(times) {
			next := normal(i, n)
			for j, v := range next {
				want[j] += v
			}
			require.NoError(t, input.Write(0, cudatest.Bytes(cuda.Float32, next)))
			require.NoError(t, r.Run())
		}
		require.Equal(t, want, values(t, total, cuda.Float32, n))
	})
}

// Several goroutines share devices. Each finds its own values.
func TestGoroutines(t *testing.T) {
	t.Setenv("EMU_DEVICES", "2")
	all, err := Devices()
	require.NoError(t, err)
	gpus := make([]kernels.Device, min(len(all), 2))
	for i := range gpus {
		gpus[i], err = Open(i)
		require.NoError(t, err)
	}
	var wait sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wait.Go(func() { errs[i] = doubles(gpus[i%len(gpus)], uint64(i)) })
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	for _, d := range gpus {
		require.NoError(t, d.Close())
	}
}

// doubles has a device double values, as a goroutine of its own would.
func doubles(d kernels.Device, seed uint64) error {
	const n = stageBytes/4 + 100
	m, err := d.Alloc(4 * n)
	if err != nil {
		return err
	}
	x := cuda.Tensor{Address: m.Address(), Type: cuda.Float32, Len: n}
	double := queued(func(q *cuda.Queue) { cuda.Add(q, x, x, x) })
	for i := range uint64(2) {
		values := normal(10*seed+i, n)
		if err := m.Write(0, cudatest.Bytes(cuda.Float32, values)); err != nil {
			return err
		}
		r, err := d.Compile(double)
		if err != nil {
			return err
		}
		if err := r.Run(); err != nil {
			return err
		}
		b := make([]byte, 4*n)
		if err := m.Read(b, 0); err != nil {
			return err
		}
		for j, got := range cudatest.Values(cuda.Float32, b) {
			if got != 2*values[j] {
				return fmt.Errorf("value %d is %v, not %v", j, got, 2*values[j])
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return m.Free()
}

// A machine on a GPU computes what one on the host does, run after run: products, an activation, a
// loss and the gradients.
func TestMachine(t *testing.T) {
	d := opened(t)
	const samples, in, out = 9, 20, 12
	dense := func(seed uint64, shape ...int) *tensor.Dense {
		values := normal(seed, tensor.Shape(shape).TotalSize())
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
	}
	x, target := dense(1, samples, in), dense(2, samples, out)
	w, b := dense(3, out, in), dense(4, out)
	run := func(device kernels.Device, p kernels.Precision) (values [][]float32) {
		g := gorgonia.NewGraph()
		weights, bias := kernels.Param(g, w), kernels.Param(g, b)
		y, err := kernels.Linear(kernels.Input(g, "x", x), weights, bias)
		require.NoError(t, err)
		y, err = kernels.SiLU(y)
		require.NoError(t, err)
		loss, err := kernels.MSE(y, kernels.Input(g, "target", target), nil)
		require.NoError(t, err)
		grads, err := gorgonia.Grad(loss, weights, bias)
		require.NoError(t, err)
		want := append(gorgonia.Nodes{loss}, grads...)
		m, err := kernels.NewMachine(g, kernels.Config{Want: want, Precision: p, Device: device})
		require.NoError(t, err)
		require.Empty(t, m.Plan().Host)
		for i := range uint64(2) {
			copy(x.Float32s(), normal(i, samples*in))
			require.NoError(t, m.RunAll())
			for _, n := range want {
				values = append(values, slices.Clone(m.Value(n).Float32s()))
			}
		}
		require.NoError(t, m.Close())
		return values
	}
	for _, c := range []struct {
		precision kernels.Precision
		most      float64
	}{{kernels.Float32, 1e-5}, {kernels.BFloat16, 1e-2}} {
		want, got := run(nil, c.precision), run(d, c.precision)
		for i := range want {
			require.InDeltaSlice(t, want[i], got[i], c.most)
		}
	}
}

// one is a launch of a kernel on memory of 16 values.
func one(t *testing.T, d *device) kernels.Launch {
	t.Helper()
	x, _ := operand(t, d, cuda.Float32, make([]float32, 16))
	return queued(func(q *cuda.Queue) { cuda.Scale(q, x, x, 2) })[0]
}

func TestLaunchesThatNoDeviceTakes(t *testing.T) {
	d := opened(t)
	for name, c := range map[string]struct {
		change func(*kernels.Launch)
		want   string
	}{
		"kernel":  {func(l *kernels.Launch) { l.Kernel = "none" }, `there is no kernel "none"`},
		"no grid": {func(l *kernels.Launch) { l.Grid[1] = 0 }, "the grid must be from 1 to"},
		"grid": {
			func(l *kernels.Launch) { l.Grid[2] = 65536 },
			"the grid must be from 1 to 2147483647×65535×65535 blocks",
		},
		"threads": {func(l *kernels.Launch) { l.Threads = 1025 }, "from 1 to 1024 threads"},
		"shared":  {func(l *kernels.Launch) { l.Shared = 1 << 20 }, "shared memory at most"},
		"params":  {func(l *kernels.Launch) { l.Params = nil }, "0 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			l := one(t, d)
			good := l
			c.change(&l)
			_, err := d.Compile([]kernels.Launch{good, l})
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "cuda: "+d.String()+", driver for CUDA ")
		})
	}
	r := compiled(t, d, nil)
	require.NoError(t, r.Run())
}

// Blocks have more shared memory than 48 KiB if they need it.
func TestShared(t *testing.T) {
	bothWays(t, func(t *testing.T, d *device) {
		var all []kernels.Launch
		for _, bytes := range []int{48 << 10, 48<<10 + 1, 99 << 10, 64 << 10} {
			l := one(t, d)
			l.Shared = bytes
			all = append(all, l)
		}
		require.NoError(t, compiled(t, d, all).Run())
	})
}

func TestOutOfMemory(t *testing.T) {
	emulated(t)
	t.Setenv("EMU_MEMORY", "1000")
	d := opened(t)
	filled(t, d, make([]byte, 1e8))
	_, err := d.Alloc(3e9)
	require.ErrorContains(t, err, "3.000 GB of memory are asked for, 0.949 of 1.049 GB are free")
	require.ErrorContains(t, err, "CUDA_ERROR_OUT_OF_MEMORY")
	_, err = d.Alloc(-1)
	require.Error(t, err)
	filled(t, d, make([]byte, 10))
}

func TestDevices(t *testing.T) {
	emulated(t)
	t.Setenv("EMU_DEVICES", "2")
	t.Setenv("EMU_CAPABILITY", "90")
	all, err := Devices()
	require.NoError(t, err)
	require.Equal(t, []Info{
		{
			Name: "Emulated GPU 0", Capability: 90, Memory: 1 << 30, CUDA: "12.8",
			Images: "sm_90a",
		},
		{
			Name: "Emulated GPU 1", Capability: 90, Memory: 1 << 30, CUDA: "12.8",
			Images: "sm_90a",
		},
	}, all)
	d, err := Open(1)
	require.NoError(t, err)
	require.Equal(t, "Emulated GPU 1 (compute capability 9.0)", d.String())
	require.NoError(t, d.Close())
	for _, i := range []int{-1, 2} {
		_, err := Open(i)
		require.ErrorContains(t, err, fmt.Sprintf("there is no GPU %d. There are 2", i))
	}
}

// What cannot work is said when the device is opened.
func TestOpenRefuses(t *testing.T) {
	emulated(t)
	for _, c := range []struct{ capability, driver, want string }{
		{
			"75", "12080",
			"(compute capability 7.5), driver for CUDA 12.8: its compute capability is too low",
		},
		{
			"120", "12040",
			"CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the driver is too old for them",
		},
	} {
		t.Setenv("EMU_CAPABILITY", c.capability)
		t.Setenv("EMU_DRIVER", c.driver)
		_, err := Open(0)
		require.ErrorContains(t, err, c.want)
	}
	t.Setenv("EMU_DRIVER", "12080")
	opened(t)
}

// For each device the driver takes every image. Cubins have parameters that are as long as the
// emulation's. Attention is not emulated for all sizes of heads.
func TestImages(t *testing.T) {
	emulated(t)
	for _, capability := range []string{"80", "86", "89", "90", "100", "120"} {
		t.Run(capability, func(t *testing.T) {
			t.Setenv("EMU_CAPABILITY", capability)
			d := opened(t)
			require.NotEmpty(t, d.images)
			for _, m := range d.images {
				found := 0
				for _, name := range m.kernels {
					err := d.do(func() error {
						_, err := d.find(name)
						return err
					})
					if err == nil {
						found++
					} else {
						require.ErrorContains(t, err, "CUDA_ERROR_NOT_FOUND")
					}
				}
				require.NotZero(t, found, m.name)
			}
		})
	}
}

// failing is a runner whose second kernel fails, and memory that it works on.
func failing(t *testing.T) (*device, kernels.DeviceMemory, kernels.Runner) {
	t.Helper()
	d, err := Open(0)
	require.NoError(t, err)
	m, err := d.Alloc(64)
	require.NoError(t, err)
	x := cuda.Tensor{Address: m.Address(), Type: cuda.Float32, Len: 16}
	r, err := d.Compile(queued(func(q *cuda.Queue) {
		cuda.Add(q, x, x, x)
		cuda.Scale(q, x, x, 2)
		cuda.Add(q, x, x, x)
	}))
	require.NoError(t, err)
	t.Setenv("EMU_FAULT", "scale_f32")
	return d.(*device), m, r
}

// A kernel that fails is seen at the next Read. Then nothing works, until the device is closed.
func TestKernelFails(t *testing.T) {
	emulated(t)
	for _, bytes := range []int{0, 4} {
		d, m, r := failing(t)
		require.NoError(t, r.Run())
		err := m.Read(make([]byte, bytes), 0)
		require.ErrorContains(t, err, "CUDA_ERROR_ILLEGAL_ADDRESS, in one of the kernels "+
			"add_f32, scale_f32: with KUDOS_CUDA_SYNC=1")
		for _, again := range []error{r.Run(), m.Write(0, nil), r.Close(), m.Free()} {
			require.Equal(t, err, again)
		}
		require.NoError(t, d.Close())
		require.ErrorContains(t, m.Free(), "it is closed")
	}
}

func TestKernelFailsStepwise(t *testing.T) {
	emulated(t)
	t.Setenv("KUDOS_CUDA_SYNC", "1")
	d, _, r := failing(t)
	err := r.Run()
	require.ErrorContains(t, err, "launch 2 of 3, kernel scale_f32 with a grid of 1×1×1")
	require.ErrorContains(t, err, "CUDA_ERROR_ILLEGAL_ADDRESS. The process")
	require.NoError(t, d.Close())
}

func TestClose(t *testing.T) {
	d, err := Open(0)
	require.NoError(t, err)
	m, err := d.Alloc(1)
	require.NoError(t, err)
	kept, err := d.Alloc(1)
	require.NoError(t, err)
	r, err := d.Compile(nil)
	require.NoError(t, err)
	require.NoError(t, m.Free())
	require.NoError(t, m.Free())
	require.ErrorContains(t, m.Write(0, nil), "the memory is freed")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.ErrorContains(t, r.Run(), "the runner is closed")
	require.ErrorContains(t, d.Close(), "closed before 1 things that were made of it were freed")
	require.NoError(t, d.Close())
	require.ErrorContains(t, kept.Write(0, nil), "it is closed")
}

func TestOpenTwice(t *testing.T) {
	first, second := opened(t), opened(t)
	l := one(t, second)
	require.NoError(t, compiled(t, first, []kernels.Launch{l}).Run())
	require.NoError(t, compiled(t, second, []kernels.Launch{l}).Run())
}
