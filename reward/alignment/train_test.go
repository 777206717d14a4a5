package alignment

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda/cudatest"
)

// train runs all epochs.
func train(t *testing.T, training *Training) []Epoch {
	t.Helper()
	var epochs []Epoch
	for e, err := range training.Epochs(context.Background()) {
		require.NoError(t, err)
		require.Equal(t, len(epochs), e.Index)
		epochs = append(epochs, e)
	}
	return epochs
}

var (
	things = []string{
		"cup", "box", "dog", "hat", "car", "pen", "owl", "key", "jar", "fan", "log", "net",
	}
	others = []string{"bed", "cat", "egg", "ink"} // things of prompts that no training sees
)

// The reward learns what CLIP's similarity cannot tell, for prompts and things that it has not
// seen.
func TestLearns(t *testing.T) {
	for name, change := range map[string]func(*Training){
		"with classification": func(*Training) {},
		"without":             func(t *Training) { t.Lambda = 0 },
		"before sigmoid":      func(t *Training) { t.Presigmoid = true },
	} {
		t.Run(name, func(t *testing.T) {
			training := training(labelled(8, 1, things...))
			change(training)
			epochs := train(t, training)
			last := epochs[len(epochs)-1]
			require.Less(t, last.MSE, epochs[0].MSE/2)
			if training.Lambda > 0 && name != "before sigmoid" {
				require.Less(t, last.Classification, epochs[0].Classification)
			}
			c, err := training.Model().Evaluate(context.Background(),
				dataset.FromSlice(labelled(20, 2, others...)))
			require.NoError(t, err)
			t.Logf("%d epochs, %+v", len(epochs), c)
			require.Equal(t, 20*6*4, c.N)
			require.Greater(t, c.Accuracy.Accuracy, 0.9)
			require.Greater(t, c.AUC, 0.97)
			require.Greater(t, c.AUC, c.CLIPAUC+0.15)
		})
	}
}

// Prompts are held out, not pictures: none is on both sides, none is lost, and the share is what
// was asked for.
func TestPromptsAreHeldOut(t *testing.T) {
	training := training(labelled(4, 1, things...)) // 72 prompts
	training.HeldOut = 0.25
	held := func(seed uint64) map[string]bool {
		training.Seed = seed
		s, err := training.start(context.Background())
		require.NoError(t, err)
		defer s.stepper.Close()
		out, in := map[string]bool{}, map[string]bool{}
		for _, e := range s.heldOut {
			out[e.prompt] = true
		}
		for _, e := range s.train {
			in[e.prompt] = true
			require.False(t, out[e.prompt], e.prompt)
		}
		require.Len(t, out, 18)
		require.Len(t, in, 54)
		require.Len(t, s.heldOut, 4*18)
		require.Len(t, s.train, 4*54)
		return out
	}
	require.Equal(t, held(1), held(1))
	require.NotEqual(t, held(1), held(2))
}

// An example's true prompt is first among its prompts, and each text is embedded once.
func TestExamples(t *testing.T) {
	asked := 0
	training := training(labelled(4, 1, "cup", "box"))
	training.CLIP = fakeCLIP{asked: &asked}
	s := &session{Training: *training}
	examples, err := s.embed(context.Background())
	require.NoError(t, err)
	require.Equal(t, 12, asked)
	samples := labelled(4, 1, "cup", "box")
	require.Len(t, examples, len(samples))
	for i, e := range examples {
		wrong, err := perturb(samples[i].Prompt, 3, rngOf(training.Seed, i))
		require.NoError(t, err)
		want, err := fakeCLIP{}.TextFeatures(context.Background(),
			append([]string{samples[i].Prompt}, wrong...))
		require.NoError(t, err)
		for j, text := range e.texts {
			require.Equal(t, want.Float32s()[j*embedding:(j+1)*embedding], text)
		}
		require.Len(t, e.texts, 4)
		require.Equal(t, samples[i].Label == dataset.Good, e.good)
		require.Equal(t, samples[i].Prompt, e.prompt)
	}
}

// noisy is a task in which there is little to learn and much to learn by heart.
func noisy() *Training {
	samples := labelled(2, 1, things...)
	for i := range samples {
		if samples[i].Label = dataset.Bad; (i*7+i/5)%3 == 0 {
			samples[i].Label = dataset.Good
		}
	}
	t := training(samples)
	t.Lambda, t.Passes, t.Wait, t.HeldOut, t.LR = 0, 60, 4, 0.4, 2e-3
	return t
}

// Training stops when Wait passes have brought nothing, and the model is that of the best pass, bit
// for bit.
func TestEarlyStopping(t *testing.T) {
	training := noisy()
	epochs := train(t, training)
	best := 0
	for i, e := range epochs {
		require.Equal(t, i == 0 || e.HeldOutMSE < epochs[best].HeldOutMSE, e.Best, "epoch %d", i)
		if e.Best {
			best = i
		}
	}
	require.Len(t, epochs, best+1+training.Wait)
	require.Less(t, len(epochs), training.Passes)
	require.Positive(t, best)
	require.Greater(t, epochs[len(epochs)-1].HeldOutMSE, epochs[best].HeldOutMSE)
	require.Less(t, epochs[len(epochs)-1].MSE, epochs[best].MSE, "it did not learn by heart")

	short := noisy()
	short.Passes = best + 1
	require.Equal(t, epochs[:best+1], stripped(train(t, short), training.Passes))
	require.Equal(t, vector(short.Model().head), vector(training.Model().head))

	// Breaking out behind the best pass is the same.
	broken := noisy()
	for e, err := range broken.Epochs(context.Background()) {
		require.NoError(t, err)
		if e.Index == best+2 {
			break
		}
	}
	require.Equal(t, vector(training.Model().head), vector(broken.Model().head))
}

// Where nothing is held out, training sees every label, of one prompt if need be, makes all its
// passes, and the model is that of the last; and taken up again it is the same, bit for bit.
func TestNothingHeldOut(t *testing.T) {
	fresh := func() *Training {
		training := training(labelled(9, 1, "cup")[:9]) // of one prompt
		training.Lambda, training.Batch, training.HeldOut, training.Passes = 0, 4, 0, 12
		t.Cleanup(func() { training.Close() })
		return training
	}
	whole := fresh()
	epochs := train(t, whole)
	require.Len(t, epochs, 12)
	for _, e := range epochs {
		require.True(t, e.Best)
		require.True(t, math.IsNaN(e.HeldOutMSE) && math.IsNaN(e.HeldOut.Accuracy))
		require.True(t, math.IsNaN(e.HeldOut.AUC))
		require.Zero(t, e.HeldOut.N)
	}
	require.Less(t, epochs[11].MSE, epochs[0].MSE)
	require.Len(t, whole.session.train, 9)
	require.Equal(t, vector(whole.session.head), vector(whole.Model().head))

	first := fresh()
	some, _ := stepsOf(t, first, 10) // more than Wait would be
	require.Empty(t, some[9].Metrics)
	state, err := first.State(t.Context())
	require.NoError(t, err)
	require.NotContains(t, state.Values, "best")
	second := fresh()
	require.NoError(t, second.Restore(t.Context(), state))
	rest, _ := stepsOf(t, second, 0)
	require.Len(t, rest, 2)
	require.Equal(t, vector(whole.Model().head), vector(second.Model().head))
}

// stripped are epochs of a run with that many passes.
func stripped(epochs []Epoch, of int) []Epoch {
	for i := range epochs {
		epochs[i].Of = of
	}
	return epochs
}

func TestTrainingIsRepeatable(t *testing.T) {
	outcome := func(seed uint64) ([]Epoch, []float64) {
		training := training(labelled(4, 1, things...))
		training.Seed, training.Passes = seed, 4
		require.Nil(t, training.Model())
		epochs := train(t, training)
		return epochs, vector(training.Model().head)
	}
	epochs, head := outcome(1)
	again, sameHead := outcome(1)
	require.Equal(t, epochs, again)
	require.Equal(t, head, sameHead)
	other, otherHead := outcome(2)
	require.NotEqual(t, epochs[0].MSE, other[0].MSE)
	require.NotEqual(t, head, otherHead)
}

// On a device training does what it does on the processor, what is measured after each epoch
// included, and a state of one goes on on the other.
func TestTrainingOnDevice(t *testing.T) {
	start := func(m kernels.Config) *Training {
		training := training(labelled(2, 1, things[:4]...))
		training.Machine, training.Passes, training.Wait = m, 4, 4
		training.Hidden, training.Batch, training.LR = 8, 16, 0.05
		return training
	}
	device := kernels.Config{Device: cudatest.Open(t)}
	close := func(want, got *Training, epochs, on []Epoch) {
		t.Helper()
		require.Len(t, on, len(epochs))
		for i, e := range epochs {
			require.InEpsilon(t, e.MSE, on[i].MSE, 1e-3)
			require.InEpsilon(t, e.HeldOutMSE, on[i].HeldOutMSE, 1e-3)
			require.Equal(t, e.Best, on[i].Best)
		}
		require.InDeltaSlice(t, vector(want.Model().head), vector(got.Model().head), 1e-3)
	}
	host, there := start(kernels.Config{}), start(device)
	epochs := train(t, host)
	require.Less(t, epochs[3].MSE, 0.9*epochs[0].MSE, "it moves")
	close(host, there, epochs, train(t, there))

	begun, resumed := start(kernels.Config{}), start(device)
	for range begun.Epochs(t.Context()) {
		break
	}
	state, err := begun.State(t.Context())
	require.NoError(t, err)
	require.NoError(t, resumed.Restore(t.Context(), state))
	var rest []Epoch
	for e, err := range resumed.Epochs(t.Context()) {
		require.NoError(t, err)
		rest = append(rest, e)
	}
	close(host, resumed, epochs[1:], rest)
}

func TestWhatCannotBeLearned(t *testing.T) {
	broken := errors.New("the disk is gone")
	all := func(label dataset.Label) dataset.Dataset {
		samples := labelled(2, 1, "cup", "box")
		for i := range samples {
			samples[i].Label = label
		}
		return dataset.FromSlice(samples)
	}
	const (
		onePrompt     = `alignment: all labels are of one prompt, "red cup": none can be held out`
		tooFew        = `alignment: sample id0: Perturb gave 1 wrong prompts, not 3, for "red cup"`
		nothingToTell = "alignment: the Training's Prompts is 1: " +
			"there is nothing to tell the true one from"
		belowZero = "alignment: the Training's Hidden is 32, Prompts 4, Batch -1, Passes 60, Wait 8"
	)
	for want, change := range map[string]func(t *Training){
		"alignment: the Training has no CLIP or no Samples": func(t *Training) {
			t.CLIP = nil
		},
		"alignment: no sample is labelled good or bad (of 0 samples)": func(t *Training) {
			t.Samples = dataset.FromSlice(nil)
		},
		"alignment: no sample is labelled good or bad (of 24 samples)": func(t *Training) {
			t.Samples = all(dataset.Skip)
		},
		"alignment: 24 of 24 labels are good: both kinds are needed": func(t *Training) {
			t.Samples = all(dataset.Good)
		},
		"alignment: 0 of 24 labels are good: both kinds are needed": func(t *Training) {
			t.Samples = all(dataset.Bad)
		},
		onePrompt: func(t *Training) {
			t.Samples = dataset.FromSlice(labelled(9, 1, "cup")[:9])
		},
		`alignment: sample id3 ("green cup") has no picture`: func(t *Training) {
			samples := labelled(2, 1, "cup")
			samples[3].Image = nil
			t.Samples = dataset.FromSlice(samples)
		},
		`alignment: sample id0: "red cup" has no 6 wrong prompts`: func(t *Training) {
			t.Prompts = 7
		},
		tooFew: func(t *Training) {
			t.Perturb = func(string, int, *rand.Rand) ([]string, error) {
				return []string{"blue cup"}, nil
			}
		},
		nothingToTell: func(t *Training) {
			t.Prompts = 1
		},
		"alignment: the Training's HeldOut is 1, not between 0 and 1": func(t *Training) {
			t.HeldOut = 1
		},
		"alignment: the Training's HeldOut is NaN, not between 0 and 1": func(t *Training) {
			t.HeldOut = math.NaN()
		},
		"alignment: the Training's HeldOut is -0.1, not between 0 and 1": func(t *Training) {
			t.HeldOut = -0.1
		},
		"alignment: the Training's Wait is 3, but its HeldOut is 0": func(t *Training) {
			t.HeldOut, t.Wait = 0, 3
		},
		"alignment: the Training's Lambda is NaN, Temperature 2, LR 0.003": func(t *Training) {
			t.Lambda = math.NaN()
		},
		"alignment: the Training's Lambda is 0.5, Temperature -1, LR 0.003": func(t *Training) {
			t.Temperature = -1
		},
		belowZero: func(t *Training) {
			t.Batch = -1
		},
		"alignment: the disk is gone": func(t *Training) {
			t.CLIP = fakeCLIP{broken: broken}
		},
		"alignment: epoch 0: optim: step 2: the MSE is NaN": func(t *Training) {
			t.LR = 1e30
			t.Batch = 6
		},
	} {
		training := training(labelled(2, 1, "cup", "box"))
		change(training)
		var failure error
		for _, err := range training.Epochs(context.Background()) {
			require.NoError(t, failure, "it goes on after an error")
			failure = err
		}
		require.ErrorContains(t, failure, want)
	}
}

// A cancelled training ends with the cause, and what was learned is there.
func TestCancelled(t *testing.T) {
	cause := errors.New("the user pressed a key")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	training := training(labelled(4, 1, things...))
	epochs := 0
	for _, err := range training.Epochs(ctx) {
		if epochs == 2 {
			require.ErrorIs(t, err, cause)
			continue
		}
		require.NoError(t, err)
		if epochs++; epochs == 2 {
			cancel(cause)
		}
	}
	require.Equal(t, 2, epochs)
	require.NotNil(t, training.Model())
}
