package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// attended is the definition of attention on q [n,lq,heads·d], k and v [n,lk,heads·d] and, if there
// is one, a mask [n,lk].
func attended(n, heads, lq, lk, d int, causal bool) func(in [][]float64) []float64 {
	return func(in [][]float64) []float64 {
		q, k, v := in[0], in[1], in[2]
		out := make([]float64, n*lq*heads*d)
		for s := range n {
			for h := range heads {
				at := func(row, length, j int) int { return ((s*length+row)*heads+h)*d + j }
				for i := range lq {
					p, sum := make([]float64, lk), 0.0
					for j := range lk {
						if causal && j > i || len(in) > 3 && in[3][s*lk+j] == 0 {
							continue
						}
						dot := 0.0
						for e := range d {
							dot += q[at(i, lq, e)] * k[at(j, lk, e)]
						}
						p[j] = math.Exp(dot / math.Sqrt(float64(d)))
						sum += p[j]
					}
					for j := range lk {
						for e := range d {
							if sum > 0 {
								out[at(i, lq, e)] += p[j] / sum * v[at(j, lk, e)]
							}
						}
					}
				}
			}
		}
		return out
	}
}

func TestAttention(t *testing.T) {
	for _, c := range []struct {
		n, heads, lq, lk, d int
		causal, masked      bool
	}{
		{n: 2, heads: 2, lq: 3, lk: 5, d: 4},
		{n: 1, heads: 1, lq: 70, lk: 3, d: 5},
		{n: 1, heads: 3, lq: 4, lk: 4, d: 7, causal: true},
		{n: 2, heads: 2, lq: 3, lk: 6, d: 3, masked: true},
		{n: 1, heads: 1, lq: 400, lk: 5, d: 2}, // more queries than share packed keys
		// More keys, and then a longer head, than a product sums at once:
		{n: 1, heads: 1, lq: 2, lk: 300, d: 3},
		{n: 1, heads: 1, lq: 2, lk: 3, d: 300},
		{n: 1, heads: 2, lq: 45, lk: 45, d: 5, causal: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			q, k := []int{c.n, c.lq, c.heads * c.d}, []int{c.n, c.lk, c.heads * c.d}
			test := kerneltest.Case{
				Shapes:     [][]int{q, k, k},
				Definition: attended(c.n, c.heads, c.lq, c.lk, c.d, c.causal),
				Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
					o := kernels.AttentionOptions{Heads: c.heads, Causal: c.causal}
					if c.masked {
						o.KeyMask = in[3]
					}
					return kernels.Attention(in[0], in[1], in[2], o)
				},
			}
			if c.masked {
				mask := make([]float32, c.n*c.lk)
				for i := range mask {
					if i%3 != 1 && i >= c.lk/2 {
						mask[i] = 1
					}
				}
				test.Shapes = append(test.Shapes, []int{c.n, c.lk})
				test.Inputs, test.NoGrad = [][]float32{nil, nil, nil, mask}, []int{3}
			}
			kerneltest.Check(t, test)
		})
	}
}

func TestAttentionRefusesShapes(t *testing.T) {
	g := gorgonia.NewGraph()
	q, k, v := node(g, "q", 1, 2, 6), node(g, "k", 1, 3, 6), node(g, "v", 1, 3, 6)
	_, err := kernels.Attention(q, k, v, kernels.AttentionOptions{Heads: 4})
	require.ErrorContains(t, err, "not divided by 4 heads")
	k, v = node(g, "k2", 2, 3, 6), node(g, "v2", 2, 3, 6)
	_, err = kernels.Attention(q, k, v, kernels.AttentionOptions{Heads: 2})
	require.ErrorContains(t, err, "are not [N,Lq,C]")
}
