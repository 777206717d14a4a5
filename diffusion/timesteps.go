package diffusion

import (
	"fmt"
	"math"
)

// spread is a sampler's timesteps, noisiest first, as diffusers spreads them over the first last of training's (Lin et al. 2024,
// table 2). Those of linspace are not rounded yet.
func (s *Schedule) spread(last, steps int, spacing string) ([]float64, error) {
	n := len(s.AlphaBar)
	out := make([]float64, 0, steps)
	switch spacing {
	case "leading":
		for i := range steps {
			out = append(out, float64((steps-1-i)*(last/steps)+or(s.Config.StepsOffset, 0)))
		}
	case "linspace":
		for i := range steps {
			out = append(out, float64(last-1)/float64(max(steps-1, 1))*float64(steps-1-i))
		}
	case "trailing":
		// As NumPy's arange does it, whose rounding decides the halves. Where rounding makes it one too long (61 steps of
		// 1000), diffusers has a last timestep -1; it is left out here.
		from := float64(last)
		stride := (from - float64(n)/float64(steps)) - from
		for i := 0; i < steps && from+float64(i)*stride > 0.5; i++ {
			out = append(out, math.RoundToEven(from+float64(i)*stride)-1)
		}
	default:
		return nil, fmt.Errorf("diffusion: timestep_spacing %q is none of leading, linspace and trailing", spacing)
	}
	if t := out[0]; t >= float64(n) {
		return nil, fmt.Errorf("diffusion: %d sampling steps with steps_offset %d reach timestep %.0f, beyond the %d of training", steps, or(s.Config.StepsOffset, 0), t, n)
	}
	if t := out[len(out)-1]; t < 0 {
		return nil, fmt.Errorf("diffusion: %d sampling steps with steps_offset %d reach timestep %.0f", steps, or(s.Config.StepsOffset, 0), t)
	}
	return out, nil
}

// timesteps are the whole timesteps of DDIM, DDPM and PNDM.
func (s *Schedule) timesteps(steps int) ([]int, error) {
	if err := s.checkSteps(steps); err != nil {
		return nil, err
	}
	times, err := s.spread(len(s.AlphaBar), steps, or(s.Config.Spacing, "leading"))
	out := make([]int, len(times))
	for i, t := range times {
		out[i] = int(math.RoundToEven(t))
	}
	return out, err
}

func (s *Schedule) checkSteps(steps int) error {
	if n := len(s.AlphaBar); steps < 1 || steps > n {
		return fmt.Errorf("diffusion: %d sampling steps are not between 1 and the %d steps of training", steps, n)
	}
	return nil
}
