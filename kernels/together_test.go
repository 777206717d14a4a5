package kernels_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A trainee is a machine that trains a network of its own.
type trainee struct {
	machine *kernels.Machine
	network *network
	loss    *gorgonia.Node
}

func newTrainee(t testing.TB, b *network, loss *gorgonia.Node, w *kernels.Workers) trainee {
	opt, err := optim.NewAdamW(b.params...)
	require.NoError(t, err)
	c := kernels.Config{Want: gorgonia.Nodes{loss}, Workers: w}
	grads := b.gradients(t, loss)
	for i, n := range b.nodes() {
		c.Updates = append(c.Updates, kernels.Update{Param: n, Grad: grads[i], By: opt})
	}
	m, err := kernels.NewMachine(b.g, c)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return trainee{m, b, loss}
}

// steps makes n steps and returns the last one's loss.
func (r trainee) steps(t testing.TB, n int) float64 {
	for range n {
		if err := r.machine.RunAll(); err != nil {
			t.Error(err)
		}
	}
	return r.machine.Scalar(r.loss)
}

// products is a stack of linear layers of width×width on rows rows, and a loss.
func products(rows, width, layers int) (b *network, loss *gorgonia.Node) {
	b = &network{g: gorgonia.NewGraph()}
	h := b.input("x", rows, width)
	for range layers {
		h = b.check(kernels.SiLU(b.linear(h, width)))
	}
	return b, b.check(kernels.MSE(h, b.input("y", rows, width), nil))
}

// TestMachinesAtOnce trains two networks at once on the same workers: weights and losses have the
// bits that each has when it is trained alone, with any number of workers.
func TestMachinesAtOnce(t *testing.T) {
	small := func(w *kernels.Workers) trainee {
		b, loss := unet(2, 8, 8, 1)
		return newTrainee(t, b, loss, w)
	}
	large := func(w *kernels.Workers) trainee {
		b, loss := products(70, 300, 2)
		return newTrainee(t, b, loss, w)
	}
	const steps = 6
	weights := func(r trainee) (all [][]float32) {
		for _, p := range r.network.params {
			all = append(all, slices.Clone(p.Value.Float32s()))
		}
		return all
	}
	makers := []func(*kernels.Workers) trainee{small, large, small}
	var wantLoss [3]float64
	var want [3][][]float32
	for i, maker := range makers {
		r := maker(kernels.NewWorkers(1))
		wantLoss[i], want[i] = r.steps(t, steps), weights(r)
	}
	for _, w := range []*kernels.Workers{
		nil, kernels.NewWorkers(1), kernels.NewWorkers(2), kernels.NewWorkers(4),
	} {
		var trainees [3]trainee
		for i, maker := range makers {
			trainees[i] = maker(w)
		}
		var got [3]float64
		var all sync.WaitGroup
		for i, r := range trainees {
			all.Go(func() { got[i] = r.steps(t, steps) })
		}
		all.Wait()
		require.Equal(t, wantLoss, got)
		for i, r := range trainees {
			require.Equal(t, want[i], weights(r), "machine %d", i)
			require.Zero(t, testing.AllocsPerRun(2, func() { r.steps(t, 1) }))
		}
	}
}

// BenchmarkTogether says how much two machines that run at once do, in steps per second, as a
// fraction of what one of them does alone on all cores: the median over pairs of measurements in
// turn. It should not be below 0.9.
func BenchmarkTogether(b *testing.B) {
	for _, c := range []struct {
		name  string
		steps int // of a measurement: some hundred milliseconds
		make  func() (*network, *gorgonia.Node)
	}{
		{"unet", 3, func() (*network, *gorgonia.Node) { return unet(16, 16, 32, 2) }},
		{"products", 3, func() (*network, *gorgonia.Node) { return products(1024, 1024, 3) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var machines [2]trainee
			for i := range machines {
				network, loss := c.make()
				machines[i] = newTrainee(b, network, loss, nil)
				machines[i].steps(b, 1)
			}
			var alone, ratio []float64
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				machines[i%2].steps(b, c.steps)
				one := time.Since(start).Seconds()
				start = time.Now()
				var both sync.WaitGroup
				for _, m := range machines {
					both.Go(func() { m.steps(b, c.steps) })
				}
				both.Wait()
				alone = append(alone, one/float64(c.steps))
				ratio = append(ratio, 2*one/time.Since(start).Seconds())
			}
			b.ReportMetric(1e3*median(alone), "ms/step-alone")
			b.ReportMetric(median(ratio), "together/alone")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
