package cases

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// Operations are those of Stable Diffusion 1.5's UNet at 64×64 latents, of a batch of so many.
func Operations(batch int) []Case {
	var all []Case
	// The levels of the UNet: channels, and the side of their maps.
	levels := [][2]int{{320, 64}, {640, 32}, {1280, 16}, {1280, 8}}
	for i, l := range levels {
		c, tokens := l[0], l[1]*l[1]
		all = append(all, linear(batch, tokens, c, c)...)
		if i < 3 {
			all = append(all, linear(batch, tokens, c, 8*c)...)
			all = append(all, linear(batch, tokens, 4*c, c)...)
		}
	}
	all = append(all, linear(batch, 77, 768, 320)...)
	all = append(all, linear(batch, 77, 768, 1280)...)
	for _, c := range []struct{ in, out, side, kernel, stride int }{
		{4, 320, 64, 3, 1}, {320, 320, 64, 3, 1}, {960, 320, 64, 3, 1}, {320, 320, 64, 3, 2},
		{640, 640, 32, 3, 1}, {1920, 640, 32, 3, 1}, {1280, 1280, 16, 3, 1}, {2560, 1280, 16, 3, 1},
		{1280, 1280, 8, 3, 1}, {960, 320, 64, 1, 1}, {320, 4, 64, 3, 1},
	} {
		all = append(all, conv(batch, c.in, c.out, c.side, c.kernel, c.stride)...)
	}
	for i, l := range levels {
		d, tokens := l[0]/8, l[1]*l[1]
		all = append(all, attention(batch, tokens, tokens, d)...)
		if i < 3 {
			all = append(all, attention(batch, tokens, 77, d)...)
		}
	}
	for _, l := range levels[:3] {
		all = append(all, norms(batch, l[0], l[1])...)
	}
	return all
}

// An operation is a kernel with its gradients.
type operation struct {
	name   string
	inputs [][]int
	flops  float64 // of the result, and of the gradient by each input; 0: memory decides
	// grads are what the gradients by the inputs are called. One that is empty is left out. Without
	// any all gradients are one pass, which takes factor times the flops.
	grads  []string
	factor float64
	// joined says that the gradients are timed together with the result, which they are computed
	// from.
	joined bool
	make   func(in gorgonia.Nodes) (*gorgonia.Node, error)
}

// cases are its passes.
func (o operation) cases() []Case {
	bytes := func(n int) func(p kernels.Precision) float64 {
		return func(p kernels.Precision) float64 { return float64(n) * float64(p.Size()) }
	}
	in := 0
	for _, s := range o.inputs {
		in += tensor.Shape(s).TotalSize()
	}
	out := tensor.Shape(o.result()).TotalSize()
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
			in = append(in, kernels.Param(g, normal(fmt.Sprint(o.name, i), s...)))
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

func linear(batch, tokens, in, out int) []Case {
	return operation{
		name:   fmt.Sprintf("linear/%d→%d/tokens=%d/batch=%d", in, out, tokens, batch),
		flops:  2 * float64(batch*tokens) * float64(in) * float64(out),
		inputs: [][]int{{batch, tokens, in}, {out, in}, {out}},
		grads:  []string{"input", "weight", ""},
		make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
			return kernels.Linear(in[0], in[1], in[2])
		},
	}.cases()
}

func conv(batch, in, out, side, kernel, stride int) []Case {
	c := kernels.Same(kernel)
	c.Stride = stride
	at := float64(side / stride)
	return operation{
		name: fmt.Sprintf("conv/%d→%d/side=%d/kernel=%d/stride=%d/batch=%d",
			in, out, side, kernel, stride, batch),
		flops:  2 * float64(batch) * at * at * float64(in*kernel*kernel) * float64(out),
		inputs: [][]int{{batch, side, side, in}, {out, kernel, kernel, in}, {out}},
		grads:  []string{"input", "weight", ""},
		make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
			return kernels.Conv2D(in[0], in[1], in[2], c)
		},
	}.cases()
}

func attention(batch, queries, keys, d int) []Case {
	const heads = 8
	q, kv := []int{batch, queries, heads * d}, []int{batch, keys, heads * d}
	return operation{
		name: fmt.Sprintf("attention/d=%d/queries=%d/keys=%d/batch=%d", d, queries, keys, batch),
		// Two products forward. Backward the scores are made again, and four more follow.
		flops:  4 * float64(batch*heads) * float64(queries) * float64(keys) * float64(d),
		inputs: [][]int{q, kv, kv},
		factor: 1 + 2.5, joined: true,
		make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
			return kernels.Attention(in[0], in[1], in[2], kernels.AttentionOptions{Heads: heads})
		},
	}.cases()
}

// norms are what is between the products of a level.
func norms(batch, channels, side int) (all []Case) {
	tokens := side * side
	at := fmt.Sprintf("channels=%d/tokens=%d/batch=%d", channels, tokens, batch)
	c := []int{channels}
	for _, o := range []operation{
		{
			name:   "group norm + SiLU/" + at,
			inputs: [][]int{{batch, side, side, channels}, c, c},
			make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
				return kernels.GroupNorm(in[0], in[1], in[2], 32, 1e-5, kernels.SiLUActivation)
			},
		},
		{
			name:   "layer norm/" + at,
			inputs: [][]int{{batch, tokens, channels}, c, c},
			make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
				return kernels.LayerNorm(in[0], in[1], in[2], 1e-5, kernels.Identity)
			},
		},
		{
			name:   "GEGLU/" + at,
			inputs: [][]int{{batch, tokens, 8 * channels}},
			make: func(in gorgonia.Nodes) (*gorgonia.Node, error) {
				return kernels.GEGLU(in[0])
			},
		},
	} {
		all = append(all, o.cases()...)
	}
	return all
}
