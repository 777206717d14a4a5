package kernels

import (
	"fmt"
	"reflect"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A kind says where a value comes from.
type kind uint8

const (
	input    kind = iota // the caller binds it to the node
	constant             // it is part of the graph
	computed             // a Rule computes it
	foreign              // an operation of another package computes it, with Do
)

// A value is a node as the machine sees it. Values are numbered in the order in which their nodes
// were made, which is topological. Conversions of values come in between.
type value struct {
	node  *gorgonia.Node
	kind  kind
	rule  Rule  // of a computed value
	in    []int // the values that it is computed from
	shape tensor.Shape
	typ   Precision
	half  bool // of an input: it is the kept copy of a parameter in bfloat16
	size  int  // how many numbers; a scalar has one
	boxed bool // the node is not float32: a gorgonia.Value holds it, outside the arena

	root   int // the value whose memory holds this one: itself, unless it is a view
	offset int // where in root it begins, in numbers

	readers []int // values computed from this one or from its views; of roots only
	wanted  bool  // this value or one of its views outlives the run; of roots only
}

// A program is the part of a graph that is wanted.
type program struct {
	context   Context // of the machine, without its memory
	values    []value
	index     map[*gorgonia.Node]int
	out       map[*gorgonia.Node]int // the values of nodes that are read after a run
	converted map[int]int            // the conversions of results of steps, by value

	onDevice bool                        // whether a device runs it
	resident func(n *gorgonia.Node) bool // whether an input is a parameter that is kept
	halves   map[int]int                 // their copies in bfloat16, by parameter
}

// newProgram numbers the values that the nodes in need are computed from. Those in need are made
// available in float32. Those in out are made to outlive the run. It takes time linear in the
// graph.
func newProgram(
	g *gorgonia.ExprGraph, need, out gorgonia.Nodes, precision Precision,
) (*program, error) {
	none := func(*gorgonia.Node) bool { return false }
	return newResidentProgram(g, need, out, Context{precision: precision}, none)
}

// newResidentProgram is newProgram for a machine that keeps parameters, or copies of them, from run
// to run. resident says whether an input is one.
func newResidentProgram(
	g *gorgonia.ExprGraph, need, out gorgonia.Nodes, context Context,
	resident func(n *gorgonia.Node) bool,
) (*program, error) {
	for _, n := range g.AllNodes() {
		if err := refuseStatement(n); err != nil {
			return nil, err
		}
	}
	children, err := reachable(g, need)
	if err != nil {
		return nil, err
	}
	nodes := make(gorgonia.Nodes, 0, len(children))
	for n := range children {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *gorgonia.Node) int { return int(a.ID() - b.ID()) })
	p := &program{
		context:   context,
		values:    make([]value, 0, len(nodes)),
		index:     make(map[*gorgonia.Node]int, len(nodes)),
		out:       make(map[*gorgonia.Node]int),
		converted: make(map[int]int),
		resident:  resident,
		halves:    make(map[int]int),
	}
	needed := make(map[*gorgonia.Node]bool, len(need))
	for _, n := range need {
		needed[n] = true
	}
	for _, n := range nodes {
		if err := p.add(n, children[n]); err != nil {
			return nil, fmt.Errorf("kernels: node %d (%s): %w", n.ID(), n.Name(), err)
		}
		if needed[n] {
			p.as(p.index[n], Float32)
		}
	}
	for _, n := range out {
		if err := p.readOut(n); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readOut makes the value of a node outlive the run. The memory of an input is copied.
func (p *program) readOut(n *gorgonia.Node) error {
	i := p.as(p.index[n], Float32)
	v := p.values[i]
	if v.boxed {
		const wrong = "kernels: wanted node %d (%s) is %v, not float32"
		return fmt.Errorf(wrong, n.ID(), n.Name(), n.Dtype())
	}
	if _, ok := p.out[n]; ok {
		return nil
	}
	if !p.values[v.root].runs() {
		i = p.push(value{
			node: n, kind: computed, rule: convert{}, in: []int{i}, shape: v.shape, size: v.size,
		})
	}
	p.values[p.values[i].root].wanted = true
	p.out[n] = i
	return nil
}

// refuseStatement rejects gorgonia's statements, which work inside its own machines only.
func refuseStatement(n *gorgonia.Node) error {
	switch op := n.Op(); {
	case op == nil:
		return nil
	case reflect.TypeOf(op).String() == "gorgonia.readOp":
		const wrong = "kernels: node %d (%s): gorgonia.Read is not supported: " +
			"want the node and read it with Machine.Value"
		return fmt.Errorf(wrong, n.ID(), n.Name())
	case reflect.TypeOf(op).String() == "gorgonia.letOp":
		const wrong = "kernels: node %d (%s): gorgonia.Set is not supported: " +
			"bind inputs with gorgonia.Let"
		return fmt.Errorf(wrong, n.ID(), n.Name())
	}
	return nil
}

// reachable returns the wanted nodes and all nodes that they are computed from, each with its
// inputs in order.
func reachable(
	g *gorgonia.ExprGraph, want gorgonia.Nodes,
) (map[*gorgonia.Node]gorgonia.Nodes, error) {
	children := make(map[*gorgonia.Node]gorgonia.Nodes)
	todo := slices.Clone(want)
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, ok := children[n]; ok {
			continue
		}
		if n.Graph() != g || g.Node(n.ID()) != n {
			const wrong = "kernels: node %d (%s) is not, or no longer, a node of the graph"
			return nil, fmt.Errorf(wrong, n.ID(), n.Name())
		}
		it := g.From(n.ID())
		in := make(gorgonia.Nodes, 0, it.Len())
		for it.Next() {
			in = append(in, it.Node().(*gorgonia.Node))
		}
		children[n] = in
		todo = append(todo, in...)
	}
	return children, nil
}

// add appends the value of a node. The values of its inputs are there already.
func (p *program) add(n *gorgonia.Node, inputs gorgonia.Nodes) error {
	v := value{node: n, shape: n.Shape(), boxed: n.Dtype() != tensor.Float32}
	v.size = v.shape.TotalSize()
	for _, c := range inputs {
		k, ok := p.index[c]
		if !ok {
			return fmt.Errorf("its input %d (%s) was created after it", c.ID(), c.Name())
		}
		v.in = append(v.in, k)
	}
	switch o := n.Op().(type) {
	case nil:
		v.kind = input
	case interface{ Value() gorgonia.Value }:
		v.kind, v.in = constant, nil
	case op:
		v.kind, v.rule = computed, o.rule
	default:
		v.kind = foreign
		if isAdd(n, inputs) {
			v.kind, v.rule = computed, sum{}
		}
	}
	if v.kind == computed {
		for _, k := range v.in {
			if c := &p.values[k]; c.boxed {
				return fmt.Errorf("its input %s is %v, not float32", c.node.Name(), c.node.Dtype())
			}
		}
	}
	takes, gives, err := p.typesOf(&v)
	if err != nil {
		return err
	}
	v.typ = gives
	for k, t := range takes {
		v.in[k] = p.as(v.in[k], t)
	}
	p.index[n] = p.push(v)
	return nil
}

// push appends a value and returns its number.
func (p *program) push(v value) int {
	i := len(p.values)
	v.root = i
	if a, ok := v.rule.(Aliaser); ok {
		in := p.values[v.in[0]]
		v.root, v.offset = in.root, in.offset+a.Alias()
	} else {
		for k, c := range v.in {
			if !repeated(p, v.in, k) {
				r := &p.values[p.values[c].root]
				r.readers = append(r.readers, i)
			}
		}
	}
	p.values = append(p.values, v)
	return i
}

// repeated reports whether the memory of in[k] is also that of an earlier input.
func repeated(p *program, in []int, k int) bool {
	for _, c := range in[:k] {
		if p.values[c].root == p.values[in[k]].root {
			return true
		}
	}
	return false
}

// runs reports whether the value is the result of a step. Otherwise it is given, or part of another
// value.
func (v *value) runs() bool {
	if v.kind != computed {
		return v.kind == foreign
	}
	_, view := v.rule.(Aliaser)
	return !view
}

// bytes returns how much memory the value takes.
func (v *value) bytes() int { return v.size * v.typ.Size() }

// isAdd recognizes the addition of equal shapes that gorgonia puts where gradients meet.
func isAdd(n *gorgonia.Node, in gorgonia.Nodes) bool {
	if len(in) != 2 || n.Dtype() != tensor.Float32 {
		return false
	}
	for _, c := range in {
		if c.Dtype() != tensor.Float32 || c.IsScalar() != n.IsScalar() || !c.Shape().Eq(n.Shape()) {
			return false
		}
	}
	add := gorgonia.NewAddOp(in[0], in[1], gorgonia.ExecutionContext{}).Op
	return reflect.TypeOf(n.Op()) == reflect.TypeOf(add) && n.Op().Hashcode() == add.Hashcode()
}

// sum is gorgonia's addition of equal shapes, as a rule of this package.
type sum struct{}

func (sum) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0], nil }
func (sum) InPlace() int                                  { return 0 }
func (sum) Differentiable(n int) []bool                   { return make([]bool, n) }

func (sum) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.Add(c.pool, dst.Data, in[0].Data, in[1].Data)
}

func (sum) launch(c *call) {
	cuda.Add(c.Queue, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor)
}

func (sum) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (sum) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
