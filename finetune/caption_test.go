package finetune

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// alternatives gives samples alternatives, each with a condition of its own.
func alternatives(samples []dataset.Sample, many int) dataset.Dataset {
	for i := range samples {
		for k := range many {
			n := 9 + many*i + k
			a := dataset.Alternative{Prompt: "other", Condition: made(n+1, false)[n].Condition}
			samples[i].Alternatives = append(samples[i].Alternatives, a)
		}
	}
	return dataset.FromSlice(samples)
}

// Each time that a sample with several captions is seen, one is drawn, by seed, step and place, and
// all are seen alike. Nothing else is other for it.
func TestCaptionsAreDrawn(t *testing.T) {
	const many, steps = 2, 300
	start := func(change func(*Tuner)) *run {
		tuner := tuner(t, newLine())
		change(tuner)
		r, err := tuner.start(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { r.stepper.Close() })
		return r
	}
	with := func(t *Tuner) { t.Pretrain = alternatives(made(4, false), many) }
	plain, r, again := start(func(*Tuner) {}), start(with), start(with)
	seen := [1 + many]int{}
	for _, step := range rng.New(1, "order", 0, 0).Perm(steps) {
		draws, err := r.draw(step)
		require.NoError(t, err)
		without, err := plain.draw(step)
		require.NoError(t, err)
		twice, err := again.draw(step)
		require.NoError(t, err)
		own, _ := r.sizes()
		for i, d := range draws {
			require.Equal(t, without[i].noise, d.noise)
			require.Equal(t, without[i].level, d.level)
			require.Equal(t, without[i].sample.ID, d.sample.ID)
			require.Equal(t, twice[i].condition.Tokens.Float32s(), d.condition.Tokens.Float32s())
			found := -1
			for k := range 1 + len(d.sample.Alternatives) {
				if caption(d.sample, k) == d.condition {
					found = k
				}
			}
			if i < own {
				require.Zero(t, found, "own samples have one caption")
				continue
			}
			place := rng.New(r.seed(), "caption", uint64(step), uint64(i))
			require.Equal(t, place.IntN(1+many), found)
			seen[found]++
		}
	}
	_, pretrain := r.sizes()
	share := float64(steps*pretrain) / (1 + many)
	for k, n := range seen {
		require.Less(t, math.Abs(float64(n)-share), 5*math.Sqrt(share), "caption %d", k)
	}

	// What is drawn is what the loss reads.
	draws, err := r.draw(7)
	require.NoError(t, err)
	require.NoError(t, r.first().fill(draws))
	for i, d := range draws {
		read := r.first().feeds[0].conditions.Row(i).Tokens
		require.Equal(t, d.condition.Tokens.Float32s(), read.Float32s())
	}

	// Where conditions are dropped, so are those of alternatives.
	dropped := start(func(t *Tuner) { with(t); t.Dropout, t.Unconditional = 1, tokens(2) })
	draws, err = dropped.draw(7)
	require.NoError(t, err)
	for _, d := range draws {
		require.Same(t, dropped.Unconditional.Tokens, d.condition.Tokens)
	}
}

// Conditions of alternatives are data: they have to fit, take memory, and make other data.
func TestAlternativesAreData(t *testing.T) {
	data := func(many int) (int64, error) {
		tuner := tuner(t, newLine())
		tuner.Pretrain = alternatives(made(4, false), many)
		_, err := tuner.Prepare(t.Context())
		return tuner.Memory().Data, err
	}
	one, err := data(0)
	require.NoError(t, err)
	three, err := data(2)
	require.NoError(t, err)
	require.Equal(t, 4*2*4*int64(made(1, false)[0].Condition.Tokens.Size()), three-one)

	tuner := tuner(t, newLine())
	samples := made(4, false)
	samples[2].Alternatives = []dataset.Alternative{{Prompt: "not encoded"}}
	tuner.Pretrain = dataset.FromSlice(samples)
	_, err = tuner.Prepare(t.Context())
	require.ErrorContains(t, err, `alternative "not encoded": dataset: there is no condition`)

	hash := DataHash(samples)
	samples[2].Alternatives = []dataset.Alternative{{Prompt: "other"}}
	require.NotEqual(t, hash, DataHash(samples))
	samples[2].Alternatives = nil
	require.NotEqual(t, hash, DataHash(samples))
}
