package finetune

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A plane is a network on points of a plane, latents [1,1,2]: three layers that see the point,
// waves of the timestep and the condition.
type plane struct{ weights, biases []*tensor.Dense }

const waves = 16

func newPlane(seed uint64) *plane {
	p := &plane{}
	widths := []int{2 + waves + 2, 64, 64, 2}
	for i, in := range widths[:3] {
		w := dense(widths[i+1], in)
		rng.Normal(w.Float32s(), seed, "plane", 0, uint64(i))
		for k := range w.Float32s() {
			w.Float32s()[k] *= float32(math.Sqrt(1 / float64(in)))
		}
		p.weights, p.biases = append(p.weights, w), append(p.biases, dense(widths[i+1]))
	}
	return p
}

func (p *plane) Trainable() (all []kernels.Parameter) {
	for i := range p.weights {
		all = append(all,
			kernels.Parameter{Name: string(rune('a'+i)) + ".weight", Value: p.weights[i]},
			kernels.Parameter{Name: string(rune('a'+i)) + ".bias", Value: p.biases[i]})
	}
	return all
}

func (p *plane) Predict(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
	g, n := x.Graph(), x.Shape()[0]
	flat, err := kernels.Reshape(x, n, 2)
	if err != nil {
		return nil, err
	}
	time, err := kernels.TimestepEmbedding(t, waves, true, 0)
	if err != nil {
		return nil, err
	}
	condition, err := kernels.Reshape(c.Tokens, n, 2)
	if err != nil {
		return nil, err
	}
	h, err := kernels.Concat(flat, time, condition)
	if err != nil {
		return nil, err
	}
	for i := range p.weights {
		if i > 0 {
			if h, err = kernels.SiLU(h); err != nil {
				return nil, err
			}
		}
		weight, bias := kernels.Param(g, p.weights[i]), kernels.Param(g, p.biases[i])
		if h, err = kernels.Linear(h, weight, bias); err != nil {
			return nil, err
		}
	}
	return kernels.Reshape(h, n, 1, 1, 2)
}

// ring has points on a circle of radius 1.5, near the angles of 0, 1, … 7 eighths, which the
// condition tells.
func ring(n int, stream string) []dataset.Sample {
	samples := make([]dataset.Sample, n)
	for i := range samples {
		angle := float64(i%8) * math.Pi / 4
		s := dataset.Sample{
			Latent: dense(1, 1, 2), Condition: dataset.Condition{Tokens: dense(1, 2)},
		}
		rng.Normal(s.Latent.Float32s(), 1, stream, 0, uint64(i))
		for k, v := range []float64{math.Cos(angle), math.Sin(angle)} {
			s.Latent.Float32s()[k] = float32(1.5*v) + 0.1*s.Latent.Float32s()[k]
			s.Condition.Tokens.Float32s()[k] = float32(v)
		}
		samples[i] = s
	}
	return samples
}

// The Tuner trains a network on a flow as on anything else, at levels that the user chooses: on
// points that it has not seen it says ε - x₀ far better than the best constant, and FlowEuler takes
// noise to the circle.
func TestFlowIsLearned(t *testing.T) {
	s, err := diffusion.NewSchedule(diffusion.RectifiedFlow(1))
	require.NoError(t, err)
	network := newPlane(1)
	tuner := &Tuner{
		Network: network, Schedule: s,
		Pretrain: dataset.FromSlice(ring(2048, "train")), PretrainBatch: 128,
		PretrainLevels: s.Process.(diffusion.Flow).LogitNormal(0, 1), Updates: 1500,
		LR: func(step int) float64 { return 3e-3 * optim.Cosine(50, 1500)(step) }, Seed: 1,
	}
	defer tuner.Close()
	for _, err := range tuner.Steps(t.Context()) {
		require.NoError(t, err)
	}

	// Held out: 512 other points, each at a level of its own, uniform in σ.
	const n = 512
	held := ring(n, "held out")
	x, noise, noisy, target :=
		dense(n, 1, 1, 2), dense(n, 1, 1, 2), dense(n, 1, 1, 2), dense(n, 1, 1, 2)
	rng.Normal(noise.Float32s(), 1, "held-out noise", 0, 0)
	levels, times := make([]diffusion.Level, n), dense(n)
	conditions := held[0].Condition.Batch(n)
	for i, sample := range held {
		levels[i] = s.Process.From(0)((float64(i*37%n) + 0.5) / n)
		times.Float32s()[i] = float32(levels[i].Timestep)
		copy(x.Float32s()[2*i:], sample.Latent.Float32s())
		copy(conditions.Tokens.Float32s()[2*i:], sample.Condition.Tokens.Float32s())
	}
	require.NoError(t, diffusion.Disturb(noisy, x, noise, levels))
	require.NoError(t, s.Prediction.Target(target, x, noise, levels))
	g := gorgonia.NewGraph()
	said, err := network.Predict(
		kernels.Input(g, "x", noisy), kernels.Input(g, "t", times), diffusion.Input(g, conditions),
	)
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{said}})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	loss, constant, means := 0.0, 0.0, [2]float64{}
	for i, v := range target.Float32s() {
		means[i%2] += float64(v) / n
	}
	for i, v := range target.Float32s() {
		loss += math.Pow(float64(m.Value(said).Float32s()[i]-v), 2) / (2 * n)
		constant += math.Pow(float64(v)-means[i%2], 2) / (2 * n)
	}
	t.Logf("held-out loss %.4f, the best constant's %.4f: %.3f of it",
		loss, constant, loss/constant)
	require.LessOrEqual(t, loss, 0.7*constant)

	// Sampled, the points are where their conditions want them.
	const drawn = 64
	net, err := diffusion.Compile(network, tensor.Shape{drawn, 1, 1, 2}, held[0].Condition)
	require.NoError(t, err)
	defer net.Close()
	copy(net.Condition.Tokens.Float32s(), conditions.Tokens.Float32s())
	start := diffusion.SeededNoise(5, 0).Start(drawn, 1, 1, 2)
	last, err := diffusion.Last(diffusion.FlowEuler(
		t.Context(), net.Predict, s, start, diffusion.SampleOptions{Steps: 30},
	))
	require.NoError(t, err)
	off := 0.0
	for i, v := range last.Latent.Float32s() {
		off += math.Pow(float64(v)-1.5*float64(conditions.Tokens.Float32s()[i]), 2) / (2 * drawn)
	}
	t.Logf("sampled points are off by %.3f, those of the ring by 0.1", math.Sqrt(off))
	require.Less(t, math.Sqrt(off), 0.2)
}
