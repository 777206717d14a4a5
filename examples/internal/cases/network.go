package cases

import (
	"fmt"
	"slices"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A network is a UNet to time, with the shape of what it reads.
type network struct {
	name string
	// shaped returns the UNet, whose weights are zeros that take no memory until they are drawn.
	shaped                        func() (*unet.UNet2DCondition, error)
	side, channels, tokens, width int // of latents, and of conditions
}

// miniature is small.
var miniature = network{
	name: "miniature", side: 16, channels: 4, tokens: 16, width: 64,
	shaped: func() (*unet.UNet2DCondition, error) { return unet.New(miniatureConfig) },
}

// sd15 has the shape of Stable Diffusion 1.5's. All cases have the same one.
var sd15 = network{
	name: "sd15", side: 64, channels: 4, tokens: 77, width: 768,
	shaped: sync.OnceValues(func() (*unet.UNet2DCondition, error) {
		c := unet.DefaultConfig()
		c.SampleSize, c.CrossAttentionDim = 64, nn.Ints{768}
		return unet.New(c)
	}),
}

// drawSD15 draws the weights of sd15, once.
var drawSD15 = sync.OnceValues(func() (*unet.UNet2DCondition, error) {
	u, err := sd15.shaped()
	if err == nil {
		nn.Init(u, 1)
	}
	return u, err
})

// load returns the UNet with weights that nobody has trained.
func (n network) load() (*unet.UNet2DCondition, error) {
	if n.name == sd15.name {
		return drawSD15()
	}
	return Miniature()
}

// graph is an evaluation for so many latents. in makes the inputs.
func (n network) graph(
	d diffusion.Denoiser, batch int, in func(name string, shape ...int) *gorgonia.Node,
) (*gorgonia.Node, error) {
	return d.Predict(in("latents", batch, n.side, n.side, n.channels), in("timesteps", batch),
		diffusion.Condition{Tokens: in("tokens", batch, n.tokens, n.width)})
}

// unbound makes inputs of a graph that is not run.
func unbound(g *gorgonia.ExprGraph) func(name string, shape ...int) *gorgonia.Node {
	return func(name string, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithShape(shape...),
			gorgonia.WithName(name))
	}
}

// operations are those of an evaluation for so many latents, each once, by kind and in the order in
// which the network does them. The names begin with a prefix.
func (n network) operations(batch int, prefix string) ([]operation, error) {
	u, err := n.shaped()
	if err != nil {
		return nil, err
	}
	g := gorgonia.NewGraph()
	if _, err := n.graph(u, batch, unbound(g)); err != nil {
		return nil, err
	}
	var all []operation
	for _, node := range inOrder(g) {
		o, ok := operationOf(node, batch)
		same := func(other operation) bool { return other.name == prefix+o.name }
		if !ok || slices.ContainsFunc(all, same) {
			continue
		}
		o.name = prefix + o.name
		all = append(all, o)
	}
	slices.SortStableFunc(all, func(a, b operation) int { return a.kind - b.kind })
	return all, nil
}

// inOrder are the nodes of a graph in the order in which they were made.
func inOrder(g *gorgonia.ExprGraph) gorgonia.Nodes {
	all := slices.Clone(g.AllNodes())
	slices.SortFunc(all, func(a, b *gorgonia.Node) int { return int(a.ID() - b.ID()) })
	return all
}

// inputsOf are the inputs of a node.
func inputsOf(n *gorgonia.Node) (in gorgonia.Nodes) {
	for it := n.Graph().From(n.ID()); it.Next(); {
		in = append(in, it.Node().(*gorgonia.Node))
	}
	return in
}

// arithmetic is that of the products of a graph, and of the gradients by what is trained. Attention
// computes its scores again for its gradient.
func arithmetic(g *gorgonia.ExprGraph, trained []kernels.Parameter) (flops float64) {
	needed := map[*gorgonia.Node]bool{}
	for _, p := range trained {
		needed[kernels.Param(g, p.Value)] = true
	}
	for _, n := range inOrder(g) {
		in := inputsOf(n)
		if slices.ContainsFunc(in, func(i *gorgonia.Node) bool { return needed[i] }) {
			needed[n] = true
		}
		o, ok := operationOf(n, 1)
		if !ok || o.flops == 0 {
			continue
		}
		flops += o.flops
		if o.kind == attentions {
			if needed[n] {
				flops += 2.5 * o.flops
			}
			continue
		}
		for _, i := range in[:2] { // a bias takes no products
			if needed[i] {
				flops += o.flops
			}
		}
	}
	return flops
}

// evaluation is the arithmetic of an evaluation for a picture.
func (n network) evaluation() (float64, error) {
	u, err := n.shaped()
	if err != nil {
		return 0, err
	}
	return n.count(u, nil)
}

// training is the arithmetic of an update from a picture, of all weights or of low-rank pairs.
func (n network) training(pairs bool) (float64, error) {
	u, err := n.shaped()
	if err != nil {
		return 0, err
	}
	if !pairs {
		return n.count(u, nn.Parameters(u))
	}
	a, err := lora.New(u, rank4)
	if err != nil {
		return 0, err
	}
	defer a.Detach()
	return n.count(a, a.Trainable())
}

func (n network) count(d diffusion.Denoiser, trained []kernels.Parameter) (float64, error) {
	g := gorgonia.NewGraph()
	if _, err := n.graph(d, 1, unbound(g)); err != nil {
		return 0, fmt.Errorf("%s: %w", n.name, err)
	}
	return arithmetic(g, trained), nil
}

// rank4 are the pairs that are timed.
var rank4 = lora.Config{Rank: 4, Alpha: 4}
