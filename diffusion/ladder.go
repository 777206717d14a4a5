package diffusion

import (
	"fmt"
	"math"
)

// A ladder is what the samplers of Stable Diffusion go down: a Table's ᾱ of each timestep of
// training, and the config as the sampler's class reads it.
type ladder struct {
	bars   []float64
	config Config
	says   Prediction
}

// ladder is the schedule for a sampler of a class of diffusers.
func (s *Schedule) ladder(class string, o SampleOptions) (ladder, error) {
	if s == nil {
		return ladder{}, errNoSchedule
	}
	table, ok := s.Process.(Table)
	l := ladder{table.AlphaBar, s.settled(class), s.Prediction}
	switch n := len(l.bars); {
	case !ok:
		return l, fmt.Errorf("diffusion: %s goes down the timesteps of a Table, and the process "+
			"is a %T", class, s.Process)
	case o.Steps < 1 || o.Steps > n:
		return l, fmt.Errorf("diffusion: %d sampling steps are not between 1 and the %d steps of "+
			"training", o.Steps, n)
	case o.Eta != 0 && class != classDDIM:
		return l, fmt.Errorf("diffusion: eta %g is for ddim; %s has none", o.Eta, class)
	}
	return l, nil
}

// at is the level of a timestep, with √ᾱ and √(1-ᾱ) as float32 has them.
func (l ladder) at(t int) Level {
	bar := float32(l.bars[t])
	return Level{float64(sqrt32(bar)), float64(sqrt32(1 - bar)), float64(t)}
}

// before is ᾱ at timestep t, or last before timestep 0.
func (l ladder) before(t int, last float64) float64 {
	if t < 0 {
		return last
	}
	return l.bars[t]
}

// spread is a sampler's timesteps, noisiest first, as diffusers spreads them over the first last of
// training's (Lin et al. 2024, table 2). Those of linspace are not rounded yet.
func (l ladder) spread(last, steps int) ([]float64, error) {
	n, spacing, offset := len(l.bars), *l.config.Spacing, *l.config.StepsOffset
	out := make([]float64, 0, steps)
	switch spacing {
	case "leading":
		for i := range steps {
			out = append(out, float64((steps-1-i)*(last/steps)+offset))
		}
	case "linspace":
		for i := range steps {
			out = append(out, float64(last-1)/float64(max(steps-1, 1))*float64(steps-1-i))
		}
	case "trailing":
		// As NumPy's arange does it, whose rounding decides the halves. Where rounding makes it one
		// too long (61 steps of 1000), diffusers has a last timestep -1; it is left out here.
		from := float64(last)
		stride := (from - float64(n)/float64(steps)) - from
		for i := 0; i < steps && from+float64(i)*stride > 0.5; i++ {
			out = append(out, math.RoundToEven(from+float64(i)*stride)-1)
		}
	default:
		return nil, fmt.Errorf("diffusion: timestep_spacing %q is none of leading, linspace and "+
			"trailing", spacing)
	}
	if t := out[0]; t >= float64(n) {
		return nil, fmt.Errorf("diffusion: %d sampling steps with steps_offset %d reach timestep "+
			"%.0f, beyond the %d of training", steps, offset, t, n)
	}
	if t := out[len(out)-1]; t < 0 {
		return nil, fmt.Errorf("diffusion: %d sampling steps with steps_offset %d reach timestep "+
			"%.0f", steps, offset, t)
	}
	return out, nil
}

// timesteps are the whole timesteps of DDIM, DDPM and PNDM.
func (l ladder) timesteps(steps int) ([]int, error) {
	times, err := l.spread(len(l.bars), steps)
	out := make([]int, len(times))
	for i, t := range times {
		out[i] = int(math.RoundToEven(t))
	}
	return out, err
}
