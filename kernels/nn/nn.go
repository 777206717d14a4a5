// Package nn holds the layers that models are made of, as plain data: structs of tensors with weight tags (package
// weights), whose Forward methods add operations to a graph.
//
// A Builder carries the first error of a forward pass, as bufio.Writer does, so that a pass reads like the paper
// and is checked once, at its end. Layers allocate zeros; Init fills a model for training from scratch, weights.Load
// from a checkpoint.
package nn

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Parameters lists a model's parameters in the order of its fields, each under the name that its tags make. It panics if a
// tag is on a field of a type that cannot hold parameters: that is a mistake in the model's source.
func Parameters(model any) []kernels.Parameter { return weights.Parameters(model) }

// A Builder adds operations to a graph until the first error, which it keeps; after it, every result is nil.
type Builder struct {
	g   *gorgonia.ExprGraph
	err error
}

// On returns a Builder for n's graph.
func On(n *gorgonia.Node) *Builder { return &Builder{g: n.Graph()} }

// Err returns the first error.
func (b *Builder) Err() error { return b.err }

// Fail keeps err unless there has been an error before.
func (b *Builder) Fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Do takes an operation's results: b.Do(kernels.Linear(x, w, nil)).
func (b *Builder) Do(n *gorgonia.Node, err error) *gorgonia.Node {
	if b.err == nil {
		b.err = err
	}
	if b.err != nil {
		return nil
	}
	return n
}

// Result returns n and the first error.
func (b *Builder) Result(n *gorgonia.Node) (*gorgonia.Node, error) {
	if b.err != nil {
		return nil, b.err
	}
	return n, nil
}

// Param returns the node of a parameter; nil for nil.
func (b *Builder) Param(t *tensor.Dense) *gorgonia.Node {
	if t == nil || b.err != nil {
		return nil
	}
	return kernels.Param(b.g, t)
}

// Add returns x + y.
func (b *Builder) Add(x, y *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.Do(kernels.Add(x, y))
}

// Reshape returns x in another shape.
func (b *Builder) Reshape(x *gorgonia.Node, shape ...int) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.Do(kernels.Reshape(x, shape...))
}

// Shape returns x's shape with as many dimensions as wanted; zeros after an error.
func (b *Builder) Shape(x *gorgonia.Node, dims int) tensor.Shape {
	if b.err != nil {
		return make(tensor.Shape, dims)
	}
	return x.Shape()
}

func zeros(shape ...int) *tensor.Dense {
	return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
}

// SiLU returns x·sigmoid(x).
func (b *Builder) SiLU(x *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.Do(kernels.SiLU(x))
}

// AddTime adds a vector a sample t [N,C] to every position of x [N,H,W,C].
func (b *Builder) AddTime(x, t *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.Do(kernels.AddTime(x, t))
}
