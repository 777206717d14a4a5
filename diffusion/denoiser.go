package diffusion

import "gorgonia.org/gorgonia"

// A Denoiser predicts the noise in noisy latents.
type Denoiser interface {
	// Denoise adds to x's graph the predicted noise ε̂ [N,H,W,C] for noisy latents x [N,H,W,C] at timesteps
	// t [N] (in training steps, 0 to 999 for Stable Diffusion) under conditions c [N,L,D].
	Denoise(x, t, c *gorgonia.Node) (*gorgonia.Node, error)
}

// Func adapts a function to Denoiser.
type Func func(x, t, c *gorgonia.Node) (*gorgonia.Node, error)

// Denoise calls f.
func (f Func) Denoise(x, t, c *gorgonia.Node) (*gorgonia.Node, error) { return f(x, t, c) }
