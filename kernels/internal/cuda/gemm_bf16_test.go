package cuda_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// integers returns n integers from −8 to 8. Products of them are exact in any order, so results
// must be as well.
func integers(n, seed int) []float32 {
	r := rand.New(rand.NewPCG(uint64(seed), uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.IntN(17) - 8)
	}
	return x
}

// A gemmCase is a product of bf16 to test.
type gemmCase struct {
	m, n, k        int
	transA, transB bool
	c              cuda.Type
	bias           bool
	accumulate     bool
	offset         int  // of A, B and C
	plain          bool // run without the sanitizers
}

// operands returns C, A, B and the bias, with values from of.
func (g gemmCase) operands(of func(n, seed int) []float32) []cudatest.Operand {
	c := cudatest.Out(g.c, g.m*g.n)
	if g.accumulate {
		c = cudatest.In(g.c, of(g.m*g.n, 3))
	}
	ops := []cudatest.Operand{
		c, cudatest.In(cuda.BFloat16, of(g.m*g.k, 1)), cudatest.In(cuda.BFloat16, of(g.k*g.n, 2)),
	}
	for i := range ops {
		ops[i].Offset = g.offset
	}
	bias := cudatest.Out(cuda.Float32, 0)
	if g.bias {
		bias = cudatest.In(cuda.Float32, of(g.n, 4))
	}
	return append(ops, bias)
}

func (g gemmCase) product(at []cuda.Tensor) cuda.Product {
	return cuda.Product{
		M: g.m, N: g.n, K: g.k, A: at[1], B: at[2], TransA: g.transA, TransB: g.transB,
		C: at[0], Bias: at[3], Accumulate: g.accumulate,
	}
}

// run checks the product of the operands and returns C, the exact values, and the sums of the
// terms' sizes.
func (g gemmCase) run(t *testing.T, ops []cudatest.Operand) (got []float32, exact, size []float64) {
	t.Helper()
	at := []cuda.Tensor{{}, {Type: cuda.BFloat16}, {}, {}}
	ws := cudatest.Out(cuda.Float32, g.product(at).Workspace()/4)
	check := cudatest.Check
	if g.plain {
		check = cudatest.CheckPlain
	}
	got = check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.Gemm(q, g.product(at), at[4])
	}, append(ops, ws)...)[0]
	round := func(x float32) float64 { return float64(cudatest.Round(cuda.BFloat16, x)) }
	for i := range g.m {
		for j := range g.n {
			var s, abs float64
			if g.accumulate {
				s = float64(cudatest.Round(g.c, ops[0].Values[i*g.n+j]))
			}
			if g.bias {
				s += float64(ops[3].Values[j])
			}
			abs = math.Abs(s)
			for k := range g.k {
				a, b := i*g.k+k, k*g.n+j
				if g.transA {
					a = k*g.m + i
				}
				if g.transB {
					b = j*g.k + k
				}
				p := round(ops[1].Values[a]) * round(ops[2].Values[b])
				s += p
				abs += math.Abs(p)
			}
			exact, size = append(exact, s), append(size, abs)
		}
	}
	return got, exact, size
}

// test checks the product of integers.
func (g gemmCase) test(t *testing.T) {
	t.Helper()
	got, exact, _ := g.run(t, g.operands(integers))
	for i, v := range exact {
		if want := cudatest.Round(g.c, float32(v)); !(got[i] == want) {
			t.Fatalf("%+v: C[%d,%d] is %v, not %v", g, i/g.n, i%g.n, got[i], want)
		}
	}
}

// eachTile runs a test with each tile, and with K in one part and in several.
func eachTile(t *testing.T, f func(t *testing.T, tile string, parts int)) {
	for _, tile := range cuda.TilesBF16() {
		for _, parts := range []int{1, 3} {
			t.Run(fmt.Sprint(tile, " in ", parts), func(t *testing.T) {
				defer cuda.ForceBF16(tile, parts)()
				f(t, tile, parts)
			})
		}
	}
}

// TestGemmBF16 has values in all fragments of a tile, a depth that is more than the stages', and
// one that is less.
func TestGemmBF16(t *testing.T) {
	eachTile(t, func(t *testing.T, tile string, parts int) {
		for i := range 4 {
			g := gemmCase{
				m: 120, n: 104, k: []int{96, 168, 104, 8}[i], transA: i&1 != 0, transB: i&2 != 0,
				c: cuda.Type(i % 2), bias: i > 1, accumulate: i%3 == 0,
			}
			if tile == "64x64" {
				g.m, g.n = 72, 64
			}
			if i%2 == 0 || parts == 1 {
				g.test(t)
			}
		}
	})
	t.Run("many tiles", func(t *testing.T) {
		defer cuda.ForceBF16("64x64", 1)()
		gemmCase{m: 9*64 + 8, n: 136, k: 8, c: cuda.BFloat16, plain: true}.test(t)
	})
}

// TestGemmBF16Shapes has products that are not read in units of 8 values, or that are small.
func TestGemmBF16Shapes(t *testing.T) {
	for i, s := range [][3]int{
		{1, 1, 1}, {1, 8, 8}, {3, 5, 7}, {65, 9, 33}, {8, 66, 40}, {17, 40, 31},
	} {
		for trans := range 4 {
			g := gemmCase{
				m: s[0], n: s[1], k: s[2], transA: trans&1 != 0, transB: trans&2 != 0,
				c: cuda.Type((i + trans) % 2), bias: trans == i%4, accumulate: trans == (i+1)%4,
			}
			g.test(t)
		}
	}
	gemmCase{m: 16, n: 24, k: 32, c: cuda.BFloat16, bias: true, offset: 1}.test(t)
	gemmCase{m: 16, n: 24, k: 32, c: cuda.Float32, accumulate: true, offset: 8}.test(t)
	defer cuda.ForceBF16("64x64", 5)()
	odd := gemmCase{m: 3, n: 5, k: 161, transA: true, c: cuda.Float32}
	odd.accumulate, odd.bias = true, true
	odd.test(t)
}

// TestGemmBF16Rounds holds a product to one rounding of the exact result, and as much of the sizes
// of its terms as was measured, twice. A sum of float32 has about a third of this.
func TestGemmBF16Rounds(t *testing.T) {
	random := func(n, seed int) []float32 { return normal(n + seed)[seed:] }
	for _, c := range []cuda.Type{cuda.BFloat16, cuda.Float32} {
		for _, parts := range []int{1, 3} {
			func() {
				defer cuda.ForceBF16("64x64", parts)()
				g := gemmCase{m: 30, n: 40, k: 1000, transB: true, c: c, bias: true, plain: true}
				got, exact, size := g.run(t, g.operands(random))
				worst := 0.0
				for i, v := range exact {
					tol := 1e-7 * size[i]
					if c == cuda.BFloat16 {
						tol += 0x1p-8 * math.Abs(v)
					}
					err := math.Abs(float64(got[i]) - v)
					if !(err <= tol) {
						t.Errorf("C[%d,%d] is %v, not %v: %v off", i/g.n, i%g.n, got[i], v, err)
					}
					worst = max(worst, err/size[i])
				}
				t.Logf("%v, %d parts: %.2g of the terms", c, parts, worst)
			}()
		}
	}
}

// A row's result must not depend on the rows beside it.
func TestGemmBF16LetsNaNThrough(t *testing.T) {
	g := gemmCase{m: 20, n: 24, k: 48, c: cuda.BFloat16}
	ops := g.operands(integers)
	ops[1].Values[4*g.k+7] = float32(math.NaN())
	got, _, _ := g.run(t, ops)
	for i, v := range got {
		if (i/g.n == 4) != (v != v) {
			t.Fatalf("C[%d,%d] is %v", i/g.n, i%g.n, v)
		}
	}
}

func TestChooseBF16(t *testing.T) {
	for _, c := range []struct {
		m, n, k int
		tile    string
		parts   [2]int // at least and at most
	}{
		{16384, 1280, 1280, "128x128", [2]int{1, 1}},
		{16384, 320, 320, "128x64", [2]int{1, 1}},
		{320, 320, 131072, "64x64", [2]int{21, 21}},
		{128, 1280, 11520, "128x128", [2]int{13, 13}},
		{1, 1, 1, "64x64", [2]int{1, 1}},
	} {
		tile, parts := cuda.ChooseBF16(c.m, c.n, c.k)
		if tile != c.tile || parts < c.parts[0] || parts > c.parts[1] {
			t.Errorf("%+v: %s in %d parts", c, tile, parts)
		}
	}
}

func TestDivide(t *testing.T) {
	const most = 1<<31 - 1
	r := rand.New(rand.NewPCG(1, 1))
	ds := []int{1, 2, 3, 5, 7, 9, 64, 320, 641, 4096, 1<<30 - 1, 1 << 30, 1<<30 + 1, most}
	for range 200 {
		ds = append(ds, 1+r.IntN(1<<r.IntN(31)))
	}
	for _, d := range ds {
		xs := []int{0, 1, d - 1, d, most / d * d, most/d*d - 1, most}
		for range 50 {
			xs = append(xs, r.IntN(most), r.IntN(most)/d*d)
		}
		for _, x := range xs {
			if got := cuda.Divide(x, d); x >= 0 && got != x/d {
				t.Fatalf("%d/%d is %d, not %d", x, d, got, x/d)
			}
		}
	}
}

// TestKernelsBF16 has the kernels that products are computed by: fast ones where they can be.
func TestKernelsBF16(t *testing.T) {
	of := func(n int) cuda.Tensor {
		return cuda.Tensor{Address: 1 << 20, Type: cuda.BFloat16, Len: n}
	}
	ws := cuda.Tensor{Address: 1 << 20, Len: 1 << 24}
	gemm := func(m, n, k, offset int) func(q *cuda.Queue) {
		return func(q *cuda.Queue) {
			p := cuda.Product{M: m, N: n, K: k, A: of(m * k), B: of(k * n), C: of(m * n)}
			p.TransB = true
			p.B.Address += uint64(offset)
			cuda.Gemm(q, p, ws)
		}
	}
	conv := func(in, out, kernel, stride int, what string) func(q *cuda.Queue) {
		c := cuda.Conv{N: 1, H: 64, W: 64, In: in, Out: out, KH: kernel, KW: kernel, Stride: stride}
		c.Top, c.Left = kernel/2, kernel/2
		c.Bottom, c.Right = c.Top, c.Left
		oh, ow := c.OutSize()
		x, w, y := of(64*64*in), of(out*kernel*kernel*in), of(oh*ow*out)
		return func(q *cuda.Queue) {
			switch what {
			case "forward":
				c.Forward(q, y, x, w, cuda.Tensor{}, none, ws)
			case "input":
				c.InputGrad(q, x, w, y, none, ws)
			case "weight":
				c.WeightGrad(q, w, x, y, ws)
			}
		}
	}
	for _, c := range []struct {
		queue func(q *cuda.Queue)
		want  string
	}{
		{gemm(4096, 2560, 320, 0), "gemm_nt_128x128_bf16"},
		{gemm(16384, 320, 320, 0), "gemm_nt_128x64_bf16"},
		{gemm(4096, 2560, 320, 2), "gemm_nt_elements_bf16"},
		{gemm(4096, 320, 36, 0), "gemm_nt_elements_bf16"},
		{gemm(4096, 4, 320, 0), "gemm_nt_64x64_bf16"},
		{conv(320, 320, 3, 1, "forward"), "conv_forward_64x64_bf16"},
		{conv(320, 320, 1, 1, "forward"), "gemm_nt_64x64_bf16"},
		{conv(4, 320, 3, 1, "forward"), "conv_forward_elements_bf16"},
		{conv(320, 320, 3, 1, "input"), "conv_input_64x64_bf16"},
		{conv(320, 320, 1, 1, "input"), "gemm_nn_64x64_bf16"},
		{conv(320, 320, 3, 2, "input"), strings.Repeat("conv_input_64x64_bf16 ", 4)},
		{conv(320, 320, 3, 1, "weight"), "conv_weight_64x64_bf16"},
		{conv(320, 320, 1, 1, "weight"), "gemm_tn_64x64_bf16 gemm_sum_bf16"},
	} {
		var q cuda.Queue
		c.queue(&q)
		var names []string
		for _, l := range q.Launches {
			names = append(names, l.Kernel)
		}
		if got := strings.Join(names, " "); got != strings.TrimSpace(c.want) {
			t.Errorf("%s, not %s", got, c.want)
		}
	}
}

func TestGemmRefuses(t *testing.T) {
	of := func(n int) cuda.Tensor {
		return cuda.Tensor{Address: 256, Type: cuda.BFloat16, Len: n}
	}
	ok := func() cuda.Product {
		return cuda.Product{M: 2, N: 3, K: 4, A: of(8), B: of(12), C: of(6)}
	}
	cuda.Gemm(new(cuda.Queue), ok(), cuda.Tensor{})
	for name, spoil := range map[string]func(p *cuda.Product){
		"no rows":      func(p *cuda.Product) { p.M = 0 },
		"long A":       func(p *cuda.Product) { p.A.Len++ },
		"long B":       func(p *cuda.Product) { p.B.Len++ },
		"long C":       func(p *cuda.Product) { p.C.Len++ },
		"type of B":    func(p *cuda.Product) { p.B.Type = cuda.Float32 },
		"C is smaller": func(p *cuda.Product) { p.A.Type, p.B.Type = cuda.Float32, cuda.Float32 },
		"bias":         func(p *cuda.Product) { p.Bias = of(3) },
		"no workspace": func(p *cuda.Product) {
			p.K = 1 << 16
			p.A, p.B = of(2<<16), of(3<<16)
		},
	} {
		p := ok()
		spoil(&p)
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.HasPrefix(s, "cuda: Gemm") {
					t.Errorf("%s: %q", name, s)
				}
			}()
			cuda.Gemm(new(cuda.Queue), p, cuda.Tensor{})
		}()
	}
}
