// Package nn is what models are made of: layers, the files that hold their weights, and a builder
// of the graphs that compute them.
//
// # Models
//
// A model is plain data, a tree of structs. A field with a tag `weight:"NAME"` is a part of the
// model. A *tensor.Dense is a parameter. A struct, or a pointer to one, is a model in the model.
// Slices and maps hold several parts. The name of a parameter is made of the tags on the way to it,
// and of the indexes and keys of slices and maps. They are joined by dots. For example
//
//	type Block struct {
//		Norm  *nn.LayerNorm `weight:"norm"`
//		Up    *nn.Linear    `weight:"mlp.0"`
//		Scale *tensor.Dense `weight:"scale"`
//	}
//	type Model struct {
//		Blocks []*Block `weight:"blocks"`
//	}
//
// has parameters such as "blocks.0.norm.weight", "blocks.0.mlp.0.bias" and "blocks.1.scale". The
// tag `weight:"."` adds nothing to the name. A nil pointer is a part that the model does not have.
// Fields without a tag are the model's own business, such as sizes and switches.
//
// A list of kernels.Parameter is a model, too. The state of an optimizer is saved and loaded so.
//
// Parameters lists the parameters of a model, Init fills it with fresh weights, and Save and Load
// write and read it. A layer that New… returns is made of zeros. Call Init or Load before its use.
//
// # Files
//
// Files are safetensors (huggingface.co/docs/safetensors). A tensor in the file has the name of its
// parameter. A convolution's weight is [Cout,KH,KW,Cin] in memory and [Cout,Cin,KH,KW] in files, as
// in PyTorch. The tag `weight:"NAME,conv"` says so of a field of your own. The tag
// `weight:"NAME,scalar"` is for a tensor [1] that files hold without dimensions.
//
// # Graphs
//
// A layer's Forward adds its operations to a graph, through a Builder. A Builder keeps the first
// error, as bufio.Writer does, and every result after it is nil. So a forward pass reads like the
// paper, without a check between its lines, and is checked once, at its end:
//
//	func (m *Model) Predict(x *gorgonia.Node) (*gorgonia.Node, error) {
//		b := nn.On(x)
//		for _, l := range m.Blocks {
//			x = b.Add(x, b.Do(kernels.SiLU(l.Up.Forward(b, l.Norm.Forward(b, x)))))
//		}
//		return b.Result(x)
//	}
//
// Do takes any operation of package kernels, or one of yours made with kernels.Apply. After an
// error the operations still run. They get nil nodes and return errors of their own, which Do
// ignores.
//
// # Adapters
//
// A LowRank that is attached to a layer adds to the layer's results, in graphs that are built from
// then on. It is no part of the layer's weights. It is merged into them, or trained and saved on
// its own.
package nn

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Parameters lists the parameters of a model in the order of its fields, under the names that its
// tags make. It panics if a tag is on a field of a type that cannot hold parameters, because that
// is a mistake in the model's source.
func Parameters(model any) []kernels.Parameter { return weights.Parameters(model) }

// Hash returns the SHA-256 of the names, shapes and float32 values of the parameters, in
// hexadecimal. model is a model or a []kernels.Parameter.
func Hash(model any) string { return weights.Hash(model) }

// A Builder adds operations to a graph until the first error, which it keeps. After that every
// result is nil, and so is every result that is made of it.
type Builder struct {
	g   *gorgonia.ExprGraph
	err error
}

// On returns a Builder for the graph of n.
func On(n *gorgonia.Node) *Builder { return &Builder{g: n.Graph()} }

// Err returns the first error.
func (b *Builder) Err() error { return b.err }

// Fail keeps err, unless there has been an error before.
func (b *Builder) Fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Do takes the results of an operation, as in b.Do(kernels.Mul(x, y)), and returns the node. It is
// nil after an error, of this operation or of an earlier one.
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

// Param returns the node of parameter t, and nil for nil or after an error.
func (b *Builder) Param(t *tensor.Dense) *gorgonia.Node {
	if t == nil || b.err != nil {
		return nil
	}
	return kernels.Param(b.g, t)
}

// Add returns x + y. They have one shape.
func (b *Builder) Add(x, y *gorgonia.Node) *gorgonia.Node { return b.Do(kernels.Add(x, y)) }

// Reshape returns x in another shape of the same size.
func (b *Builder) Reshape(x *gorgonia.Node, shape ...int) *gorgonia.Node {
	return b.Do(kernels.Reshape(x, shape...))
}

// Shape returns the shape of x. After an error it returns zeros, as many as dims.
func (b *Builder) Shape(x *gorgonia.Node, dims int) tensor.Shape {
	if b.err != nil {
		return make(tensor.Shape, dims)
	}
	return x.Shape()
}

func zeros(shape ...int) *tensor.Dense {
	return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
}
