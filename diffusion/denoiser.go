package diffusion

import (
	"errors"

	"gorgonia.org/gorgonia"
)

// A Denoiser is a network that tells the picture in noisy latents from the noise.
type Denoiser interface {
	// Predict adds to x's graph what the network says [N,H,W,C] of noisy latents x [N,H,W,C] at
	// timesteps t [N] (0 to 999 for Stable Diffusion) under the samples' conditions c. What it
	// says, ε, v, x₀ or ε - x₀, is the Prediction of the Schedule that goes with it.
	Predict(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error)
}

var errNoDenoiser = errors.New("diffusion: there is no Denoiser: it is nil")

// Func adapts a function to Denoiser.
type Func func(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error)

// Predict calls f.
func (f Func) Predict(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error) {
	if f == nil {
		return nil, errNoDenoiser
	}
	return f(x, t, c)
}
