package finetune

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// The parts of a plan are what the fields of the Tuner cost, and its table has all of them and
// names what they are for.
func TestMemory(t *testing.T) {
	asked := 0
	memory := func(change func(t *Tuner)) Memory {
		tuner := planner(t, &asked)
		tuner.Clip = 0
		change(tuner)
		require.Zero(t, tuner.Memory())
		plan, err := tuner.Prepare(t.Context())
		require.NoError(t, err)
		m := tuner.Memory()
		require.Equal(t, plan, m.Plan)
		return m
	}
	parameters := int64(0)
	for _, p := range planner(t, &asked).Network.Trainable() {
		parameters += 4 * int64(p.Value.Size())
	}
	plain := memory(func(*Tuner) {})
	require.Zero(t, plain.Average)
	require.Zero(t, plain.Gradients)
	one, err := dataset.Collect(t.Context(), planner(t, &asked).Own)
	require.NoError(t, err)
	// Both datasets have the same sample.
	latent, condition := one[0].Latent.Size(), one[0].Condition.Tokens.Size()
	require.Equal(t, 4*int64(latent+condition), plain.Data)
	averaged := memory(func(t *Tuner) { t.EMA = 0.5 })
	require.Equal(t, parameters, averaged.Average)
	clipped := memory(func(t *Tuner) { t.Clip = 1 })
	require.Equal(t, clipped.Outputs, clipped.Gradients)
	parts := memory(func(t *Tuner) { t.Clip, t.Accumulate = 1, 2 })
	require.Equal(t, parameters, parts.Gradients)
	for _, c := range []struct {
		m     Memory
		names map[string]string
		kept  string
	}{
		{plain, nil, ""},
		{averaged, nil, "moving average, for EMA"},
		{averaged, map[string]string{"EMA": "-ema"}, "moving average, for -ema"},
		{clipped, map[string]string{"EMA": "-ema"}, "gradients, kept for Clip"},
		{parts, nil, "gradients, kept for Accumulate"},
	} {
		table := c.m.Table("", c.names)
		require.Equal(t, "Nothing is computed again.", table.Note)
		var sum, all report.Size
		found := c.kept == ""
		for _, row := range table.Rows {
			var size report.Size
			require.NoError(t, size.Set(row[1]))
			sum, all = sum+size, size
			found = found || row[0] == c.kept
		}
		require.True(t, found, "%v", table.Rows)
		require.InEpsilon(t, int64(all), int64(sum-all), 0.01, "rows are missing")
		require.InEpsilon(t, c.m.Total(), int64(all), 0.01)
	}

	tuner := planner(t, &asked)
	_, err = tuner.Fit(t.Context(), clipped.Total()-clipped.Activations/3)
	require.NoError(t, err)
	note := tuner.Memory().Table("-memory 1GiB", nil).Note
	require.Contains(t, note, "To fit -memory 1GiB, ")
	require.Contains(t, note, "operations are computed again, ")
	require.Contains(t, tuner.Memory().Table("", nil).Note, "To fit Machine.ActivationBytes, ")
}

// What a program says with report.FitsWith is what the error says.
func TestFitErrorNeeds(t *testing.T) {
	asked := 0
	_, err := planner(t, &asked).Fit(t.Context(), 1<<10)
	var short *FitError
	require.ErrorAs(t, err, &short)
	bytes, why := short.Needs()
	require.Equal(t, short.Least.Total(), bytes)
	require.EqualError(t, err, "finetune: "+why+"; 1.00KiB were given")
	require.Implements(t, (*report.TooLarge)(nil), short)
}

// Data has another hash if anything of it is other that is learned from.
func TestDataHash(t *testing.T) {
	samples := made(2, true)
	hash := DataHash(samples)
	require.Equal(t, nn.Hash([]kernels.Parameter{
		{Name: `"` + samples[0].Prompt + `" 0.25`, Value: samples[0].Latent},
	}), DataHash([]dataset.Sample{{
		Prompt: samples[0].Prompt, Reward: new(0.25), Latent: samples[0].Latent,
	}}), "hashes of earlier versions are the same")
	require.Equal(t, hash, DataHash(samples[:1], samples[1:]))
	seen := map[string]bool{hash: true}
	for name, change := range map[string]func(s *dataset.Sample){
		"prompt":    func(s *dataset.Sample) { s.Prompt += "!" },
		"reward":    func(s *dataset.Sample) { s.Reward = new(math.Nextafter(*s.Reward, 2)) },
		"no reward": func(s *dataset.Sample) { s.Reward = nil },
		"latent":    func(s *dataset.Sample) { s.Latent = made(3, true)[2].Latent },
	} {
		others := append([]dataset.Sample(nil), samples...)
		change(&others[1])
		got := DataHash(others)
		require.False(t, seen[got], name)
		seen[got] = true
	}
	require.False(t, seen[DataHash([]dataset.Sample{samples[1], samples[0]})])
}
