package diffusion

import (
	"fmt"
	"math"
)

// Levels are the noise levels that a sampler walks down: at timestep times[i], σ is sigmas[i], and the last step ends at the
// one level more. A state is √ᾱ·(x₀ + σ·ε), so that ᾱ = 1/(1+σ²).
type levels struct {
	times  []float64
	sigmas []float32
}

// table is σ of every timestep of training, with PyTorch's float32 rounding. Where no signal is left, ᾱ is 2⁻²⁴.
func (l ladder) table() []float32 {
	sigmas := make([]float32, len(l.bars))
	for t, b := range l.bars {
		bar := float32(b)
		if *l.config.ZeroSNR && t == len(sigmas)-1 {
			bar = 0x1p-24
		}
		sigmas[t] = sqrt32((1 - bar) / bar)
	}
	return sigmas
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// levelsAt are the levels of a table at timesteps, between two of them on a straight line.
func levelsAt(table []float32, times []float64) levels {
	l := levels{times: times}
	for _, t := range times {
		low := min(int(t), len(table)-2)
		if low < 0 { // a table of one level
			l.sigmas = append(l.sigmas, table[0])
			continue
		}
		a, b := float64(table[low]), float64(table[low+1])
		l.sigmas = append(l.sigmas, float32((b-a)*(t-float64(low))+a))
	}
	return l
}

// karras are levels from high to low that are equally spaced in σ^(1/7) (Karras et al. 2022, eq. 5), and the timesteps of training
// where the table comes to them, which may lie between two.
func karras(table []float32, high, low float64, steps int) levels {
	const rho = 7
	var l levels
	from, to := math.Pow(high, 1./rho), math.Pow(low, 1./rho)
	for i := range steps {
		sigma := math.Pow(from+float64(i)/float64(max(steps-1, 1))*(to-from), rho)
		l.times = append(l.times, timeOf(table, sigma))
		l.sigmas = append(l.sigmas, float32(sigma))
	}
	return l
}

// timeOf is where ln σ of a table comes to a level, on a straight line between two timesteps.
func timeOf(table []float32, sigma float64) float64 {
	if len(table) == 1 {
		return 0
	}
	log := func(t int) float64 { return float64(float32(math.Log(float64(table[t])))) }
	at, low := math.Log(max(sigma, 1e-10)), 0
	for t := range len(table) - 1 {
		if log(t) <= at {
			low = t
		}
	}
	w := (log(low) - at) / float64(float32(log(low))-float32(log(low+1)))
	w = min(max(w, 0), 1)
	return (1-w)*float64(low) + w*float64(low+1)
}

// end adds the level that the last step ends at.
func (l *levels) end(table []float32, kind string) error {
	switch kind {
	case "zero":
		l.sigmas = append(l.sigmas, 0)
	case "sigma_min":
		l.sigmas = append(l.sigmas, table[0])
	default:
		return fmt.Errorf("diffusion: final_sigmas_type %q is neither zero nor sigma_min", kind)
	}
	return nil
}
