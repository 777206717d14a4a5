package diffusion

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"
)

// A Schedule says how much noise a latent carries at each timestep of training.
type Schedule struct {
	// AlphaBar is ᾱ_t, the share of the signal's variance at timestep t: x_t = √ᾱ_t·x₀ + √(1-ᾱ_t)·ε (Ho et al.
	// 2020, eq. 4; alphas_cumprod in diffusers). The values are those that PyTorch computes in float32, because
	// the models were trained on them.
	AlphaBar []float64
	// Velocity says that the schedule's network predicts v = √ᾱ·ε - √(1-ᾱ)·x₀ (Salimans and Ho 2022), not ε.
	Velocity bool
	// Clean says that it predicts x₀ itself (prediction_type "sample").
	Clean bool
	// Config is what the schedule was made from; samplers read their own keys in it.
	Config Config

	native bool // see Native
}

// NewSchedule computes the noise levels of a config.
func NewSchedule(c Config) (*Schedule, error) {
	s := &Schedule{Config: c}
	switch p := or(c.Prediction, "epsilon"); p {
	case "epsilon":
	case "v_prediction":
		s.Velocity = true
	case "sample":
		s.Clean = true
	default:
		return nil, fmt.Errorf("diffusion: prediction_type %q is none of epsilon, v_prediction and sample", p)
	}
	betas, err := betas(c)
	if err != nil {
		return nil, err
	}
	for t, beta := range betas {
		if !(0 < beta && beta < 1) {
			return nil, fmt.Errorf("diffusion: beta %g at timestep %d is not between 0 and 1", beta, t)
		}
	}
	if or(c.ZeroSNR, false) {
		if len(betas) == 1 {
			return nil, fmt.Errorf("diffusion: rescale_betas_zero_snr needs more timesteps than num_train_timesteps 1")
		}
		rescale(betas)
	}
	for _, bar := range products(betas) {
		s.AlphaBar = append(s.AlphaBar, float64(bar))
	}
	return s, nil
}

// Native is the schedule for samplers that are called with the network's own prediction, ε, v or x₀ as the config says, in place of ε̂.
// They then compute what diffusers computes, which converts at the noise level of the step: it may lie between two
// timesteps (Euler, Karras' levels), or carry no signal, where no ε gives x₀.
func (s *Schedule) Native() *Schedule {
	n := *s
	n.native = true
	return &n
}

// products are ᾱ_t of betas, with PyTorch's float32 rounding.
func products(betas []float32) []float32 {
	out, product := make([]float32, len(betas)), 1.0
	for t, beta := range betas {
		product *= float64(1 - beta)
		out[t] = float32(product)
	}
	return out
}

// rescale changes betas so that no signal is left at the last timestep: √ᾱ is shifted and scaled (Lin et al. 2024, algorithm
// 1), with PyTorch's float32 rounding.
func rescale(betas []float32) {
	roots := products(betas)
	for t, bar := range roots {
		roots[t] = float32(math.Sqrt(float64(bar)))
	}
	first, last := roots[0], roots[len(roots)-1]
	before := float32(1)
	for t, root := range roots {
		root = (root - last) * float32(first/(first-last))
		bar := root * root
		betas[t] = 1 - bar/before
		before = bar
	}
}

// betas are the variances β_t of one noising step, with PyTorch's float32 rounding.
func betas(c Config) ([]float32, error) {
	n, start, end := or(c.TrainSteps, 1000), or(c.BetaStart, 0.0001), or(c.BetaEnd, 0.02)
	if n < 1 || n > 1<<24 {
		return nil, fmt.Errorf("diffusion: num_train_timesteps is %d, not between 1 and %d", n, 1<<24)
	}
	if c.TrainedBetas != nil {
		if len(c.TrainedBetas) != n {
			return nil, fmt.Errorf("diffusion: trained_betas are %d, num_train_timesteps is %d", len(c.TrainedBetas), n)
		}
		out := make([]float32, n)
		for i, b := range c.TrainedBetas {
			out[i] = float32(b)
		}
		return out, nil
	}
	switch kind := or(c.BetaSchedule, "linear"); kind {
	case "linear":
		return linspace(start, end, n), nil
	case "scaled_linear":
		out := linspace(math.Sqrt(start), math.Sqrt(end), n)
		for i, b := range out {
			out[i] = b * b
		}
		return out, nil
	case "squaredcos_cap_v2":
		return cosine(n), nil
	default:
		return nil, fmt.Errorf("diffusion: beta_schedule %q is none of linear, scaled_linear and squaredcos_cap_v2", kind)
	}
}

// linspace is torch.linspace in float32: from both ends towards the middle, each value rounded once.
func linspace(start, end float64, n int) []float32 {
	out := make([]float32, n)
	a, b := float32(start), float32(end)
	step := float64((b - a) / float32(max(n-1, 1)))
	for i := range out {
		if i < n/2 {
			out[i] = float32(float64(a) + step*float64(i))
		} else {
			out[i] = float32(float64(b) - step*float64(n-1-i))
		}
	}
	if n == 1 {
		out[0] = a
	}
	return out
}

// cosine is the schedule of Nichol and Dhariwal 2021, eq. 17.
func cosine(n int) []float32 {
	bar := func(i int) float64 {
		c := math.Cos((float64(i)/float64(n) + 0.008) / 1.008 * math.Pi / 2)
		return c * c
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(min(1-bar(i+1)/bar(i), 0.999))
	}
	return out
}

// AddNoise writes the noisy latents x_t = √ᾱ_t·x + √(1-ᾱ_t)·noise to dst, which may be x or noise. All three are
// [N, …] of one shape; t holds a timestep a sample.
func (s *Schedule) AddNoise(dst, x, noise *tensor.Dense, t []int) error {
	return s.combine(dst, x, noise, t, func(signal, sigma float64) (float64, float64) { return signal, sigma })
}

// VelocityOf writes v = √ᾱ_t·noise - √(1-ᾱ_t)·x to dst, what a network that predicts velocity is trained on.
func (s *Schedule) VelocityOf(dst, x, noise *tensor.Dense, t []int) error {
	return s.combine(dst, x, noise, t, func(signal, sigma float64) (float64, float64) { return -sigma, signal })
}

// Target writes what the schedule's network is trained to predict: the noise, the velocity, or the latents themselves.
func (s *Schedule) Target(dst, x, noise *tensor.Dense, t []int) error {
	if s.Velocity {
		return s.VelocityOf(dst, x, noise, t)
	}
	if s.Clean {
		return s.combine(dst, x, noise, t, func(float64, float64) (float64, float64) { return 1, 0 })
	}
	return s.combine(dst, x, noise, t, func(float64, float64) (float64, float64) { return 0, 1 })
}

// combine writes a·x + b·noise, where weigh gives a sample's a and b for √ᾱ and √(1-ᾱ).
func (s *Schedule) combine(dst, x, noise *tensor.Dense, t []int, weigh func(signal, sigma float64) (a, b float64)) error {
	for _, d := range []*tensor.Dense{dst, x, noise} {
		if d.Dtype() != tensor.Float32 || !d.Shape().Eq(x.Shape()) || x.Dims() < 1 || x.Shape()[0] != len(t) {
			return fmt.Errorf("diffusion: %d timesteps do not fit latents %v, noise %v, result %v, all float32", len(t), x.Shape(), noise.Shape(), dst.Shape())
		}
	}
	out, xs, es := dst.Float32s(), x.Float32s(), noise.Float32s()
	size := len(xs) / max(len(t), 1)
	for row, step := range t {
		if step < 0 || step >= len(s.AlphaBar) {
			return fmt.Errorf("diffusion: timestep %d of sample %d is not in [0, %d)", step, row, len(s.AlphaBar))
		}
		bar := s.AlphaBar[step]
		a, b := weigh(math.Sqrt(bar), math.Sqrt(1-bar))
		for i := row * size; i < (row+1)*size; i++ {
			out[i] = float32(a*float64(xs[i]) + b*float64(es[i]))
		}
	}
	return nil
}

// SNR is the signal-to-noise ratio ᾱ/(1-ᾱ) at a timestep.
func (s *Schedule) SNR(t int) float64 { return s.AlphaBar[t] / (1 - s.AlphaBar[t]) }

// MinSNR is the weight of a sample's squared error at timestep t that makes all timesteps count about equally
// (Hang et al. 2023, with γ = 5): min(SNR, γ)/SNR for ε, min(SNR, γ)/(SNR+1) for v, min(SNR, γ) for x₀.
func (s *Schedule) MinSNR(gamma float64, t int) float64 {
	snr := s.SNR(t)
	switch {
	case s.Velocity:
		return min(snr, gamma) / (snr + 1)
	case s.Clean:
		return min(snr, gamma)
	}
	return min(1, gamma/snr) // 1 where there is no signal
}
