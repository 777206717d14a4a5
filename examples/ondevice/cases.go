package main

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// checks are all checks, in the order in which they are made: first what the rest is made of.
func checks() []check {
	all := []check{{name: "primitives", run: conform, small: true}}
	for _, o := range operations() {
		for _, p := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
			all = append(all, check{
				name: o.name + "/" + p.String(), small: true,
				run: func(d kernels.Device) outcome { return o.check(d, p) },
			})
		}
	}
	return all
}

func shapes(s ...tensor.Shape) []tensor.Shape { return s }

func operations() []operation {
	two := func(
		f func(x, y *gorgonia.Node) (*gorgonia.Node, error),
	) func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
		return func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0], in[1]) }
	}
	return []operation{
		{name: "add", of: two(kernels.Add), shapes: shapes(tensor.Shape{3, 37}, tensor.Shape{3, 37})},
		{
			name: "linear", shapes: shapes(tensor.Shape{5, 7}, tensor.Shape{9, 7}, tensor.Shape{9}),
			of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.Linear(in[0], in[1], in[2])
			},
		},
		{
			name: "attention", shapes: shapes(tensor.Shape{2, 9, 16}, tensor.Shape{2, 7, 16}, tensor.Shape{2, 7, 16}),
			of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.Attention(in[0], in[1], in[2], kernels.AttentionOptions{Heads: 2})
			},
		},
	}
}
