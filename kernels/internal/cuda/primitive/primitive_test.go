package primitive

import (
	"math"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// definitions are what primitives are whose bits are defined, in Go: a second reading of the
// manuals, beside the emulation.
var definitions = map[string]func(p Primitive) []uint32{
	"launch": func(p Primitive) (out []uint32) {
		for z := range uint32(2) {
			for y := range uint32(2) {
				for x := range uint32(3) {
					for thread := range uint32(8) {
						fields := uint32(0x89abcdef) ^ 0x01234567 ^ uint32(p.N) ^ 1<<8 ^
							math.Float32bits(-1.5)
						out = append(out, x<<20|y<<10|z, 3<<20|2<<10|2, 8<<16|thread, fields)
					}
				}
			}
		}
		return out
	},
	"copy16": func(p Primitive) (out []uint32) {
		vector := func(i int, valid bool) []uint32 {
			if !valid {
				return make([]uint32, 4)
			}
			return p.A[4*i : 4*i+4]
		}
		for i := range 64 {
			i ^= 1
			out = append(out, vector(i, i%3 != 1)...)
		}
		for i := range 64 {
			i = 63 - i
			out = append(out, vector(i^5, i%5 != 2)...)
		}
		return out
	},
	"load2":  func(p Primitive) []uint32 { return loaded(p, 2, false) },
	"load2t": func(p Primitive) []uint32 { return loaded(p, 2, true) },
	"load4":  func(p Primitive) []uint32 { return loaded(p, 4, false) },
	"load4t": func(p Primitive) []uint32 { return loaded(p, 4, true) },
	"pack": func(p Primitive) (out []uint32) {
		for i := range values {
			out = append(out, rounded(p.A[i])|rounded(p.B[i])<<16)
		}
		return out
	},
	"widen": func(p Primitive) (out []uint32) {
		for _, w := range p.A[:values/2] {
			out = append(out, w<<16, w&0xffff0000)
		}
		return out
	},
	"vector_f32":  exchanged,
	"vector_bf16": exchanged,
	"add":         float2(func(x, y float32) float32 { return x + y }),
	"mul":         float2(func(x, y float32) float32 { return x * y }),
	"div":         float2(func(x, y float32) float32 { return x / y }),
	"max": float2(func(x, y float32) float32 {
		if !(x >= y) { // a number is larger than NaN
			return y
		}
		return x
	}),
	"sqrt": float1(func(x float64) float64 { return math.Sqrt(x) }),
	"abs":  float1(math.Abs),
	"fma": func(p Primitive) (out []uint32) {
		for i := range values {
			// In float64 the product is exact. The sum is rounded to odd, so that rounding
			// once more does no harm. e is by how much it is off.
			xy, z := float64(p.value(p.A, i)*p.value(p.B, i)), p.value(p.C, i)
			s := xy + z
			of := s - xy
			if e := (xy - (s - of)) + (z - of); e != 0 && math.Float64bits(s)&1 == 0 {
				s = math.Nextafter(s, math.Copysign(math.Inf(1), e))
			}
			out = append(out, math.Float32bits(float32(s)))
		}
		return out
	},
	"add_f64":   double2(func(x, y float64) float64 { return x + y }),
	"mul_f64":   double2(func(x, y float64) float64 { return x * y }),
	"div_f64":   double2(func(x, y float64) float64 { return x / y }),
	"sqrt_f64":  double1(math.Sqrt),
	"floor_f64": double1(math.Floor),
	"abs_f64":   double1(math.Abs),
	"float_of_f64": func(p Primitive) (out []uint32) {
		for i := range values {
			out = append(out, math.Float32bits(float32(math.Float64frombits(long(p.A, i)))))
		}
		return out
	},
	"f64_of_float": func(p Primitive) (out []uint32) {
		for _, w := range p.A {
			out = appendLong(out, math.Float64bits(float64(math.Float32frombits(w))))
		}
		return out
	},
	"float_of_int": func(p Primitive) (out []uint32) {
		for _, w := range p.A {
			out = append(out, math.Float32bits(float32(int32(w))))
		}
		return out
	},
	"float_of_u64": func(p Primitive) (out []uint32) {
		for i := range values {
			out = append(out, math.Float32bits(float32(long(p.A, i))))
		}
		return out
	},
	"int_of_float": func(p Primitive) (out []uint32) {
		for _, w := range p.A {
			out = append(out, uint32(int32(math.Float32frombits(w))))
		}
		return out
	},
	"high": func(p Primitive) (out []uint32) {
		for i := range values {
			hi, _ := bits.Mul64(long(p.A, i), long(p.B, i))
			out = appendLong(out, hi)
		}
		return out
	},
	"shuffle":     func(p Primitive) []uint32 { return shuffled(p, 1) },
	"shuffle_f64": func(p Primitive) []uint32 { return shuffled(p, 2) },
	"warp_sum": func(p Primitive) (out []uint32) {
		for warp := range 2 {
			var x [32]float32
			for i := range x {
				x[i] = math.Float32frombits(p.A[warp*32+i])
			}
			for lanes := 16; lanes > 0; lanes /= 2 {
				old := x
				for i := range x {
					x[i] = old[i] + old[i^lanes]
				}
			}
			for _, v := range x {
				out = append(out, math.Float32bits(v))
			}
		}
		return out
	},
	"warp_sum_f64": func(p Primitive) (out []uint32) {
		for warp := range 2 {
			for _, v := range warpSum(doublesOf(p.A)[32*warp:]) {
				out = appendLong(out, math.Float64bits(v))
			}
		}
		return out
	},
	"block_sum": func(p Primitive) (out []uint32) {
		x := doublesOf(p.A)
		once, four := 0.0, 0.0
		for warp := range threads / 32 {
			once += warpSum(x[32*warp:])[0]
		}
		for i := range x {
			x[i] *= 4
		}
		for warp := range threads / 32 {
			four += warpSum(x[32*warp:])[0]
		}
		for range threads {
			out = appendLong(out, math.Float64bits(once-four))
		}
		return out
	},
	"sync_block": func(p Primitive) []uint32 { return rotated(p.A, threads, 37) },
	"sync_warp": func(p Primitive) []uint32 {
		return append(rotated(p.A[:32], 32, 7), rotated(p.A[32:], 32, 7)...)
	},
	"shared_memory": func(p Primitive) []uint32 {
		out := make([]uint32, threads)
		for k := range p.N {
			out[k%threads] = out[k%threads]*31 + uint32(p.N-1-k)*2654435761
		}
		return out
	},
	"claim": func(p Primitive) []uint32 {
		out := slices.Clone(p.A)
		for i := range out {
			if i < 32 || out[i] == 0 {
				out[i] = uint32(i + 1)
			}
		}
		return out
	},
	"add_atomically": func(p Primitive) (out []uint32) {
		for i := range 64 {
			var sum float32
			for k := i; k < threads; k += 64 {
				sum += math.Float32frombits(p.A[k])
			}
			out = append(out, math.Float32bits(sum))
		}
		return out
	},
}

// loaded is PTX's ldmatrix: lane l gets row l/4 of each matrix, columns 2(l%4) and the next, or
// row and column exchanged.
func loaded(p Primitive, n int, transposed bool) (out []uint32) {
	value := func(matrix, row, col int) uint32 {
		lane := 8*matrix + row // which points at the row
		w := p.A[(lane*5+3)%32*4+col/2]
		return w >> (16 * (col % 2)) & 0xffff
	}
	for lane := range 32 {
		for m := range n {
			i, j := lane/4, lane%4*2
			if transposed {
				out = append(out, value(m, j, i)|value(m, j+1, i)<<16)
			} else {
				out = append(out, value(m, i, j)|value(m, i, j+1)<<16)
			}
		}
	}
	return out
}

// rounded is PTX's cvt.rn.bf16.f32, by way of the two neighbours.
func rounded(b uint32) uint32 {
	x := float64(math.Float32frombits(b))
	if math.IsNaN(x) {
		return 0x7fff
	}
	if math.IsInf(x, 0) {
		return b >> 16
	}
	value := func(h uint32) float64 {
		if h&0x7fff == 0x7f80 { // where the next one would be
			return math.Copysign(0x1p128, x)
		}
		return float64(math.Float32frombits(h << 16))
	}
	lo := b >> 16
	hi := lo + 1
	below, above := math.Abs(x-value(lo)), math.Abs(value(hi)-x)
	if below < above || below == above && lo%2 == 0 {
		return lo
	}
	return hi
}

// exchanged is what threads give that pass on 16 bytes to a neighbour.
func exchanged(p Primitive) (out []uint32) {
	for i := range p.Threads {
		out = append(out, p.A[(i^1)*4:(i^1)*4+4]...)
	}
	return out
}

func float1(f func(x float64) float64) func(p Primitive) []uint32 {
	return func(p Primitive) (out []uint32) {
		for i := range values {
			out = append(out, math.Float32bits(float32(f(p.value(p.A, i)))))
		}
		return out
	}
}

func float2(f func(x, y float32) float32) func(p Primitive) []uint32 {
	return func(p Primitive) (out []uint32) {
		for i := range values {
			y := f(math.Float32frombits(p.A[i]), math.Float32frombits(p.B[i]))
			out = append(out, math.Float32bits(y))
		}
		return out
	}
}

func double1(f func(x float64) float64) func(p Primitive) []uint32 {
	return func(p Primitive) (out []uint32) {
		for _, x := range doublesOf(p.A) {
			out = appendLong(out, math.Float64bits(f(x)))
		}
		return out
	}
}

func double2(f func(x, y float64) float64) func(p Primitive) []uint32 {
	return func(p Primitive) (out []uint32) {
		y := doublesOf(p.B)
		for i, x := range doublesOf(p.A) {
			out = appendLong(out, math.Float64bits(f(x, y[i])))
		}
		return out
	}
}

func long(x []uint32, i int) uint64 { return uint64(x[2*i]) | uint64(x[2*i+1])<<32 }

func appendLong(x []uint32, v uint64) []uint32 { return append(x, uint32(v), uint32(v>>32)) }

func doublesOf(words []uint32) (x []float64) {
	for i := range len(words) / 2 {
		x = append(x, math.Float64frombits(long(words, i)))
	}
	return x
}

func shuffled(p Primitive, words int) (out []uint32) {
	for k := range 5 {
		for lane := range 32 {
			from := (lane ^ 1<<k) * words
			out = append(out, p.A[from:from+words]...)
		}
	}
	return out
}

func warpSum(x []float64) []float64 {
	x = slices.Clone(x[:32])
	for lanes := 16; lanes > 0; lanes /= 2 {
		old := slices.Clone(x)
		for i := range x {
			x[i] = old[i] + old[i^lanes]
		}
	}
	return x
}

func rotated(x []uint32, n, by int) []uint32 {
	x = slices.Clone(x)
	for range 16 {
		old := slices.Clone(x)
		for i := range x {
			x[i] = old[(i*5+by)%n]*2654435761 + uint32(i)
		}
	}
	return x
}

// What is recorded is what Go's definitions give.
func TestDefinitions(t *testing.T) {
	r, err := Recorded()
	require.NoError(t, err)
	require.NotEmpty(t, r.Seen)
	for _, p := range All() {
		words, err := r.Words(p.Name)
		require.NoError(t, err)
		if p.Bounds != nil {
			require.Nil(t, definitions[p.Name], p.Name)
			require.Empty(t, p.Compare(words, words).Wrong, p.Name)
			continue
		}
		require.NotNil(t, definitions[p.Name], p.Name)
		require.Empty(t, p.Compare(definitions[p.Name](p), words).Wrong, p.Name)
	}
}

func TestCompare(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		bound Bound
		x     float64
		right bool
	}{
		{Bound{1, 0.1}, 1.05, true}, {Bound{1, 0.1}, 1.2, false}, {Bound{1, 0.1}, nan, false},
		{Bound{nan, 0.1}, nan, true}, {Bound{nan, 0.1}, 1, false}, {Bound{inf, inf}, 1, true},
		{Bound{inf, 1}, inf, true}, {Bound{inf, 1}, -inf, false}, {Bound{1, 0.1}, inf, false},
		{Bound{2, 0}, 2, true}, {Bound{2, 0}, 2.5, false},
	} {
		require.Equal(t, c.right, c.bound.allows(c.x) <= 1, "%v %v", c.bound, c.x)
	}
	// Each word that is another is seen, where bits are defined, and one that is far off elsewhere.
	for _, p := range All() {
		r, err := Recorded()
		require.NoError(t, err)
		words, err := r.Words(p.Name)
		require.NoError(t, err)
		other := slices.Clone(words)
		other[len(other)/3] ^= 1 << 30
		d := p.Compare(other, words)
		require.NotEmpty(t, d.Wrong, p.Name)
		require.Equal(t, 1, d.Bits, p.Name)
		require.Contains(t, p.Compare(words[1:], words).Wrong, "there must be", p.Name)
	}
}

// A record is read as it was written.
func TestRecord(t *testing.T) {
	var r Record
	r.Set("a", []uint32{1, 0xdeadbeef})
	words, err := r.Words("a")
	require.NoError(t, err)
	require.Equal(t, []uint32{1, 0xdeadbeef}, words)
	require.Contains(t, string(r.Text()), "00000001deadbeef")
	r.Outputs["b"] = "00"
	_, err = r.Words("b")
	require.Error(t, err)
}
