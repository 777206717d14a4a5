package cuda_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// none is no epilogue.
var none cuda.Epilogue

// An epilogueCase is which steps an epilogue has.
type epilogueCase struct {
	time, residual, kept bool
	function             string
}

// epilogueCases are all steps, alone and in all pairs.
func epilogueCases() []epilogueCase {
	all := []epilogueCase{
		{time: true}, {residual: true}, {time: true, residual: true}, {function: "GEGLU"},
		{function: "GEGLU", kept: true},
	}
	for i, f := range []string{"SiLU", "QuickGELU", "GELU", "ReLU"} {
		all = append(all, epilogueCase{function: f, kept: i%2 == 0, time: i == 1, residual: i == 2},
			epilogueCase{function: f, kept: true, time: i%2 == 0, residual: i < 2})
	}
	return all
}

// An epilogueTest is a product with an epilogue.
type epilogueTest struct {
	epilogueCase
	t          cuda.Type
	rows, cols int // of the product
	samples    int
	offset     int  // of all operands
	plain      bool // run without the sanitizers
}

// operands returns the results, which are C and what is kept, of the product with its epilogue and
// of the operations one by one. Behind them are the tensors that they read.
func (c epilogueTest) operands() []cudatest.Operand {
	out := func(wanted bool, n int) cudatest.Operand {
		if !wanted {
			n = 0
		}
		return cudatest.Out(c.t, n)
	}
	size, width := c.rows*c.cols, c.width()
	in := func(wanted bool, n, seed int) cudatest.Operand {
		if !wanted {
			n = 0
		}
		return cudatest.In(c.t, normal(n + seed)[seed:])
	}
	all := []cudatest.Operand{
		out(true, c.rows*width), out(c.kept, size), out(true, c.rows*width), out(true, size),
		in(c.time, c.samples*c.cols, 1), in(c.residual, size, 2),
	}
	for i := range all {
		all[i].Offset = c.offset
	}
	return all
}

func (c epilogueTest) width() int {
	if c.function == "GEGLU" {
		return c.cols / 2
	}
	return c.cols
}

// epilogue returns the epilogue for tensors of operands.
func (c epilogueTest) epilogue(at []cuda.Tensor) cuda.Epilogue {
	return cuda.Epilogue{
		Time: at[4], Rows: c.rows / c.samples, Residual: at[5], Kept: at[1], Function: c.function,
	}
}

// separately queues the operations one by one, behind a product at[3].
func (c epilogueTest) separately(q *cuda.Queue, at []cuda.Tensor) {
	p := at[3]
	if c.time {
		cuda.AddMiddle(q, p, p, at[4], c.samples, c.rows/c.samples, c.cols)
	}
	if c.residual {
		cuda.Add(q, p, p, at[5])
	}
	switch c.function {
	case "":
		cuda.CopyRows(q, at[2], p, 1, p.Len, p.Len, p.Len)
	case "GEGLU":
		cuda.GEGLU(q, at[2], p, c.cols/2)
	default:
		cuda.Unary(q, c.function, at[2], p)
	}
}

// run compares bits.
func (c epilogueTest) run(
	t *testing.T, queue func(q *cuda.Queue, e cuda.Epilogue, to cuda.Tensor, at []cuda.Tensor),
	more ...cudatest.Operand,
) {
	t.Helper()
	ops := c.operands()
	check := cudatest.Check
	if c.plain {
		check = cudatest.CheckPlain
	}
	got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		queue(q, c.epilogue(at), at[0], at[len(ops):])
		queue(q, cuda.Epilogue{}, at[3], at[len(ops):])
		c.separately(q, at)
	}, append(ops, more...)...)
	same := func(what string, got, want []float32) {
		t.Helper()
		for i, v := range want {
			if math.Float32bits(got[i]) != math.Float32bits(v) {
				t.Fatalf("%+v: value %d of %s is %v, not %v", c, i, what, got[i], v)
			}
		}
	}
	same("the result", got[0], got[2])
	if c.kept {
		same("what is kept", got[1], got[3])
	}
}

// gemm compares a layer of x [rows,k].
func (c epilogueTest) gemm(t *testing.T, k int, bias bool) {
	t.Helper()
	p := cuda.Product{
		M: c.rows, N: c.cols, K: k, TransB: true,
		A: cuda.Tensor{Type: c.t}, B: cuda.Tensor{Type: c.t},
	}
	var bs []float32
	if bias {
		bs = normal(c.cols)
	}
	a, b := cudatest.In(c.t, normal(c.rows*k)), cudatest.In(c.t, normal(c.cols*k + 3)[3:])
	a.Offset, b.Offset = c.offset, c.offset
	c.run(t, func(q *cuda.Queue, e cuda.Epilogue, to cuda.Tensor, at []cuda.Tensor) {
		p := p
		p.A, p.B, p.Bias, p.C, p.Epilogue = at[0], at[1], at[2], to, e
		cuda.Gemm(q, p, at[3])
	}, a, b, cudatest.In(cuda.Float32, bs), workspace(p.Workspace()))
}

// gemms compares layers of all steps, and some of them with the sanitizers.
func gemms(t *testing.T, kind cuda.Type, rows, cols, k, offset int, plain bool) {
	for i, s := range epilogueCases() {
		c := epilogueTest{
			epilogueCase: s, t: kind, rows: rows, cols: cols, samples: 3, offset: offset,
			plain: plain || i != 2 && i != 4 && i != 6,
		}
		if s.function == "GEGLU" {
			c.cols = (cols + 15) / 16 * 16
		}
		c.gemm(t, k, i%3 > 0)
	}
}

func TestEpilogueGemmBF16(t *testing.T) {
	eachTile(t, func(t *testing.T, tile string, parts int) {
		gemms(t, cuda.BFloat16, 72, 136, 104, 0, true)
	})
	for _, parts := range []int{1, 3} {
		func() {
			defer cuda.ForceBF16("64x64", parts)()
			gemms(t, cuda.BFloat16, 9, 21, 100, 0, false)
			gemms(t, cuda.BFloat16, 6, 32, 104, 1, false)
			gemms(t, cuda.BFloat16, 12, 32, 104, 0, false)
		}()
	}
}

// In larger tiles what is added is read four turns ahead, but not behind the last row.
func TestEpilogueGemmBF16ReadsAhead(t *testing.T) {
	defer cuda.ForceBF16("128x64", 1)()
	c := epilogueTest{t: cuda.BFloat16, rows: 39, cols: 8, samples: 3}
	c.residual = true
	c.gemm(t, 32, false)
}

// Sums that bfloat16 rounds to −0 are 0 after ReLU, with the sign that it has by itself.
func TestEpilogueGemmBF16OfNegativeZero(t *testing.T) {
	c := epilogueTest{t: cuda.BFloat16, rows: 3, cols: 8, samples: 3, plain: true}
	c.function = "ReLU"
	p := cuda.Product{
		M: c.rows, N: c.cols, K: 8, TransB: true,
		A: cuda.Tensor{Type: c.t}, B: cuda.Tensor{Type: c.t},
	}
	bias := slices.Repeat([]float32{-1e-42}, c.cols)
	zeros := func(n int) cudatest.Operand { return cudatest.In(c.t, make([]float32, n)) }
	c.run(t, func(q *cuda.Queue, e cuda.Epilogue, to cuda.Tensor, at []cuda.Tensor) {
		p := p
		p.A, p.B, p.Bias, p.C, p.Epilogue = at[0], at[1], at[2], to, e
		cuda.Gemm(q, p, at[3])
	}, zeros(c.rows*8), zeros(c.cols*8), cudatest.In(cuda.Float32, bias),
		workspace(p.Workspace()))
}

func TestEpilogueGemmFloat32(t *testing.T) {
	forDevices(t, func(t *testing.T) {
		gemms(t, cuda.Float32, 132, 72, 20, 0, true)
		gemms(t, cuda.Float32, 9, 21, 33, 0, false)
		gemms(t, cuda.Float32, 9, 20, 530, 0, true)
		gemms(t, cuda.Float32, 6, 32, 20, 1, false)
		gemms(t, cuda.Float32, 6, 32, 530, 0, false)
	})
}

// Where a tile is wider than a row, what is added is not read behind the last one.
func TestEpilogueGemmFloat32ReadsAhead(t *testing.T) {
	forDevices(t, func(t *testing.T) {
		c := epilogueTest{t: cuda.Float32, rows: 6, cols: 20, samples: 3}
		c.residual = true
		c.gemm(t, 20, false)
	})
}

// conv compares a convolution and the gradient by its input.
func (c epilogueTest) conv(t *testing.T, g cuda.Conv) {
	t.Helper()
	oh, ow := g.OutSize()
	bytes := max(g.ForwardWorkspace(c.t), g.InputGradWorkspace(c.t))
	x := cudatest.In(c.t, normal(g.N*g.H*g.W*g.In))
	w := cudatest.In(c.t, normal(g.Out*g.KH*g.KW*g.In + 3)[3:])
	dy := cudatest.In(c.t, normal(g.N*oh*ow*g.Out + 4)[4:])
	bias := cudatest.In(cuda.Float32, normal(g.Out))
	c.rows, c.cols, c.samples = g.N*oh*ow, g.Out, g.N
	c.run(t, func(q *cuda.Queue, e cuda.Epilogue, to cuda.Tensor, at []cuda.Tensor) {
		g.Forward(q, to, at[0], at[1], at[2], e, at[3])
	}, x, w, bias, workspace(bytes))
	if c.time || c.function != "" {
		return
	}
	c.rows, c.cols = g.N*g.H*g.W, g.In
	c.run(t, func(q *cuda.Queue, e cuda.Epilogue, to cuda.Tensor, at []cuda.Tensor) {
		g.InputGrad(q, to, at[0], at[1], e, at[2])
	}, w, dy, workspace(bytes))
}

// convs compares convolutions of all steps.
func convs(t *testing.T, kind cuda.Type, g cuda.Conv) {
	for i, s := range epilogueCases() {
		if s.function != "GEGLU" {
			epilogueTest{epilogueCase: s, t: kind, plain: i%5 != 2}.conv(t, g)
		}
	}
}

// epilogueConvs have strides, odd channels, and one that is a product as it lies in memory.
var epilogueConvs = []cuda.Conv{
	{
		N: 2, H: 7, W: 9, In: 16, Out: 24, KH: 3, KW: 3, Stride: 1,
		Top: 1, Bottom: 1, Left: 1, Right: 1,
	},
	{N: 2, H: 6, W: 5, In: 5, Out: 3, KH: 3, KW: 3, Stride: 2, Top: 1, Left: 1},
	{N: 3, H: 5, W: 4, In: 8, Out: 16, KH: 1, KW: 1, Stride: 2},
	{N: 2, H: 5, W: 4, In: 16, Out: 8, KH: 1, KW: 1, Stride: 1},
}

func TestEpilogueConvBF16(t *testing.T) {
	for i, g := range epilogueConvs {
		for _, parts := range []int{1, 3} {
			t.Run(fmt.Sprint(i, " in ", parts), func(t *testing.T) {
				defer cuda.ForceBF16("64x64", parts)()
				convs(t, cuda.BFloat16, g)
			})
		}
	}
}

func TestEpilogueConvFloat32(t *testing.T) {
	for i, g := range epilogueConvs {
		t.Run(fmt.Sprint(i), func(t *testing.T) { convs(t, cuda.Float32, g) })
	}
	deep := cuda.Conv{N: 1, H: 4, W: 3, In: 60, Out: 61, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 2}
	names := kernelsOf(func(q *cuda.Queue) {
		of := func(n int) cuda.Tensor { return cuda.Tensor{Len: n} }
		oh, ow := deep.OutSize()
		deep.Forward(q, of(oh*ow*61), of(720), of(61*9*60), of(0), none, of(1<<20))
	})
	if !strings.Contains(names, "sum_parts_f32") {
		t.Errorf("it is computed by %s, in one part", names)
	}
	convs(t, cuda.Float32, deep)
}

func TestEpilogueRefuses(t *testing.T) {
	of := func(n int) cuda.Tensor {
		return cuda.Tensor{Address: 256, Type: cuda.BFloat16, Len: n}
	}
	for name, spoil := range map[string]func(p *cuda.Product){
		"a long time":      func(p *cuda.Product) { p.Epilogue.Time.Len++ },
		"rows of time":     func(p *cuda.Product) { p.Epilogue.Rows = 3 },
		"no rows of time":  func(p *cuda.Product) { p.Epilogue.Rows = 0 },
		"a long residual":  func(p *cuda.Product) { p.Epilogue.Residual.Len++ },
		"its type":         func(p *cuda.Product) { p.Epilogue.Residual.Type = cuda.Float32 },
		"type of C":        func(p *cuda.Product) { p.C.Type = cuda.Float32 },
		"what is kept":     func(p *cuda.Product) { p.Epilogue.Kept = of(63) },
		"kept for nothing": func(p *cuda.Product) { p.Epilogue = cuda.Epilogue{Kept: of(64)} },
		"a function":       func(p *cuda.Product) { p.Epilogue.Function = "Exp" },
		"of a gradient":    func(p *cuda.Product) { p.TransB, p.Epilogue.Function = false, "SiLU" },
		"time and GEGLU":   func(p *cuda.Product) { p.C, p.Epilogue.Function = of(32), "GEGLU" },
		"what accumulates": func(p *cuda.Product) { p.Accumulate = true },
		"odd halves": func(p *cuda.Product) {
			p.N, p.B, p.C = 8, of(32), of(16)
			p.Epilogue = cuda.Epilogue{Function: "GEGLU"}
		},
	} {
		p := cuda.Product{M: 4, N: 16, K: 4, A: of(16), B: of(64), C: of(64), TransB: true}
		p.Epilogue = cuda.Epilogue{Time: of(32), Rows: 2, Residual: of(64)}
		cuda.Gemm(new(cuda.Queue), p, cuda.Tensor{})
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
