package finetune

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// A line is a denoiser that one can compute by hand: for channel o at any position,
//
//	ε̂_o = Σ_i X_oi·x_i + B_o + Σ_d C_od·mean_l c_ld + D_o + T_o·t/1000 + U_o
//
// with 2 channels and conditions 3 wide. D and U have one gradient, which gorgonia makes one node,
// as it does of the gradients of a residual block's last bias and its shortcut's.
type line struct {
	X, B, C, D, T, U *tensor.Dense
}

const (
	channels  = 2
	width     = 3 // of a condition
	positions = 2 // of a latent [1,2,2]
)

func newLine() *line {
	l := &line{
		dense(channels, channels), dense(channels), dense(channels, width), dense(channels),
		dense(channels, 1), dense(channels),
	}
	for i, p := range l.Trainable() {
		for k := range p.Value.Float32s() {
			p.Value.Float32s()[k] = float32(math.Sin(float64(3*i+2*k+1))) / 2
		}
	}
	return l
}

func dense(shape ...int) *tensor.Dense {
	return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
}

func (l *line) Trainable() []kernels.Parameter {
	return []kernels.Parameter{
		{Name: "X", Value: l.X}, {Name: "B", Value: l.B}, {Name: "C", Value: l.C},
		{Name: "D", Value: l.D}, {Name: "T", Value: l.T}, {Name: "U", Value: l.U},
	}
}

func (l *line) Predict(x, t *gorgonia.Node, condition diffusion.Condition) (*gorgonia.Node, error) {
	g, c := x.Graph(), condition.Tokens
	out, err := kernels.Linear(x, kernels.Param(g, l.X), kernels.Param(g, l.B))
	if err != nil {
		return nil, err
	}
	if c, err = kernels.Mean(c, 1); err != nil {
		return nil, err
	}
	if c, err = kernels.Linear(c, kernels.Param(g, l.C), kernels.Param(g, l.D)); err != nil {
		return nil, err
	}
	if t, err = kernels.Scale(t, 1e-3); err != nil {
		return nil, err
	}
	if t, err = kernels.Reshape(t, t.Shape()[0], 1); err != nil {
		return nil, err
	}
	if t, err = kernels.Linear(t, kernels.Param(g, l.T), kernels.Param(g, l.U)); err != nil {
		return nil, err
	}
	if c, err = kernels.Add(c, t); err != nil {
		return nil, err
	}
	return kernels.AddTime(out, c)
}

// tokens are a condition's, n of them, all zeros.
func tokens(n int) dataset.Condition { return dataset.Condition{Tokens: dense(n, width)} }

// vector is all parameters, one behind the other.
func (l *line) vector() []float64 {
	var out []float64
	for _, p := range l.Trainable() {
		for _, v := range p.Value.Float32s() {
			out = append(out, float64(v))
		}
	}
	return out
}

// predict is the same by hand.
func predict(p, x []float64, t float64, c []float64) []float64 {
	X, B, C, D, T, U := p[:4], p[4:6], p[6:12], p[12:14], p[14:16], p[16:18]
	out := make([]float64, len(x))
	for at := 0; at < len(x); at += channels {
		for o := range channels {
			out[at+o] = X[2*o]*x[at] + X[2*o+1]*x[at+1] + B[o] + D[o] + T[o]*t/1000 + U[o]
			for d := range width {
				out[at+o] += C[width*o+d] * (c[d] + c[width+d]) / 2
			}
		}
	}
	return out
}

// made returns n samples. Those with rewards are the model's.
func made(n int, rewards bool) []dataset.Sample {
	samples := make([]dataset.Sample, n)
	for i := range samples {
		s := dataset.Sample{
			ID: fmt.Sprint("id", i), Prompt: fmt.Sprint("prompt ", i),
			Latent: dense(1, positions, channels), Condition: tokens(2),
		}
		stream := "pretraining samples"
		if rewards {
			stream, s.Reward = "model samples", new(rng.New(7, "rewards", 0, uint64(i)).Float64())
		}
		rng.Normal(s.Latent.Float32s(), 7, stream, 0, uint64(i))
		rng.Normal(s.Condition.Tokens.Float32s(), 7, stream, 1, uint64(i))
		samples[i] = s
	}
	return samples
}

func schedule(t *testing.T, velocity bool) *diffusion.Schedule {
	c := diffusion.StableDiffusion()
	if velocity {
		c.Prediction = new("v_prediction")
	}
	s, err := diffusion.NewSchedule(c)
	require.NoError(t, err)
	return s
}

// tuner returns one with 5 and 4 samples, 3 and 2 in a step, so that steps lie across the ends of
// passes.
func tuner(t *testing.T, l *line) *Tuner {
	tuner := &Tuner{
		Network: l, Schedule: schedule(t, false), Own: dataset.FromSlice(made(5, true)),
		Pretrain: dataset.FromSlice(made(4, false)),
		OwnBatch: 3, PretrainBatch: 2,
		Terms: []Term{RewardWeighted{}, Pretraining{Beta: 0.7}}, Updates: 6,
		LR: func(step int) float64 { return 0.05 / float64(1+step) }, Seed: 11,
	}
	t.Cleanup(func() { tuner.Close() })
	return tuner
}

// A handBatch is what a step sees: for each sample its noisy latent, target, condition, timestep
// and share of the loss.
type handBatch struct {
	x, target, c [][]float64
	t            []float64
	bar          []float64 // ᾱ
	reward       []float64 // the model's samples come first
	weight       []float64
}

// batchByHand draws a step of tuner from the names of its draws.
func batchByHand(tuner *Tuner, step int, model, pretrain []dataset.Sample) handBatch {
	var samples []dataset.Sample
	for i := range tuner.OwnBatch {
		s := inOrder(model, "model order", tuner.Seed, step*tuner.OwnBatch+i)
		if tuner.Choose != nil {
			s = byReward(model, "model order", tuner.Seed, step*tuner.OwnBatch+i)
		}
		samples = append(samples, s)
	}
	for i := range tuner.PretrainBatch {
		samples = append(samples, inOrder(pretrain,
			"pretraining order", tuner.Seed, step*tuner.PretrainBatch+i))
	}
	return batchOf(tuner, step, samples)
}

// batchOf is what a step of tuner draws for its samples.
func batchOf(tuner *Tuner, step int, samples []dataset.Sample) handBatch {
	var b handBatch
	velocity := tuner.Schedule.Prediction == diffusion.Velocity
	for _, s := range samples[:tuner.OwnBatch] {
		b.reward = append(b.reward, *s.Reward)
	}
	for i, s := range samples {
		draw := rng.New(tuner.Seed, "tuning", uint64(step), uint64(i))
		stratum, of := i, tuner.OwnBatch
		if i >= tuner.OwnBatch {
			stratum, of = i-tuner.OwnBatch, tuner.PretrainBatch
		}
		time := math.Floor(1000 * (float64(stratum) + draw.Float64()) / float64(of))
		c := s.Condition
		if draw.Float64() < tuner.Dropout {
			c = tuner.Unconditional
		}
		noise := make([]float32, s.Latent.Size())
		rng.Normal(noise, tuner.Seed, "tuning noise", uint64(step), uint64(i))
		bar := tuner.Schedule.Process.(diffusion.Table).AlphaBar[int(time)]
		x, target := make([]float64, len(noise)), make([]float64, len(noise))
		for k, e := range noise {
			clean := float64(s.Latent.Float32s()[k])
			x[k] = math.Sqrt(bar)*clean + math.Sqrt(1-bar)*float64(e)
			target[k] = float64(e)
			if velocity {
				target[k] = math.Sqrt(bar)*float64(e) - math.Sqrt(1-bar)*clean
			}
		}
		w, snr := 1.0, bar/(1-bar)
		switch {
		case tuner.MinSNR > 0 && velocity:
			w = math.Min(snr, tuner.MinSNR) / (snr + 1)
		case tuner.MinSNR > 0:
			w = math.Min(snr, tuner.MinSNR) / snr
		}
		b.x = append(b.x, x)
		b.target = append(b.target, target)
		b.t = append(b.t, time)
		b.bar = append(b.bar, bar)
		b.weight = append(b.weight, w)
		b.c = append(b.c, float64s(c.Tokens))
	}
	return b
}

func float64s(d *tensor.Dense) (out []float64) {
	for _, v := range d.Float32s() {
		out = append(out, float64(v))
	}
	return out
}

// inOrder is the sample at a place in an endless sequence of passes.
func inOrder(samples []dataset.Sample, stream string, seed uint64, at int) dataset.Sample {
	order := rng.New(seed, stream, uint64(at/len(samples)), 0).Perm(len(samples))
	return samples[order[at%len(samples)]]
}

// byReward is inOrder where a pass has sample i for each whole number in (C_i−1, C_i], C the
// running sum of rewards over their mean, from a first value that is drawn.
func byReward(samples []dataset.Sample, stream string, seed uint64, at int) dataset.Sample {
	mean := 0.0
	for _, s := range samples {
		mean += *s.Reward / float64(len(samples))
	}
	draw := rng.New(seed, stream, uint64(at/len(samples)), 0)
	order, from := draw.Perm(len(samples)), draw.Float64()
	var pass []dataset.Sample
	for _, s := range samples {
		to := from + *s.Reward/mean
		for whole := math.Floor(from) + 1; whole <= to; whole++ {
			s.Reward = &mean
			pass = append(pass, s)
		}
		from = to
	}
	return pass[order[at%len(samples)]]
}

// terms are Eq. 2's two, by hand.
func (b handBatch) terms(p []float64, beta float64) (reward, pretraining float64) {
	model := len(b.reward)
	pretrain := len(b.x) - model
	for i := range b.x {
		square := 0.0
		for k, e := range predict(p, b.x[i], b.t[i], b.c[i]) {
			square += (b.target[i][k] - e) * (b.target[i][k] - e) / float64(len(b.x[i]))
		}
		if i < model {
			reward += b.reward[i] * b.weight[i] * square / float64(model)
		} else {
			pretraining += beta * b.weight[i] * square / float64(pretrain)
		}
	}
	return reward, pretraining
}

// slope is the gradient of a quadratic function, for which central differences of any width are
// exact.
func slope(p []float64, loss func(p []float64) float64) []float64 {
	out := make([]float64, len(p))
	for i := range p {
		at := append([]float64{}, p...)
		at[i] = p[i] + 0.5
		out[i] = loss(at)
		at[i] = p[i] - 0.5
		out[i] -= loss(at)
	}
	return out
}

// A handAdam is AdamW as PyTorch has it.
type handAdam struct {
	beta1, beta2, eps, decay float64
	m, v                     []float64
	t                        float64
}

func (a *handAdam) step(p, g []float64, lr float64) {
	if a.m == nil {
		a.m, a.v = make([]float64, len(p)), make([]float64, len(p))
	}
	a.t++
	for i := range p {
		p[i] -= lr * a.decay * p[i]
		a.m[i] += (1 - a.beta1) * (g[i] - a.m[i])
		a.v[i] += (1 - a.beta2) * (g[i]*g[i] - a.v[i])
		p[i] -= lr * (a.m[i] / (1 - math.Pow(a.beta1, a.t))) /
			(math.Sqrt(a.v[i]/(1-math.Pow(a.beta2, a.t))) + a.eps)
	}
}

func norm(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v * v
	}
	return math.Sqrt(s)
}
