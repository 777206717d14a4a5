package kernels

import (
	"fmt"
	"hash"
	"hash/fnv"
	"slices"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Tensor is the values and the shape that Eval of a Rule gets. The values are row-major. A scalar
// has one value and no dimensions. Rules that are no [Typer] get float32 values alone.
type Tensor struct {
	Shape tensor.Shape
	Type  Precision // Float32 or BFloat16
	Data  []float32 // the values if they are Float32
	BF16  []BF16    // the values if they are BFloat16
}

// A Rule is one operation. It is a small struct. Its fields and the inputs decide the result. Two
// rules that print alike with %+v must be the same operation: gorgonia merges nodes by a hash, and
// the hash is of that text. Apply makes a node of a Rule.
type Rule interface {
	// Shape returns the shape of the result, which is empty for a scalar, or an error that names
	// what does not fit.
	Shape(in []tensor.Shape) (tensor.Shape, error)
	// Eval overwrites all of dst with the result. It must not allocate, keep its arguments or write
	// to in. dst overlaps no input, unless the rule is an InPlacer.
	Eval(c *Context, dst Tensor, in []Tensor)
	// Grad returns the gradient of each input, given the inputs, the result and the gradient of the
	// result. It is nil where there is none. Inputs that never have a gradient must be nil here at
	// every call.
	Grad(in gorgonia.Nodes, out, dout *gorgonia.Node) (gorgonia.Nodes, error)
	// Differentiable reports for each of n inputs whether Grad returns a node for it.
	Differentiable(n int) []bool
}

// A Workspacer is a Rule whose Eval needs a workspace: memory for intermediate values. Eval gets it
// from Context.Workspace.
type Workspacer interface {
	// Workspace returns how many bytes Eval needs for inputs of these shapes.
	Workspace(c *Context, in []tensor.Shape) int
}

// An InPlacer is a Rule whose result may overwrite one of its inputs.
type InPlacer interface {
	// InPlace returns the number of the input that dst may share all of its memory with, or −1 for
	// none.
	InPlace() int
}

// An Aliaser is a Rule whose result is a part of the memory of its first input. Its Eval copies. A
// Machine does not call Eval but lets the result share the memory.
type Aliaser interface {
	// Alias returns where the result begins in the first input, counted in values.
	Alias() (offset int)
}

// op is a Rule at fixed shapes, as a gorgonia.SDOp.
type op struct {
	rule Rule
	in   []tensor.Shape
	out  tensor.Shape
	salt uint32 // tells apart operations whose hashes collide
}

// Apply adds the result of rule for the inputs to their graph. The inputs are float32. It is an
// error if one is nil or not float32, or if rule refuses their shapes.
func Apply(rule Rule, inputs ...*gorgonia.Node) (*gorgonia.Node, error) {
	o := op{rule: rule, in: make([]tensor.Shape, len(inputs))}
	for i, n := range inputs {
		if n == nil {
			return nil, fmt.Errorf("kernels: %s: input %d is nil", o, i)
		}
		if n.Dtype() != tensor.Float32 {
			const wrong = "kernels: %s: input %d (%s) is %v, not float32"
			return nil, fmt.Errorf(wrong, o, i, nameOf(n, nil), n.Dtype())
		}
		o.in[i] = n.Shape()
	}
	var err error
	if o.out, err = rule.Shape(o.in); err != nil {
		return nil, fmt.Errorf("kernels: %s: %w", o, err)
	}
	for {
		n, err := gorgonia.ApplyOp(o, inputs...)
		if err != nil {
			return nil, fmt.Errorf("kernels: %s: %w", o, err)
		}
		if sameInputs(n, inputs) && sameOp(n, o) {
			return n, nil
		}
		o.salt++ // gorgonia returned another node with the same 32-bit hash
	}
}

// RuleOf returns the rule of a node that Apply made, or nil for any other node.
func RuleOf(n *gorgonia.Node) Rule {
	if o, ok := n.Op().(op); ok {
		return o.rule
	}
	return nil
}

func sameInputs(n *gorgonia.Node, want gorgonia.Nodes) bool {
	it := n.Graph().From(n.ID())
	for _, w := range want {
		if !it.Next() || it.Node().ID() != w.ID() {
			return false
		}
	}
	return !it.Next()
}

func sameOp(n *gorgonia.Node, o op) bool {
	got, ok := n.Op().(op)
	return ok && got.String() == o.String()
}

func (o op) Arity() int { return len(o.in) }

// Type makes a new type at each call, because gorgonia returns it to a pool.
func (o op) Type() hm.Type {
	ts := make([]hm.Type, 0, len(o.in)+1)
	for _, s := range append(slices.Clone(o.in), o.out) {
		if s.IsScalar() {
			ts = append(ts, tensor.Float32)
			continue
		}
		ts = append(ts, gorgonia.TensorType{Dims: s.Dims(), Of: tensor.Float32})
	}
	return hm.NewFnType(ts...)
}

func (o op) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return o.out.Clone(), nil }

// Do runs the operation in gorgonia's own machines. It allocates the result and the workspace.
func (o op) Do(values ...gorgonia.Value) (gorgonia.Value, error) {
	in := make([]Tensor, len(values))
	for i, v := range values {
		t, err := valueTensor(v)
		if err != nil {
			return nil, fmt.Errorf("kernels: %s: input %d: %w", o, i, err)
		}
		if !slices.Equal(t.Shape, o.in[i]) {
			const wrong = "kernels: %s: input %d has shape %v, not %v"
			return nil, fmt.Errorf(wrong, o, i, t.Shape, o.in[i])
		}
		in[i] = t
	}
	dst := Tensor{Shape: o.out, Data: make([]float32, o.out.TotalSize())}
	var c Context
	c.workspace = make([]float32, workspace(&c, o.rule, o.in)/4)
	o.rule.Eval(&c, dst, in)
	if o.out.IsScalar() {
		return gorgonia.NewF32(dst.Data[0]), nil
	}
	return tensor.New(tensor.WithShape(o.out...), tensor.WithBacking(dst.Data)), nil
}

// valueTensor returns the memory of a gorgonia value. For a scalar it returns a copy.
func valueTensor(v gorgonia.Value) (Tensor, error) {
	switch v := v.(type) {
	case *gorgonia.F32:
		return Tensor{Data: []float32{float32(*v)}}, nil
	case *tensor.Dense:
		if v.Dtype() != tensor.Float32 {
			return Tensor{}, fmt.Errorf("is %v, not float32", v.Dtype())
		}
		return Tensor{Shape: v.Shape(), Data: v.Float32s()}, nil
	}
	return Tensor{}, fmt.Errorf("is a %T, not a float32 tensor", v)
}

func (o op) ReturnsPtr() bool     { return true }
func (o op) CallsExtern() bool    { return false }
func (o op) OverwritesInput() int { return -1 }
func (o op) String() string       { return fmt.Sprintf("%T%+v%v", o.rule, o.rule, o.in) }

func (o op) WriteHash(h hash.Hash) { fmt.Fprintf(h, "%s#%d", o, o.salt) }

func (o op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

func (o op) DiffWRT(inputs int) []bool { return o.rule.Differentiable(inputs) }

func (o op) SymDiff(inputs gorgonia.Nodes, output, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return o.rule.Grad(inputs, output, grad)
}
