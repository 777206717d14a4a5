package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Parameter is a tensor that training changes and that files hold. Training and files know it by
// Name, such as "up_blocks.1.resnets.0.conv1.weight".
type Parameter struct {
	Name  string
	Value *tensor.Dense // float32, contiguous
}

// Param returns the node of parameter t in g: an input bound to t. For the same tensor it returns
// the same node every time. So a layer that is used twice has one parameter, and a gradient is
// found by asking for the parameter's node. Param(g, nil) is nil, which operations take for an
// optional parameter that is absent.
//
// The node is named by its tensor's address, because gorgonia makes one node of inputs that have
// equal names. So two networks of one architecture stay two in a graph. Config.Parameters gives the
// names that errors use.
func Param(g *gorgonia.ExprGraph, t *tensor.Dense) *gorgonia.Node {
	if t == nil {
		return nil
	}
	return bind(g, nodeName(t), t)
}

// nodeName returns the name of the node of parameter t.
func nodeName(t *tensor.Dense) string { return fmt.Sprintf("param %p", t) }

// isParam reports whether Param made n.
func isParam(n *gorgonia.Node) bool {
	t, ok := n.Value().(*tensor.Dense)
	return ok && n.IsVar() && n.Name() == nodeName(t)
}

// Input returns an input of g that is named name and bound to t. For the same tensor it returns the
// same node every time. gorgonia would merge it with another input of that name. So if one is bound
// to another tensor, the new input is named "name 2", or the next number that is free. Input(g,
// name, nil) is nil.
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

// leaf returns the input of g with this name and with the type and shape of t. It adds the input if
// there is none.
func leaf(g *gorgonia.ExprGraph, name string, t *tensor.Dense) *gorgonia.Node {
	shape := gorgonia.WithShape(t.Shape()...)
	return gorgonia.NewTensor(g, t.Dtype(), t.Dims(), shape, gorgonia.WithName(name))
}

// bind makes t the value of the input of this name, and returns the input.
func bind(g *gorgonia.ExprGraph, name string, t *tensor.Dense) *gorgonia.Node {
	n := leaf(g, name, t)
	if n.Value() != gorgonia.Value(t) {
		if err := gorgonia.Let(n, t); err != nil {
			panic(err) // leaf returns inputs
		}
	}
	return n
}
