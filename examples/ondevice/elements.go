package main

import (
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
)

// elementwise are operations on each value by itself.
func elementwise() (all []operation) {
	for _, size := range sizes {
		name, s := size.name, size.shape
		scale := func(x *gorgonia.Node) (*gorgonia.Node, error) { return kernels.Scale(x, -1.7) }
		all = append(all,
			operation{name: "add/" + name, of: two(kernels.Add), shapes: shapes(s, s)},
			operation{name: "sub/" + name, of: two(kernels.Sub), shapes: shapes(s, s)},
			operation{name: "mul/" + name, of: two(kernels.Mul), shapes: shapes(s, s)},
			operation{name: "scale/" + name, of: one(scale), shapes: shapes(s)},
		)
	}
	// A gradient that is the same everywhere is filled in.
	return append(all,
		operation{name: "sum", of: one(kernels.Sum), shapes: shapes([]int{3, 333})},
		operation{name: "one value", of: two(kernels.Add), shapes: shapes([]int{1}, []int{1})},
	)
}

func activations() (all []operation) {
	functions := []struct {
		name string
		of   func(x *gorgonia.Node) (*gorgonia.Node, error)
	}{
		{"silu", kernels.SiLU}, {"gelu", kernels.GELU}, {"quickgelu", kernels.QuickGELU},
		{"relu", kernels.ReLU}, {"sigmoid", kernels.Sigmoid}, {"exp", kernels.Exp},
		{"log", kernels.Log}, {"softplus", kernels.Softplus},
	}
	for _, f := range functions {
		o := operation{name: f.name, of: one(f.of), shapes: shapes([]int{3, 35}), fill: wide}
		if f.name == "log" {
			o.fill = positive
		}
		all = append(all, o)
		o.name, o.shapes = o.name+"/even", shapes([]int{4, 256})
		all = append(all, o)
	}
	return append(all,
		operation{name: "geglu", of: one(kernels.GEGLU), shapes: shapes([]int{3, 2, 42})},
		operation{name: "geglu/even", of: one(kernels.GEGLU), shapes: shapes([]int{3, 2, 128})},
	)
}

// wide makes values four times as large, so that functions reach their ends.
func wide(_ int, x []float32) {
	for i := range x {
		x[i] *= 4
	}
}

// positive makes values positive, and not too small for a gradient of 1/x.
func positive(_ int, x []float32) {
	for i, v := range x {
		x[i] = 0.25 + v*v
	}
}

// whole gives an input whole numbers from 0 to n−1.
func whole(input, n int) func(int, []float32) {
	return func(i int, x []float32) {
		if i != input {
			return
		}
		for k := range x {
			x[k] = float32(k * 7 % n)
		}
	}
}

func losses() []operation {
	mse := func(x, y *gorgonia.Node) (*gorgonia.Node, error) { return kernels.MSE(x, y, nil) }
	crossEntropy := func(x, target *gorgonia.Node) (*gorgonia.Node, error) {
		return kernels.SoftmaxCrossEntropy(x, target, nil)
	}
	x, y := []int{3, 5, 7}, []int{4, 64, 64}
	return []operation{
		{name: "mse", of: two(mse), shapes: shapes(x, x)},
		{name: "mse/even", of: two(mse), shapes: shapes(y, y)},
		{
			name: "mse/weighted", of: three(kernels.MSE), shapes: shapes(x, x, []int{3}),
			fixed: []int{2},
		},
		{
			name: "mse/weighted/even", of: three(kernels.MSE), shapes: shapes(y, y, []int{4}),
			fixed: []int{2},
		},
		{name: "l1", of: two(kernels.L1), shapes: shapes(x, x)},
		{name: "l1/even", of: two(kernels.L1), shapes: shapes(y, y)},
		{
			name: "cross entropy", of: two(crossEntropy), shapes: shapes([]int{5, 37}, []int{5}),
			fixed: []int{1}, fill: whole(1, 37),
		},
		{
			name: "cross entropy/weighted", of: three(kernels.SoftmaxCrossEntropy),
			shapes: shapes([]int{9, 300}, []int{9}, []int{9}), fixed: []int{1, 2},
			fill: whole(1, 300),
		},
	}
}
