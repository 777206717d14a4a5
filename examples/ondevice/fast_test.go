package main

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
	"github.com/kudos-ml/kudos/kernels/cuda/cudatest"
)

// product is the cases of a small product.
func product(t *testing.T) []cases.Case {
	var some []cases.Case
	for _, c := range cases.Operations(1) {
		if strings.HasPrefix(c.Name, "linear/768→320/tokens=77/batch=1/") {
			some = append(some, c)
		}
	}
	require.Len(t, some, 3)
	return some
}

// What is chosen is timed, and the report says it.
func TestFast(t *testing.T) {
	dir := t.TempDir()
	peer := "import sys\nprint('matmul', 1.5)\nprint('sdpa', 2)\nsys.exit(3)\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gpu_peers.py"), []byte(peer), 0o644))
	s := &stopwatch{
		device: cudatest.Open(t), count: 2, least: time.Millisecond, updates: 2, batch: 1,
		progress: io.Discard,
	}
	chosen := "^linear/768→320/tokens=77/batch=1/|^curve of miniature"
	if _, err := exec.LookPath("python3"); err == nil {
		s.peers = dir
		chosen += "|^peers"
	}
	file := filepath.Join(dir, "fast.json")
	save := func() error { return s.save(file, nil) }
	require.NoError(t, s.time(t.Context(), regexp.MustCompile(chosen), save))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var said timings
	require.NoError(t, json.Unmarshal(text, &said))
	require.Equal(t, cuda.NotRun(), said.NotRun)
	require.Positive(t, said.Seconds)
	require.Empty(t, said.LeftOut)

	var names []string
	for _, r := range said.Results {
		names = append(names, r.Name+" in "+r.Precision)
		require.Equal(t, "emulation", r.Device)
		require.Positive(t, r.Flops)
	}
	at := "linear/768→320/tokens=77/batch=1/"
	require.Equal(t, []string{
		at + "forward in bfloat16", at + "input in bfloat16", at + "weight in bfloat16",
		at + "forward in float32", at + "input in float32", at + "weight in float32",
	}, names)

	require.Len(t, said.Curves, 3)
	gpu16, gpu32, host := said.Curves[0], said.Curves[1], said.Curves[2]
	require.Equal(t, "bfloat16", gpu16.Precision)
	require.Equal(t, "cpu", host.Device)
	require.Len(t, host.Losses, 2)
	for i, loss := range host.Losses {
		require.InEpsilon(t, loss, gpu32.Losses[i], 1e-4)
		require.InEpsilon(t, loss, gpu16.Losses[i], 1e-2)
	}

	if s.peers != "" {
		require.Equal(t, []string{"matmul 1.5", "sdpa 2"}, said.Peers.Printed)
		require.Equal(t, map[string]string{"peers": "exit status 3"}, said.Failed)
	}
}

// A product is timed with every cut, and the environment is as it was.
func TestCuts(t *testing.T) {
	s := &stopwatch{device: cudatest.Open(t), progress: io.Discard}
	for _, timing := range s.cuts(product(t)[2:]) {
		require.NoError(t, timing.do(t.Context()))
	}
	require.Len(t, s.Cuts, 1+3*5)
	require.Empty(t, s.Cuts[0].Cut)
	require.Equal(t, "64x64/16", s.Cuts[15].Cut)
	require.Empty(t, os.Getenv(cuda.CutVariable))
	t.Setenv(cuda.CutVariable, "32x32/1")
	require.PanicsWithValue(t, "cuda: KUDOS_CUDA_CUT=32x32/1 is no cut: 128x64/2 is", func() {
		s.device = kernels.Planning(s.device)
		_, _ = product(t)[0].Prepare(t.Context(), s.machine(kernels.BFloat16))
	})
}

// The census of a model has all its launches.
func TestCensus(t *testing.T) {
	m := kernels.Config{Device: cudatest.Open(t), Precision: kernels.BFloat16}
	all, err := product(t)[0].Kernels(t.Context(), m)
	require.NoError(t, err)
	launches := map[string]int{}
	for i, k := range all {
		require.Positive(t, k.Seconds)
		require.True(t, i == 0 || k.Seconds <= all[i-1].Seconds)
		launches[k.Kernel] = k.Launches
	}
	// The operands are rounded, the product is made, and a value of it is widened.
	require.Equal(t, 2, launches["to_bf16"])
	require.Equal(t, 1, launches["from_bf16"])
	require.Len(t, launches, 3)
}

// A slow is a device that takes a while for each launch, and computes nothing.
type slow struct {
	kernels.Device
	each time.Duration
}

func (d slow) Compile(l []kernels.Launch) (kernels.Runner, error) {
	r, err := d.Device.Compile(l)
	return sleeping{r, d.each * time.Duration(len(l))}, err
}

type sleeping struct {
	kernels.Runner
	time.Duration
}

func (s sleeping) Run() error {
	time.Sleep(s.Duration)
	return s.Runner.Run()
}

// The time of a kernel is that of its launches, each counted once. On a busy machine a launch may
// take longer, but hardly every time.
func TestCensusTimes(t *testing.T) {
	const each = 3 * time.Millisecond
	m := kernels.Config{Device: slow{kernels.Planning(nil), each}, Precision: kernels.BFloat16}
	least := math.Inf(1)
	for try := 0; try < 20 && least >= 2; try++ {
		all, err := product(t)[0].Kernels(t.Context(), m)
		require.NoError(t, err)
		for _, k := range all {
			took := k.Seconds / float64(k.Launches) / each.Seconds()
			require.GreaterOrEqual(t, took, 1.0, k.Kernel)
			least = min(least, took)
		}
	}
	require.Less(t, least, 2.0)
}

// What there is no time for is said.
func TestFastIsCutOff(t *testing.T) {
	s := &stopwatch{device: cudatest.Open(t), count: 1, progress: io.Discard}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	saved := 0
	require.NoError(t, s.time(ctx, regexp.MustCompile("^linear/768→320/.*/float32"), func() error {
		saved++
		return nil
	}))
	require.Len(t, s.LeftOut, 3)
	require.Equal(t, 3, saved)
	require.Empty(t, s.Results)
	require.Empty(t, s.Failed)
}

// Flags that are wrong are named.
func TestFastRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"-run: error parsing":            {"-run", "("},
		`what is "more"?`:                {"more"},
		"-count and -minutes must be":    {"-count", "0"},
		"flag provided but not defined:": {"-mine"},
	} {
		var said strings.Builder
		require.Equal(t, 2, fast(args, io.Discard, &said))
		require.Contains(t, said.String(), want)
	}
}
