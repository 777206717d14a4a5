package cuda_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// attentionCase is a shape with what its operands are like.
type attentionCase struct {
	cuda.AttentionShape
	masked bool // some keys are not seen, and the first sample sees none
	offset int  // of the operands, in values
}

func (c attentionCase) String() string {
	s := c.AttentionShape
	name := fmt.Sprintf("d%d %dx%dx%dx%d", s.D, s.N, s.Heads, s.Lq, s.Lk)
	if s.Causal {
		name += " causal"
	}
	if c.masked {
		name += " masked"
	}
	if c.offset > 0 {
		name += " unaligned"
	}
	return name
}

func (c attentionCase) queries() int { return c.N * c.Lq * c.Heads * c.D }
func (c attentionCase) keys() int    { return c.N * c.Lk * c.Heads * c.D }

// attentionOperands are the operands of a case, rounded to bfloat16.
type attentionOperands struct {
	q, k, v, dout []float32
	mask          []float32 // nil if the case is not masked
}

func (c attentionCase) operands() (o attentionOperands) {
	n, m := c.queries(), c.keys()
	all := normal(2*n + 2*m)
	for i, x := range all {
		all[i] = cudatest.Round(cuda.BFloat16, x)
	}
	o.q, o.dout, o.k, o.v = all[:n], all[n:2*n], all[2*n:2*n+m], all[2*n+m:]
	if c.masked {
		o.mask = make([]float32, c.N*c.Lk)
		for i := range o.mask {
			if i >= c.Lk && i*i%7 != 2 {
				o.mask[i] = 1
			}
		}
	}
	return o
}

// in returns operands of the case for cudatest.
func (c attentionCase) in(values ...[]float32) (all []cudatest.Operand) {
	for _, x := range values {
		o := cudatest.In(cuda.BFloat16, x)
		o.Offset = c.offset
		all = append(all, o)
	}
	return all
}

// attentionDefinition is attention and its gradients in float64.
type attentionDefinition struct{ out, lse, dq, dk, dv []float64 }

func (c attentionCase) define(o attentionOperands) (d attentionDefinition) {
	n, m := c.queries(), c.keys()
	d.out, d.dq = make([]float64, n), make([]float64, n)
	d.dk, d.dv = make([]float64, m), make([]float64, m)
	d.lse = make([]float64, c.N*c.Heads*c.Lq)
	root := 1 / math.Sqrt(float64(c.D))
	p, dp := make([]float64, c.Lk), make([]float64, c.Lk)
	for head := range c.N * c.Heads {
		query := func(i int) int { return (head/c.Heads*c.Lq+i)*c.Heads*c.D + head%c.Heads*c.D }
		key := func(j int) int { return (head/c.Heads*c.Lk+j)*c.Heads*c.D + head%c.Heads*c.D }
		for i := range c.Lq {
			at, sum := query(i), 0.0
			for j := range p {
				p[j], dp[j] = 0, 0
				if c.Causal && j > i || o.mask != nil && o.mask[head/c.Heads*c.Lk+j] == 0 {
					continue
				}
				var s float64
				for x := range c.D {
					s += float64(o.q[at+x]) * float64(o.k[key(j)+x])
					dp[j] += float64(o.dout[at+x]) * float64(o.v[key(j)+x])
				}
				p[j] = math.Exp(s * root)
				sum += p[j]
			}
			d.lse[head*c.Lq+i] = math.Log(sum)
			if sum == 0 {
				continue
			}
			var delta float64
			for j := range p {
				p[j] /= sum
				delta += p[j] * dp[j]
			}
			for j := range p {
				ds := p[j] * (dp[j] - delta) * root
				for x := range c.D {
					d.out[at+x] += p[j] * float64(o.v[key(j)+x])
					d.dv[key(j)+x] += p[j] * float64(o.dout[at+x])
					d.dq[at+x] += ds * float64(o.k[key(j)+x])
					d.dk[key(j)+x] += ds * float64(o.q[at+x])
				}
			}
		}
	}
	return d
}

// near fails the test unless |got − want| is at most relative·|want| + absolute.
func near(t *testing.T, name string, got []float32, want []float64, relative, absolute float64) {
	t.Helper()
	var worst, at, of float64
	for i, w := range want {
		e := math.Abs(float64(got[i]) - w)
		if float64(got[i]) == w {
			e = 0 // infinities, too
		}
		bound := relative*math.Abs(w) + absolute
		if !(e <= bound) {
			t.Fatalf("%s: value %d is %v, not %v", name, i, got[i], w)
		}
		if e/bound > worst {
			worst, at, of = e/bound, e, w
		}
	}
	t.Logf("%s errs by %.2g at %.2g: %.2f of what it may", name, at, of, worst)
}

// attentionCases are small: for the sanitizers.
func attentionCases() (all []attentionCase) {
	shape := func(n, heads, lq, lk, d int) cuda.AttentionShape {
		return cuda.AttentionShape{N: n, Heads: heads, Lq: lq, Lk: lk, D: d}
	}
	causal := func(n, heads, lq, lk, d int) cuda.AttentionShape {
		s := shape(n, heads, lq, lk, d)
		s.Causal = true
		return s
	}
	return []attentionCase{
		{AttentionShape: shape(1, 1, 1, 1, 40)},
		{AttentionShape: shape(1, 2, 65, 77, 40)},
		{AttentionShape: shape(1, 1, 129, 77, 8)},
		{AttentionShape: shape(2, 1, 17, 130, 40), masked: true},
		{AttentionShape: causal(1, 1, 70, 70, 16)},
		{AttentionShape: causal(2, 1, 40, 24, 24), masked: true},
		{AttentionShape: causal(1, 1, 9, 90, 64)},
		{AttentionShape: shape(1, 2, 33, 35, 24), offset: 1},
		{AttentionShape: shape(1, 1, 16, 70, 80)},
		{AttentionShape: shape(1, 1, 66, 64, 160)},
	}
}

func TestAttention(t *testing.T) {
	for _, c := range attentionCases() {
		t.Run(c.String(), func(t *testing.T) { c.check(t, cudatest.Check) })
	}
}

// TestAttentionSizes takes a size of heads for each choice of tiles, and shapes of several tiles.
func TestAttentionSizes(t *testing.T) {
	for _, d := range []int{8, 16, 24, 32, 40, 64, 72, 80, 96, 128, 136, 160, 192, 256} {
		s := cuda.AttentionShape{N: 2, Heads: 2, Lq: 131, Lk: 141, D: d}
		for _, causal := range []bool{false, true} {
			s.Causal = causal
			c := attentionCase{AttentionShape: s, masked: d%64 == 8}
			t.Run(c.String(), func(t *testing.T) { c.check(t, cudatest.CheckPlain) })
		}
	}
}

type checkFunc func(
	testing.TB, func(*cuda.Queue, []cuda.Tensor), ...cudatest.Operand,
) [][]float32

// check compares with the definition. Rounding p to bfloat16 errs by 2⁻⁹·p at most, so out errs by
// 2⁻⁹·Σ p·|v|, and by its own rounding.
func (c attentionCase) check(t *testing.T, check checkFunc) {
	o := c.operands()
	want := c.define(o)
	operands := c.in(o.q, o.k, o.v)
	out := cudatest.Out(cuda.BFloat16, c.queries())
	out.Offset = c.offset
	operands = append(operands, out, cudatest.Out(cuda.Float32, len(want.lse)))
	if c.masked {
		operands = append(operands, cudatest.In(cuda.Float32, o.mask))
	}
	got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		var mask cuda.Tensor
		if c.masked {
			mask = at[5]
		}
		cuda.Attention(q, c.AttentionShape, at[3], at[4], at[0], at[1], at[2], mask, cuda.Tensor{})
	}, operands...)
	near(t, "out", got[3], want.out, 1./256, 1./256)
	near(t, "lse", got[4], want.lse, 1e-6, 4e-6)
}
