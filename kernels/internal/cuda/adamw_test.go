package cuda_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// adamwStep is step 3 of a learning rate of 0.01 with PyTorch's defaults and a decay of 0.1.
var adamwStep = []float32{
	1 - 0.01*0.1, 0.9, 0.999, 1 - 0.9, 1 - 0.999,
	float32(0.01 / (1 - 0.9*0.9*0.9)), float32(1 / math.Sqrt(1-0.999*0.999*0.999)), 1e-8,
}

// adamw is the definition of AdamW, in float32 and in float64.
func adamw[T float32 | float64](step []float32, factor float32, p, m, v, g []float32) (to [3][]T) {
	keep, beta1, beta2, rest1, rest2 := T(step[0]), T(step[1]), T(step[2]), T(step[3]), T(step[4])
	rate, unbias, eps := T(step[5]), T(step[6]), T(step[7])
	for i := range p {
		g := T(factor) * T(g[i])
		mean := T(beta1*T(m[i])) + T(rest1*g)
		square := T(beta2*T(v[i])) + T(rest2*g*g)
		root := T(math.Sqrt(float64(square)))
		x := T(keep*T(p[i])) - T(rate*mean/(T(root*unbias)+eps))
		to[0], to[1], to[2] = append(to[0], x), append(to[1], mean), append(to[2], square)
	}
	return to
}

// farthest is the largest distance of values from those in float64.
func farthest(x []float32, want []float64) float64 {
	d := 0.0
	for i, w := range want {
		d = math.Max(d, math.Abs(float64(x[i])-w)) // NaN stays
	}
	return d
}

func TestAdamW(t *testing.T) {
	for _, s := range []struct {
		n, offset    int
		half, factor bool
	}{{1, 0, true, true}, {2051, 0, true, false}, {2051, 0, false, true}, {300, 1, true, true}} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			all := normal(4 * s.n)
			p, m, v, g := all[:s.n], all[s.n:][:s.n], all[2*s.n:][:s.n], all[3*s.n:]
			for i := range v {
				v[i] *= v[i]
			}
			factor := float32(1)
			if s.factor {
				factor = 0.375
			}
			in := cudatest.In(cuda.Float32, p)
			in.Offset = s.offset
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				half, scale := at[4], at[6]
				if !s.half {
					half = cuda.Tensor{}
				}
				if !s.factor {
					scale = cuda.Tensor{}
				}
				cuda.AdamW(q, at[0], at[1], at[2], at[3], half, at[5], scale)
			}, in, cudatest.In(cuda.Float32, m), cudatest.In(cuda.Float32, v),
				cudatest.In(cuda.Float32, g), cudatest.Out(cuda.BFloat16, s.n),
				cudatest.In(cuda.Float32, adamwStep), cudatest.In(cuda.Float32, []float32{factor}))
			want := adamw[float64](adamwStep, factor, p, m, v, g)
			for i, plain := range adamw[float32](adamwStep, factor, p, m, v, g) {
				err, allowed := farthest(got[i], want[i]), 2*farthest(plain, want[i])
				if s.n == 1 {
					allowed = max(allowed, math.Ldexp(math.Abs(want[i][0]), -23))
				}
				if !(err <= allowed) {
					t.Errorf("result %d is wrong by %v, not at most %v", i, err, allowed)
				}
			}
			if s.half {
				same(t, got[4], rounded(cuda.BFloat16, got[0]))
			}
			same(t, got[3], g)
		})
	}
}

// TestAdamWSkipsWhatIsNotFinite has gradients whose norm is not finite.
func TestAdamWSkipsWhatIsNotFinite(t *testing.T) {
	const n = 9
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		p, m, v := normal(n), normal(n), normal(n)
		g := normal(n)
		g[4] = float32(bad)
		got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
			cuda.SumSquares(q, at[5], at[3])
			cuda.ClipFactor(q, at[6], at[5], 1)
			cuda.AdamW(q, at[0], at[1], at[2], at[3], cuda.Tensor{}, at[4], at[6].First(1))
		}, cudatest.In(cuda.Float32, p), cudatest.In(cuda.Float32, m), cudatest.In(cuda.Float32, v),
			cudatest.In(cuda.Float32, g), cudatest.In(cuda.Float32, adamwStep),
			cudatest.Out(cuda.Float32, cuda.SumSquaresLen(n)), cudatest.Out(cuda.Float32, 2))
		same(t, got[0], p)
		same(t, got[1], m)
		same(t, got[2], v)
		if f := got[6][0]; f == f {
			t.Errorf("with a gradient of %v the factor is %v", bad, f)
		}
	}
}

func TestClipFactor(t *testing.T) {
	for _, most := range []float64{0.25, 1e6, math.Inf(1), 0} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			lens := []int{5003, 1, 4096, 70}
			var operands []cudatest.Operand
			square, slots := 0.0, 0
			for i, n := range lens {
				x := normal(n)
				in := cudatest.In(cuda.Float32, x)
				in.Offset = i % 2
				operands = append(operands, in)
				for _, v := range x {
					square += float64(v) * float64(v)
				}
				slots += cuda.SumSquaresLen(n)
			}
			operands = append(operands, cudatest.Out(cuda.Float32, slots),
				cudatest.Out(cuda.Float32, 2))
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				sums := at[len(lens)]
				for i, n := range lens {
					cuda.SumSquares(q, sums.First(cuda.SumSquaresLen(n)), at[i])
					sums = sums.From(cuda.SumSquaresLen(n))
				}
				cuda.ClipFactor(q, at[len(lens)+1], at[len(lens)], most)
			}, operands...)[len(lens)+1]
			norm := math.Sqrt(square)
			want := []float64{min(1, most/(norm+1e-6)), norm}
			roundedOnce(t, cuda.Float32, got, want, want)
		})
	}
}

// TestClipFactorOfManySums has more partial sums than threads, made here.
func TestClipFactorOfManySums(t *testing.T) {
	const n = 9001
	sums, square := make([]float32, 0, 2*n), 0.0
	for i := range n {
		v := 1 / float64(i+1)
		square += v
		for bits := math.Float64bits(v); len(sums) < 2*(i+1); bits >>= 32 {
			sums = append(sums, math.Float32frombits(uint32(bits)))
		}
	}
	got := cudatest.CheckPlain(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.ClipFactor(q, at[0], at[1], 1)
	}, cudatest.Out(cuda.Float32, 2), cudatest.In(cuda.Float32, sums))[0]
	want := []float64{1 / (math.Sqrt(square) + 1e-6), math.Sqrt(square)}
	roundedOnce(t, cuda.Float32, got, want, want)
}

func TestBlend(t *testing.T) {
	for _, s := range []struct{ n, offset int }{{1, 0}, {1030, 0}, {70, 1}} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			dst, x := normal(2 * s.n)[:s.n], normal(2 * s.n)[s.n:]
			a := float32(0.3)
			in := cudatest.In(cuda.Float32, x)
			in.Offset = s.offset
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.Blend(q, at[0], at[1], at[2])
			}, cudatest.In(cuda.Float32, dst), in, cudatest.In(cuda.Float32, []float32{a}))[0]
			plain, want := slices.Clone(dst), make([]float64, s.n)
			for i, v := range x {
				plain[i] += float32(a * float32(v-plain[i]))
				want[i] = float64(dst[i]) + float64(a)*(float64(v)-float64(dst[i]))
			}
			allowed := max(2*farthest(plain, want), math.Ldexp(1, -24))
			if err := farthest(got, want); !(err <= allowed) {
				t.Errorf("the average is wrong by %v, not at most %v", err, allowed)
			}
		})
	}
}

// TestCheckFinite looks at three tensors, one after another. The values that are not finite are in
// different places.
func TestCheckFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	largest := map[cuda.Type]float32{
		cuda.Float32: math.MaxFloat32, cuda.BFloat16: math.Float32frombits(0x7f7f0000),
	}
	for _, typ := range types {
		for _, s := range []struct {
			n, offset  int
			second, at int // where the second and the third tensor have a bad value, from 0
			bad        float32
			want       uint32
		}{
			{1, 0, -1, -1, 0, 0}, {1, 0, 0, -1, nan, 7}, {1030, 0, -1, 1029, -inf, 9},
			{2100, 0, 2, 0, inf, 7}, {21, 1, -1, 20, nan, 9}, {20, 0, -1, 0, inf, 9},
		} {
			t.Run(fmt.Sprint(typ, s), func(t *testing.T) {
				x, y, z := normal(s.n), normal(s.n), normal(s.n)
				x[s.n/2], y[s.n/2] = largest[typ], -largest[typ]
				if s.second >= 0 {
					y[s.second] = s.bad
				}
				if s.at >= 0 {
					z[s.at] = s.bad
				}
				in := cudatest.In(typ, z)
				in.Offset = s.offset
				got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.CheckFinite(q, at[0], at[1], 5)
					cuda.CheckFinite(q, at[0], at[2], 7)
					cuda.CheckFinite(q, at[0], at[3], 9)
				}, cudatest.In(cuda.Float32, []float32{0}), cudatest.In(typ, x),
					cudatest.In(typ, y), in)[0]
				if flag := math.Float32bits(got[0]); flag != s.want {
					t.Errorf("the flag is %d, not %d", flag, s.want)
				}
			})
		}
	}
}
