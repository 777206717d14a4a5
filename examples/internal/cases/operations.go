package cases

import (
	"context"
	"fmt"
	"reflect"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// Operations are those of the UNets of Stable Diffusion 1.5, at 64×64 latents, and of the
// miniature, of a batch of so many: every product, convolution, attention, norm and GEGLU that
// their graphs have, and a softmax.
func Operations(batch int) []Case {
	var all []Case
	for _, n := range []network{sd15, miniature} {
		prefix := ""
		if n.name == miniature.name {
			prefix = "miniature/"
		}
		some, err := n.operations(batch, prefix)
		if err != nil {
			panic(fmt.Sprintf("cases: %s: %v", n.name, err))
		}
		for _, o := range some {
			all = append(all, o.cases()...)
		}
	}
	return append(all, softmax(4096*batch, 4096).cases()...)
}

// Kinds of operations, in the order in which they are timed.
const (
	linears = iota
	convolutions
	attentions
	norms
	passes
)

// An operation is a rule at fixed shapes, with its gradients.
type operation struct {
	name   string
	kind   int
	inputs []tensor.Shape
	flops  float64 // of the result, and of the gradient by each input; 0: memory decides
	// grads are what the gradients by the inputs are called. One that is empty is left out. Without
	// any all gradients are one pass, which takes factor times the flops.
	grads  []string
	factor float64
	// joined says that the gradients are timed together with the result, which they are computed
	// from.
	joined bool
	make   func(in gorgonia.Nodes) (*gorgonia.Node, error)
	// bind makes the inputs, if they are not normal values.
	bind func(i int, shape tensor.Shape) *tensor.Dense
}

// operationOf is the operation of a node of a graph for so many latents. ok says that it is one
// that is timed.
func operationOf(n *gorgonia.Node, batch int) (o operation, ok bool) {
	rule := kernels.RuleOf(n)
	if rule == nil {
		return o, false
	}
	for _, i := range inputsOf(n) {
		o.inputs = append(o.inputs, i.Shape())
	}
	o.make = func(in gorgonia.Nodes) (*gorgonia.Node, error) { return kernels.Apply(rule, in...) }
	in, out := o.inputs, n.Shape()
	positions := out.TotalSize() / out[len(out)-1] / batch
	at := fmt.Sprintf("tokens=%d/batch=%d", positions, batch)
	field := reflect.ValueOf(rule).FieldByName // whose fields are all that decides a rule
	switch kind := fmt.Sprintf("%T", rule); kind {
	case "kernels.linear":
		o.kind, o.grads = linears, []string{"input", "weight", ""}
		o.name = fmt.Sprintf("linear/%d→%d/%s", in[1][1], in[1][0], at)
		o.flops = 2 * float64(out.TotalSize()) * float64(in[1][1])
	case "kernels.conv2D":
		o.kind, o.grads = convolutions, []string{"input", "weight", ""}
		o.name = fmt.Sprintf("conv/%d→%d/side=%d/kernel=%d/stride=%d/batch=%d", in[1][3], in[1][0],
			in[0][1], in[1][1], field("Stride").Int(), batch)
		o.flops = 2 * float64(out.TotalSize()) * float64(in[1].TotalSize()/in[1][0])
	case "kernels.attention":
		// Two products forward. Backward the scores are made again, and four more follow.
		o.kind, o.factor, o.joined = attentions, 1+2.5, true
		o.name = fmt.Sprintf("attention/d=%d/queries=%d/keys=%d/batch=%d",
			in[0][2]/int(field("Heads").Int()), in[0][1], in[1][1], batch)
		o.flops = 4 * float64(in[0].TotalSize()) * float64(in[1][1])
	case "kernels.norm":
		o.kind, o.name = norms, "layer norm"
		if field("Groups").Int() > 0 {
			o.name = "group norm"
		}
		if fmt.Sprint(field("Activation")) == kernels.SiLUActivation.String() {
			o.name += " + SiLU"
		}
		o.name += fmt.Sprintf("/channels=%d/%s", in[1][0], at)
	case "kernels.geglu":
		o.kind, o.name = passes, fmt.Sprintf("GEGLU/channels=%d/%s", out[len(out)-1], at)
	default:
		return o, false
	}
	return o, true
}

// softmax is the loss of so many rows over a softmax, as classifiers have it.
func softmax(rows, columns int) operation {
	return operation{
		name:   fmt.Sprintf("softmax cross-entropy/rows=%d/columns=%d", rows, columns),
		kind:   passes,
		inputs: []tensor.Shape{{rows, columns}, {rows}},
		make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
			return kernels.SoftmaxCrossEntropy(in[0], in[1], nil)
		},
		bind: func(i int, shape tensor.Shape) *tensor.Dense {
			if i == 0 {
				return normal("logits", shape...)
			}
			return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
		},
	}
}

// cases are its passes.
func (o operation) cases() []Case {
	bytes := func(n int) func(p kernels.Precision) float64 {
		return func(p kernels.Precision) float64 { return float64(n) * float64(p.Size()) }
	}
	in := 0
	for _, s := range o.inputs {
		in += s.TotalSize()
	}
	out := o.result().TotalSize()
	all := []Case{{
		Name: o.name + "/forward", Flops: o.flops,
		Bytes:   bytes(in + out),
		Prepare: o.prepare(-1),
	}}
	if o.grads == nil {
		name := "/backward"
		if o.joined {
			name = "/forward+backward"
		}
		return append(all, Case{
			Name: o.name + name, Flops: o.factor * o.flops,
			Bytes:   bytes(2*in + out),
			Prepare: o.prepare(len(o.inputs)),
		})
	}
	for i, name := range o.grads {
		if name != "" {
			all = append(all, Case{
				Name: o.name + "/" + name, Flops: o.flops, Prepare: o.prepare(i),
				Bytes: bytes(in + out),
			})
		}
	}
	return all
}

// result is the shape of the result.
func (o operation) result() tensor.Shape {
	g := gorgonia.NewGraph()
	var in gorgonia.Nodes
	for i, s := range o.inputs {
		in = append(in, gorgonia.NewTensor(g, tensor.Float32, len(s), gorgonia.WithShape(s...),
			gorgonia.WithName(fmt.Sprint(i))))
	}
	out, err := o.make(in)
	if err != nil {
		panic(fmt.Sprintf("cases: %s: %v", o.name, err))
	}
	return out.Shape()
}

// prepare makes the result, the gradient by one input, or those by all inputs. Inputs are
// parameters, so that a device has them.
func (o operation) prepare(pass int) func(context.Context, kernels.Config) (*Runner, error) {
	return func(_ context.Context, m kernels.Config) (*Runner, error) {
		g := gorgonia.NewGraph()
		var in gorgonia.Nodes
		for i, s := range o.inputs {
			value := o.bind
			if value == nil {
				value = func(i int, s tensor.Shape) *tensor.Dense {
					return normal(fmt.Sprint(o.name, i), s...)
				}
			}
			in = append(in, kernels.Param(g, value(i, s)))
		}
		out, err := o.make(in)
		if err != nil {
			return nil, err
		}
		results := gorgonia.Nodes{out}
		if pass >= 0 {
			dout, err := out, error(nil)
			if o.joined {
				dout, err = kernels.Scale(out, 0.5)
			} else {
				dout = kernels.Param(g, normal(o.name, out.Shape()...))
			}
			if err != nil {
				return nil, err
			}
			if results, err = kernels.RuleOf(out).Grad(in, out, dout); err != nil {
				return nil, err
			}
			if pass < len(o.inputs) {
				results = results[pass : pass+1]
			}
		}
		// One value of each is kept: to keep all would be to convert all to float32.
		m.Keep = nil
		for _, n := range results {
			if n == nil {
				continue
			}
			one, err := kernels.View(n, 0, 1)
			if err != nil {
				return nil, err
			}
			m.Keep = append(m.Keep, one)
		}
		machine, err := kernels.NewMachine(g, m)
		if err != nil {
			return nil, err
		}
		return &Runner{Plan: machine.Plan(), Run: machine.RunAll, Close: machine.Close}, nil
	}
}

// normal is a tensor of standard normal values, of which there are at most a million.
func normal(name string, shape ...int) *tensor.Dense {
	t := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	x := t.Float32s()
	n := min(len(x), 1<<20)
	rng.Normal(x[:n], 1, "bench "+name, 0, 0)
	for ; n < len(x); n *= 2 {
		copy(x[n:], x[:n])
	}
	return t
}
