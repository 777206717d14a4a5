package diffusion

import (
	"fmt"
	"math"
)

// A Table is the process that preserves variance, which is DDPM's and Stable Diffusion's: at
// timestep t
//
//	x_t = √ᾱ_t·x₀ + √(1-ᾱ_t)·ε        (Ho et al. 2020, eq. 4)
//
// Training draws every timestep with the same probability.
type Table struct {
	// AlphaBar is ᾱ_t, the share of the signal's variance at timestep t (alphas_cumprod in
	// diffusers). The values of NewSchedule are those that PyTorch computes in float32, because the
	// models were trained on them.
	AlphaBar []float64
}

// From draws the timesteps from least on, each with the same probability.
func (p Table) From(least int) Levels {
	n := len(p.AlphaBar)
	if least < 0 || least >= n {
		return nowhere(least)
	}
	return func(u float64) Level {
		return p.At(float64(min(least+int(u*float64(n-least)), n-1)))
	}
}

// At is the level of a timestep from 0 to that of the last ᾱ. Between two whole timesteps
// σ = √(1/ᾱ - 1) is interpolated linearly.
func (p Table) At(t float64) Level {
	if !(t >= 0 && t <= float64(len(p.AlphaBar)-1)) {
		return Level{math.NaN(), math.NaN(), t}
	}
	low := int(t)
	bar := p.AlphaBar[low]
	if share := t - float64(low); share != 0 {
		sigma := func(bar float64) float64 { return math.Sqrt(1/bar - 1) }
		between := sigma(bar) + share*(sigma(p.AlphaBar[low+1])-sigma(bar))
		bar = 1 / (1 + between*between)
	}
	return Level{math.Sqrt(bar), math.Sqrt(1 - bar), t}
}

// nowhere are the levels where there is none.
func nowhere(least int) Levels {
	return func(float64) Level { return Level{math.NaN(), math.NaN(), float64(least)} }
}

// A Flow is rectified flow (Liu, Gong and Liu 2023), the straight line from pictures to noise of
// Stable Diffusion 3 and its kin: at σ from 0 to 1
//
//	x_σ = (1-σ)·x₀ + σ·ε
//
// The network is told σ·Steps as its timestep.
type Flow struct {
	Steps int // num_train_timesteps in diffusers; 1000 is usual
	// Shift moves levels towards noise, as larger pictures want it: σ becomes
	// Shift·σ/(1+(Shift-1)·σ) (Esser et al. 2024, eq. 23). 1 leaves them.
	Shift float64
}

// From draws σ uniformly, before it is shifted.
func (f Flow) From(least int) Levels {
	low := float64(least) / float64(f.Steps)
	if !(low >= 0 && low < 1) {
		return nowhere(least)
	}
	low /= f.Shift - (f.Shift-1)*low // before it was shifted
	return func(u float64) Level { return f.level(f.shift(low + u*(1-low))) }
}

// LogitNormal draws σ, before it is shifted, such that ln σ/(1-σ) has a normal distribution (Esser
// et al. 2024, eq. 19). Stable Diffusion 3 was trained with mean 0 and standard deviation 1. The
// shift adds its logarithm to the mean.
func (f Flow) LogitNormal(mean, std float64) Levels {
	return func(u float64) Level {
		logit := mean + std*math.Sqrt2*math.Erfinv(2*u-1)
		return f.level(f.shift(1 / (1 + math.Exp(-logit))))
	}
}

// At is the level of a timestep from 0 to Steps. It is not shifted, because the network is told the
// level that the latent stands at.
func (f Flow) At(t float64) Level {
	if !(t >= 0 && t <= float64(f.Steps)) {
		return Level{math.NaN(), math.NaN(), t}
	}
	l := f.level(t / float64(f.Steps))
	l.Timestep = t
	return l
}

func (f Flow) level(sigma float64) Level {
	return Level{1 - sigma, sigma, sigma * float64(f.Steps)}
}

func (f Flow) shift(sigma float64) float64 { return f.Shift * sigma / (1 + (f.Shift-1)*sigma) }

func (f Flow) check() error {
	if f.Steps < 1 || !(f.Shift > 0 && f.Shift-f.Shift == 0) {
		return fmt.Errorf("diffusion: a flow of %d timesteps with shift %g: both must be above 0",
			f.Steps, f.Shift)
	}
	return nil
}
