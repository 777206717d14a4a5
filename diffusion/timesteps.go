package diffusion

import (
	"fmt"
	"math"
	"slices"
)

// timesteps spreads a sampler's steps over training's, noisiest first, as diffusers does (Lin et al. 2023, table 2).
func (s *Schedule) timesteps(steps int, spacing string, offset int) ([]int, error) {
	n := len(s.AlphaBar)
	if steps < 1 || steps > n {
		return nil, fmt.Errorf("diffusion: %d sampling steps are not between 1 and the %d steps of training", steps, n)
	}
	out := make([]int, steps)
	for i := range out {
		switch spacing {
		case "leading":
			out[i] = i*(n/steps) + offset
		case "linspace":
			out[i] = int(math.RoundToEven(float64(n-1) / float64(max(steps-1, 1)) * float64(i)))
		case "trailing":
			out[i] = int(math.RoundToEven(float64(n)-float64(n)/float64(steps)*float64(steps-1-i))) - 1
		default:
			return nil, fmt.Errorf("diffusion: timestep_spacing %q is none of leading, linspace and trailing", spacing)
		}
		if out[i] < 0 || out[i] >= n {
			return nil, fmt.Errorf("diffusion: %d sampling steps with steps_offset %d reach timestep %d, beyond the %d of training", steps, offset, out[i], n)
		}
	}
	slices.Reverse(out)
	return out, nil
}
