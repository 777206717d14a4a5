package diffusion_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/diffusion"
)

// mean is the mean of a function of levels, over equal shares of their distribution.
func mean(levels diffusion.Levels, f func(diffusion.Level) float64) (sum float64) {
	const n = 200000
	for i := range n {
		sum += f(levels((float64(i)+0.5)/n)) / n
	}
	return sum
}

// A uniform σ that is shifted by s has the mean s/(s-1) - s·ln s/(s-1)², and its square the mean
// s²·(s - 2·ln s - 1/s)/(s-1)³; one that is not, 1/2 and 1/3.
func TestUniformLevelsOfAFlow(t *testing.T) {
	noise := func(l diffusion.Level) float64 { return l.Noise }
	square := func(l diffusion.Level) float64 { return l.Noise * l.Noise }
	plain := diffusion.Flow{Steps: 1000, Shift: 1}.From(0)
	require.InDelta(t, 1./2, mean(plain, noise), 1e-9)
	require.InDelta(t, 1./3, mean(plain, square), 1e-9)
	for _, s := range []float64{0.5, 3, 6} {
		levels := diffusion.Flow{Steps: 1000, Shift: s}.From(0)
		log := math.Log(s)
		require.InDelta(t, s/(s-1)-s*log/((s-1)*(s-1)), mean(levels, noise), 1e-8)
		require.InDelta(t, s*s*(s-2*log-1/s)/math.Pow(s-1, 3), mean(levels, square), 1e-8)
		require.InDelta(t, 1,
			mean(levels, func(l diffusion.Level) float64 { return l.Signal + l.Noise }), 1e-9)
	}
}

// ln σ/(1-σ) is normal; a shift of s adds ln s to its mean.
func TestLogitNormalLevels(t *testing.T) {
	for _, s := range []float64{1, 3} {
		levels := diffusion.Flow{Steps: 1000, Shift: s}.LogitNormal(-0.4, 1.3)
		logit := func(l diffusion.Level) float64 { return math.Log(l.Noise / l.Signal) }
		want := -0.4 + math.Log(s)
		require.InDelta(t, want, mean(levels, logit), 1e-6)
		require.InDelta(t, 1.3*1.3, mean(levels, func(l diffusion.Level) float64 {
			return (logit(l) - want) * (logit(l) - want)
		}), 1e-3) // of the tails beyond one in 400,000, half that is missing
		require.InDelta(t, want, logit(levels(0.5)), 1e-12, "the median")
		require.InDelta(t, want+1.3, logit(levels(0.8413447460685429)), 1e-9,
			"one standard deviation")
	}
	symmetric := diffusion.Flow{Steps: 1000, Shift: 1}.LogitNormal(0, 1)
	require.InDelta(t, 0.5, mean(symmetric, func(l diffusion.Level) float64 { return l.Noise }),
		1e-9)
}

// Every timestep of a table from the least on has the same share.
func TestLevelsOfATable(t *testing.T) {
	s := schedule(t, func(*diffusion.Config) {})
	counts := map[float64]int{}
	levels := s.Process.From(300)
	for i := range 7000 {
		l := levels((float64(i) + 0.5) / 7000)
		require.Equal(t, s.Process.At(l.Timestep), l)
		require.InDelta(t, 1, l.Signal*l.Signal+l.Noise*l.Noise, 1e-12)
		counts[l.Timestep]++
	}
	require.Len(t, counts, 700)
	for at, n := range counts {
		require.GreaterOrEqual(t, at, 300.)
		require.Equal(t, 10, n)
	}
}

// From leaves a flow's levels as they are distributed, but for those below the least.
func TestLevelsOfAFlowFromALeast(t *testing.T) {
	flow := diffusion.Flow{Steps: 1000, Shift: 3}
	levels := flow.From(300)
	require.InDelta(t, 300, levels(0).Timestep, 1e-9)
	require.InDelta(t, 1000, levels(1).Timestep, 1e-9)
	share := func(t float64) float64 { return t / 1000 / (3 - 2*t/1000) } // below t, of all
	for _, u := range []float64{0.1, 0.5, 0.9} {
		require.InDelta(t, u, (share(levels(u).Timestep)-share(300))/(1-share(300)), 1e-12)
	}
}

func TestAt(t *testing.T) {
	flow := diffusion.Flow{Steps: 1000, Shift: 3}
	require.Equal(t, diffusion.Level{Signal: 0.75, Noise: 0.25, Timestep: 250}, flow.At(250))
	table := diffusion.Table{AlphaBar: []float64{0.8, 0.2}} // σ is 1/2 and 2
	between := table.At(0.5)
	require.InDelta(t, 1.25, between.Noise/between.Signal, 1e-12)
	for name, p := range map[string]diffusion.Process{"flow": flow, "table": table} {
		for _, at := range []float64{-0.5, 1000.5, math.NaN()} {
			require.True(t, math.IsNaN(p.At(at).Signal), "%s at %g", name, at)
		}
		for _, least := range []int{-1, 1000} {
			require.True(t, math.IsNaN(p.From(least)(0.5).Noise), "%s from %d", name, least)
		}
	}
}

func TestFlowConfig(t *testing.T) {
	s, err := diffusion.NewSchedule(diffusion.RectifiedFlow(3))
	require.NoError(t, err)
	require.Equal(t, &diffusion.Schedule{
		Process: diffusion.Flow{Steps: 1000, Shift: 3}, Prediction: diffusion.FlowVelocity,
		Config: diffusion.RectifiedFlow(3),
	}, s)
	require.NoError(t, s.Save(t.TempDir()))
	own, err := s.Sampler()
	require.NoError(t, err)
	require.Equal(t, "flow_euler", own.Name)
	byHand := diffusion.Schedule{Process: diffusion.Flow{Steps: 1000, Shift: 3}}
	own, err = byHand.Sampler()
	require.NoError(t, err)
	require.Equal(t, "flow_euler", own.Name)
	for _, shift := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		_, err := diffusion.NewSchedule(diffusion.RectifiedFlow(shift))
		require.ErrorContains(t, err, "must be above 0")
	}
}
