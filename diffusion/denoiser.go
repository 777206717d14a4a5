package diffusion

import "gorgonia.org/gorgonia"

// A Denoiser predicts the noise in noisy latents.
type Denoiser interface {
	// Denoise adds to x's graph the predicted noise ε̂ [N,H,W,C] for noisy latents x [N,H,W,C] at timesteps
	// t [N] (in training steps, 0 to 999 for Stable Diffusion) under the samples' conditions c.
	Denoise(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error)
}

// Func adapts a function to Denoiser.
type Func func(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error)

// Denoise calls f.
func (f Func) Denoise(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error) {
	return f(x, t, c)
}
