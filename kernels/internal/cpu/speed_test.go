//go:build linux

package cpu

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	speed        = flag.Bool("speed", false, "print what share of the processor's peak products and convolutions reach")
	speedThreads = flag.Int("threads", 0, "workers for -speed; 0 means 1 and 2")
)

// A speedCase is one shape; its run is timed.
type speedCase struct {
	name   string
	flops  float64
	exempt bool // from the lowest share: 4 channels at an end, or K or N of 40
	run    func()
}

// gemmSpeeds are the shapes of Stable Diffusion's products: forward (NT), gradient of the input (NN), of the weight (TN).
var gemmSpeeds = []struct {
	op      string
	m, n, k int
}{
	{"NN", 256, 256, 256}, {"NN", 512, 512, 512}, {"NN", 1024, 1024, 1024}, {"NN", 2048, 2048, 2048}, {"NN", 4096, 4096, 4096},
	{"NT", 4096, 320, 320}, {"NN", 4096, 320, 320}, {"TN", 320, 320, 4096}, {"NT", 4096, 2560, 320}, {"NN", 4096, 320, 2560},
	{"TN", 2560, 320, 4096}, {"NT", 4096, 320, 1280}, {"NT", 1024, 640, 640}, {"NT", 1024, 5120, 640}, {"NT", 1024, 640, 2560},
	{"NT", 256, 1280, 1280}, {"NT", 256, 10240, 1280}, {"NT", 256, 1280, 5120}, {"TN", 1280, 1280, 256}, {"NT", 64, 1280, 1280},
	{"NT", 64, 10240, 1280}, {"NT", 77, 320, 768}, {"NT", 77, 1280, 768}, {"NT", 4096, 4096, 40}, {"NN", 4096, 40, 4096},
	{"NT", 1024, 1024, 80}, {"NN", 1024, 80, 1024}, {"NT", 256, 256, 160}, {"NT", 4096, 77, 40}, {"NN", 4096, 40, 77},
}

// convSpeeds are its convolutions, {in, out, size, kernel, stride}, for one image.
var convSpeeds = [][5]int{
	{320, 320, 64, 3, 1}, {640, 640, 32, 3, 1}, {1280, 1280, 16, 3, 1}, {2560, 1280, 16, 3, 1}, {1280, 1280, 8, 3, 1},
	{960, 320, 64, 3, 1}, {320, 320, 64, 3, 2}, {320, 320, 64, 1, 1}, {960, 320, 64, 1, 1}, {4, 320, 64, 3, 1}, {320, 4, 64, 3, 1},
}

// smallSpeeds are convolutions of the miniature, {batch, in, out, size, kernel}.
var smallSpeeds = [][5]int{
	{64, 64, 64, 8, 3}, {64, 128, 64, 8, 3}, {64, 128, 128, 4, 3}, {64, 256, 128, 4, 3}, {64, 64, 64, 8, 1}, {16, 32, 32, 64, 3}, {16, 64, 64, 32, 3},
}

// uniform is quick to make; the numbers do not matter here.
func uniform(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = r.Float32() - 0.5
	}
	return x
}

func gemmCases(pool *Pool) (cases []speedCase) {
	for _, s := range gemmSpeeds {
		p := Product{M: s.m, N: s.n, K: s.k, A: Matrix{Stride: s.k}, B: Matrix{Stride: s.n}, C: Matrix{Stride: s.n}}
		if s.op[0] == 'T' {
			p.A = Matrix{Stride: s.m, Transposed: true}
		}
		if s.op[1] == 'T' {
			p.B = Matrix{Stride: s.k, Transposed: true}
		}
		var ws []float32
		cases = append(cases, speedCase{
			name: fmt.Sprintf("%s %d×%d×%d", s.op, s.m, s.n, s.k), flops: 2 * float64(s.m) * float64(s.n) * float64(s.k),
			exempt: s.n == 40 || s.k == 40,
			run: func() {
				if ws == nil {
					p.A.Data, p.B.Data, p.C.Data = uniform(s.m*s.k), uniform(s.k*s.n), make([]float32, s.m*s.n)
					ws = make([]float32, p.Workspace(pool))
				}
				Gemm(pool, &p, ws)
			},
		})
	}
	return cases
}

func convCases(pool *Pool, name string, c Conv) (cases []speedCase) {
	oh, ow := c.OutSize()
	positions := c.N * oh * ow
	var x, w, y, ws []float32
	get := func() {
		if ws == nil {
			x, w, y = uniform(c.N*c.H*c.W*c.In), uniform(c.Out*c.KH*c.KW*c.In), uniform(positions*c.Out)
			ws = make([]float32, max(c.ForwardWorkspace(pool), c.InputGradWorkspace(pool), c.WeightGradWorkspace(pool)))
		}
	}
	passes := []struct {
		name string
		run  func()
	}{
		{"forward", func() { get(); c.Forward(pool, y, x, w, nil, ws) }},
		{"input gradient", func() { get(); c.InputGrad(pool, x, y, w, ws) }},
		{"weight gradient", func() { get(); c.WeightGrad(pool, w, y, x, ws) }},
	}
	for _, p := range passes {
		cases = append(cases, speedCase{
			name:   name + " " + p.name,
			flops:  2 * float64(positions) * float64(c.Out*c.KH*c.KW*c.In),
			exempt: c.In == 4 || c.Out == 4,
			run:    p.run,
		})
	}
	return cases
}

func sdCases(pool *Pool) (cases []speedCase) {
	for _, s := range convSpeeds {
		pad := s[3] / 2
		c := Conv{N: 1, H: s[2], W: s[2], In: s[0], Out: s[1], KH: s[3], KW: s[3], Stride: s[4], Top: pad, Bottom: pad, Left: pad, Right: pad}
		cases = append(cases, convCases(pool, fmt.Sprintf("%d→%d@%d k%d s%d", s[0], s[1], s[2], s[3], s[4]), c)...)
	}
	return cases
}

func smallCases(pool *Pool) (cases []speedCase) {
	for _, s := range smallSpeeds {
		pad := s[4] / 2
		c := Conv{N: s[0], H: s[3], W: s[3], In: s[1], Out: s[2], KH: s[4], KW: s[4], Stride: 1, Top: pad, Bottom: pad, Left: pad, Right: pad}
		cases = append(cases, convCases(pool, fmt.Sprintf("%d× %d→%d@%d k%d", s[0], s[1], s[2], s[3], s[4]), c)...)
	}
	return cases
}

// seconds is a clock: for one worker, who does it all on the calling thread, the thread's processor time, which hardly
// counts what other programs do.
func seconds(threads int) float64 {
	if threads > 1 {
		return time.Since(epoch).Seconds()
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// gflops is the best rate of some repetitions of at least a few milliseconds.
func gflops(threads int, flops float64, run func()) float64 {
	run()
	best := 0.0
	for range 9 {
		start, n := seconds(threads), 0
		for n == 0 || seconds(threads)-start < 5e-3 {
			run()
			n++
		}
		best = max(best, flops*float64(n)/(seconds(threads)-start)/1e9)
	}
	return best
}

// TestSpeed measures with -speed. It fails if the geometric mean is below 60 % of the peak, or a shape below 45 %.
func TestSpeed(t *testing.T) {
	if !*speed {
		t.Skip("only with -speed: it takes a quiet machine")
	}
	if multiplyAddLanes == 0 {
		t.Skip("no assembly, no peak to compare with")
	}
	threads := []int{1, 2}
	if *speedThreads > 0 {
		threads = []int{*speedThreads}
	}
	for _, n := range threads {
		pool := NewPool(n)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		measure(t, pool, "products", gemmCases(pool))
		measure(t, pool, "convolutions", sdCases(pool))
		measure(t, pool, "small convolutions", smallCases(pool))
	}
}

func measure(t *testing.T, pool *Pool, title string, cases []speedCase) {
	threads := pool.Workers()
	fmt.Printf("\n%s, %s, %d workers\n", title, kernel.name, threads)
	var logs float64
	for _, c := range cases {
		peak := peakGFLOPS(pool)
		rate := gflops(threads, c.flops, c.run)
		peak = max(peak, peakGFLOPS(pool))
		share := rate / peak
		logs += math.Log(share)
		fmt.Printf("%-40s %7.1f GFLOP/s %5.1f %%  of %.0f\n", c.name, rate, 100*share, peak)
		if title != "small convolutions" && !c.exempt && !(share >= 0.45) {
			t.Errorf("%s on %d workers: %.1f %% of the peak", c.name, threads, 100*share)
		}
	}
	mean := math.Exp(logs / float64(len(cases)))
	fmt.Printf("%-40s %21.1f %%\n", "geometric mean", 100*mean)
	require.True(t, mean >= 0.6, "%s on %d workers: geometric mean %.1f %%", title, threads, 100*mean)
}

type peakTask struct{}

func (peakTask) Do(_, _ int) { multiplyAdds(1 << 16) }

// peakGFLOPS probes what a pool's workers do at most.
func peakGFLOPS(pool *Pool) float64 {
	n := pool.Workers()
	return gflops(n, float64(n)*(1<<16)*12*2*float64(multiplyAddLanes), func() { pool.Parallel(n, peakTask{}) })
}
