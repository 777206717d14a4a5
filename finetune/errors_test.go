package finetune

import (
	"context"
	"errors"
	"iter"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
)

// fails runs a tuner to its error and returns it and how many steps there were before. After it
// there must be nothing.
func fails(t *testing.T, ctx context.Context, tuner *Tuner) (steps int, failure error) {
	for step, err := range tuner.Steps(ctx) {
		require.NoError(t, failure, "the sequence goes on after an error")
		if failure = err; err != nil {
			require.Zero(t, step.Loss)
			continue
		}
		steps++
	}
	return steps, failure
}

// withSample returns the model's samples with the third changed.
func withSample(change func(s *dataset.Sample)) dataset.Dataset {
	samples := made(5, true)
	change(&samples[2])
	return dataset.FromSlice(samples)
}

func TestWhatCannotBeTrained(t *testing.T) {
	broken := errors.New("the disk is gone")
	wrong := func(n *gorgonia.Node, err error) Term {
		return NewTerm("mine", func(*Batch) (*gorgonia.Node, error) { return n, err })
	}
	for want, change := range map[string]func(t *Tuner){
		"finetune: the Tuner has no Network":  func(t *Tuner) { t.Network = nil },
		"finetune: the Tuner has no Schedule": func(t *Tuner) { t.Schedule = nil },
		"finetune: the Tuner has no data": func(t *Tuner) {
			t.Own, t.Pretrain = nil, nil
		},
		"finetune: 0 updates asked for":                    func(t *Tuner) { t.Updates = 0 },
		"finetune: batches of -1 and 2 samples in 0 parts": func(t *Tuner) { t.OwnBatch = -1 },
		"finetune: Dropout needs Unconditional":            func(t *Tuner) { t.Dropout = 0.1 },
		"finetune: the Schedule has no Process or no Prediction": func(t *Tuner) {
			t.Schedule = &diffusion.Schedule{Process: t.Schedule.Process}
		},
		"finetune: OwnLevels: there is no level of timestep -1": func(t *Tuner) {
			t.OwnLevels = t.Schedule.Process.From(-1)
		},
		"finetune: PretrainLevels: there is no level of timestep 1000": func(t *Tuner) {
			t.PretrainLevels = t.Schedule.Process.From(1000)
		},
		"finetune: Dropout is -0.1, not in [0,1]": func(t *Tuner) {
			t.Dropout = -0.1
		},
		"finetune: Dropout is 1.5, not in [0,1]": func(t *Tuner) {
			t.Dropout, t.Unconditional = 1.5, tokens(2)
		},
		"finetune: EMA is 0.9, so the average of 6 updates is 53 % what the parameters were": func(
			t *Tuner,
		) {
			t.EMA = 0.9
		},
		"finetune: EMA is 1, not in [0,1)": func(t *Tuner) {
			t.EMA = 1
		},
		"finetune: EMA is NaN, not in [0,1)": func(t *Tuner) {
			t.EMA = math.NaN()
		},
		"finetune: Clip is -1, MinSNR 0: below zero": func(t *Tuner) {
			t.Clip = -1
		},
		"finetune: Clip is 0, MinSNR NaN: below zero": func(t *Tuner) {
			t.MinSNR = math.NaN()
		},
		"finetune: Unconditional: dataset: the condition has tokens (3, 3), " +
			"others have (2, 3)": func(t *Tuner) {
			t.Dropout, t.Unconditional = 0.1, tokens(3)
		},
		"finetune: Unconditional: dataset: the condition has tokens float64": func(t *Tuner) {
			t.Dropout, t.Unconditional.Tokens = 0.1, tensor.New(
				tensor.Of(tensor.Float64), tensor.WithShape(2, width),
			)
		},
		"finetune: there are no model samples": func(t *Tuner) {
			t.Own = dataset.FromSlice(nil)
		},
		"finetune: there are no pretraining samples": func(t *Tuner) {
			t.Pretrain = dataset.FromSlice(nil)
		},
		"finetune: pretraining data: the disk is gone": func(t *Tuner) {
			t.Pretrain = dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
				return func(yield func(dataset.Sample, error) bool) {
					yield(dataset.Sample{}, broken)
				}
			})
		},
		`model sample 2 (id2, "prompt 2"): it has no latent`: func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Latent = nil })
		},
		`model sample 2 (id2, "prompt 2"): it has no condition`: func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Condition = dataset.Condition{} })
		},
		`model sample 2 (id2, "prompt 2") has no reward`: func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Reward = nil })
		},
		`finetune: model samples: sample 2 (id2, "prompt 2") has reward -0.5: ` +
			"ByReward takes none below 0": func(t *Tuner) {
			t.Choose = ByReward{}
			t.Own = withSample(func(s *dataset.Sample) { s.Reward = new(-0.5) })
		},
		"finetune: model samples: the mean reward of 1 samples is 0: " +
			"ByReward cannot draw": func(t *Tuner) {
			sample := made(1, true)
			sample[0].Reward = new(0.0)
			t.Choose, t.Own = ByReward{}, dataset.FromSlice(sample)
		},
		`model sample 2 (id2, "prompt 2") has reward NaN`: func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Reward = new(math.NaN()) })
		},
		`model sample 2 (id2, "prompt 2") has reward +Inf`: func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Reward = new(math.Inf(1)) })
		},
		`model sample 2 (id2, "prompt 2"): its latent is (2, 2, 2), ` +
			"another's (1, 2, 2)": func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Latent = dense(2, 2, 2) })
		},
		`model sample 2 (id2, "prompt 2"): its latent is float32 (2, 2), ` +
			"not float32 with 3 dimensions": func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Latent = dense(2, 2) })
		},
		`model sample 2 (id2, "prompt 2"): dataset: the condition has tokens (4, 3), ` +
			"others have (2, 3)": func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Condition = tokens(4) })
		},
		`model sample 2 (id2, "prompt 2"): dataset: the condition has pooled (5), ` +
			"others have none": func(t *Tuner) {
			t.Own = withSample(func(s *dataset.Sample) { s.Condition.Pooled = dense(5) })
		},
		`model sample 1 (id1, "prompt 1"): dataset: the condition has no sizes, ` +
			"others have (6)": func(t *Tuner) {
			samples := made(5, true)
			samples[0].Condition.Sizes = dense(6)
			t.Own = dataset.FromSlice(samples)
		},
		`pretraining sample 0 (id0, "prompt 0"): its latent is (1, 2, 4), ` +
			"another's (1, 2, 2)": func(t *Tuner) {
			samples := made(4, false)
			for i := range samples {
				samples[i].Latent = dense(1, 2, 4)
			}
			t.Pretrain = dataset.FromSlice(samples)
		},
		"finetune: term mine: the disk is gone": func(t *Tuner) {
			t.Terms = []Term{wrong(nil, broken)}
		},
		"finetune: term mine: it gave no loss": func(t *Tuner) {
			t.Terms = []Term{wrong(nil, nil)}
		},
		"finetune: term mine: it is (5), not a scalar": func(t *Tuner) {
			t.Terms = []Term{NewTerm("mine", func(b *Batch) (*gorgonia.Node, error) {
				return b.Weights, nil
			})}
		},
		"finetune: the loss has no terms": func(t *Tuner) {
			t.Terms = []Term{}
		},
		"finetune: term reward: the batch has no samples of the model's own": func(t *Tuner) {
			t.Own = nil
		},
		"finetune: term pretraining: the batch has no pretraining samples": func(t *Tuner) {
			t.Pretrain = nil
		},
		"finetune: optim: the loss does not depend on parameter idle": func(t *Tuner) {
			t.Network = idle{t.Network}
		},
		"finetune: the Network has no parameters to train": func(t *Tuner) {
			t.Network = frozen{t.Network}
		},
		"finetune: it is baked in": func(t *Tuner) {
			t.Network = baked{t.Network}
		},
		"finetune: optim: step 0: the learning rate is NaN": func(t *Tuner) {
			t.LR = func(int) float64 { return math.NaN() }
		},
	} {
		l := newLine()
		tuner, before := tuner(t, l), l.vector()
		change(tuner)
		steps, err := fails(t, context.Background(), tuner)
		require.Zero(t, steps, want)
		require.ErrorContains(t, err, want)
		require.Equal(t, before, l.vector(), "an error changed the parameters: %s", want)
	}
}

// idle has a parameter that nothing uses.
type idle struct{ Network }

func (n idle) Trainable() []kernels.Parameter {
	return append(n.Network.Trainable(), kernels.Parameter{Name: "idle", Value: dense(2)})
}

// baked cannot be tuned.
type baked struct{ Network }

func (baked) Tunable() error { return errors.New("it is baked in") }

// frozen has no parameters.
type frozen struct{ Network }

func (frozen) Trainable() []kernels.Parameter { return nil }

// A loss that is not finite ends training with the step and the term that was it, and so do
// gradients. The parameters are then those of the step before: what is saved can be used.
func TestNumbersThatAreNotFinite(t *testing.T) {
	poison := func(step int) func(int) float64 {
		return func(s int) float64 {
			if s == step {
				return 1e38
			}
			return 0.01
		}
	}
	l := newLine()
	first := tuner(t, l)
	first.LR = poison(2)
	steps, err := fails(t, context.Background(), first)
	require.Equal(t, 3, steps)
	require.ErrorContains(t, err, "finetune: optim: step 3: the reward term is NaN")
	for _, v := range l.vector() {
		require.False(t, math.IsNaN(v))
	}

	for _, clip := range []float64{0, 1} {
		for want, term := range map[string]func(n *gorgonia.Node) (*gorgonia.Node, error){
			"finetune: optim: step 0: the mine term is NaN": func(n *gorgonia.Node) (
				*gorgonia.Node, error,
			) {
				return kernels.Scale(n, math.NaN())
			},
			// The root's slope at 0 is infinite.
			"finetune: optim: step 0: the gradient of C is NaN": func(n *gorgonia.Node) (
				*gorgonia.Node, error,
			) {
				zero, err := kernels.Scale(n, 0)
				if err != nil {
					return nil, err
				}
				return gorgonia.Sqrt(zero)
			},
		} {
			l := newLine()
			other, before := tuner(t, l), l.vector()
			other.Clip = clip
			mine := NewTerm("mine", func(b *Batch) (*gorgonia.Node, error) {
				n, err := kernels.Sum(b.Predicted)
				if err != nil {
					return nil, err
				}
				return term(n)
			})
			other.Terms = append(other.Terms, mine)
			steps, err = fails(t, context.Background(), other)
			require.Zero(t, steps)
			if clip > 0 { // they are looked at in the order of the parameters, not as they appear
				want = strings.Replace(want, "gradient of C", "gradient of X", 1)
			}
			require.ErrorContains(t, err, want)
			require.Equal(t, before, l.vector())
		}
	}
}

// Where there is no signal an ε gives no x̂₀, and training fails if a term asks for it; ε̂ is
// there.
func TestNoSignalNoCleanLatent(t *testing.T) {
	for what, read := range map[string]func(b *Batch) (*gorgonia.Node, error){
		"x̂₀": func(b *Batch) (*gorgonia.Node, error) { return b.CleanOf(b.Predicted) },
		"ε̂":  func(b *Batch) (*gorgonia.Node, error) { return b.NoiseOf(b.Predicted) },
	} {
		tuner := tuner(t, newLine())
		tuner.Schedule.Process = diffusion.Table{AlphaBar: []float64{0}}
		tuner.Terms = append(tuner.Terms, NewTerm("mine", func(b *Batch) (*gorgonia.Node, error) {
			n, err := read(b)
			if err != nil {
				return nil, err
			}
			return kernels.Sum(n)
		}))
		steps, err := fails(t, context.Background(), tuner)
		if what == "ε̂" {
			require.NoError(t, err)
			continue
		}
		require.Zero(t, steps)
		require.ErrorContains(t, err,
			"finetune: optim: step 0: sample 0: diffusion: there is no signal at timestep 0")
	}
}

// Where training is cancelled, its error is the cause; the steps before stay, and it can be gone on
// with.
func TestCancelled(t *testing.T) {
	cause := errors.New("the user pressed a key")
	tuner := tuner(t, newLine())
	cancelled, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	steps, err := fails(t, cancelled, tuner)
	require.Zero(t, steps)
	require.Equal(t, cause, err)

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	count := 0
	for step, err := range tuner.Steps(ctx) {
		if count == 2 {
			require.Equal(t, cause, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, count, step.Index)
		if count++; count == 2 {
			cancel(cause)
		}
	}
	require.Equal(t, 2, count)
	steps, err = fails(t, context.Background(), tuner)
	require.NoError(t, err)
	require.Equal(t, 4, steps)
	// Nothing is left to do.
	steps, err = fails(t, context.Background(), tuner)
	require.NoError(t, err)
	require.Zero(t, steps)
}

func TestFunc(t *testing.T) {
	var trainer Trainer = Func(func(context.Context) iter.Seq2[Step, error] {
		return func(yield func(Step, error) bool) { yield(Step{Index: 3}, nil) }
	})
	for step, err := range trainer.Steps(context.Background()) {
		require.NoError(t, err)
		require.Equal(t, 3, step.Index)
	}
}
