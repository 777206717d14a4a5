// Command trainer is a Trainer of its own, with progress, run folder and report: trainer FOLDER. It
// trains a denoiser of points in the plane, weighted by a reward: those to the right are good.
package main

import (
	"context"
	"iter"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

const batch, hidden, features = 64, 64, 16

// A toy is the trainer.
type toy struct {
	updates                   int
	noisy, times, noise, good *tensor.Dense // of a batch: [N,2], [N], [N,2], [N]
	stepper                   optim.Stepper
	loss                      *optim.Compiled
}

func newToy(updates int) (t *toy, err error) {
	t = &toy{updates: updates}
	t.noisy, t.times, t.noise, t.good = zeros(batch, 2), zeros(batch), zeros(batch, 2), zeros(batch)
	first, last := zeros(hidden, 2+features), zeros(2, hidden)
	random := rand.New(rand.NewPCG(0, 0))
	for _, w := range []*tensor.Dense{first, last} {
		for i := range w.Float32s() {
			w.Float32s()[i] = float32(random.NormFloat64() / math.Sqrt(float64(w.Shape()[1])))
		}
	}
	t.stepper.Parameters = []kernels.Parameter{{Name: "first", Value: first}, {Name: "last", Value: last}}
	t.loss, err = t.stepper.Compile(func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		params := gorgonia.Nodes{kernels.Param(g, first), kernels.Param(g, last)}
		predicted, err := denoise(kernels.Input(g, "noisy", t.noisy), kernels.Input(g, "times", t.times), params)
		if err == nil {
			loss.Value, err = kernels.MSE(predicted, kernels.Input(g, "noise", t.noise), kernels.Input(g, "good", t.good))
		}
		return loss, err
	})
	return t, err
}

// denoise predicts the noise in points, with two layers.
func denoise(points, times *gorgonia.Node, params gorgonia.Nodes) (*gorgonia.Node, error) {
	x, err := kernels.TimestepEmbedding(times, features, false, 0)
	if err != nil {
		return nil, err
	}
	if x, err = kernels.Concat(points, x); err != nil {
		return nil, err
	}
	if x, err = kernels.Linear(x, params[0], nil); err != nil {
		return nil, err
	}
	if x, err = kernels.SiLU(x); err != nil {
		return nil, err
	}
	return kernels.Linear(x, params[1], nil)
}

// Steps makes toy a finetune.Trainer.
func (t *toy) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for t.stepper.Steps() < t.updates {
			if err := context.Cause(ctx); err != nil {
				yield(finetune.Step{}, err)
				return
			}
			t.fill(t.stepper.Steps())
			r, err := t.stepper.Step(t.loss)
			step := finetune.Step{Index: r.Step, Of: t.updates, Loss: r.Loss, LR: r.LR, GradNorm: r.GradNorm, Samples: batch}
			if !yield(step, err) || err != nil {
				return
			}
		}
	}
}

// fill draws points left and right of the middle, noises them, and weighs each by its reward. What
// a step draws depends on its number alone.
func (t *toy) fill(step int) {
	random := rand.New(rand.NewPCG(1, uint64(step)))
	for i := range batch {
		side := float64(i%2*2 - 1)
		t.good.Float32s()[i] = float32(max(0, side) / batch)
		angle := random.Float64() * math.Pi / 2
		t.times.Float32s()[i] = float32(1000 * angle)
		for k, centre := range []float64{2 * side, 0} {
			point, noise := centre+0.2*random.NormFloat64(), random.NormFloat64()
			t.noise.Float32s()[2*i+k] = float32(noise)
			t.noisy.Float32s()[2*i+k] = float32(math.Cos(angle)*point + math.Sin(angle)*noise)
		}
	}
}

func zeros(shape ...int) *tensor.Dense {
	return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
}

func main() {
	const updates = 1000
	t, err := newToy(updates)
	must(err)
	defer t.stepper.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := &finetune.Record{Trainer: t, Folder: os.Args[1], Name: "points", Config: map[string]int{"updates": updates}}
	for _, err := range run.Steps(ctx) {
		must(err)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
