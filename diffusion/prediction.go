package diffusion

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"
)

// A Prediction is what a network says of noisy latents: a sum of x₀ and ε, whose weights depend on
// the level. These are the predictions:
//
//	Epsilon       ε                        Ho, Jain and Abbeel 2020
//	Velocity      Signal·ε - Noise·x₀      Salimans and Ho 2022, appendix D
//	Clean         x₀                       the same
//	FlowVelocity  ε - x₀                   Liu, Gong and Liu 2023; Esser et al. 2024
//
// Two Predictions are equal (==) where they are the same. The zero Prediction says nothing.
type Prediction struct {
	name string
	// What multiplies x₀ and ε is [0] + [1]·Signal + [2]·Noise.
	clean, noise [3]float64
}

// The predictions. Name is prediction_type of diffusers' configs.
var (
	Epsilon  = Prediction{name: "epsilon", noise: [3]float64{1}}
	Velocity = Prediction{
		name: "v_prediction", clean: [3]float64{2: -1}, noise: [3]float64{1: 1},
	}
	Clean        = Prediction{name: "sample", clean: [3]float64{1}}
	FlowVelocity = Prediction{
		name: "flow_prediction", clean: [3]float64{-1}, noise: [3]float64{1},
	}
)

// String is the prediction's name in diffusers: epsilon, v_prediction, sample or flow_prediction.
func (p Prediction) String() string { return p.name }

// weights are what multiplies x₀ and ε in what is said at a level, and the determinant of
//
//	x    = Signal·x₀ + Noise·ε
//	said =  clean·x₀ + noise·ε
//
// For Velocity it is Signal² + Noise², and 1 at levels that preserve variance: their float32 roots
// leave rounding of it, by which nothing is divided, in diffusers neither.
func (p Prediction) weights(l Level) (clean, noise, determinant float64) {
	at := func(c [3]float64) float64 { return c[0] + c[1]*l.Signal + c[2]*l.Noise }
	clean, noise = at(p.clean), at(p.noise)
	determinant = l.Signal*noise - l.Noise*clean
	if clean != 0 && noise != 0 && math.Abs(determinant-1) < 0x1p-20 {
		determinant = 1
	}
	return clean, noise, determinant
}

// Target writes what a network is trained to say of the noisy latents that Disturb makes of the
// same x, noise and levels. dst may be x or noise. All three are float32 [N, …] of one shape.
func (p Prediction) Target(dst, x, noise *tensor.Dense, levels []Level) error {
	return combine(dst, x, noise, levels, func(l Level) (clean, noise float64) {
		clean, noise, _ = p.weights(l)
		return clean, noise
	})
}

// A Reading makes one quantity of a noisy latent x and what a network said of it:
// (X·x + Said·said) / By.
type Reading struct{ X, Said, By float64 }

// Of is the quantity for one element.
func (r Reading) Of(x, said float64) float64 { return (r.X*x + r.Said*said) / r.By }

// Read solves for x̂₀ and ε̂ at a level: a system of two equations, x and what is said. It is an
// error where they do not determine both: ε says nothing of x₀ where there is no signal, and x₀
// nothing of ε where there is no noise. The one that is determined is right all the same.
func (p Prediction) Read(l Level) (clean, noise Reading, err error) {
	if p == (Prediction{}) {
		return Reading{}, Reading{}, fmt.Errorf("diffusion: the Prediction is missing: it says " +
			"what a network's answers mean")
	}
	a, b, determinant := p.weights(l)
	clean, noise = Reading{b, -l.Noise, determinant}, Reading{-a, l.Signal, determinant}
	// What is said may be x₀ or ε itself, which then needs no x.
	if a == 0 {
		noise = Reading{0, 1, b}
	}
	if b == 0 {
		clean = Reading{0, 1, a}
	}
	switch {
	case !(determinant-determinant == 0):
		err = fmt.Errorf("diffusion: there is no level %+v", l)
	case determinant == 0 && a == 0:
		err = fmt.Errorf("diffusion: there is no signal at timestep %g, and no ε gives x₀ there",
			l.Timestep)
	case determinant == 0 && b == 0:
		err = fmt.Errorf("diffusion: there is no noise at timestep %g, and no x₀ gives ε there",
			l.Timestep)
	case determinant == 0:
		err = fmt.Errorf("diffusion: at timestep %g x and %s are the same, and give neither x₀ "+
			"nor ε", l.Timestep, p)
	}
	return clean, noise, err
}

// MinSNR is the weight of a sample's squared error that makes all levels count about equally (Hang
// et al. 2023, who have γ = 5). An error of x₀ has the weight min(SNR, γ). An error of what is said
// counts as much as the error of x₀ that it leads to. So the weight is min(SNR, γ)/SNR for ε,
// min(SNR, γ)/(SNR+1) for v and min(SNR, γ)·Noise² for ε - x₀.
func (p Prediction) MinSNR(gamma float64, l Level) float64 {
	a, b, determinant := p.weights(l)
	// A step d of x₀ with x fixed is -d·Signal/Noise of ε, and so -d·determinant/Noise of what is
	// said.
	signal, noise := l.Signal/determinant, l.Noise/determinant
	switch { // the limits
	case determinant == 0 && a == 0: // ε where there is no signal
		signal, noise = 1/b, math.Inf(1)
	case determinant == 0 && b == 0: // x₀ where there is no noise
		signal, noise = math.Inf(1), 1/a
	}
	return min(signal*signal, gamma*noise*noise)
}
