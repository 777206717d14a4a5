package kernels_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// convDefinition is the convolution of x [n,h,w,in] with weights [out,kh,kw,in], written from its
// formula.
func convDefinition(x, w [4]int, c kernels.Conv) func([][]float64) []float64 {
	stride := max(c.Stride, 1)
	oh, ow := (x[1]+c.Top+c.Bottom-w[1])/stride+1, (x[2]+c.Left+c.Right-w[2])/stride+1
	return func(t [][]float64) []float64 {
		var y []float64
		pixel := func(n, i, j, k int) float64 {
			if i < 0 || i >= x[1] || j < 0 || j >= x[2] {
				return 0
			}
			return t[0][((n*x[1]+i)*x[2]+j)*x[3]+k]
		}
		for p := range x[0] * oh * ow * w[0] {
			n, i, j, o := p/(oh*ow*w[0]), p/(ow*w[0])%oh, p/w[0]%ow, p%w[0]
			s := 0.0
			if len(t) == 3 {
				s = t[2][o]
			}
			for q := range w[1] * w[2] * w[3] {
				a, b, k := q/(w[2]*w[3]), q/w[3]%w[2], q%w[3]
				s += pixel(n, i*stride+a-c.Top, j*stride+b-c.Left, k) * t[1][o*w[1]*w[2]*w[3]+q]
			}
			y = append(y, s)
		}
		return y
	}
}

func TestConv2D(t *testing.T) {
	cases := []struct {
		x, w [4]int
		c    kernels.Conv
	}{
		{[4]int{2, 4, 3, 2}, [4]int{3, 1, 1, 2}, kernels.Conv{}},
		{[4]int{2, 4, 3, 2}, [4]int{3, 3, 3, 2}, kernels.Same(3)},
		{
			[4]int{1, 5, 4, 2}, [4]int{3, 3, 3, 2},
			kernels.Conv{Stride: 2, Top: 1, Bottom: 1, Left: 1, Right: 1},
		},
		{[4]int{1, 4, 4, 3}, [4]int{2, 3, 3, 3}, kernels.Conv{Stride: 2, Bottom: 1, Right: 1}},
		{[4]int{1, 6, 4, 3}, [4]int{5, 2, 2, 3}, kernels.Conv{Stride: 2}},
		{
			[4]int{1, 4, 5, 2}, [4]int{2, 2, 3, 2},
			kernels.Conv{Stride: 3, Top: 2, Left: 1, Right: 2},
		},
		{[4]int{2, 3, 3, 2}, [4]int{2, 1, 1, 2}, kernels.Conv{Stride: 2}},
	}
	for _, k := range cases {
		for _, bias := range []bool{false, true} {
			t.Run(fmt.Sprint(k, bias), func(t *testing.T) {
				shapes := [][]int{k.x[:], k.w[:]}
				if bias {
					shapes = append(shapes, []int{k.w[0]})
				}
				kerneltest.Check(t, kerneltest.Case{
					Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
						if len(in) == 2 {
							return kernels.Conv2D(in[0], in[1], nil, k.c)
						}
						return kernels.Conv2D(in[0], in[1], in[2], k.c)
					},
					Shapes: shapes, Definition: convDefinition(k.x, k.w, k.c),
				})
			})
		}
	}
}

func TestConv2DRefuses(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w := node(g, "x", 1, 4, 4, 2), node(g, "w", 3, 3, 3, 2)
	for name, try := range map[string]func() (*gorgonia.Node, error){
		"channels": func() (*gorgonia.Node, error) {
			return kernels.Conv2D(x, node(g, "w5", 3, 3, 3, 5), nil, kernels.Same(3))
		},
		"bias": func() (*gorgonia.Node, error) {
			return kernels.Conv2D(x, w, node(g, "b", 4), kernels.Same(3))
		},
		"stride": func() (*gorgonia.Node, error) {
			return kernels.Conv2D(x, w, nil, kernels.Conv{Stride: -1})
		},
		"padding": func() (*gorgonia.Node, error) {
			return kernels.Conv2D(x, w, nil, kernels.Conv{Left: -1})
		},
		"too large": func() (*gorgonia.Node, error) {
			return kernels.Conv2D(x, node(g, "w9", 3, 9, 9, 2), nil, kernels.Conv{})
		},
		"rank": func() (*gorgonia.Node, error) {
			return kernels.Conv2D(node(g, "x3", 4, 4, 2), w, nil, kernels.Conv{})
		},
	} {
		_, err := try()
		require.ErrorContains(t, err, "kernels: ", name)
	}
}
