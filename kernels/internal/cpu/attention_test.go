package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachAttention runs a test with every attentionBody this machine has.
func eachAttention(t *testing.T, f func(t *testing.T)) {
	was := attending
	defer func() { attending = was }()
	for _, u := range attentionBodies {
		attending = u
		t.Run(u.name, f)
	}
}

// An attentionCase is attention with values.
type attentionCase struct {
	AttentionShape
	q, k, v, dout, mask []float32
}

func newAttentionCase(s AttentionShape, masked bool) *attentionCase {
	r := rand.New(rand.NewPCG(uint64(s.Lq), uint64(s.Lk)))
	c := &attentionCase{
		s, normal(r, s.queries()), normal(r, s.keys()), normal(r, s.keys()),
		normal(r, s.queries()), nil,
	}
	if masked {
		c.mask = make([]float32, s.N*s.Lk)
		for i := range c.mask {
			c.mask[i] = float32(min(r.IntN(3), 1))
		}
	}
	return c
}

// defined is the definition of out, dq, dk and dv in floating-point numbers of one type.
func defined[F float32 | float64](c *attentionCase) [4][]F {
	out, dq := make([]F, len(c.q)), make([]F, len(c.q))
	dk, dv := make([]F, len(c.k)), make([]F, len(c.k))
	root := F(1 / math.Sqrt(float64(c.D)))
	p, dp := make([]F, c.Lk), make([]F, c.Lk)
	for row := range c.N * c.Heads * c.Lq {
		n, h, i := row/c.Heads/c.Lq, row/c.Lq%c.Heads, row%c.Lq
		query, keys := ((n*c.Lq+i)*c.Heads+h)*c.D, (n*c.Lk*c.Heads+h)*c.D
		key := func(j int) int { return keys + j*c.Heads*c.D }
		top, sum, delta := F(math.Inf(-1)), F(0), F(0)
		for j := range p {
			p[j], dp[j] = 0, 0
			for d := range c.D {
				p[j] += F(c.q[query+d]) * F(c.k[key(j)+d])
				dp[j] += F(c.dout[query+d]) * F(c.v[key(j)+d])
			}
			p[j] *= root
			if c.Causal && j > i || c.mask != nil && c.mask[n*c.Lk+j] == 0 {
				p[j] = F(math.Inf(-1))
			}
			top = max(top, p[j])
		}
		if math.IsInf(float64(top), -1) {
			continue
		}
		for j := range p {
			p[j] = F(math.Exp(float64(p[j] - top)))
			sum += p[j]
		}
		for j := range p {
			p[j] /= sum
			delta += p[j] * dp[j]
		}
		for j := range p {
			ds := p[j] * (dp[j] - delta) * root
			for d := range c.D {
				out[query+d] += p[j] * F(c.v[key(j)+d])
				dv[key(j)+d] += p[j] * F(c.dout[query+d])
				dk[key(j)+d] += ds * F(c.q[query+d])
				dq[query+d] += ds * F(c.k[key(j)+d])
			}
		}
	}
	return [4][]F{out, dq, dk, dv}
}

// between returns a copy of x, or n values of NaN, between values of NaN, and all of these.
func between(x []float32, n int) (values, all []float32) {
	const guard = 64
	n = max(n, len(x))
	all = scratch(n + 2*guard)
	copy(all[guard:], x)
	return all[guard : guard+n : guard+n], all
}

// run computes out, dq, dk and dv. Around all operands there are values of NaN, which stay.
func (c *attentionCase) run(t *testing.T, pool *Pool) [4][]float32 {
	in := func(x []float32) []float32 {
		values, _ := between(x, 0)
		return values
	}
	var mask []float32
	if c.mask != nil {
		mask = in(c.mask)
	}
	var got, all [6][]float32
	for i, n := range []int{
		len(c.q), len(c.q), len(c.k), len(c.k), c.ForwardWorkspace(pool), c.Workspace(pool),
	} {
		got[i], all[i] = between(nil, n)
	}
	q, k, v, dout := in(c.q), in(c.k), in(c.v), in(c.dout)
	Attention(pool, c.AttentionShape, got[0], q, k, v, mask, got[4])
	AttentionGrad(pool, c.AttentionShape, got[1], got[2], got[3], q, k, v, mask, dout, got[5])
	for i, x := range all {
		n := len(got[i])
		for _, w := range slices.Concat(x[:64], x[64+n:]) {
			require.True(t, w != w, "wrote beside result %d", i)
		}
	}
	return [4][]float32(got[:4])
}

var attentionShapes = []struct {
	AttentionShape
	masked bool
}{
	{AttentionShape{N: 1, Heads: 1, Lq: 1, Lk: 1, D: 1}, false},
	{AttentionShape{N: 1, Heads: 1, Lq: 3, Lk: 1, D: 3}, false},
	{AttentionShape{N: 2, Heads: 3, Lq: 5, Lk: 7, D: 3}, true},
	{AttentionShape{N: 1, Heads: 2, Lq: 33, Lk: 77, D: 40}, false},
	{AttentionShape{N: 2, Heads: 1, Lq: 16, Lk: 16, D: 16}, false},
	{AttentionShape{N: 1, Heads: 2, Lq: 17, Lk: 13, D: 21}, false},
	{AttentionShape{N: 2, Heads: 2, Lq: 50, Lk: 130, D: 8}, true},
	{AttentionShape{N: 1, Heads: 1, Lq: 40, Lk: 300, D: 80}, false},
	{AttentionShape{N: 1, Heads: 1, Lq: 64, Lk: 257, D: 160}, false},
	{AttentionShape{N: 1, Heads: 1, Lq: 12, Lk: 20, D: 300}, false},
	{AttentionShape{N: 1, Heads: 3, Lq: 300, Lk: 30, D: 12}, false}, // the last head in halves
	{AttentionShape{N: 1, Heads: 1, Lq: 300, Lk: 300, D: 24, Causal: true}, true},
	{AttentionShape{N: 1, Heads: 2, Lq: 150, Lk: 40, D: 56, Causal: true}, false},
	{AttentionShape{N: 2, Heads: 1, Lq: 20, Lk: 160, D: 64, Causal: true}, false},
}

func TestAttentionAgainstFloat64(t *testing.T) {
	for _, s := range attentionShapes {
		c := newAttentionCase(s.AttentionShape, s.masked)
		exact, plain := defined[float64](c), defined[float32](c)
		eachAttention(t, func(t *testing.T) {
			for i, got := range c.run(t, Shared) {
				t.Run(fmt.Sprint(s, []string{" out", " dq", " dk", " dv"}[i]), func(t *testing.T) {
					requireAsGood(t, got, plain[i], exact[i])
				})
			}
		})
	}
}

func TestAttentionSameBitsForAnyWorkers(t *testing.T) {
	eachAttention(t, func(t *testing.T) {
		for _, s := range attentionShapes {
			c := newAttentionCase(s.AttentionShape, s.masked)
			first := c.run(t, NewPool(1))
			for _, workers := range []int{2, 3, 16} {
				for i, got := range c.run(t, NewPool(workers)) {
					require.Equal(t, bits(first[i]), bits(got), "%v, %d workers", s, workers)
				}
			}
		}
	})
}

// A sample, and a head, has the result that it has alone.
func TestAttentionHeadsDoNotDependOnOneAnother(t *testing.T) {
	eachAttention(t, func(t *testing.T) {
		const n, heads, lq, lk, d = 2, 3, 40, 21, 10
		c := newAttentionCase(AttentionShape{N: n, Heads: heads, Lq: lq, Lk: lk, D: d}, true)
		all := c.run(t, Shared)
		for head := range n * heads {
			part := func(x []float32) (y []float32) {
				rows := len(x) / (n * heads * d)
				for i := range rows {
					y = append(y, x[((head/heads*rows+i)*heads+head%heads)*d:][:d]...)
				}
				return y
			}
			alone := &attentionCase{
				AttentionShape{N: 1, Heads: 1, Lq: lq, Lk: lk, D: d},
				part(c.q), part(c.k), part(c.v), part(c.dout), c.mask[head/heads*lk:][:lk],
			}
			for i, got := range alone.run(t, Shared) {
				require.Equal(t, bits(part(all[i])), bits(got), "head %d, result %d", head, i)
			}
		}
	})
}

// The scores of a query may differ by any amount, and may grow from block to block.
func TestAttentionToFarScores(t *testing.T) {
	eachAttention(t, func(t *testing.T) {
		const lk = 3*attentionKeys + 5
		for _, scale := range []float32{-1e30, -1e4, -1, 1, 1e4, 1e30} {
			c := newAttentionCase(AttentionShape{N: 1, Heads: 1, Lq: 3, Lk: lk, D: 2}, false)
			for j := range lk {
				c.k[2*j], c.k[2*j+1] = scale*float32(j), 0
			}
			for i := range 3 {
				c.q[2*i] = float32(i - 1)
			}
			exact, plain := defined[float64](c), defined[float32](c)
			got := c.run(t, Shared)
			for _, i := range []int{0, 2, 3} { // dq adds far keys, which cancel
				requireAsGood(t, got[i], plain[i], exact[i])
			}
		}
	})
}

func TestAttentionOfQueriesThatSeeNoKey(t *testing.T) {
	eachAttention(t, func(t *testing.T) {
		c := newAttentionCase(AttentionShape{N: 2, Heads: 1, Lq: 40, Lk: 150, D: 4}, true)
		clear(c.mask[150:])
		c.mask[149] = 1
		for i, got := range c.run(t, Shared) {
			half := len(got) / 2
			require.NotZero(t, got[0:half], i)
			require.Equal(t, make([]float32, half), got[half:], i)
		}
	})
}

// NaN in a query stays in its row of the result.
func TestAttentionLetsNaNThrough(t *testing.T) {
	eachAttention(t, func(t *testing.T) {
		c := newAttentionCase(AttentionShape{N: 1, Heads: 1, Lq: 40, Lk: 150, D: 4}, false)
		for _, nan := range []uint32{0x7fc00000, 0x7fc00001, 0xffffffff} {
			c.q[17*4+1] = math.Float32frombits(nan)
			got := c.run(t, Shared)
			for at, v := range got[0] {
				require.Equal(t, at/4 == 17, v != v, "row %d", at/4)
			}
			for _, v := range slices.Concat(got[2], got[3]) {
				require.True(t, v != v)
			}
		}
	})
}

func TestAttentionAllocatesNothing(t *testing.T) {
	c := newAttentionCase(AttentionShape{N: 1, Heads: 3, Lq: 300, Lk: 140, D: 40}, true)
	s, ws := c.AttentionShape, make([]float32, c.Workspace(Shared))
	out, dq := make([]float32, len(c.q)), make([]float32, len(c.q))
	dk, dv := make([]float32, len(c.k)), make([]float32, len(c.k))
	both := func() {
		Attention(Shared, s, out, c.q, c.k, c.v, c.mask, ws)
		AttentionGrad(Shared, s, dq, dk, dv, c.q, c.k, c.v, c.mask, c.dout, ws)
	}
	both()
	require.Zero(t, testing.AllocsPerRun(20, both))
}

func TestAttentionRefuses(t *testing.T) {
	c := newAttentionCase(AttentionShape{N: 1, Heads: 1, Lq: 300, Lk: 30, D: 4}, false)
	s, out, dk := c.AttentionShape, make([]float32, len(c.q)), make([]float32, len(c.k))
	require.Panics(t, func() {
		ws := make([]float32, s.ForwardWorkspace(Shared)-1)
		Attention(Shared, s, out, c.q, c.k, c.v, nil, ws)
	})
	require.Panics(t, func() {
		ws := make([]float32, s.Workspace(Shared)-1)
		AttentionGrad(Shared, s, out, dk, dk, c.q, c.k, c.v, nil, c.dout, ws)
	})
	ws := make([]float32, s.Workspace(Shared))
	require.Panics(t, func() { Attention(Shared, s, out[1:], c.q, c.k, c.v, nil, ws) })
	require.Panics(t, func() { Attention(Shared, s, out, c.q, c.k, c.v, c.k, ws) })
}

// The passes over scores have the bits of the definition, for any number of rows and columns.
func TestAttentionPasses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, u := range attentionBodies {
		for _, rows := range []int{1, 2, 5, 128} {
			for n := u.lanes; n <= u.queries; n += u.lanes {
				block := func() scores {
					data := normal(r, rows*u.queries)
					return scores{data: data, rows: rows, n: n, stride: u.queries}
				}
				x, dx := block(), block()
				for i := range x.data {
					x.data[i] *= 30
				}
				x.data[0], x.data[n-1] = float32(math.Inf(-1)), -200
				s := softmaxState{normal(r, u.queries), normal(r, u.queries), normal(r, u.queries)}
				factor := normal(r, u.queries)
				run := func(p attentionPasses) (got [][]float32) {
					x, dx, weighed, s := x, dx, x, s
					for _, c := range []*[]float32{
						&x.data, &dx.data, &weighed.data, &s.top, &s.sum, &s.delta,
					} {
						*c = slices.Clone(*c)
					}
					f := scratch(u.queries)
					other := softmaxState{slices.Clone(s.top), slices.Clone(s.sum), nil}
					p.weigh(weighed, other, f)
					p.weighGrad(x, dx, s, f)
					require.Equal(t, weighed.data, x.data)
					require.Equal(t, other.sum, s.sum)
					p.scale(weighed, factor)
					got = [][]float32{weighed.data, s.top, s.sum, s.delta, f[:n]}
					p.slopes(x, dx, factor, s.sum, 0.3)
					return append(got, x.data, dx.data)
				}
				want := run(attentionGeneric.passes)
				for i, got := range run(u.passes) {
					require.Equal(t, bits(want[i]), bits(got),
						"%s, %d×%d, result %d", u.name, rows, n, i)
				}
			}
		}
	}
}

// 2^t is within two units in the last place, 1 for 0, and 0 where float32 has no normal numbers.
func TestExp2(t *testing.T) {
	require.Equal(t, float32(1), exp2Generic(0))
	for _, v := range []float32{-127, -128, -1e6, -math.MaxFloat32, float32(math.Inf(-1))} {
		require.Zero(t, exp2Generic(v))
	}
	for v := float32(0); v > -126; v -= 0.00390621 {
		exact := math.Exp2(float64(v))
		require.True(t, math.Abs(float64(exp2Generic(v))-exact) <= 2*0x1p-23*exact, "%g", v)
	}
}

// A product has as many rows and columns as it is asked for.
func TestAttentionProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, u := range attentionBodies {
		for m := 1; m <= 30; m++ {
			for _, n := range []int{1, 8, 13, 16, 24, 32, 40, 48, 56, 64, 80, 104} {
				for mode := range 4 {
					const k = 5
					p := Product{M: m, N: n, K: k, Accumulate: mode&1 != 0}
					p.A = matrixFor(r, m, k, 2, mode&2 != 0)
					p.B = matrixFor(r, k, roundUp(n, 8), 1, false)
					c, all := between(nil, (m-1)*(n+3)+n)
					for i := range m {
						copy(c[i*(n+3):][:n], normal(r, n))
					}
					p.C = Matrix{Data: c, Stride: n + 3}
					exact, before := p.exact(), slices.Clone(all)
					u.multiply(m, n, k, p.C, p.A, p.B, p.Accumulate, make([]float32, 8*m))
					got := p.result()
					for i, w := range exact {
						require.True(t, math.Abs(float64(got[i])-w) <= 1e-5,
							"%s, %d×%d, mode %d: %g, not %g", u.name, m, n, mode, got[i], w)
					}
					for i := range m {
						copy(c[i*(n+3):][:n], before[64+i*(n+3):])
					}
					require.Equal(t, bits(before), bits(all),
						"%s, %d×%d: wrote beside C", u.name, m, n)
				}
			}
		}
	}
}
