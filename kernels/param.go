package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Parameter is a tensor that training changes and files hold, under the name that both know it by, such as
// "up_blocks.1.resnets.0.conv1.weight".
type Parameter struct {
	Name  string
	Value *tensor.Dense // float32, contiguous
}

// Param returns the node of parameter t in g: an input bound to t. Asked again for the same tensor it returns the same
// node, so a layer that is used twice has one parameter, and a gradient is found by asking for the parameter's node.
// Param(g, nil) is nil, which operations take for an optional parameter that is absent.
//
// gorgonia makes one node of inputs that have equal names, so a parameter's node is named by its tensor: two networks of one
// architecture stay two in a graph. What people call a parameter is known from Config.Parameters.
func Param(g *gorgonia.ExprGraph, t *tensor.Dense) *gorgonia.Node {
	if t == nil {
		return nil
	}
	return bind(g, nodeName(t), t)
}

// nodeName is what the node of parameter t is named.
func nodeName(t *tensor.Dense) string { return fmt.Sprintf("param %p", t) }

// isParam reports whether Param made n.
func isParam(n *gorgonia.Node) bool {
	t, ok := n.Value().(*tensor.Dense)
	return ok && n.IsVar() && n.Name() == nodeName(t)
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
