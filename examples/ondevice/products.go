package main

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
)

// linears are products of matrices. For the gradients both are multiplied transposed. Tiles and how
// a sum is cut depend on the shape.
func linears() (all []operation) {
	for _, c := range []struct {
		rows, in, out int
		bias          bool
	}{
		{1, 1, 1, true}, {5, 7, 9, true}, {65, 33, 129, false}, {64, 64, 64, true},
		{130, 72, 136, true}, {3, 1000, 8, true}, {8, 8, 4096, false}, {200, 64, 520, true},
		{16, 2048, 24, false},
	} {
		all = append(all, linear(c.rows, c.in, c.out, c.bias))
	}
	// Matrices that are large, and sums that are short, for the largest tiles.
	for _, c := range [][3]int{{2048, 8, 2048}, {2048, 2048, 8}, {8, 2048, 2048}} {
		o := linear(c[0], c[1], c[2], false)
		o.large = true
		all = append(all, o)
	}
	return all
}

func linear(rows, in, out int, bias bool) operation {
	o := operation{
		name: fmt.Sprintf("%dx%d to %d", rows, in, out),
		of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Linear(in[0], in[1], append(in, nil)[2])
		},
		shapes: shapes([]int{rows, in}, []int{out, in}),
	}
	if bias {
		o.shapes = append(o.shapes, []int{out})
	}
	return o
}

// A convolution is of images [n,h,w,in] with kernels of kh×kw.
type convolution struct {
	n, h, w, in, out, kh, kw int
	kernels.Conv
	bias bool
}

func (c convolution) operation() operation {
	o := operation{
		name: fmt.Sprintf("%dx%dx%dx%d to %d by %dx%d stride %d padding %d,%d,%d,%d",
			c.n, c.h, c.w, c.in, c.out, c.kh, c.kw, max(1, c.Stride), c.Top, c.Bottom, c.Left,
			c.Right),
		of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Conv2D(in[0], in[1], append(in, nil)[2], c.Conv)
		},
		shapes: shapes([]int{c.n, c.h, c.w, c.in}, []int{c.out, c.kh, c.kw, c.in}),
	}
	if c.bias {
		o.shapes = append(o.shapes, []int{c.out})
	}
	return o
}

func convolutions() (all []operation) {
	three, one := kernels.Same(3), kernels.Same(1)
	half := kernels.Conv{Stride: 2, Top: 1, Bottom: 1, Left: 1, Right: 1}
	for _, c := range []convolution{
		{2, 5, 7, 3, 4, 3, 3, three, true}, {1, 9, 8, 16, 24, 3, 3, three, true},
		{2, 8, 8, 32, 64, 3, 3, three, false}, {2, 6, 5, 8, 16, 1, 1, one, true},
		{1, 7, 7, 5, 6, 1, 1, one, false}, {2, 9, 11, 16, 8, 3, 3, half, true},
		{1, 8, 8, 6, 10, 3, 3, half, false},
		{1, 8, 9, 8, 8, 3, 3, kernels.Conv{Stride: 2, Bottom: 1, Right: 1}, true},
		{1, 6, 6, 8, 8, 2, 2, kernels.Conv{}, true},
		{1, 10, 12, 3, 16, 4, 4, kernels.Conv{Stride: 4}, true},
		{2, 7, 9, 8, 8, 5, 5, kernels.Same(5), false},
		{1, 9, 6, 8, 16, 3, 1, kernels.Conv{Top: 1, Bottom: 1}, true},
		{1, 9, 6, 8, 16, 1, 3, kernels.Conv{Stride: 3, Left: 2}, true},
	} {
		all = append(all, c.operation())
	}
	// Images that are large, and sums that are short, for the largest tiles.
	for _, c := range []convolution{
		{1, 48, 48, 8, 2048, 1, 2, kernels.Conv{Right: 1}, false},
		{1, 48, 48, 2048, 8, 1, 2, kernels.Conv{Right: 1}, false},
		{1, 2, 4, 1024, 2048, 1, 2, kernels.Conv{Right: 1}, false},
	} {
		o := c.operation()
		o.large = true
		all = append(all, o)
	}
	return all
}
