package diffusion

import (
	"fmt"
	"math"
)

// A descent is the way that a sampler goes down a ladder: at timestep times[i], σ is sigmas[i], and
// the last step ends at the one σ more. A state is √ᾱ·(x₀ + σ·ε), so that ᾱ = 1/(1+σ²).
type descent struct {
	times  []float64
	sigmas []float32
}

// table is σ of every timestep of training, with PyTorch's float32 rounding. Where no signal is
// left, ᾱ is 2⁻²⁴.
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

// descend goes down a table by timesteps, between two of them on a straight line.
func descend(table []float32, times []float64) descent {
	d := descent{times: times}
	for _, t := range times {
		low := min(int(t), len(table)-2)
		if low < 0 { // a table of one level
			d.sigmas = append(d.sigmas, table[0])
			continue
		}
		a, b := float64(table[low]), float64(table[low+1])
		d.sigmas = append(d.sigmas, float32((b-a)*(t-float64(low))+a))
	}
	return d
}

// karras goes down from high to low by σ that are equally spaced in σ^(1/7) (Karras et al. 2022,
// eq. 5), and by the timesteps of training where the table comes to them, which may lie between
// two.
func karras(table []float32, high, low float64, steps int) descent {
	const rho = 7
	var d descent
	from, to := math.Pow(high, 1./rho), math.Pow(low, 1./rho)
	for i := range steps {
		sigma := math.Pow(from+float64(i)/float64(max(steps-1, 1))*(to-from), rho)
		d.times = append(d.times, timeOf(table, sigma))
		d.sigmas = append(d.sigmas, float32(sigma))
	}
	return d
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

// end adds the σ that the last step ends at.
func (d *descent) end(table []float32, kind string) error {
	switch kind {
	case "zero":
		d.sigmas = append(d.sigmas, 0)
	case "sigma_min":
		d.sigmas = append(d.sigmas, table[0])
	default:
		return fmt.Errorf("diffusion: final_sigmas_type %q is neither zero nor sigma_min", kind)
	}
	return nil
}
