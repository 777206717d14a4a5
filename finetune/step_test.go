package finetune

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// train runs a tuner to its end and returns its steps, times aside, and the parameters.
func train(t *testing.T, l *line, tuner *Tuner) (steps []Step, params []float64) {
	t.Helper()
	for step, err := range tuner.Steps(context.Background()) {
		require.NoError(t, err)
		step.Time = 0
		steps = append(steps, step)
	}
	return steps, l.vector()
}

// A batch in parts is the batch, to rounding: both streams, weighed levels, dropping, clipping and
// a moving average, parts of unequal sizes.
func TestAccumulationIsTheLargeBatch(t *testing.T) {
	variants := map[string]func(*Tuner){
		"Eq. 2": func(*Tuner) {}, "clipped": func(t *Tuner) { t.Clip = 0.3 },
		"weighed":   func(t *Tuner) { t.MinSNR = 5 },
		"dropped":   func(t *Tuner) { t.Dropout, t.Unconditional = 0.5, tokens(2) },
		"averaged":  func(t *Tuner) { t.EMA = 0.5 },
		"by reward": func(t *Tuner) { t.Choose = ByReward{} },
		"own alone": func(t *Tuner) { t.Pretrain, t.PretrainBatch, t.Terms = nil, 0, nil },
	}
	for name, change := range variants {
		t.Run(name, func(t *testing.T) {
			run := func(parts int) (steps []Step, params []float64) {
				l := newLine()
				tuner := tuner(t, l)
				tuner.OwnBatch, tuner.PretrainBatch, tuner.Accumulate = 7, 5, parts
				change(tuner)
				steps, params = train(t, l, tuner)
				if tuner.EMA > 0 {
					require.NoError(t, tuner.UseAverage())
					params = append(params, l.vector()...)
				}
				return steps, params
			}
			whole, params := run(0)
			for _, parts := range []int{2, 3, 5} {
				some, theirs := run(parts)
				require.Len(t, some, len(whole))
				for i, step := range whole {
					require.InEpsilon(t, step.Loss, some[i].Loss, 2e-6)
					require.InDeltaMapValues(t, step.Terms, some[i].Terms, 2e-6)
					require.InEpsilon(t, step.GradNorm, some[i].GradNorm, 5e-6)
					require.Equal(t, step.IDs, some[i].IDs)
					require.Equal(t, step.Samples, some[i].Samples)
				}
				require.InDeltaSlice(t, params, theirs, 5e-6, "%d parts", parts)
			}
		})
	}
}

// A loss that divides by the part's size instead of the whole's is not the large batch's: what the
// test above holds is there to be missed.
func TestTermsDivideByTheWhole(t *testing.T) {
	l := newLine()
	tuner := tuner(t, l)
	tuner.OwnBatch, tuner.PretrainBatch, tuner.Accumulate = 7, 5, 3
	var sizes [][4]int
	tuner.Terms = []Term{NewTerm("sizes", func(b *Batch) (*gorgonia.Node, error) {
		sizes = append(sizes, [4]int{b.Own, b.Pretrain, b.OwnOf, b.PretrainOf})
		return RewardWeighted{}.Loss(b)
	})}
	_, err := tuner.Prepare(context.Background())
	require.NoError(t, err)
	require.ElementsMatch(t, [][4]int{{2, 1, 7, 5}, {2, 2, 7, 5}, {3, 2, 7, 5}}, sizes)

	few := tuner
	few.run, few.Accumulate = nil, 6
	_, err = few.Prepare(context.Background())
	require.EqualError(t, err, "finetune: batches of 7 and 5 samples are not enough for 6 parts")
}

// Pairs put a group's better sample first and the worse behind it, with the same level and noise; a
// pass has each pair once, and groups of three have three.
func TestPairs(t *testing.T) {
	samples := made(9, true)
	groups := []string{"a", "a", "b", "c", "b", "c", "c", "", "alone"}
	for i := range samples {
		samples[i].Group = groups[i]
	}
	better := func(i, k int) [2]string {
		if *samples[i].Reward < *samples[k].Reward {
			i, k = k, i
		}
		return [2]string{samples[i].ID, samples[k].ID}
	}
	want := [][2]string{better(0, 1), better(2, 4), better(3, 5), better(3, 6), better(5, 6)}

	tuner := tuner(t, newLine())
	tuner.Own, tuner.OwnBatch, tuner.Choose = dataset.FromSlice(samples), 10, Pairs{}
	r, err := tuner.start(context.Background())
	require.NoError(t, err)
	defer r.stepper.Close()
	var orders [][][2]string
	late := 0
	for step := range 12 {
		draws, err := r.draw(step)
		require.NoError(t, err)
		var pairs [][2]string
		for i := 0; i < 10; i += 2 {
			a, b := draws[i], draws[i+1]
			pairs = append(pairs, [2]string{a.sample.ID, b.sample.ID})
			require.Equal(t, a.noise, b.noise)
			require.Equal(t, a.level, b.level)
			require.Greater(t, a.reward, b.reward)
			require.Equal(t, i/2, int(a.level.Timestep)/200, "each pair has its stratum")
			if int(a.level.Timestep)%200 >= 100 {
				late++
			}
			if i > 0 {
				require.NotEqual(t, draws[i-1].noise, a.noise)
			}
		}
		require.ElementsMatch(t, want, pairs)
		orders = append(orders, pairs)
		require.NoError(t, r.first().fill(draws))
		numbers := r.first().feeds[0].groups.Float32s()
		for i, d := range draws {
			for k, e := range draws {
				same := i == k || d.sample.Group != "" && d.sample.Group == e.sample.Group
				require.Equal(t, same, numbers[i] == numbers[k])
			}
		}
	}
	require.NotEqual(t, orders[0], orders[1])
	require.InDelta(t, 30, late, 15, "all of it: four standard errors of 60 draws")

	for message, change := range map[string]func(*Tuner){
		"is the batch of pairs odd?": func(t *Tuner) { t.OwnBatch = 3; t.Updates = 2 },
		"shares a level with (Accumulate)": func(t *Tuner) {
			t.OwnBatch, t.PretrainBatch, t.Accumulate = 6, 6, 4
		},
		"no two of 5 samples are of one": func(t *Tuner) {
			t.Own = dataset.FromSlice(made(5, true))
		},
	} {
		l := newLine()
		odd, before := *tuner, l.vector()
		odd.run, odd.Network = nil, l
		change(&odd)
		_, err := fails(t, context.Background(), &odd)
		require.ErrorContains(t, err, message)
		if odd.OwnBatch != 3 {
			require.Equal(t, before, l.vector())
		}
	}
}

// A preference loss (Wallace et al. 2023, eq. 14) with a reference that is not tuned: −log
// σ(−k·(how much better the tuned network is than the reference on the preferred sample, less the
// same on the other)).
func TestPreferencesByHand(t *testing.T) {
	samples := made(6, true)
	for i := range samples {
		samples[i].Group = fmt.Sprint(i / 2)
	}
	l, frozen := newLine(), newLine()
	tuner := tuner(t, l)
	const k = 3.0
	tuner.Own, tuner.OwnBatch, tuner.Choose = dataset.FromSlice(samples), 4, Pairs{}
	tuner.Pretrain, tuner.PretrainBatch = nil, 0
	tuner.Reference = diffusion.Func(frozen.Predict)
	tuner.Terms = []Term{NewTerm("dpo", func(b *Batch) (*gorgonia.Node, error) {
		tuned, err := b.Errors(b.Predicted)
		if err != nil {
			return nil, err
		}
		said, err := b.Reference()
		if err != nil {
			return nil, err
		}
		before, err := b.Errors(said)
		if err != nil {
			return nil, err
		}
		gain, err := kernels.Sub(tuned, before)
		if err != nil {
			return nil, err
		}
		pairs, err := kernels.Reshape(gain, b.Own/2, 2)
		if err != nil {
			return nil, err
		}
		halves, err := kernels.Split(pairs, 1, 1, 1)
		if err != nil {
			return nil, err
		}
		margin, err := kernels.Sub(halves[0], halves[1])
		if err != nil {
			return nil, err
		}
		if margin, err = kernels.Scale(margin, k); err != nil {
			return nil, err
		}
		if margin, err = kernels.Softplus(margin); err != nil {
			return nil, err
		}
		sum, err := kernels.Sum(margin)
		if err != nil {
			return nil, err
		}
		if err := b.Metric("margins", sum); err != nil {
			return nil, err
		}
		return kernels.Scale(sum, 2/float64(b.OwnOf))
	})}
	p, was := l.vector(), frozen.vector()
	r, err := tuner.start(context.Background())
	require.NoError(t, err)
	tuner.run = r
	count := 0
	for step, err := range tuner.Steps(context.Background()) {
		require.NoError(t, err)
		draws, err := r.draw(count)
		require.NoError(t, err)
		loss := func(p []float64) (sum float64) {
			gain := make([]float64, len(draws))
			for i, d := range draws {
				x, target := byHandNoisy(d)
				for sign, params := range map[float64][]float64{1: p, -1: was} {
					tokens := float64s(d.condition.Tokens)
					for e, said := range predict(params, x, d.level.Timestep, tokens) {
						gain[i] += sign * (target[e] - said) * (target[e] - said) /
							float64(positions*channels)
					}
				}
			}
			for i := 0; i < len(gain); i += 2 {
				sum += math.Log1p(math.Exp(k*(gain[i]-gain[i+1]))) * 2 / float64(len(draws))
			}
			return sum
		}
		require.InEpsilon(t, loss(p), step.Loss, 1e-5)
		require.InEpsilon(t, loss(p)*float64(len(draws))/2, step.Metrics["margins"], 1e-5)
		if count == 0 {
			require.InEpsilon(t, math.Ln2, step.Loss, 1e-6, "nothing is tuned yet")
		}
		p = l.vector()
		count++
	}
	require.Equal(t, 6, count)
	require.Equal(t, was, frozen.vector(), "the reference was tuned")

	without := *tuner
	without.run, without.Reference = nil, nil
	_, err = without.Prepare(context.Background())
	require.EqualError(t, err, "finetune: term dpo: the Tuner has no Reference")
}

// byHandNoisy is a draw's noisy latent and target.
func byHandNoisy(d draw) (x, target []float64) {
	for k, e := range d.noise {
		x = append(x, d.level.Signal*float64(d.sample.Latent.Float32s()[k])+
			d.level.Noise*float64(e))
		target = append(target, float64(e))
	}
	return x, target
}

// What a step saw is said, and numbers of one's own are reported.
func TestStepSaysWhatItSaw(t *testing.T) {
	tuner := tuner(t, newLine())
	tuner.Terms = append(tuner.Terms, NewTerm("nothing", func(b *Batch) (*gorgonia.Node, error) {
		clean, err := kernels.Sum(b.Clean)
		if err != nil {
			return nil, err
		}
		noise, err := kernels.Sum(b.Noise)
		if err != nil {
			return nil, err
		}
		for name, n := range map[string]*gorgonia.Node{"clean": clean, "noise": noise} {
			if err := b.Metric(name, n); err != nil {
				return nil, err
			}
		}
		require.ErrorContains(t, b.Metric("whole", b.Clean), "is no scalar")
		sum, err := kernels.Sum(b.Predicted)
		if err != nil {
			return nil, err
		}
		return kernels.Scale(sum, 0)
	}))
	steps, _ := train(t, tuner.Network.(*line), tuner)
	for i, step := range steps {
		draws, err := tuner.run.draw(i)
		require.NoError(t, err)
		var ids []string
		var clean, noise float64
		for _, d := range draws {
			ids = append(ids, d.sample.ID)
			for k, e := range d.noise {
				clean, noise = clean+float64(d.sample.Latent.Float32s()[k]), noise+float64(e)
			}
		}
		require.Equal(t, ids, step.IDs)
		require.InDeltaMapValues(t, map[string]float64{"clean": clean, "noise": noise},
			step.Metrics, 1e-5)
	}
}

// sgd is p ← p − LR·g, with a learning rate of its own.
type sgd struct{ LR float64 }

func (s sgd) Update(param, grad *tensor.Dense) error {
	for i, g := range grad.Float32s() {
		param.Float32s()[i] -= float32(s.LR) * g
	}
	return nil
}

// Without Tuner.LR an optimizer keeps its own rate: AdamW's is not overwritten, one's own is not
// asked for.
func TestOptimizersKeepTheirRate(t *testing.T) {
	l := newLine()
	adam, err := optim.NewAdamW(l.Trainable()...)
	require.NoError(t, err)
	adam.LR = 0.025
	first := tuner(t, l)
	first.Optimizer, first.LR = adam, nil
	steps, params := train(t, l, first)
	require.Equal(t, 0.025, steps[0].LR)
	other := newLine()
	same := tuner(t, other)
	same.LR = func(int) float64 { return 0.025 }
	_, theirs := train(t, other, same)
	require.Equal(t, theirs, params)

	plain := newLine()
	without := tuner(t, plain)
	without.LR = nil
	steps, _ = train(t, plain, without)
	require.Equal(t, 1e-5, steps[0].LR)

	own := newLine()
	mine := tuner(t, own)
	mine.LR, mine.Optimizer, mine.Updates = nil, sgd{0.1}, 1
	before := own.vector()
	b := batchByHand(mine, 0, made(5, true), made(4, false))
	g := slope(before, func(p []float64) float64 {
		reward, pretraining := b.terms(p, 0.7)
		return reward + pretraining
	})
	steps, params = train(t, own, mine)
	require.Zero(t, steps[0].LR)
	for i := range before {
		require.InDelta(t, before[i]-0.1*g[i], params[i], 1e-6)
	}
	mine = tuner(t, newLine())
	mine.Optimizer = sgd{0.1}
	_, err = mine.Prepare(context.Background())
	require.ErrorContains(t, err, "no method SetLR")
}

// Each round has draws of its own; what they are depends on the seed and the round.
func TestRoundsHaveTheirOwnDraws(t *testing.T) {
	noise := func(seed uint64, round int) []float32 {
		tuner := tuner(t, newLine())
		tuner.Seed, tuner.Round = seed, round
		r, err := tuner.start(context.Background())
		require.NoError(t, err)
		defer r.stepper.Close()
		draws, err := r.draw(0)
		require.NoError(t, err)
		return draws[0].noise
	}
	all := [][]float32{noise(11, 0), noise(11, 1), noise(11, 2), noise(12, 0), noise(12, 1)}
	for i := range all {
		for k := range i {
			require.NotEqual(t, all[i], all[k])
		}
	}
	require.Equal(t, all[1], noise(11, 1))
}

// A tuner that is taken up again by another, from its state, ends with the same bits.
func TestTunerIsResumable(t *testing.T) {
	for name, change := range map[string]func(*Tuner){
		"used up": func(*Tuner) {}, "averaged": func(t *Tuner) { t.EMA = 0.5 },
		"clipped":  func(t *Tuner) { t.Clip, t.EMA = 0.3, 0.5 },
		"in parts": func(t *Tuner) { t.Accumulate = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine()
			whole := tuner(t, l)
			change(whole)
			steps, params := train(t, l, whole)
			for at := range 6 {
				first := tuner(t, newLine())
				change(first)
				if at > 0 {
					for step, err := range first.Steps(context.Background()) {
						require.NoError(t, err)
						if step.Index == at-1 {
							break
						}
					}
				}
				state, err := first.State(context.Background())
				require.NoError(t, err)
				require.Equal(t, at, state.Step)
				state.Tensors = clone(state.Tensors)
				slices.Reverse(state.Tensors)

				again := newLine()
				second := tuner(t, again)
				change(second)
				before := again.vector()
				require.ErrorContains(t, second.Restore(context.Background(),
					State{Tensors: state.Tensors[1:]}), "is missing")
				require.Equal(t, before, again.vector())
				require.NoError(t, second.Restore(context.Background(), state))
				rest, theirs := train(t, again, second)
				require.Equal(t, steps[at:], rest)
				require.Equal(t, params, theirs)
				if second.EMA > 0 {
					require.NoError(t, whole.UseAverage())
					require.NoError(t, second.UseAverage())
					require.Equal(t, l.vector(), again.vector())
					require.NoError(t, whole.UseAverage())
				}
			}
			other := tuner(t, newLine())
			change(other)
			if other.EMA = 0.5 - other.EMA; true {
				state, err := whole.State(context.Background())
				require.NoError(t, err)
				require.ErrorContains(t, other.Restore(context.Background(), state),
					"of a moving average")
			}
		})
	}
}
