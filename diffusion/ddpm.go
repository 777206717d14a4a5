package diffusion

import (
	"context"
	"fmt"
	"iter"
	"math"

	"gorgonia.org/tensor"
)

// DDPMOptions are the choices of DDPM.
type DDPMOptions struct {
	Steps int // network evaluations, 1 to the schedule's number of timesteps
	Noise Noise
}

// DDPM samples by the ancestral process itself (Ho, Jain and Abbeel 2020, eq. 6 and 7, with the posterior's
// variance), as diffusers' DDPMScheduler does with the schedule's config. It is like DDIM in all else.
func DDPM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o DDPMOptions) iter.Seq2[Step, error] {
	if kind := or(s.Config.Variance, "fixed_small"); kind != "fixed_small" {
		return failed(fmt.Errorf("diffusion: variance_type %q is not supported; fixed_small is", kind))
	}
	times, err := s.timesteps(o.Steps, or(s.Config.Spacing, "leading"), or(s.Config.StepsOffset, 0))
	if err != nil {
		return failed(err)
	}
	stride := len(s.AlphaBar) / o.Steps
	return walk(ctx, net, s, x, times, o.Noise, func(t int) move {
		bar, next := s.AlphaBar[t], s.before(t-stride, 1)
		alpha := bar / next
		m := move{clean: math.Sqrt(next) * (1 - alpha) / (1 - bar), state: math.Sqrt(alpha) * (1 - next) / (1 - bar)}
		if t > 0 {
			m.noise = math.Sqrt(max((1-next)/(1-bar)*(1-alpha), 1e-20))
		}
		return m
	})
}
