package main

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// checks are all checks, in the order in which they are made: first what the rest is made of, then
// operations that are small, then training and sampling, and last the shapes of Stable Diffusion,
// for which there may be no time.
func checks() []check {
	all := []check{{name: "primitives", run: conform, small: true}}
	for _, f := range []struct {
		name       string
		operations []operation
		rounds     bool // whether its types are those of its operands
	}{
		{"elementwise", elementwise(), true}, {"activation", activations(), true},
		{"loss", losses(), true}, {"move", moves(), true}, {"reduce", reductions(), true},
		{"table", tables(), true}, {"resample", resampling(), true}, {"norm", norms(), false},
		{"linear", linears(), false}, {"conv", convolutions(), false},
		{"attention", attentions(), false},
	} {
		all = append(all, of(f.name, f.operations)...)
		for _, o := range f.operations {
			if o.name = f.name + "/" + o.name; f.rounds {
				o.rounded = true
				all = append(all, o.in(kernels.BFloat16, "/bfloat16 operands"))
			}
			if o.shifted = !o.large && len(o.fixed) < len(o.shapes); o.shifted {
				all = append(all, o.in(kernels.Float32, "/float32 shifted"),
					o.in(kernels.BFloat16, "/bfloat16 shifted"))
			}
		}
	}
	all = append(all, training()...)
	all = append(all, miniature()...)
	return append(all, of("sd", stableDiffusion())...)
}

// of returns checks of operations in both precisions.
func of(family string, operations []operation) (all []check) {
	for _, o := range operations {
		o.name = family + "/" + o.name
		all = append(all, o.in(kernels.Float32, "/float32"), o.in(kernels.BFloat16, "/bfloat16"))
	}
	return all
}

// in returns the check of an operation in a machine of a precision.
func (o operation) in(p kernels.Precision, name string) check {
	return check{
		name: o.name + name, precision: p.String(),
		small: !o.large, absent: o.absent && p == kernels.BFloat16,
		run: func(d kernels.Device) outcome { return o.check(d, p) },
	}
}

// An op is what an operation does with its inputs.
type op func(in ...*gorgonia.Node) (*gorgonia.Node, error)

func one(f func(x *gorgonia.Node) (*gorgonia.Node, error)) op {
	return func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0]) }
}

func two(f func(x, y *gorgonia.Node) (*gorgonia.Node, error)) op {
	return func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0], in[1]) }
}

func three(f func(x, y, z *gorgonia.Node) (*gorgonia.Node, error)) op {
	return func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0], in[1], in[2]) }
}

// shapes are the shapes of inputs.
func shapes(of ...[]int) (all []tensor.Shape) {
	for _, s := range of {
		all = append(all, tensor.Shape(s))
	}
	return all
}

// sizes are shapes whose rows are no multiple of 16 bytes, and whose rows are.
var sizes = []struct {
	name  string
	shape []int
}{{"odd", []int{3, 5, 37}}, {"even", []int{2, 9, 64}}}
