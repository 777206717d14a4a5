package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Param returns the node of parameter t in g: an input bound to t. Asked again for the same tensor it returns the same
// node, so a layer that is used twice has one parameter, and a gradient is found by asking for the parameter's node.
// Param(g, nil) is nil, which operations take for an optional parameter that is absent.
func Param(g *gorgonia.ExprGraph, t *tensor.Dense) *gorgonia.Node {
	if t == nil {
		return nil
	}
	return bind(g, fmt.Sprintf("param %p", t), t)
}

// Input returns an input of g named name and bound to t. Asked again for the same tensor it returns the same node. An
// input of that name bound to another tensor stays what it is: gorgonia would merge the two, so the new one is named
// "name 2".
func Input(g *gorgonia.ExprGraph, name string, t *tensor.Dense) *gorgonia.Node {
	if t == nil {
		return nil
	}
	unique := name
	for i := 2; ; i++ {
		n := leaf(g, unique, t)
		if n.Value() == nil || n.Value() == gorgonia.Value(t) {
			return bind(g, unique, t)
		}
		unique = fmt.Sprintf("%s %d", name, i)
	}
}

// leaf returns the input of g with t's type and shape that is named name, adding it if there is none.
func leaf(g *gorgonia.ExprGraph, name string, t *tensor.Dense) *gorgonia.Node {
	return gorgonia.NewTensor(g, t.Dtype(), t.Dims(), gorgonia.WithShape(t.Shape()...), gorgonia.WithName(name))
}

// bind makes t the value of the input of that name.
func bind(g *gorgonia.ExprGraph, name string, t *tensor.Dense) *gorgonia.Node {
	n := leaf(g, name, t)
	if n.Value() != gorgonia.Value(t) {
		if err := gorgonia.Let(n, t); err != nil {
			panic(err) // leaf returns inputs
		}
	}
	return n
}
