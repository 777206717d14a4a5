package tiny_test

import (
	"context"
	"flag"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// steps is how many updates the miniature is tuned for.
var steps = flag.Int("steps", 2, "updates on a device: 20 to be sure")

// encoded are samples of the miniature's pretraining data, with rewards.
func encoded(t *testing.T, p *pipeline.Pipeline, n int) []dataset.Sample {
	t.Helper()
	o := pipeline.EncodeOptions{Batch: n}
	samples, err := dataset.Collect(t.Context(), p.Encode(tiny.Pretraining(7, n), o))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Reward = new(0.25 + 0.5*float64(i))
	}
	return samples
}

// tuned returns the losses of tuning the miniature on a machine: one picture of each stream a step.
func tuned(t *testing.T, machine kernels.Config) (losses []float64, tuned []kernels.Parameter) {
	t.Helper()
	p, err := tiny.Load()
	require.NoError(t, err)
	samples := dataset.FromSlice(encoded(t, p, 2))
	tuner := &finetune.Tuner{
		Network: p.UNet, Schedule: p.Schedule, Updates: *steps, Seed: 3,
		Own: samples, OwnBatch: 1, Pretrain: samples, PretrainBatch: 1,
		Terms:   []finetune.Term{finetune.RewardWeighted{}, finetune.Pretraining{Beta: 1}},
		LR:      func(int) float64 { return 1e-4 },
		Clip:    1,
		Machine: machine,
	}
	for step, err := range tuner.Steps(t.Context()) {
		require.NoError(t, err)
		losses = append(losses, step.Loss)
	}
	tuned = nn.Parameters(p.UNet)
	for i := range tuned {
		tuned[i].Value = tuned[i].Value.Clone().(*tensor.Dense)
	}
	require.NoError(t, tuner.Close())
	return losses, tuned
}

// A training run of the miniature on a GPU has the losses that it has on the host.
func TestDeviceTunes(t *testing.T) {
	for _, precision := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
		t.Run(precision.String(), func(t *testing.T) {
			d := device(t)
			want, parameters := tuned(t, kernels.Config{Precision: precision})
			got, same := tuned(t, kernels.Config{Precision: precision, Device: d})
			each, mean := 0.01, 0.003
			if precision == kernels.Float32 {
				each, mean = 1e-5, 1e-5
			}
			require.Len(t, got, *steps)
			var sum, all float64
			for i := range want {
				t.Logf("update %d: loss %.6f, on the host %.6f", i, got[i], want[i])
				require.InEpsilon(t, want[i], got[i], each)
				sum, all = sum+got[i], all+want[i]
			}
			require.InEpsilon(t, all, sum, mean)
			if precision != kernels.Float32 {
				return
			}
			// AdamW moves every parameter by about the learning rate a step, by the sign of its
			// gradient. So the values are the host's but where a gradient is all but zero.
			far := 0
			for i, p := range parameters {
				for k, v := range p.Value.Float32s() {
					if !(math.Abs(float64(same[i].Value.Float32s()[k]-v)) <= 1e-5) {
						far++
					}
				}
			}
			t.Logf("%d values of the network are not the host's", far)
			require.Less(t, far, 1000)
		})
	}
}

// gradients returns the gradients of the miniature's loss by its parameters, computed by a machine.
func gradients(t *testing.T, machine kernels.Config) (all [][]float32, plan kernels.Plan) {
	t.Helper()
	p, err := tiny.Load()
	require.NoError(t, err)
	s := encoded(t, p, 2)
	latents := append(append([]float32{}, s[0].Latent.Float32s()...), s[1].Latent.Float32s()...)
	shape := append(tensor.Shape{2}, s[0].Latent.Shape()...)
	dense := func(name string) *tensor.Dense {
		v := make([]float32, len(latents))
		rng.Normal(v, 1, name, 0, 0)
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	}
	condition := s[0].Condition.Batch(2)
	require.NoError(t, condition.Fill(s[0].Condition, s[1].Condition))
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "x", tensor.New(tensor.WithShape(shape...), tensor.WithBacking(latents)))
	times := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{100, 800}))
	said, err := p.UNet.Predict(x, kernels.Input(g, "t", times), diffusion.Input(g, condition))
	require.NoError(t, err)
	loss, err := kernels.MSE(said, kernels.Input(g, "noise", dense("noise")), nil)
	require.NoError(t, err)
	var by gorgonia.Nodes
	for _, p := range nn.Parameters(p.UNet) {
		by = append(by, kernels.Param(g, p.Value))
	}
	grads, err := gorgonia.Grad(loss, by...)
	require.NoError(t, err)
	machine.Want = grads
	m, err := kernels.NewMachine(g, machine)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	for _, n := range grads {
		all = append(all, append([]float32{}, m.Value(n).Float32s()...))
	}
	return all, m.Plan()
}

func norm(x []float32) (sum float64) {
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// Each gradient of the miniature is the host's up to rounding, and no operation falls back to it.
func TestDeviceGradients(t *testing.T) {
	want, _ := gradients(t, kernels.Config{})
	got, plan := gradients(t, kernels.Config{Device: device(t)})
	require.Empty(t, plan.Host, "operations on the host")
	largest := 0.0
	for _, w := range want {
		largest = max(largest, norm(w))
	}
	worst := 0.0
	for i, w := range want {
		for k := range w {
			got[i][k] -= w[k]
		}
		e := norm(got[i]) / (1e-5*norm(w) + 1e-8*largest)
		const wrong = "gradient %d is off by %v, its norm is %v"
		require.True(t, e <= 1, wrong, i, norm(got[i]), norm(w))
		worst = max(worst, e)
	}
	t.Logf("the worst of %d gradients has %.2f of the error that is allowed", len(want), worst)
}

// Pictures that a GPU makes are the host's.
func TestDeviceGenerates(t *testing.T) {
	latents := func(machine kernels.Config) []float32 {
		p, err := tiny.Load()
		require.NoError(t, err)
		p.Machine = machine
		request := pipeline.Request{
			Prompts: []string{"two red circles"}, Steps: 2, Guidance: 3, Seed: 1,
		}
		samples, err := dataset.Collect(context.Background(), p.Generate(request))
		require.NoError(t, err)
		return samples[0].Latent.Float32s()
	}
	want := latents(kernels.Config{})
	got := latents(kernels.Config{Device: device(t)})
	require.InDeltaSlice(t, want, got, 1e-4)
}
