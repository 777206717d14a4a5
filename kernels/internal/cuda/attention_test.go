package cuda_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// attentionCase is a shape with what its operands are like.
type attentionCase struct {
	cuda.AttentionShape
	masked bool // some keys are not seen, and of two samples the first sees none
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
			if i >= (c.N-1)*c.Lk && i*i%7 != 2 {
				o.mask[i] = 1
			}
		}
	}
	return o
}

// in returns operands of the case, and outs results.
func (c attentionCase) in(values ...[]float32) (all []cudatest.Operand) {
	for _, x := range values {
		o := cudatest.In(cuda.BFloat16, x)
		o.Offset = c.offset
		all = append(all, o)
	}
	return all
}

func (c attentionCase) outs(lengths ...int) (all []cudatest.Operand) {
	for _, n := range lengths {
		o := cudatest.Out(cuda.BFloat16, n)
		o.Offset = c.offset
		all = append(all, o)
	}
	return all
}

// noisySums are sums of products, and how much they may err: the root of the sum of the squares of
// what is added, as rounding errs in any direction.
type noisySums struct{ of, squares []float64 }

func newNoisySums(n int) noisySums { return noisySums{make([]float64, n), make([]float64, n)} }

// add adds x·y. The factor x errs like a bfloat16 value as large as size.
func (s noisySums) add(i int, x, size, y float64) {
	s.of[i] += x * y
	s.squares[i] += size * y * size * y
}

// check fails the test unless got errs by 2⁻⁸ of a sum, which is its rounding, and 2⁻⁷ of what it
// may err. A bfloat16 value errs by 2⁻⁸ at most, and by half of that on average.
func (s noisySums) check(t *testing.T, name string, got []float32) {
	t.Helper()
	var worst float64
	for i, want := range s.of {
		bound := (math.Abs(want) + 2*math.Sqrt(s.squares[i])) / 256
		e := math.Abs(float64(got[i]) - want)
		if !(e <= bound) {
			t.Fatalf("%s: value %d is %v, not %v", name, i, got[i], want)
		}
		if e > 0 {
			worst = max(worst, e/bound)
		}
	}
	t.Logf("%s errs by %.2f of what it may", name, worst)
}

// attentionDefinition is attention and its gradients in float64.
type attentionDefinition struct {
	out, dq, dk, dv noisySums
	lse             []float64
}

func (c attentionCase) define(o attentionOperands) (d attentionDefinition) {
	d.out, d.dq = newNoisySums(c.queries()), newNoisySums(c.queries())
	d.dk, d.dv = newNoisySums(c.keys()), newNoisySums(c.keys())
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
			var delta, errs float64
			for j := range p {
				p[j] /= sum
				delta += p[j] * dp[j]
				errs += p[j] * dp[j] * p[j] * dp[j]
				for x := range c.D {
					d.out.add(at+x, p[j], p[j], float64(o.v[key(j)+x]))
					d.dv.add(key(j)+x, p[j], p[j], float64(o.dout[at+x]))
				}
			}
			for x := range c.D {
				errs += math.Pow(d.out.of[at+x]*float64(o.dout[at+x]), 2)
			}
			for j := range p {
				ds := p[j] * (dp[j] - delta) * root
				size := math.Abs(ds) + p[j]*math.Sqrt(errs)*root
				for x := range c.D {
					d.dq.add(at+x, ds, size, float64(o.k[key(j)+x]))
					d.dk.add(key(j)+x, ds, size, float64(o.q[at+x]))
				}
			}
		}
	}
	return d
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
		{AttentionShape: shape(2, 1, 17, 130, 24), masked: true},
		{AttentionShape: causal(1, 1, 70, 70, 16)},
		{AttentionShape: causal(2, 1, 40, 24, 24), masked: true},
		{AttentionShape: causal(1, 1, 9, 90, 64)},
		{AttentionShape: causal(2, 1, 3, 130, 8)}, // a block of keys that no query sees
		{AttentionShape: shape(1, 1, 64, 3, 8)},   // half a block of queries, all of which are read
		{AttentionShape: shape(1, 2, 33, 35, 24), offset: 1},
		{AttentionShape: shape(1, 1, 16, 70, 80)},
		{AttentionShape: shape(1, 1, 66, 64, 160)},
		{AttentionShape: shape(1, 1, 513, 18, 8), offset: 1}, // few keys: the queries are divided
	}
}

func TestAttention(t *testing.T) {
	for _, c := range attentionCases() {
		t.Run(c.String(), func(t *testing.T) { c.check(t, cudatest.Check) })
	}
}

// attentionSizes are a size of heads for each choice of tiles, and shapes of several tiles.
func attentionSizes() (all []attentionCase) {
	for _, d := range []int{8, 16, 24, 32, 40, 64, 72, 80, 96, 128, 136, 160, 192, 256} {
		s := cuda.AttentionShape{N: 1, Heads: 2, Lq: 131, Lk: 75, D: d}
		if d <= 64 {
			s.Lk = 141 // more than a block
		}
		all = append(all, attentionCase{AttentionShape: s, masked: d%64 == 8})
		s.Causal = true
		all = append(all, attentionCase{AttentionShape: s})
	}
	few := cuda.AttentionShape{N: 1, Heads: 1, Lq: 520, Lk: 19, D: 192, Causal: true}
	return append(all, attentionCase{AttentionShape: few, masked: true})
}

func TestAttentionSizes(t *testing.T) {
	for _, c := range attentionSizes() {
		t.Run(c.String(), func(t *testing.T) { c.check(t, cudatest.CheckPlain) })
	}
}

// check compares attention and its gradients with the definition. It computes the gradients twice,
// the second time from what Attention gives.
func (c attentionCase) check(t *testing.T, check func(
	testing.TB, func(*cuda.Queue, []cuda.Tensor), ...cudatest.Operand,
) [][]float32) {
	o := c.operands()
	want := c.define(o)
	n, m := c.queries(), c.keys()
	operands := append(c.in(o.q, o.k, o.v, o.dout), c.outs(n, m, m, n, m, m, n)...)
	ws := cuda.AttentionGradWorkspace(c.AttentionShape, cuda.BFloat16) / 4
	operands = append(operands,
		cudatest.Out(cuda.Float32, len(want.lse)), cudatest.Out(cuda.Float32, ws))
	if c.masked {
		operands = append(operands, cudatest.In(cuda.Float32, o.mask))
	}
	got := check(t, func(queue *cuda.Queue, at []cuda.Tensor) {
		s, mask := c.AttentionShape, append(at, cuda.Tensor{})[13]
		q, k, v, dout, out, lse, ws := at[0], at[1], at[2], at[3], at[10], at[11], at[12]
		cuda.AttentionGrad(queue, s, at[4], at[5], at[6], q, k, v, mask, dout, ws)
		cuda.Attention(queue, s, out, lse, q, k, v, mask, cuda.Tensor{})
		cuda.AttentionGradFrom(
			queue, s, at[7], at[8], at[9], q, k, v, mask, out, lse, dout, ws)
	}, operands...)
	want.out.check(t, "out", got[10])
	for i, want := range want.lse {
		const tolerance = 2e-6
		if x := float64(got[11][i]); !(x == want || math.Abs(x-want) <= tolerance) {
			t.Fatalf("lse %d is %v, not %v", i, x, want)
		}
	}
	for i, by := range []string{"", " from"} {
		want.dq.check(t, "dq"+by, got[4+3*i])
		want.dk.check(t, "dk"+by, got[5+3*i])
		want.dv.check(t, "dv"+by, got[6+3*i])
	}
}

// TestAttentionTypes sees whose kernels operands of each type go to.
func TestAttentionTypes(t *testing.T) {
	s := cuda.AttentionShape{N: 1, Heads: 2, Lq: 3, Lk: 3, D: 8}
	for typ, suffix := range map[cuda.Type]string{cuda.Float32: "_f32", cuda.BFloat16: "_bf16"} {
		x := cuda.Tensor{Address: 1 << 20, Type: typ, Len: 48}
		var none cuda.Tensor
		lse := cuda.Tensor{Address: 1 << 21, Len: 6}
		ws := cuda.Tensor{Address: 1 << 22, Len: cuda.AttentionGradWorkspace(s, typ) / 4}
		var q cuda.Queue
		cuda.Attention(&q, s, x, lse, x, x, x, none, none)
		cuda.AttentionGrad(&q, s, x, x, x, x, x, x, none, x, ws)
		cuda.AttentionGradFrom(&q, s, x, x, x, x, x, x, none, x, lse, x, ws)
		for _, l := range q.Launches {
			if !strings.HasSuffix(l.Kernel, suffix) {
				t.Errorf("%s is not of type %d", l.Kernel, typ)
			}
		}
		if len(q.Launches) < 7 {
			t.Errorf("there are %d launches for type %d", len(q.Launches), typ)
		}
	}
}

func TestAttentionMisuse(t *testing.T) {
	s := cuda.AttentionShape{N: 1, Heads: 1, Lq: 2, Lk: 4, D: 8}
	x, y := cuda.Tensor{Type: cuda.BFloat16, Len: 16}, cuda.Tensor{Type: cuda.BFloat16, Len: 32}
	var none cuda.Tensor
	ws := cuda.Tensor{Len: cuda.AttentionGradWorkspace(s, cuda.BFloat16) / 4}
	odd := ws
	odd.Address = 8
	for want, misuse := range map[string]func(q *cuda.Queue){
		"no kernel for bfloat16 heads of 4": func(q *cuda.Queue) {
			s := s
			s.Heads, s.D = 2, 4
			cuda.Attention(q, s, x, none, x, y, y, none, none)
		},
		"no such shape": func(q *cuda.Queue) {
			cuda.Attention(q, cuda.AttentionShape{}, x, none, x, y, y, none, none)
		},
		"operand 1 has 16 values": func(q *cuda.Queue) {
			cuda.Attention(q, s, x, none, x, y, x, none, none)
		},
		"operand 0 has 3 values of type 0, not 4": func(q *cuda.Queue) {
			cuda.Attention(q, s, x, none, x, y, y, cuda.Tensor{Len: 3}, none)
		},
		"operand 0 has 3 values of type 0, not 2": func(q *cuda.Queue) {
			cuda.Attention(q, s, x, cuda.Tensor{Len: 3}, x, y, y, none, none)
		},
		"a workspace of 508 bytes": func(q *cuda.Queue) {
			cuda.AttentionGrad(q, s, x, y, y, x, y, y, none, x, ws.First(ws.Len-1))
		},
		"at 8 is not one of": func(q *cuda.Queue) {
			cuda.AttentionGrad(q, s, x, y, y, x, y, y, none, x, odd)
		},
		"AttentionGradFrom: operand 0 has 2 values": func(q *cuda.Queue) {
			cuda.AttentionGradFrom(q, s, x, y, y, x, y, y, none, x.First(2), none, x, ws)
		},
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("the panic is %q", got)
				}
			}()
			misuse(new(cuda.Queue))
		})
	}
}
