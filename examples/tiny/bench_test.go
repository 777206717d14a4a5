package tiny_test

import (
	"iter"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// BenchmarkTrainingStep times an update by Eq. 2, of eight rewarded samples and eight for
// pretraining.
func BenchmarkTrainingStep(b *testing.B) {
	u := network(b)
	trainer := &finetune.Tuner{
		Network:       u,
		Schedule:      schedule(b),
		Own:           samples(u, 8),
		Pretrain:      samples(u, 8),
		OwnBatch:      8,
		PretrainBatch: 8,
		Updates:       1 << 30,
	}
	defer trainer.Close()
	next, stop := iter.Pull2(trainer.Steps(b.Context()))
	defer stop()
	once := func() {
		_, err, _ := next()
		require.NoError(b, err)
	}
	once() // it compiles
	for b.Loop() {
		once()
	}
	b.ReportMetric(float64(16*b.N)/b.Elapsed().Seconds(), "samples/s")
}

// BenchmarkEvaluation times the network's prediction for eight latents.
func BenchmarkEvaluation(b *testing.B) {
	const n = 8
	u := network(b)
	g := gorgonia.NewGraph()
	input := func(name string, shape ...int) *gorgonia.Node {
		x := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		rng.Normal(x.Float32s(), 1, name, 0, 0)
		return kernels.Input(g, name, x)
	}
	side, channels := u.Config.SampleSize, u.Config.InChannels
	predicted, err := u.Predict(input("x", n, side, side, channels), input("t", n),
		diffusion.Condition{Tokens: input("c", n, 16, u.Config.CrossAttentionDim[0])})
	require.NoError(b, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{predicted}})
	require.NoError(b, err)
	defer m.Close()
	require.NoError(b, m.RunAll()) // the first touch of memory
	for b.Loop() {
		require.NoError(b, m.RunAll())
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "samples/s")
}
