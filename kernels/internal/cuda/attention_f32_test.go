package cuda_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// attentionOf computes attention and its gradients in type T.
func attentionOf[T float32 | float64](
	s cuda.AttentionShape, q, k, v, mask, dout []float32,
) (out, lse, dq, dk, dv []T) {
	width := s.Heads * s.D
	out, dq = make([]T, s.N*s.Lq*width), make([]T, s.N*s.Lq*width)
	dk, dv = make([]T, s.N*s.Lk*width), make([]T, s.N*s.Lk*width)
	lse = make([]T, s.N*s.Heads*s.Lq)
	root := T(1 / math.Sqrt(float64(s.D)))
	p, dp := make([]T, s.Lk), make([]T, s.Lk)
	for row := range lse {
		n, h, i := row/s.Lq/s.Heads, row/s.Lq%s.Heads, row%s.Lq
		query := (n*s.Lq+i)*width + h*s.D
		key := func(j int) int { return (n*s.Lk+j)*width + h*s.D }
		top := T(math.Inf(-1))
		for j := range p {
			p[j], dp[j] = 0, 0
			for d := range s.D {
				p[j] += T(q[query+d]) * root * T(k[key(j)+d])
				dp[j] += T(dout[query+d]) * T(v[key(j)+d])
			}
			if mask != nil && mask[n*s.Lk+j] == 0 || s.Causal && j > i {
				p[j] = T(math.Inf(-1))
			}
			top = max(top, p[j])
		}
		if math.IsInf(float64(top), -1) {
			lse[row] = top
			continue
		}
		var sum, delta T
		for j := range p {
			p[j] = T(math.Exp(float64(p[j] - top)))
			sum += p[j]
		}
		lse[row] = top + T(math.Log(float64(sum)))
		for j := range p {
			p[j] /= sum
			for d := range s.D {
				out[query+d] += p[j] * T(v[key(j)+d])
			}
		}
		for d := range s.D {
			delta += out[query+d] * T(dout[query+d])
		}
		for j := range p {
			ds := p[j] * (dp[j] - delta)
			for d := range s.D {
				dq[query+d] += ds * T(k[key(j)+d]) * root
				dk[key(j)+d] += ds * T(q[query+d]) * root
				dv[key(j)+d] += p[j] * T(dout[query+d])
			}
		}
	}
	return out, lse, dq, dk, dv
}

// testAttentionFloat32 tests Attention and its gradients. With masked, some keys are not seen, and
// in the second sample none are. With from, it also tests the gradients from the result.
func testAttentionFloat32(
	t *testing.T, s cuda.AttentionShape, masked, from bool, offset int, plainOnly bool,
) {
	t.Helper()
	queries, keys := s.N*s.Lq*s.Heads*s.D, s.N*s.Lk*s.Heads*s.D
	q, dout := normal(queries), normal(queries + 1)[1:]
	k, v := normal(keys + 2)[2:], normal(keys + 3)[3:]
	for i := range q {
		q[i] *= 2
	}
	var mask []float32
	if masked {
		mask = make([]float32, s.N*s.Lk)
		for i := range mask {
			if i%3 != 1 && i/s.Lk != 1 {
				mask[i] = 1
			}
		}
	}
	at := func(o cudatest.Operand) cudatest.Operand {
		o.Offset = offset
		return o
	}
	in := func(x []float32) cudatest.Operand { return at(cudatest.In(cuda.Float32, x)) }
	out := func(n int) cudatest.Operand { return at(cudatest.Out(cuda.Float32, n)) }
	check := cudatest.Check
	if plainOnly {
		check = cudatest.CheckPlain
	}
	rows := s.N * s.Heads * s.Lq
	got := check(t, func(c *cuda.Queue, at []cuda.Tensor) {
		out, lse, q, k, v, mask, dout := at[0], at[1], at[5], at[6], at[7], at[8], at[9]
		cuda.Attention(c, s, out, lse, q, k, v, mask, cuda.Tensor{})
		cuda.AttentionGradFloat32(c, s, at[2], at[3], at[4], q, k, v, mask, dout, at[10])
		if !from {
			cuda.Attention(c, s, out, lse.First(0), q, k, v, mask, cuda.Tensor{})
		} else {
			cuda.AttentionGradFromFloat32(
				c, s, at[11], at[12], at[13], q, k, v, mask, out, lse, dout, at[14],
			)
		}
	},
		out(queries), out(rows), out(queries), out(keys), out(keys),
		in(q), in(k), in(v), in(mask), in(dout), workspace(cuda.AttentionGradFloat32Workspace(s)),
		out(queries), out(keys), out(keys), workspace(cuda.AttentionGradFloat32Workspace(s)))
	pOut, pLSE, pDQ, pDK, pDV := attentionOf[float32](s, q, k, v, mask, dout)
	eOut, eLSE, eDQ, eDK, eDV := attentionOf[float64](s, q, k, v, mask, dout)
	for i, v := range eLSE {
		if math.IsInf(v, -1) && got[1][i] == float32(v) {
			got[1][i], pLSE[i], eLSE[i] = 0, 0, 0
		}
	}
	mustBeNear(t, "out", got[0], pOut, eOut, 2)
	mustBeNear(t, "lse", got[1], pLSE, eLSE, 2)
	// The gradients are of differences, in which the rounding of a sum decides.
	mustBeNear(t, "dq", got[2], pDQ, eDQ, 3)
	mustBeNear(t, "dk", got[3], pDK, eDK, 3)
	mustBeNear(t, "dv", got[4], pDV, eDV, 3)
	if from {
		mustBeNear(t, "dq from out", got[11], pDQ, eDQ, 3)
		mustBeNear(t, "dk from out", got[12], pDK, eDK, 3)
		mustBeNear(t, "dv from out", got[13], pDV, eDV, 3)
	}
}

func TestAttentionFloat32(t *testing.T) {
	for i, c := range []struct {
		cuda.AttentionShape
		masked bool
	}{
		{cuda.AttentionShape{N: 1, Heads: 1, Lq: 1, Lk: 1, D: 1}, false},
		{cuda.AttentionShape{N: 2, Heads: 2, Lq: 3, Lk: 66, D: 8}, true},
		{cuda.AttentionShape{N: 1, Heads: 1, Lq: 66, Lk: 5, D: 12, Causal: true}, false},
		{cuda.AttentionShape{N: 1, Heads: 1, Lq: 67, Lk: 70, D: 4, Causal: true}, false},
		{cuda.AttentionShape{N: 1, Heads: 3, Lq: 5, Lk: 4, D: 33}, true},
		{cuda.AttentionShape{N: 1, Heads: 1, Lq: 35, Lk: 3, D: 80, Causal: true}, true},
		{cuda.AttentionShape{N: 2, Heads: 1, Lq: 2, Lk: 3, D: 131}, true},
		// A block of keys that no query sees.
		{cuda.AttentionShape{N: 1, Heads: 1, Lq: 3, Lk: 66, D: 32, Causal: true}, false},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			offset := 0
			if c.D == 12 {
				offset = 1 // its rows could be read as vectors
			}
			testAttentionFloat32(t, c.AttentionShape, c.masked, i%2 == 1, offset, false)
		})
	}
}

// TestAttentionFloat32Large tests larger shapes.
func TestAttentionFloat32Large(t *testing.T) {
	for _, s := range []cuda.AttentionShape{
		{N: 2, Heads: 2, Lq: 130, Lk: 77, D: 64},
		{N: 1, Heads: 1, Lq: 67, Lk: 200, D: 160},
		{N: 1, Heads: 1, Lq: 34, Lk: 65, D: 512},
		{N: 1, Heads: 2, Lq: 150, Lk: 150, D: 72, Causal: true},
	} {
		testAttentionFloat32(t, s, s.N == 2, s.D <= 72, 0, true)
	}
}
