package finetune

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A variant is a tuner and Eq. 2 as it has it.
type variant struct {
	change func(t *Tuner)
	beta   float64                                                    // of the pretraining term
	extra  func(p []float64, b handBatch) float64                     // a term beside the two
	adam   func(params []kernels.Parameter) (*handAdam, *optim.AdamW) // nil is PyTorch's
}

// powers is a term of one's own: a quarter of the mean square of what the network predicts.
var powers = NewTerm("power", func(b *Batch) (*gorgonia.Node, error) {
	return meanSquare(b.Predicted, 0.25)
})

// readings is a quarter of the mean square of ε̂ and half of that of x̂₀, of what the network says
// when it is asked once more.
var readings = NewTerm("power", func(b *Batch) (*gorgonia.Node, error) {
	said, err := b.Predict(b.Noisy, b.Timesteps, b.Conditions)
	if err != nil {
		return nil, err
	}
	eps, err := b.NoiseOf(said)
	if err != nil {
		return nil, err
	}
	clean, err := b.CleanOf(said)
	if err != nil {
		return nil, err
	}
	if eps, err = meanSquare(eps, 0.25); err != nil {
		return nil, err
	}
	if clean, err = meanSquare(clean, 0.5); err != nil {
		return nil, err
	}
	return kernels.Add(eps, clean)
})

// meanSquare is scale times the mean square of x.
func meanSquare(x *gorgonia.Node, scale float64) (*gorgonia.Node, error) {
	square, err := kernels.Mul(x, x)
	if err != nil {
		return nil, err
	}
	if square, err = kernels.Sum(square); err != nil {
		return nil, err
	}
	return kernels.Scale(square, scale/float64(x.Shape().TotalSize()))
}

func variants(t *testing.T) map[string]variant {
	none := func(*Tuner) {}
	return map[string]variant{
		"Eq. 2":       {change: none, beta: 0.7},
		"its default": {change: func(t *Tuner) { t.Terms = nil }, beta: 1},
		"by reward":   {change: func(t *Tuner) { t.Choose = ByReward{} }, beta: 0.7},
		"velocity": {change: func(tuner *Tuner) {
			tuner.Schedule = schedule(t, true)
		}, beta: 0.7},
		"min-SNR": {change: func(t *Tuner) { t.MinSNR = 5 }, beta: 0.7},
		"min-SNR of velocity": {change: func(tuner *Tuner) {
			tuner.MinSNR, tuner.Schedule = 5, schedule(t, true)
		}, beta: 0.7},
		"no pretraining": {change: func(t *Tuner) {
			t.Pretrain, t.PretrainBatch, t.Terms = nil, 0, nil
		}},
		"no model": {change: func(t *Tuner) {
			t.Own, t.OwnBatch, t.Terms = nil, 0, nil
		}, beta: 1},
		"one sample": {change: func(t *Tuner) {
			t.OwnBatch, t.PretrainBatch = 1, 1
		}, beta: 0.7},
		"clipping":      {change: func(t *Tuner) { t.Clip = 0.3 }, beta: 0.7},
		"wide clipping": {change: func(t *Tuner) { t.Clip = 1e6 }, beta: 0.7},
		"dropout": {change: func(t *Tuner) {
			t.Dropout, t.Unconditional = 0.5, made(9, false)[8].Condition
		}, beta: 0.7},
		"ε̂ and x̂₀ of a velocity network": {change: func(tuner *Tuner) {
			tuner.Schedule = schedule(t, true)
			tuner.Terms = append(tuner.Terms, readings)
		}, beta: 0.7, extra: func(p []float64, b handBatch) (sum float64) {
			for i, x := range b.x {
				signal, sigma := math.Sqrt(b.bar[i]), math.Sqrt(1-b.bar[i])
				for k, v := range predict(p, x, b.t[i], b.c[i]) {
					clean, eps := signal*x[k]-sigma*v, signal*v+sigma*x[k]
					sum += (0.25*eps*eps + 0.5*clean*clean) / float64(len(b.x)*positions*channels)
				}
			}
			return sum
		}},
		"a term of one's own": {change: func(t *Tuner) { t.Terms = append(t.Terms, powers) },
			beta: 0.7,
			extra: func(p []float64, b handBatch) (sum float64) {
				for i := range b.x {
					for _, e := range predict(p, b.x[i], b.t[i], b.c[i]) {
						sum += 0.25 * e * e / float64(len(b.x)*positions*channels)
					}
				}
				return sum
			}},
		"an optimizer": {change: none, beta: 0.7, adam: func(params []kernels.Parameter) (
			*handAdam, *optim.AdamW,
		) {
			a, err := optim.NewAdamW(params...)
			require.NoError(t, err)
			// With so large an ε a step is about as long as its gradient, so that the gradient's
			// size shows too.
			a.Beta1, a.Beta2, a.Eps, a.WeightDecay = 0.5, 0.75, 2, 0.3
			return &handAdam{beta1: 0.5, beta2: 0.75, eps: 2, decay: 0.3}, a
		}},
	}
}

// Every step's loss, its terms, the gradients' norm and the parameters after it are Eq. 2's and
// AdamW's by hand.
func TestStepsByHand(t *testing.T) {
	for name, v := range variants(t) {
		t.Run(name, func(t *testing.T) {
			l := newLine()
			tuner := tuner(t, l)
			v.change(tuner)
			byHand := &handAdam{beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.01}
			if v.adam != nil {
				byHand, tuner.Optimizer = v.adam(l.Trainable())
			}
			p := l.vector()
			count := 0
			for step, err := range tuner.Steps(context.Background()) {
				require.NoError(t, err)
				b := batchByHand(tuner, count, made(5, true), made(4, false))
				loss := func(p []float64) float64 {
					reward, pretraining := b.terms(p, v.beta)
					if v.extra != nil {
						reward += v.extra(p, b)
					}
					return reward + pretraining
				}
				reward, pretraining := b.terms(p, v.beta)
				wantTerms := map[string]float64{"reward": reward, "pretraining": pretraining}
				if tuner.Own == nil {
					delete(wantTerms, "reward")
				}
				if tuner.Pretrain == nil {
					delete(wantTerms, "pretraining")
				}
				if v.extra != nil {
					wantTerms["power"] = v.extra(p, b)
				}
				require.InDeltaMapValues(t, wantTerms, step.Terms, 2e-6)
				require.InEpsilon(t, loss(p), step.Loss, 1e-6)
				require.Equal(t, count, step.Index)
				require.Equal(t, 6, step.Of)
				require.Equal(t, tuner.OwnBatch+tuner.PretrainBatch, step.Samples)
				require.Equal(t, 0.05/float64(1+count), step.LR)

				g := slope(p, loss)
				length := norm(g)
				require.InEpsilon(t, length, step.GradNorm, 1e-6)
				if tuner.Clip > 0 {
					if name == "clipping" {
						require.Greater(t, length, tuner.Clip, "nothing is clipped")
					}
					for i := range g {
						g[i] *= min(1, tuner.Clip/(length+1e-6))
					}
				}
				byHand.step(p, g, step.LR)
				require.InDeltaSlice(t, p, l.vector(), 5e-6, "step %d", count)
				count++
			}
			require.Equal(t, 6, count)
		})
	}
}

// What training takes is known before it begins: the data and the batch to the byte, AdamW's state
// with clipping and without.
func TestPrepare(t *testing.T) {
	l := newLine()
	before := l.vector()
	first := tuner(t, l)
	require.Zero(t, first.Plan())
	plan, err := first.Prepare(context.Background())
	require.NoError(t, err)
	require.Equal(t, before, l.vector())
	require.Equal(t, int64(4*len(before)), plan.Weights)
	require.Equal(t, 2*plan.Weights, plan.Optimizer)
	const latent, condition = 4 * positions * channels, 4 * 2 * width
	batch := int64(first.OwnBatch + first.PretrainBatch)
	require.Equal(t, 9*int64(latent+condition)+2*batch*latent, plan.Other,
		"the samples, and a batch's latents and noise")
	count := 0
	for _, err := range first.Steps(context.Background()) {
		require.NoError(t, err)
		count++
	}
	require.Equal(t, 6, count)
	again, err := first.Prepare(context.Background())
	require.NoError(t, err)
	require.Equal(t, plan, again)
	require.Equal(t, plan, first.Plan())

	prepared := func(change func(*Tuner)) kernels.Plan {
		other := tuner(t, newLine())
		change(other)
		plan, err := other.Prepare(context.Background())
		require.NoError(t, err)
		require.ErrorContains(t, other.UseAverage(), "nothing was trained")
		return plan
	}
	require.Equal(t, plan.Optimizer, prepared(func(t *Tuner) { t.Clip = 1 }).Optimizer)
	require.Equal(t, plan.Other+plan.Weights, prepared(func(t *Tuner) { t.EMA = 0.5 }).Other)
	conditioned := prepared(func(t *Tuner) { t.Unconditional = tokens(2) })
	require.Equal(t, plan.Other+condition, conditioned.Other)
	require.Equal(t, plan.Other-4*condition, prepared(func(t *Tuner) {
		samples := made(5, true)
		for i := range samples {
			samples[i].Condition = samples[0].Condition
		}
		t.Own = dataset.FromSlice(samples)
	}).Other, "what samples share is there once")

	short := tuner(t, newLine())
	short.Machine.ActivationBytes = 4
	_, err = short.Prepare(context.Background())
	tooFew := &kernels.ActivationError{}
	require.ErrorAs(t, err, &tooFew)
	require.Equal(t, int64(4), tooFew.Bytes)
	short.Machine.ActivationBytes = tooFew.Least
	_, err = short.Prepare(context.Background())
	require.NoError(t, err)

	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = tuner(t, newLine()).Prepare(stopped)
	require.Equal(t, context.Canceled, err)
}

// Dropping conditions must drop some and keep some, or the test above says nothing of it.
func TestDropoutReplacesSome(t *testing.T) {
	tuner := tuner(t, newLine())
	tuner.Dropout, tuner.Unconditional = 0.5, made(9, false)[8].Condition
	dropped := 0
	for step := range 6 {
		for _, c := range batchByHand(tuner, step, made(5, true), made(4, false)).c {
			if c[0] == float64(tuner.Unconditional.Tokens.Float32s()[0]) {
				dropped++
			}
		}
	}
	require.Greater(t, dropped, 6)
	require.Less(t, dropped, 24)
}

// addsPooled reads each token with its part of the pooled vector added to it.
type addsPooled struct{ *line }

func (a addsPooled) Predict(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
	pooled, err := kernels.Reshape(c.Pooled, c.Tokens.Shape()...)
	if err != nil {
		return nil, err
	}
	if c.Tokens, err = kernels.Add(c.Tokens, pooled); err != nil {
		return nil, err
	}
	return a.line.Predict(x, t, c)
}

// Pooled vectors come with their samples' tokens: with each token's part added to it by the
// network, losses are those of samples whose tokens had it added before.
func TestPooled(t *testing.T) {
	losses := func(split bool) (all []float64, other int64) {
		tuner := tuner(t, newLine())
		part := func(samples []dataset.Sample) dataset.Dataset {
			for i := range samples {
				c := &samples[i].Condition
				pooled := dense(2 * width)
				for k, v := range c.Tokens.Float32s() {
					pooled.Float32s()[k] = 3 * v
					if !split {
						c.Tokens.Float32s()[k] = v + 3*v
					}
				}
				if split {
					c.Pooled, tuner.Network = pooled, addsPooled{newLine()}
				}
			}
			tuner.Dropout, tuner.Unconditional = 0.5, samples[0].Condition
			return dataset.FromSlice(samples)
		}
		tuner.Own, tuner.Pretrain = part(made(5, true)), part(made(4, false))
		for step, err := range tuner.Steps(context.Background()) {
			require.NoError(t, err)
			all = append(all, step.Loss)
		}
		return all, tuner.Plan().Other
	}
	want, without := losses(false)
	got, with := losses(true)
	require.InDeltaSlice(t, want, got, 1e-5)
	require.Equal(t, without+9*4*2*width, with, "pooled vectors are in the plan, each once")
}

// The moving average is that of the parameters after each step, with a decay that rises to the one
// wanted; it takes their place and gives it back.
func TestUseAverage(t *testing.T) {
	for _, c := range []struct {
		decay float64
		rises bool
	}{{0.75, false}, {0.75, true}, {0.9999, true}} {
		testUseAverage(t, c.decay, c.rises)
	}
}

func testUseAverage(t *testing.T, most float64, rises bool) {
	l := newLine()
	tuner := tuner(t, l)
	tuner.EMA, tuner.EMAWarmUp = most, rises
	require.ErrorContains(t, tuner.UseAverage(), "nothing was trained")
	average := l.vector()
	for step, err := range tuner.Steps(context.Background()) {
		require.NoError(t, err)
		n := float64(step.Index + 1)
		decay := most
		if rises {
			decay = min(most, (1+n)/(10+n))
		}
		for i, v := range l.vector() {
			average[i] = decay*average[i] + (1-decay)*v
		}
	}
	last := l.vector()
	require.NoError(t, tuner.UseAverage())
	require.InDeltaSlice(t, average, l.vector(), 1e-6)
	require.Greater(t, math.Abs(last[0]-l.vector()[0]), 1e-3, "the average is the last value")
	require.NoError(t, tuner.UseAverage())
	require.Equal(t, last, l.vector())
}

// A whole run, or one that is broken off and gone on with, or one whose gradients are all kept, has
// the same bits.
func TestRunsAreRepeatable(t *testing.T) {
	type outcome struct {
		losses []float64
		params []float64
	}
	run := func(change func(*Tuner), breaks ...int) outcome {
		l := newLine()
		tuner := tuner(t, l)
		tuner.EMA = 0.5
		change(tuner)
		var o outcome
		for _, at := range append(breaks, 100) {
			for step, err := range tuner.Steps(context.Background()) {
				require.NoError(t, err)
				require.Equal(t, len(o.losses), step.Index)
				o.losses = append(o.losses, step.Loss)
				if step.Index == at {
					break
				}
			}
		}
		o.params = l.vector()
		require.NoError(t, tuner.UseAverage())
		o.params = append(o.params, l.vector()...)
		return o
	}
	nothing := func(*Tuner) {}
	whole := run(nothing)
	require.Len(t, whole.losses, 6)
	require.Equal(t, whole, run(nothing))
	require.Equal(t, whole, run(nothing, 0, 3, 4))
	require.Equal(t, whole, run(func(t *Tuner) { t.Clip = 1e9 }), "gradients that are kept")
	other := run(func(t *Tuner) { t.Seed++ })
	require.NotEqual(t, whole.losses[0], other.losses[0])
	require.NotEqual(t, whole.params, other.params)
}

// What a step draws depends on nothing but seed, step and place: not on what was drawn before, nor
// on how many samples there are beside it.
func TestDrawsArePure(t *testing.T) {
	start := func(change func(*Tuner)) *run {
		tuner := tuner(t, newLine())
		change(tuner)
		r, err := tuner.start(context.Background())
		require.NoError(t, err)
		t.Cleanup(func() { r.stepper.Close() })
		return r
	}
	type batch struct{ noise, times, conditions, clean []float32 }
	at := func(r *run, step, samples int) batch {
		draws, err := r.draw(step)
		require.NoError(t, err)
		require.NoError(t, r.first().fill(draws))
		p := r.first().feeds[0]
		part := func(x []float32, n int) []float32 { return append([]float32{}, x[:samples*n]...) }
		return batch{
			part(p.noise.Float32s(), 4), part(p.timesteps.Float32s(), 1),
			part(p.conditions.Tokens.Float32s(), 6), part(p.clean.Float32s(), 4),
		}
	}
	nothing := func(*Tuner) {}
	r := start(nothing)
	five := at(r, 5, 3)
	require.NotEqual(t, five, at(r, 4, 3))
	require.Equal(t, five, at(r, 5, 3))
	require.Equal(t, five, at(start(nothing), 5, 3))
	// A pretraining stream beside the model's changes nothing of the model's.
	require.Equal(t, five, at(start(func(t *Tuner) { t.PretrainBatch = 7 }), 5, 3))
	alone := start(func(t *Tuner) { t.Pretrain, t.PretrainBatch, t.Terms = nil, 0, nil })
	require.Equal(t, five, at(alone, 5, 3))
	// Another batch size changes which samples a step sees, not what is drawn for a place.
	larger := at(start(func(t *Tuner) { t.OwnBatch = 4 }), 5, 3)
	require.Equal(t, five.noise, larger.noise)
	// Dropping conditions leaves everything else as it is.
	dropped := at(start(func(t *Tuner) { t.Dropout, t.Unconditional = 1, tokens(2) }), 5, 3)
	require.Equal(t, five.noise, dropped.noise)
	require.Equal(t, five.times, dropped.times)
	require.Equal(t, five.clean, dropped.clean)
	require.Equal(t, make([]float32, 18), dropped.conditions)
	other := at(start(func(t *Tuner) { t.Seed = 12 }), 5, 3)
	require.NotEqual(t, five.noise, other.noise)
	require.NotEqual(t, five.times, other.times)
}

// A pass sees every sample once, in an order of its own.
func TestPasses(t *testing.T) {
	pool := func(seed uint64) *pool {
		p, err := newPool(
			context.Background(), "model", dataset.FromSlice(made(5, true)), true, Passes{}, seed,
			nil,
		)
		require.NoError(t, err)
		return p
	}
	p := pool(1)
	var ids []string
	for step := range 5 {
		for _, s := range p.draw(step, 3) {
			ids = append(ids, s.sample.ID)
		}
	}
	passes := [][]string{ids[:5], ids[5:10], ids[10:]}
	for _, pass := range passes {
		require.ElementsMatch(t, []string{"id0", "id1", "id2", "id3", "id4"}, pass)
	}
	require.NotEqual(t, passes[0], passes[1])
	require.NotEqual(t, passes[1], passes[2])
	// A batch may be larger than the data: then it is whole passes.
	ids = nil
	for _, s := range p.draw(0, 15) {
		ids = append(ids, s.sample.ID)
	}
	require.Equal(t, slices.Concat(passes[0], passes[1], passes[2]), ids)
	other := pool(2).draw(0, 5)
	require.NotEqual(t, passes[0], []string{
		other[0].sample.ID, other[1].sample.ID, other[2].sample.ID, other[3].sample.ID,
		other[4].sample.ID,
	})
}

// Drawn by reward, a sample comes as often as its reward says, to one more or less a pass, and over
// many passes just as often.
func TestPassesByReward(t *testing.T) {
	samples := made(5, true)
	rewards := []float64{0, 0.25, 1, 3, 0.75} // their mean is 1
	for i := range samples {
		samples[i].Reward = &rewards[i]
	}
	p, err := newPool(
		context.Background(), "model", dataset.FromSlice(samples), true, ByReward{}, 1, nil,
	)
	require.NoError(t, err)
	require.Equal(t, []float64{0, 0.25, 1, 3, 0.75}, rewards, "the caller's samples changed")
	const passes = 4000
	total, moved := map[string]float64{}, false
	for pass := range passes {
		times := map[string]float64{}
		for i, s := range p.draw(pass, 5) {
			require.Equal(t, 1.0, s.reward)
			times[s.sample.ID]++
			moved = moved || i == 0 && s.sample.ID == "id4"
		}
		for i, due := range rewards {
			n := times[samples[i].ID]
			require.True(t, n == math.Floor(due) || n == math.Ceil(due), "%v of sample %d", n, i)
			total[samples[i].ID] += n / passes
		}
	}
	require.True(t, moved, "a pass keeps the pool's order")
	for i, due := range rewards {
		require.InDelta(t, due, total[samples[i].ID], 4*0.5/math.Sqrt(passes), "sample %d", i)
	}
}

// Of a batch's timesteps each stratum has one, and anywhere in it.
func TestTimestepsAreStratified(t *testing.T) {
	tuner := tuner(t, newLine())
	tuner.OwnBatch, tuner.PretrainBatch = 4, 2
	tuner.OwnLevels = tuner.Schedule.Process.From(200)
	r, err := tuner.start(context.Background())
	require.NoError(t, err)
	var sum float64
	low, high := 1000.0, 0.0
	const steps = 500
	for step := range steps {
		draws, err := r.draw(step)
		require.NoError(t, err)
		for i, d := range draws {
			at := int(d.level.Timestep)
			k, least, width := i, 200, 200
			if i >= 4 {
				k, least, width = i-4, 0, 500
			}
			require.GreaterOrEqual(t, at, least)
			require.Equal(t, k, (at-least)/width, "sample %d of step %d: timestep %v", i, step, at)
			sum += float64(at) / (6 * steps)
		}
		first := draws[0].level.Timestep
		low, high = min(low, first), max(high, first)
	}
	require.InDelta(t, (4*599.5+2*499.5)/6, sum, 5) // a standard error is 2
	require.Less(t, low, 205.0)
	require.Greater(t, high, 394.0)
}

// Where batch sizes are not given, a step has 32 samples of each dataset.
func TestDefaultSizes(t *testing.T) {
	tuner := tuner(t, newLine())
	tuner.OwnBatch, tuner.PretrainBatch, tuner.Updates = 0, 0, 1
	for step, err := range tuner.Steps(context.Background()) {
		require.NoError(t, err)
		require.Equal(t, 64, step.Samples)
		require.Positive(t, tuner.Plan().Total())
	}
}
