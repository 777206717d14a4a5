package cuda_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// normal returns n values that are random but always the same.
func normal(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// normals cuts random values into pieces of the given sizes.
func normals(sizes ...int) [][]float32 {
	total := 0
	for _, n := range sizes {
		total += n
	}
	all := normal(total)
	var x [][]float32
	for _, n := range sizes {
		x, all = append(x, all[:n:n]), all[n:]
	}
	return x
}

// types are the types that values have.
var types = []cuda.Type{cuda.Float32, cuda.BFloat16}

func sign(d float32) float32 {
	switch {
	case d > 0:
		return 1
	case d < 0:
		return -1
	}
	return d
}

func TestElementwise(t *testing.T) {
	const a = -1.75
	for name, k := range map[string]struct {
		queue func(q *cuda.Queue, at []cuda.Tensor)
		want  func(x, y float32) float32
	}{
		"add": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.Add(q, at[0], at[1], at[2]) },
			func(x, y float32) float32 { return x + y },
		},
		"sub": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.SubScale(q, at[0], at[1], at[2], a) },
			func(x, y float32) float32 { return a * (x - y) },
		},
		"sign": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.SignScale(q, at[0], at[1], at[2], a) },
			func(x, y float32) float32 { return a * sign(x-y) },
		},
		"mul": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.Mul(q, at[0], at[1], at[2]) },
			func(x, y float32) float32 { return x * y },
		},
		"scale": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.Scale(q, at[0], at[1], a) },
			func(x, _ float32) float32 { return a * x },
		},
	} {
		for _, typ := range types {
			// 4100 and 4104 float32 are two whole blocks, and one or two units of a third. The
			// rest of 4100 bf16 is no whole unit.
			for _, shape := range []struct{ n, offset int }{
				{1, 0}, {7, 0}, {8, 0}, {4100, 0}, {4104, 0}, {300, 1}, {1100, 1},
			} {
				t.Run(fmt.Sprint(name, typ, shape), func(t *testing.T) {
					xs := normals(shape.n, shape.n)
					x, y := rounded(typ, xs[0]), rounded(typ, xs[1])
					y[0] = x[0] // their sign is 0
					in1, in2 := cudatest.In(typ, x), cudatest.In(typ, y)
					in2.Offset = shape.offset
					want := make([]float32, shape.n)
					for i := range want {
						want[i] = cudatest.Round(typ, k.want(x[i], y[i]))
					}
					got := cudatest.Check(t, k.queue, cudatest.Out(typ, shape.n), in1, in2)[0]
					same(t, got, want)
				})
			}
		}
	}
}

// A result may take the place of either input.
func TestElementwiseInPlace(t *testing.T) {
	x := normals(2111, 2111)
	for _, typ := range types {
		for _, offset := range []int{0, 1} {
			for dst := range 2 {
				queue := func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.SubScale(q, at[dst], at[0], at[1], 1)
				}
				in := []cudatest.Operand{cudatest.In(typ, x[0]), cudatest.In(typ, x[1])}
				in[0].Offset = offset
				got := cudatest.Check(t, queue, in...)[dst]
				want := make([]float32, len(got))
				for i, v := range rounded(typ, x[0]) {
					want[i] = cudatest.Round(typ, v-cudatest.Round(typ, x[1][i]))
				}
				same(t, got, want)
			}
		}
	}
}

// NaN and infinities have no sign, as with package cpu.
func TestSignOfNaN(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.SignScale(q, at[0], at[1], at[2], 3)
	}, cudatest.Out(cuda.Float32, 5),
		cudatest.In(cuda.Float32, []float32{nan, 1, inf, inf, -inf}),
		cudatest.In(cuda.Float32, []float32{1, nan, 1, inf, 1}))[0]
	same(t, got, []float32{nan, nan, 3, nan, -3})
}

// The gradients of MSE and of L1: a factor is in device memory, and each sample has a weight.
func TestLossGradients(t *testing.T) {
	const a = 0.375 // products of a with few bits are exact
	by := []float32{-1.5}
	for _, typ := range types {
		for _, shape := range []struct{ samples, size, offset int }{
			{0, 1, 0}, {0, 1100, 0}, {0, 1101, 0}, {1, 1101, 0}, {3, 704, 0}, {3, 701, 0},
			{17, 1, 0}, {3, 704, 1}, {2, 16, 0},
		} {
			n := max(1, shape.samples) * shape.size
			xs := normals(n, n)
			x, y := rounded(typ, xs[0]), rounded(typ, xs[1])
			y[n/2] = x[n/2]
			weight := make([]float32, shape.samples)
			for i := range weight {
				weight[i] = float32(i) - 1.25
			}
			in := []cudatest.Operand{
				cudatest.Out(typ, n), cudatest.In(typ, x), cudatest.In(typ, y),
				cudatest.In(cuda.Float32, by), cudatest.In(cuda.Float32, weight),
			}
			in[1].Offset = shape.offset
			sub, sgn := make([]float32, n), make([]float32, n)
			for i := range sub {
				f := a * by[0]
				if shape.samples > 0 {
					f *= weight[i/shape.size]
				}
				sub[i] = cudatest.Round(typ, f*(x[i]-y[i]))
				sgn[i] = cudatest.Round(typ, f*sign(x[i]-y[i]))
			}
			t.Run(fmt.Sprint(typ, shape), func(t *testing.T) {
				same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.SubScaleBy(q, at[0], at[1], at[2], a, at[3], at[4])
				}, in...)[0], sub)
				same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.SignScaleBy(q, at[0], at[1], at[2], a, at[3], at[4])
				}, in...)[0], sgn)
			})
		}
	}
}

func TestFill(t *testing.T) {
	for _, typ := range types {
		for _, shape := range []struct{ n, offset int }{{1, 0}, {4100, 0}, {1100, 1}, {15, 0}} {
			want := make([]float32, shape.n)
			for i := range want {
				want[i] = cudatest.Round(typ, 0.3)
			}
			out := cudatest.Out(typ, shape.n)
			out.Offset = shape.offset
			same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.Fill(q, at[0], 0.3)
			}, out)[0], want)
			same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.FillWith(q, at[0], at[1])
			}, out, cudatest.In(cuda.Float32, []float32{0.3}))[0], want)
		}
	}
}

func TestConversions(t *testing.T) {
	for _, shape := range []struct{ n, offset1, offset2 int }{
		{1, 0, 0}, {4101, 0, 0}, {1100, 1, 0}, {1100, 0, 1}, {1100, 0, 4}, {1100, 0, 2},
	} {
		x := normal(max(shape.n, 16))[:shape.n]
		copy(x, []float32{
			float32(math.Inf(-1)), float32(math.NaN()), 1 + 1.0/256, 1 + 3.0/256, 1e-40,
			math.MaxFloat32, float32(math.Copysign(0, -1)), 1 + 1.0/256 + 1.0/65536,
		})
		whole, half := cudatest.In(cuda.Float32, x), cudatest.In(cuda.BFloat16, x)
		whole.Offset, half.Offset = shape.offset1, shape.offset2
		out := func(t cuda.Type, offset int) cudatest.Operand {
			o := cudatest.Out(t, shape.n)
			o.Offset = offset
			return o
		}
		want := rounded(cuda.BFloat16, x)
		same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
			cuda.ToBF16s(q, at[0], at[1])
		}, out(cuda.BFloat16, shape.offset2), whole)[0], want)
		same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
			cuda.FromBF16s(q, at[0], at[1])
		}, out(cuda.Float32, shape.offset1), half)[0], want)
	}
}

// Sizes that only a device holds are counted in 64 bits.
func TestElementwiseLarge(t *testing.T) {
	var q cuda.Queue
	x := cuda.Tensor{Address: 256, Type: cuda.BFloat16, Len: 3 << 32}
	cuda.Add(&q, x, x, x)
	cuda.Unary(&q, "SiLU", x, x)
	cuda.AddMiddle(&q, x, x, x.First(3<<10), 3, 1<<22, 1<<10)
	cuda.CopyRows(&q, x, x, 3<<22, 1<<10, 1<<10, 1<<9)
	for i, n := range []int{3 << 32, 3 << 32, 3 << 32, 3 << 31} {
		if l := q.Launches[i]; l.Grid[0] != n/8/512 {
			t.Errorf("%s of %d values has %d blocks", l.Kernel, n, l.Grid[0])
		}
	}
}

// Nothing is launched for nothing, and wrong operands are refused.
func TestElementwiseOperands(t *testing.T) {
	none := cuda.Tensor{Address: 256}
	some := func(n int) cuda.Tensor { return cuda.Tensor{Address: 256, Len: n} }
	half := cuda.Tensor{Address: 256, Type: cuda.BFloat16, Len: 8}
	eight, three, one := some(8), some(3), some(1)
	var q cuda.Queue
	cuda.Add(&q, none, none, none)
	cuda.Fill(&q, none, 1)
	cuda.SubScaleBy(&q, none, none, none, 1, some(1), none)
	cuda.ToBF16s(&q, half.First(0), none)
	cuda.GEGLU(&q, none, none, 4)
	cuda.RepeatMiddle(&q, none, none, 0, 2, 3, 1)
	cuda.CopyRows(&q, none, none, 3, 4, 4, 0)
	if len(q.Launches) != 0 {
		t.Errorf("%d launches", len(q.Launches))
	}
	for name, f := range map[string]func(){
		"a y of no values":      func() { cuda.Add(&q, eight, eight, none) },
		"a short x":             func() { cuda.Scale(&q, eight, some(7), 1) },
		"two types":             func() { cuda.Mul(&q, eight, half, eight) },
		"weights of no samples": func() { cuda.SubScaleBy(&q, eight, eight, eight, 1, one, three) },
		"two scalars":           func() { cuda.FillWith(&q, eight, some(2)) },
		"to float32":            func() { cuda.ToBF16s(&q, eight, eight) },
		"from float32":          func() { cuda.FromBF16s(&q, eight, eight) },
		"no function":           func() { cuda.Unary(&q, "Tanh", eight, eight) },
		"a width of no rows":    func() { cuda.GEGLU(&q, eight, some(16), 3) },
		"as many gates":         func() { cuda.GEGLU(&q, eight, eight, 4) },
		"a short dy":            func() { cuda.GEGLUGrad(&q, some(16), some(16), some(4), 4) },
		"a short middle":        func() { cuda.AddMiddle(&q, eight, eight, some(5), 2, 1, 4) },
		"rows that are too far": func() { cuda.CopyRows(&q, eight, some(9), 2, 5, 5, 4) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
