package diffusion

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/kernels"
)

// A Compiled is a Denoiser made ready for batches of one shape. It is for one goroutine at a time.
type Compiled struct {
	// Condition is the batch's, of N rows: Fill it with the samples' conditions before sampling.
	Condition dataset.Condition

	x, t    *tensor.Dense
	machine *kernels.Machine
	said    *gorgonia.Node
}

// Compile compiles d for latents [N,H,W,C] under conditions that have the parts and shapes of like,
// which is one sample's.
func Compile(d Denoiser, latent tensor.Shape, like dataset.Condition) (*Compiled, error) {
	return CompileOn(kernels.Config{}, d, latent, like)
}

// CompileOn is Compile for a machine of a configuration: in which precision it computes, on which
// device. Want is set.
func CompileOn(
	machine kernels.Config, d Denoiser, latent tensor.Shape, like dataset.Condition,
) (*Compiled, error) {
	if d == nil {
		return nil, errNoDenoiser
	}
	if latent.Dims() != 4 {
		return nil, fmt.Errorf("diffusion: latents %v are not [N,H,W,C]", latent)
	}
	if err := like.Fits(like); err != nil {
		return nil, fmt.Errorf("diffusion: %w", err)
	}
	c := &Compiled{
		Condition: like.Batch(latent[0]),
		x:         tensor.New(tensor.WithShape(latent...), tensor.Of(tensor.Float32)),
		t:         tensor.New(tensor.WithShape(latent[0]), tensor.Of(tensor.Float32)),
	}
	g := gorgonia.NewGraph()
	x, t := kernels.Input(g, "x", c.x), kernels.Input(g, "t", c.t)
	said, err := d.Predict(x, t, Input(g, c.Condition))
	if err != nil {
		return nil, err
	}
	c.said = said
	machine.Want = gorgonia.Nodes{said}
	c.machine, err = kernels.NewMachine(g, machine)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Predict is the Network: what it says of latents x, all at timestep t, under Condition.
func (c *Compiled) Predict(x *tensor.Dense, t float64) (*tensor.Dense, error) {
	if !x.Shape().Eq(c.x.Shape()) || x.Dtype() != tensor.Float32 {
		return nil, fmt.Errorf("diffusion: latents %v %v are not the float32 %v that the network "+
			"was compiled for", x.Dtype(), x.Shape(), c.x.Shape())
	}
	copy(c.x.Float32s(), x.Float32s())
	times := c.t.Float32s()
	for i := range times {
		times[i] = float32(t)
	}
	if err := c.machine.RunAll(); err != nil {
		return nil, err
	}
	return c.machine.Value(c.said), nil
}

// Plan says what memory the network takes.
func (c *Compiled) Plan() kernels.Plan { return c.machine.Plan() }

// Close frees the network's memory.
func (c *Compiled) Close() error { return c.machine.Close() }
