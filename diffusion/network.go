package diffusion

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// A Compiled is a Denoiser made ready for batches of one shape. It is for one goroutine at a time.
type Compiled struct {
	// Condition is [N,L,D]: write the batch's conditions into it before sampling.
	Condition *tensor.Dense

	x, t    *tensor.Dense
	machine *kernels.Machine
	eps     *gorgonia.Node
}

// Compile compiles d for latents [N,H,W,C] and conditions [N,L,D].
func Compile(d Denoiser, latent, condition tensor.Shape) (*Compiled, error) {
	if latent.Dims() != 4 || condition.Dims() != 3 || latent[0] != condition[0] {
		return nil, fmt.Errorf("diffusion: latents %v and conditions %v are not [N,H,W,C] and [N,L,D]", latent, condition)
	}
	c := &Compiled{
		Condition: tensor.New(tensor.WithShape(condition...), tensor.Of(tensor.Float32)),
		x:         tensor.New(tensor.WithShape(latent...), tensor.Of(tensor.Float32)),
		t:         tensor.New(tensor.WithShape(latent[0]), tensor.Of(tensor.Float32)),
	}
	g := gorgonia.NewGraph()
	eps, err := d.Denoise(kernels.Input(g, "x", c.x), kernels.Input(g, "t", c.t), kernels.Input(g, "condition", c.Condition))
	if err != nil {
		return nil, err
	}
	c.eps = eps
	if c.machine, err = kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{eps}}); err != nil {
		return nil, err
	}
	return c, nil
}

// Predict is the Network: ε̂ of latents x, all at timestep t, under Condition.
func (c *Compiled) Predict(x *tensor.Dense, t float64) (*tensor.Dense, error) {
	if !x.Shape().Eq(c.x.Shape()) || x.Dtype() != tensor.Float32 {
		return nil, fmt.Errorf("diffusion: latents %v %v are not the float32 %v that the network was compiled for", x.Dtype(), x.Shape(), c.x.Shape())
	}
	copy(c.x.Float32s(), x.Float32s())
	times := c.t.Float32s()
	for i := range times {
		times[i] = float32(t)
	}
	if err := c.machine.RunAll(); err != nil {
		return nil, err
	}
	return c.machine.Value(c.eps), nil
}

// Plan says what memory the network takes.
func (c *Compiled) Plan() kernels.Plan { return c.machine.Plan() }

// Close frees the network's memory.
func (c *Compiled) Close() error { return c.machine.Close() }
