package cpu

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachAttentionBF16 runs a test with every attentionBF16Body this machine has.
func eachAttentionBF16(t *testing.T, f func(t *testing.T)) {
	was := attendingBF16
	defer func() { attendingBF16 = was }()
	for i := range attentionBF16Bodies {
		attendingBF16 = &attentionBF16Bodies[i]
		t.Run(attendingBF16.name, f)
	}
}

// rounds rounds the operands of c, and returns them as bfloat16 values.
func (c *attentionCase) rounds() (q, k, v, dout []uint16) {
	half := func(x []float32) []uint16 {
		h := make([]uint16, len(x))
		toBF16Generic(h, x)
		fromBF16Generic(x, h)
		return h
	}
	return half(c.q), half(c.k), half(c.v), half(c.dout)
}

// betweenBF16 returns a copy of x between values of NaN, and all of these.
func betweenBF16(x []uint16) (values, all []uint16) {
	const guard = 64
	all = slices.Repeat([]uint16{0x7fc0}, len(x)+2*guard)
	copy(all[guard:], x)
	return all[guard : guard+len(x) : guard+len(x)], all
}

// runBF16 computes out, dq, dk and dv. Around all operands there are values of NaN, which stay.
func (c *attentionCase) runBF16(t *testing.T, pool *Pool) (got [4][]uint16) {
	q, k, v, dout := c.rounds()
	for _, x := range []*[]uint16{&q, &k, &v, &dout} {
		*x, _ = betweenBF16(*x)
	}
	var mask []float32
	if c.mask != nil {
		mask, _ = between(c.mask, 0)
	}
	var all [4][]uint16
	for i, x := range [][]uint16{q, q, k, k} {
		got[i], all[i] = betweenBF16(make([]uint16, len(x)))
	}
	s := c.AttentionShape
	ws, allWs := between(nil, c.ForwardWorkspaceBF16(pool))
	AttentionBF16(pool, s, got[0], q, k, v, mask, ws)
	gradWs, allGradWs := between(nil, c.WorkspaceBF16(pool))
	AttentionGradBF16(pool, s, got[1], got[2], got[3], q, k, v, mask, dout, gradWs)
	for i, x := range all {
		for _, w := range slices.Concat(x[:64], x[64+len(got[i]):]) {
			require.EqualValues(t, 0x7fc0, w, "wrote beside result %d", i)
		}
	}
	for _, x := range [][]float32{allWs, allGradWs} {
		for _, w := range slices.Concat(x[:64], x[len(x)-64:]) {
			require.True(t, w != w, "wrote beside the workspace")
		}
	}
	return got
}

// sumBF16 is one sum of n products of pairs, from s on.
func sumBF16(s float32, n int, x, y func(i int) uint16) float32 {
	for i := 0; i < n; i += 2 {
		var a, b [2]uint16
		for h := range min(2, n-i) {
			a[h], b[h] = x(i+h), y(i+h)
		}
		s = dotBF16(s, a, b)
	}
	return s
}

// definedBF16 is the definition of out, dq, dk and dv, query by query.
func (c *attentionCase) definedBF16() (all [4][]uint16) {
	qs, ks, vs, douts := c.rounds()
	all = [4][]uint16{
		make([]uint16, len(qs)), make([]uint16, len(qs)), make([]uint16, len(ks)),
		make([]uint16, len(ks)),
	}
	root := float32(1 / math.Sqrt(float64(c.D)))
	toPower := float32(math.Log2E / math.Sqrt(float64(c.D)))
	const block = 192
	for head := range c.N * c.Heads {
		n, h := head/c.Heads, head%c.Heads
		at := func(length, row, d int) int { return ((n*length+row)*c.Heads+h)*c.D + d }
		p, ds := make([]uint16, c.Lq*c.Lk), make([]uint16, c.Lq*c.Lk)
		for q := range c.Lq {
			sums, factors := make([]float32, c.D), []float32{}
			weights, dp := make([]float32, c.Lk), make([]float32, c.Lk)
			top, sum, delta := float32(-math.MaxFloat32), float32(0), float32(0)
			for k0 := 0; k0 < c.Lk; k0 += block {
				k1, was := min(k0+block, c.Lk), top
				for k := k0; k < k1; k++ {
					weights[k] = toPower * sumBF16(0, c.D,
						func(d int) uint16 { return ks[at(c.Lk, k, d)] },
						func(d int) uint16 { return qs[at(c.Lq, q, d)] })
					dp[k] = sumBF16(0, c.D,
						func(d int) uint16 { return vs[at(c.Lk, k, d)] },
						func(d int) uint16 { return douts[at(c.Lq, q, d)] })
					if c.Causal && k > q || c.mask != nil && c.mask[n*c.Lk+k] == 0 {
						weights[k] = float32(math.Inf(-1))
					}
					top = max(top, weights[k])
				}
				factor := exp2Generic(was - top)
				factors = append(factors, factor)
				var more, moreDelta float32
				for k := k0; k < k1; k++ {
					weights[k] = exp2Generic(weights[k] - top)
					more += weights[k]
					moreDelta = fma(weights[k], dp[k], moreDelta)
				}
				sum, delta = fma(sum, factor, more), fma(delta, factor, moreDelta)
				for d := range sums {
					sums[d] = sumBF16(sums[d]*factor, k1-k0,
						func(k int) uint16 { return vs[at(c.Lk, k0+k, d)] },
						func(k int) uint16 { return ToBF16(weights[k0+k]) })
				}
			}
			if sum == 0 {
				continue
			}
			share := 1 / sum
			for d := range sums {
				all[0][at(c.Lq, q, d)] = ToBF16(sums[d] * share)
			}
			delta /= sum
			dq := make([]float32, c.D)
			for b := len(factors) - 1; b >= 0; b-- {
				k0, k1 := b*block, min(b*block+block, c.Lk)
				for k := k0; k < k1; k++ {
					weights[k] *= share
					p[q*c.Lk+k] = ToBF16(weights[k])
					ds[q*c.Lk+k] = ToBF16(weights[k] * (dp[k] - delta) * root)
				}
				for d := range dq {
					dq[d] = sumBF16(dq[d], k1-k0,
						func(k int) uint16 { return ks[at(c.Lk, k0+k, d)] },
						func(k int) uint16 { return ds[q*c.Lk+k0+k] })
				}
				share *= factors[b]
			}
			for d := range dq {
				all[1][at(c.Lq, q, d)] = ToBF16(dq[d])
			}
		}
		for k := range c.Lk {
			for d := range c.D {
				all[2][at(c.Lk, k, d)] = ToBF16(sumBF16(0, c.Lq,
					func(q int) uint16 { return qs[at(c.Lq, q, d)] },
					func(q int) uint16 { return ds[q*c.Lk+k] }))
				all[3][at(c.Lk, k, d)] = ToBF16(sumBF16(0, c.Lq,
					func(q int) uint16 { return douts[at(c.Lq, q, d)] },
					func(q int) uint16 { return p[q*c.Lk+k] }))
			}
		}
	}
	return all
}

// The results have the definition's bits with every body and any number of workers.
func TestAttentionBF16(t *testing.T) {
	for _, s := range attentionShapes {
		c := newAttentionCase(s.AttentionShape, s.masked)
		want := c.definedBF16()
		eachAttentionBF16(t, func(t *testing.T) {
			for _, workers := range []int{1, 3} {
				for i, got := range c.runBF16(t, NewPool(workers)) {
					require.Equal(t, want[i], got, "%+v, result %d, %d workers", s, i, workers)
				}
			}
		})
	}
}

// The results are as far as 0.3 % from exact ones for the same bfloat16 operands. To round exact
// results takes them 0.14 to 0.19 % away.
func TestAttentionBF16AgainstFloat64(t *testing.T) {
	for _, s := range attentionShapes {
		c := newAttentionCase(s.AttentionShape, s.masked)
		got := c.runBF16(t, Shared) // rounds the operands
		for i, want := range defined[float64](c) {
			values, once, size := make([]float32, len(want)), make([]float32, len(want)), 0.0
			fromBF16Generic(values, got[i])
			for j, w := range want {
				once[j] = FromBF16(ToBF16(float32(w)))
				size += w * w
			}
			d, size := distance(values, want), math.Sqrt(size)
			apart := distance(once, want)
			t.Logf("%+v, result %d: %.2g, rounded %.2g of %.2g", s, i, d, apart, size)
			require.True(t, d <= 0.003*size, "%+v, result %d: %g of %g", s, i, d, size)
		}
	}
}

// The passes that leave pairs have the bits of the definition, for any number of rows and columns,
// also where values are not numbers, infinite, or too small to be normal.
func TestAttentionPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	nan := FromBF16(0xffc1)
	for _, u := range attentionBF16Bodies {
		for _, rows := range []int{1, 2, 3, 4, 6, 7, 9, 192} {
			for n := u.lanes; n <= u.nr; n += u.lanes {
				block := func(times float32) scores {
					data := normal(r, rows*u.nr)
					for i := range data {
						data[i] *= times
					}
					return scores{data: data, rows: rows, n: n, stride: u.nr}
				}
				x, dx := block(300), block(1)
				for i := 1; i < len(x.data); i += 5 {
					x.data[i] = float32(math.Inf(-1))
				}
				x.data[0], x.data[n-1], dx.data[n-2] = nan, -1e5, nan
				s := softmaxState{normal(r, u.nr), normal(r, u.nr), normal(r, u.nr)}
				for i := range rows { // nothing is seen, and nothing was
					x.data[i*u.nr+3], s.top[3] = float32(math.Inf(-1)), lowestTop
				}
				factor := normal(r, u.nr)
				factor[1], factor[2] = 1e-38, float32(math.Inf(1))
				run := func(p attentionPairs) (got [][]float32) {
					var halves [4][]uint16
					for i := range halves {
						halves[i] = slices.Repeat([]uint16{0x1234}, 2*roundUp(rows, 2)*u.nr)
					}
					scored, x, dx, forward, grad := x, x, dx, s, s
					for _, c := range []*[]float32{
						&scored.data, &x.data, &dx.data, &forward.top, &forward.sum, &grad.top,
						&grad.sum, &grad.delta,
					} {
						*c = slices.Clone(*c)
					}
					factors, again := scratch(u.nr), scratch(u.nr)
					p.weigh(halves[0], scored, 0.1, forward, factors)
					p.weighGrad(x, dx, 0.1, grad, again)
					require.Equal(t, bits(forward.top), bits(grad.top))
					require.Equal(t, bits(forward.sum), bits(grad.sum))
					require.Equal(t, bits(factors), bits(again))
					got = [][]float32{
						grad.top, grad.sum, grad.delta, factors[:n],
						slices.Clone(x.data), slices.Clone(dx.data),
					}
					p.slopes(halves[1], halves[2], halves[3], x, dx, factor, s.sum, 0.3)
					for _, h := range halves {
						whole := make([]float32, len(h))
						fromBF16Generic(whole, h)
						got = append(got, whole)
					}
					return got
				}
				want := run(attentionPairsGeneric)
				for i, got := range run(u.attentionPairs) {
					require.Equal(t, bits(want[i]), bits(got),
						"%s, %d×%d, result %d", u.name, rows, n, i)
				}
			}
		}
	}
}

func TestAttentionBF16OfQueriesThatSeeNoKey(t *testing.T) {
	eachAttentionBF16(t, func(t *testing.T) {
		c := newAttentionCase(AttentionShape{N: 2, Heads: 1, Lq: 40, Lk: 230, D: 4}, true)
		clear(c.mask[230:])
		c.mask[229] = 1
		for i, got := range c.runBF16(t, Shared) {
			half := len(got) / 2
			require.NotEqual(t, make([]uint16, half), got[:half], i)
			require.Equal(t, make([]uint16, half), got[half:], i)
		}
	})
}

// NaN in a query stays in its row of the result.
func TestAttentionBF16LetsNaNThrough(t *testing.T) {
	eachAttentionBF16(t, func(t *testing.T) {
		c := newAttentionCase(AttentionShape{N: 1, Heads: 1, Lq: 40, Lk: 250, D: 4}, false)
		for _, nan := range []uint32{0x7fc00000, 0x7fc00001, 0xffffffff} {
			c.q[17*4+1] = math.Float32frombits(nan)
			got := c.runBF16(t, Shared)
			for at, v := range got[0] {
				require.Equal(t, at/4 == 17, isNaNBF16(v), "row %d", at/4)
			}
			for _, v := range slices.Concat(got[2], got[3]) {
				require.True(t, isNaNBF16(v))
			}
		}
	})
}

func isNaNBF16(b uint16) bool { return b&0x7fff > 0x7f80 }

func TestAttentionBF16AllocatesNothing(t *testing.T) {
	c := newAttentionCase(AttentionShape{N: 1, Heads: 3, Lq: 300, Lk: 140, D: 40}, true)
	q, k, v, dout := c.rounds()
	s, ws := c.AttentionShape, make([]float32, c.WorkspaceBF16(Shared))
	out, dq := make([]uint16, len(q)), make([]uint16, len(q))
	dk, dv := make([]uint16, len(k)), make([]uint16, len(k))
	both := func() {
		AttentionBF16(Shared, s, out, q, k, v, c.mask, ws)
		AttentionGradBF16(Shared, s, dq, dk, dv, q, k, v, c.mask, dout, ws)
	}
	both()
	require.Zero(t, testing.AllocsPerRun(20, both))
}

func TestAttentionBF16Refuses(t *testing.T) {
	c := newAttentionCase(AttentionShape{N: 1, Heads: 1, Lq: 300, Lk: 30, D: 4}, false)
	q, k, v, dout := c.rounds()
	s, out, dk := c.AttentionShape, make([]uint16, len(q)), make([]uint16, len(k))
	require.Panics(t, func() {
		ws := make([]float32, s.ForwardWorkspaceBF16(Shared)-1)
		AttentionBF16(Shared, s, out, q, k, v, nil, ws)
	})
	require.Panics(t, func() {
		ws := make([]float32, s.WorkspaceBF16(Shared)-1)
		AttentionGradBF16(Shared, s, out, dk, dk, q, k, v, nil, dout, ws)
	})
	ws := make([]float32, s.WorkspaceBF16(Shared))
	require.Panics(t, func() { AttentionBF16(Shared, s, out[1:], q, k, v, nil, ws) })
	require.Panics(t, func() { AttentionBF16(Shared, s, out, q, k, v, c.k, ws) })
}

// fma is the sum rounded once, also where float64 has a tie that float32 does not.
func TestFMA(t *testing.T) {
	for _, c := range [][4]float32{
		{2, 3, 4, 10},
		{1 + 0x1p-23, 1 + 0x1p-23, -1, 0x1p-22 + 0x1p-46},
		{0x1p-12, 0x1p-12, 1, 1},                            // a tie, to even
		{0x1p-12 + 0x1p-35, 0x1p-12, 1, 1 + 0x1p-23},        // above a tie, in float64 too
		{0x1p-30, 0x1p-30, 1 + 0x1p-23, 1 + 0x1p-23},        // far below
		{-0x1p-12, 0x1p-12, 1 - 0x1p-24, 1 - 0x1p-23},       // a tie: 1 − 2⁻²³
		{0x1.000002p-12, 0x1.000002p-13, 1, 1},              // just below half
		{inf, 1, -1, inf}, {0x1p-100, 0x1p-26, 0, 0x1p-126}, // the least normal value
	} {
		require.Equal(t, c[3], fma(c[0], c[1], c[2]), "%x", c)
	}
}

// fma is the nearest float32 to the exact value, for terms that lie near one another, and far off.
func TestFMAOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	of := func(exponent int) float32 {
		m := 1<<23 | r.IntN(1<<23)&^(1<<r.IntN(24)-1) // often with few bits
		return float32(math.Ldexp(float64(m*(1-2*r.IntN(2))), exponent-23))
	}
	for range 200_000 {
		tiny := 110 * r.IntN(2) // results may be denormal
		x, y, z := of(r.IntN(40)-20-tiny), of(r.IntN(40)-20), of(r.IntN(120)-60-tiny)
		exact := new(big.Float).SetPrec(300).SetFloat64(float64(x) * float64(y))
		want, _ := exact.Add(exact, big.NewFloat(float64(z))).Float32()
		require.Equal(t, want, fma(x, y, z), "%x·%x + %x", x, y, z)
	}
}
