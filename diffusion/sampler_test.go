package diffusion_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/diffusiontest"
)

// bars are ᾱ of a schedule's timesteps.
func bars(s *diffusion.Schedule) []float64 { return s.Process.(diffusion.Table).AlphaBar }

func schedule(t testing.TB, change func(*diffusion.Config)) *diffusion.Schedule {
	c := diffusion.StableDiffusion()
	change(&c)
	s, err := diffusion.NewSchedule(c)
	require.NoError(t, err)
	return s
}

// Along the path to a Gaussian with a known equation, DDIM's error halves when its steps are
// halved: order 1.
func TestDDIMConvergesInFirstOrder(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.BetaStart, c.BetaEnd = new(32000), new(0.00085/32), new(0.012/32)
	})
	g := diffusiontest.Gaussian{Mean: 0.7, Std: 0.3, Schedule: s}
	x := diffusion.SeededNoise(1, 0).Start(2, 4, 4, 3)
	distance := func(steps int) (worst float64) {
		var first, last diffusion.Step
		o := diffusion.SampleOptions{Steps: steps}
		for step, err := range diffusion.DDIM(t.Context(), g.Predict, s, x, o) {
			require.NoError(t, err)
			if step.Index == 0 {
				first = step
			}
			last = step
		}
		require.Equal(t, steps-1, last.Index)
		for i, v := range last.Latent.Float32s() {
			want := g.Follow(float64(x.Float32s()[i]), s.Process.At(first.Timestep),
				s.Process.At(0))
			worst = max(worst, math.Abs(float64(v)-want))
		}
		return worst
	}
	for _, steps := range []int{400, 800, 1600} {
		order := math.Log2(distance(steps) / distance(2*steps))
		t.Logf("%d steps: order %.3f", steps, order)
		require.InDelta(t, 1, order, 0.1, "%d steps", steps)
	}
	require.Less(t, distance(3200), 3e-3)
}

const half = 16000 // timesteps of fine

// fine is a schedule with so many timesteps that a sampler's own error is seen.
func fine(t testing.TB, change func(*diffusion.Config)) *diffusion.Schedule {
	return schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.StepsOffset = new(32000), new(0)
		c.BetaStart, c.BetaEnd = new(0.00085/32), new(0.012/32)
		change(c)
	})
}

// Where the noise is half gone, halving the steps of a sampler of order k divides its distance from
// the known path by 2ᵏ. (Near timestep 0, ε̂ grows with the root of t, and no method that follows
// it in t keeps its order.)
func TestOrdersOfConvergence(t *testing.T) {
	for _, c := range []struct {
		sampler string
		order   float64
		spans   []int // of them, one is left out by DPM-Solver++
		config  func(*diffusion.Config)
	}{
		{"ddim", 1, []int{80, 160, 320}, func(*diffusion.Config) {}},
		{"euler", 1, []int{80, 160, 320}, func(*diffusion.Config) {}},
		{"dpmpp_2m", 1, []int{80, 160, 320}, func(c *diffusion.Config) { c.SolverOrder = new(1) }},
		{"dpmpp_2m", 2, []int{40, 80}, func(*diffusion.Config) {}},
		// Liu et al. 2022, section 3.4: of order 2.
		{"pndm", 2, []int{100}, func(c *diffusion.Config) { c.SkipPRK = new(true) }},
		{"pndm", 2, []int{40, 64}, func(c *diffusion.Config) { c.SkipPRK = new(false) }},
	} {
		s := fine(t, c.config)
		g := diffusiontest.Gaussian{Mean: 0.7, Std: 0.3, Schedule: s}
		sampler, err := diffusion.ParseSampler(c.sampler)
		require.NoError(t, err)
		x := diffusion.SeededNoise(1, 0).Start(2, 4, 4, 3)
		distance := func(spans int) (worst float64) {
			o := diffusion.SampleOptions{Steps: spans}
			if c.sampler == "dpmpp_2m" {
				o.Steps--
			}
			var first, before diffusion.Step
			for step, err := range sampler.Sample(context.Background(), g.Predict, s, x, o) {
				require.NoError(t, err)
				if step.Index == 0 {
					first = step
				}
				if step.Timestep == half {
					break
				}
				before = step
			}
			stretch := 1.0
			if c.sampler == "euler" {
				stretch = s.Process.At(half).Signal
			}
			for i, v := range before.Latent.Float32s() {
				want := g.Follow(float64(x.Float32s()[i]), s.Process.At(first.Timestep),
					s.Process.At(half))
				worst = max(worst, math.Abs(stretch*float64(v)-want))
			}
			return worst
		}
		for _, n := range c.spans {
			far, near := distance(n), distance(2*n)
			order := math.Log2(far / near)
			t.Logf("%s, %d steps: %.3g, order %.3f", c.sampler, n, far, order)
			require.InDelta(t, c.order, order, 0.1, "%s, %d steps", c.sampler, n)
			require.Less(t, far, 2e-3)
		}
	}
}

// Whatever a network predicts and whatever the process, sampling comes to the known end of the
// known path, in first order. An ε alone gives no x₀ where a flow begins, which is an error.
func TestEveryPredictionOfEveryProcess(t *testing.T) {
	table := fine(t, func(c *diffusion.Config) { c.Spacing = new("trailing") }).Process
	for name, c := range map[string]struct {
		process diffusion.Process
		sample  string
		start   float64
		end     diffusion.Level
		spans   []int
		error   float64 // of one step, if all had the same order
	}{
		"table": {table, "ddim", 2*half - 1, table.At(0), []int{400, 800}, 9},
		"flow": {
			diffusion.Flow{Steps: 1000, Shift: 1},
			"flow_euler",
			1000,
			diffusion.Level{Signal: 1},
			[]int{80, 160, 320},
			2,
		},
		"shifted flow": {
			diffusion.Flow{Steps: 100000, Shift: 3},
			"flow_euler",
			1e5,
			diffusion.Level{Signal: 1},
			[]int{80, 160, 320},
			5,
		},
	} {
		for _, p := range predictions {
			config := diffusion.Config{Spacing: new("trailing"), SetAlphaToOne: new(false)}
			s := &diffusion.Schedule{Process: c.process, Prediction: p, Config: config}
			g := diffusiontest.Gaussian{Mean: 0.7, Std: 0.3, Schedule: s}
			sampler, err := diffusion.ParseSampler(c.sample)
			require.NoError(t, err)
			x := diffusion.SeededNoise(1, 0).Start(2, 4, 4, 3)
			distance := func(steps int) (worst float64, err error) {
				o := diffusion.SampleOptions{Steps: steps}
				last, err := diffusion.Last(sampler.Sample(t.Context(), g.Predict, s, x, o))
				if err != nil {
					return 0, err
				}
				for i, v := range last.Latent.Float32s() {
					want := g.Follow(float64(x.Float32s()[i]), s.Process.At(c.start), c.end)
					worst = max(worst, math.Abs(float64(v)-want))
				}
				return worst, nil
			}
			if _, err := distance(3); p == diffusion.Epsilon && name != "table" {
				require.ErrorContains(t, err, "no ε gives x₀")
				continue
			}
			for _, n := range c.spans {
				far, err := distance(n)
				require.NoError(t, err)
				near, err := distance(2 * n)
				require.NoError(t, err)
				order := math.Log2(far / near)
				t.Logf("%s, %v, %d steps: %.3g, order %.3f", name, p, n, far, order)
				require.InDelta(t, 1, order, 0.1, "%s, %v, %d steps", name, p, n)
				require.Less(t, far, c.error/float64(n))
			}
		}
	}
}

// A step that draws noise says from which normal distribution: without its noise a latent is Mean,
// and Sigma is what the noise was multiplied by.
func TestStepsSayTheirDistribution(t *testing.T) {
	noise := diffusion.SeededNoise(3, 0)
	sd := schedule(t, func(c *diffusion.Config) { c.SkipPRK = new(true) })
	flow, err := diffusion.NewSchedule(diffusion.RectifiedFlow(3))
	require.NoError(t, err)
	stochastic := *flow
	stochastic.Config.Stochastic = new(true)
	for _, c := range []struct {
		sampler string
		eta     float64
		s       *diffusion.Schedule
		draws   bool
	}{
		{"ddpm", 0, sd, true}, {"ddim", 0.6, sd, true}, {"ddim", 0, sd, false},
		{"euler_a", 0, sd, true},
		{"euler", 0, sd, false}, {"pndm", 0, sd, false}, {"dpmpp_2m", 0, sd, false},
		{"flow_euler", 0, flow, false}, {"flow_euler", 0, &stochastic, true},
	} {
		sampler, err := diffusion.ParseSampler(c.sampler)
		require.NoError(t, err)
		g := diffusiontest.Gaussian{Mean: 0.7, Std: 0.3, Schedule: c.s}
		drawn := 0
		o := diffusion.SampleOptions{Steps: 6, Eta: c.eta, Noise: noise}
		start := noise.Start(2, 2, 2, 1)
		for step, err := range sampler.Sample(t.Context(), g.Predict, c.s, start, o) {
			require.NoError(t, err)
			if step.Sigma == 0 {
				require.Same(t, step.Latent, step.Mean)
				continue
			}
			drawn++
			for row := range 2 {
				z := make([]float32, 4)
				noise(row, step.Index+1, z)
				for i, v := range z {
					at := row*4 + i
					want := float64(step.Mean.Float32s()[at]) + step.Sigma*float64(v)
					require.InDelta(t, want, step.Latent.Float32s()[at], 1e-5, c.sampler)
				}
			}
			if c.sampler == "ddim" { // Song, Meng and Ermon 2021, eq. 16
				at := int(step.Timestep)
				bar, next := bars(sd)[at], bars(sd)[max(0, at-1000/6)]
				want := 0.6 * math.Sqrt((1-next)/(1-bar)*(1-bar/next))
				require.InEpsilon(t, want, step.Sigma, 1e-4)
			}
		}
		if c.draws { // the last step of some draws nothing
			require.GreaterOrEqual(t, drawn, 5, c.sampler)
		} else {
			require.Zero(t, drawn, c.sampler)
		}
	}
}

// The mean of a step moves with what the network says, by Gain.
func TestStepsSayTheirGain(t *testing.T) {
	noise := diffusion.SeededNoise(3, 0)
	for _, p := range predictions {
		process := schedule(t, func(*diffusion.Config) {}).Process
		s := &diffusion.Schedule{Process: process, Prediction: p}
		g := diffusiontest.Gaussian{Mean: 0.7, Std: 0.3, Schedule: s}
		for _, name := range []string{"ddpm", "ddim", "euler_a", "dpmpp_2m"} {
			sampler, err := diffusion.ParseSampler(name)
			require.NoError(t, err)
			third := func(more float32) (third diffusion.Step) {
				calls := 0
				net := func(x *tensor.Dense, at float64) (*tensor.Dense, error) {
					said, err := g.Predict(x, at)
					if calls++; calls == 3 {
						for i := range said.Float32s() {
							said.Float32s()[i] += more
						}
					}
					return said, err
				}
				o := diffusion.SampleOptions{Steps: 6, Noise: noise}
				if name == "ddim" {
					o.Eta = 0.6
				}
				start := noise.Start(1, 2, 2, 1)
				for step, err := range sampler.Sample(t.Context(), net, s, start, o) {
					require.NoError(t, err)
					if step.Index == 2 {
						third = step
						break
					}
				}
				return third
			}
			was, is := third(0), third(0.25)
			require.Greater(t, math.Abs(is.Gain), 1e-3)
			for i, v := range is.Mean.Float32s() {
				said := is.Said.Float32s()[i] - was.Said.Float32s()[i]
				require.InDelta(t, 0.25, said, 1e-6)
				require.InDelta(t, is.Gain*float64(said), v-was.Mean.Float32s()[i], 1e-5, "%s, %v",
					name, p)
			}
		}
	}
}

// Samplers that draw noise come to the variance of noisy latents in first order. What each draw
// adds to a sample is known, because the network is linear: row i of the batch gets draw i, and no
// other.
func TestNoisySamplersConvergeInDistribution(t *testing.T) {
	s := fine(t, func(*diffusion.Config) {})
	g := diffusiontest.Gaussian{Std: 0.3, Schedule: s}
	variance := func(at int) float64 { return math.Pow(g.Spread(s.Process.At(float64(at))), 2) }
	for _, name := range []string{"ddpm", "ddim", "euler_a"} {
		sampler, err := diffusion.ParseSampler(name)
		require.NoError(t, err)
		distance := func(steps int) float64 {
			noise := diffusion.Noise(func(row, draw int, dst []float32) {
				clear(dst)
				switch {
				case row == 0 && draw == 0:
					dst[0] = float32(math.Sqrt(variance(2 * half * (steps - 1) / steps)))
				case row == draw:
					dst[0] = 1
				}
			})
			o := diffusion.SampleOptions{Steps: steps, Noise: noise}
			if name == "ddim" {
				o.Eta = 1
			}
			var before diffusion.Step
			start := noise.Start(steps+1, 1, 1, 1)
			for step, err := range sampler.Sample(t.Context(), g.Predict, s, start, o) {
				require.NoError(t, err)
				if step.Timestep == half {
					break
				}
				before = step
			}
			got := 0.0
			for _, v := range before.Latent.Float32s() {
				got += float64(v) * float64(v)
			}
			if name == "euler_a" {
				got *= math.Pow(s.Process.At(half).Signal, 2)
			}
			return math.Abs(got - variance(half))
		}
		for _, n := range []int{80, 160} {
			far, near := distance(n), distance(2*n)
			order := math.Log2(far / near)
			t.Logf("%s, %d steps: %.3g, order %.3f", name, n, far, order)
			require.InDelta(t, 1, order, 0.1, "%s, %d steps", name, n)
			require.Less(t, far, 5e-3, name)
		}
	}
}

// With eta 1, DDIM and DDPM draw from the Gaussian itself.
func TestNoisySamplersDrawFromTheGaussian(t *testing.T) {
	s := schedule(t, func(*diffusion.Config) {})
	g := diffusiontest.Gaussian{Mean: -0.4, Std: 0.5, Schedule: s}
	noise := diffusion.SeededNoise(3, 0)
	x := noise.Start(1, 64, 64, 4)
	for name, steps := range map[string]func() (diffusion.Step, error){
		"ddim": func() (diffusion.Step, error) {
			o := diffusion.SampleOptions{Steps: 250, Eta: 1, Noise: noise}
			return diffusion.Last(diffusion.DDIM(t.Context(), g.Predict, s, x, o))
		},
		"ddpm": func() (diffusion.Step, error) {
			o := diffusion.SampleOptions{Steps: 250, Noise: noise}
			return diffusion.Last(diffusion.DDPM(t.Context(), g.Predict, s, x, o))
		},
	} {
		step, err := steps()
		require.NoError(t, err)
		mean, square := 0.0, 0.0
		values := step.Latent.Float32s()
		for _, v := range values {
			mean += float64(v) / float64(len(values))
			square += float64(v) * float64(v) / float64(len(values))
		}
		require.InDelta(t, -0.4, mean, 0.02, name)
		require.InDelta(t, 0.5, math.Sqrt(square-mean*mean), 0.02, name)
	}
}

// A sample is the same in whatever batch it is drawn.
func TestBatchDoesNotMatter(t *testing.T) {
	s := schedule(t, func(*diffusion.Config) {})
	g := diffusiontest.Gaussian{Mean: 0.1, Std: 1, Schedule: s}
	draw := func(first uint64, n int) []float32 {
		noise := diffusion.SeededNoise(9, first)
		o := diffusion.SampleOptions{Steps: 7, Eta: 0.5, Noise: noise}
		start := noise.Start(n, 2, 2, 1)
		step, err := diffusion.Last(diffusion.DDIM(t.Context(), g.Predict, s, start, o))
		require.NoError(t, err)
		return step.Latent.Float32s()
	}
	require.Equal(t, draw(0, 3), append(append([]float32{}, draw(0, 1)...), draw(1, 2)...))
	require.NotEqual(t, draw(0, 1), draw(1, 1))
}

func TestTimesteps(t *testing.T) {
	for _, c := range []struct {
		spacing string
		offset  int
		want    []float64
	}{
		{"leading", 1, []float64{751, 501, 251, 1}},
		{"linspace", 1, []float64{999, 666, 333, 0}},
		{"trailing", 1, []float64{999, 749, 499, 249}},
	} {
		s := schedule(t,
			func(k *diffusion.Config) { k.Spacing, k.StepsOffset = &c.spacing, &c.offset })
		g := diffusiontest.Gaussian{Std: 1, Schedule: s}
		var got []float64
		start := diffusion.SeededNoise(1, 0).Start(1, 1, 1, 1)
		o := diffusion.SampleOptions{Steps: 4}
		for step, err := range diffusion.DDIM(t.Context(), g.Predict, s, start, o) {
			require.NoError(t, err)
			got = append(got, step.Timestep)
		}
		require.Equal(t, c.want, got, c.spacing)
	}
}

// Where NumPy's arange is one too long, diffusers would ask at timestep -1; here there are as many
// steps as were asked for.
func TestTrailingTimestepsEnd(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) { c.Spacing = new("trailing") })
	g := diffusiontest.Gaussian{Std: 1, Schedule: s}
	start := diffusion.SeededNoise(1, 0).Start(1, 1, 1, 1)
	last, err := diffusion.Last(diffusion.DDIM(t.Context(), g.Predict, s, start,
		diffusion.SampleOptions{Steps: 61}))
	require.NoError(t, err)
	require.Equal(t, 61, last.Of)
	require.Equal(t, 15., last.Timestep) // 1000/61 - 1, rounded
}

func TestOneStepByHand(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.TrainedBetas = new(2), []float64{0.36, 0.4375}
		c.StepsOffset, c.ClipSample, c.ClipRange = new(0), new(true), new(0.5)
	})
	require.InDeltaSlice(t, []float64{0.64, 0.36}, bars(s), 1e-7)
	x := tensor.New(tensor.WithShape(1, 1, 1, 2), tensor.WithBacking([]float32{1, 0.5}))
	half := func(x *tensor.Dense, _ float64) (*tensor.Dense, error) {
		said := []float32{0.5, 0.5}
		return tensor.New(tensor.WithShape(1, 1, 1, 2), tensor.WithBacking(said)), nil
	}
	o := diffusion.SampleOptions{Steps: 2}
	for step, err := range diffusion.DDIM(t.Context(), half, s, x, o) {
		require.NoError(t, err)
		if step.Index == 1 {
			break
		}
		// At timestep 1, √ᾱ = 0.6, √(1-ᾱ) = 0.8: x̂₀ = (1 - 0.4)/0.6 = 1, clamped to 0.5,
		// and (0.5 - 0.4)/0.6 = 1/6. At timestep 0, √ᾱ = 0.8, √(1-ᾱ) = 0.6:
		// x = 0.8·x̂₀ + 0.6·0.5.
		require.InDeltaSlice(t, []float32{0.5, 1. / 6}, step.Clean.Float32s(), 1e-6)
		require.InDeltaSlice(t, []float32{0.7, 0.8/6 + 0.3}, step.Latent.Float32s(), 1e-6)
	}
	require.Equal(t, []float32{1, 0.5}, x.Float32s(), "the start is left as it was")
}

func TestSamplingFails(t *testing.T) {
	s := schedule(t, func(*diffusion.Config) {})
	g := diffusiontest.Gaussian{Std: 1, Schedule: s}
	x := diffusion.SeededNoise(1, 0).Start(1, 2, 2, 1)
	run := func(ctx context.Context, net diffusion.Network, o diffusion.SampleOptions) error {
		_, err := diffusion.Last(diffusion.DDIM(ctx, net, s, x, o))
		return err
	}
	require.ErrorContains(t,
		run(context.Background(), g.Predict, diffusion.SampleOptions{Steps: 0}), "0 sampling steps")
	require.ErrorContains(t,
		run(context.Background(), g.Predict, diffusion.SampleOptions{Steps: 1001}),
		"1001 sampling steps")
	require.ErrorContains(t,
		run(context.Background(), g.Predict, diffusion.SampleOptions{Steps: 1000}), "timestep 1000")
	require.ErrorContains(t,
		run(context.Background(), g.Predict, diffusion.SampleOptions{Steps: 5, Eta: 1}),
		"Noise is nil")

	broken := errors.New("broken")
	fails := func(*tensor.Dense, float64) (*tensor.Dense, error) { return nil, broken }
	require.ErrorIs(t,
		run(context.Background(), fails, diffusion.SampleOptions{Steps: 5}), broken)
	wrong := func(*tensor.Dense, float64) (*tensor.Dense, error) {
		return tensor.New(tensor.WithShape(2), tensor.Of(tensor.Float32)), nil
	}
	require.ErrorContains(t, run(context.Background(), wrong, diffusion.SampleOptions{Steps: 5}),
		"(2) of latents (1, 2, 2, 1)")

	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	err := run(ctx, func(x *tensor.Dense, at float64) (*tensor.Dense, error) {
		if calls++; calls == 2 {
			cancel()
		}
		return g.Predict(x, at)
	}, diffusion.SampleOptions{Steps: 5})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 2, calls)
}

func TestSamplersRefuse(t *testing.T) {
	var other, lu, one diffusion.Config
	require.NoError(t,
		json.Unmarshal([]byte(`{"use_lu_lambdas": true, "timestep_type": "discrete"}`), &lu))
	require.NoError(t, json.Unmarshal([]byte(`{"use_exponential_sigmas": 1}`), &one))
	require.NoError(t, json.Unmarshal([]byte(`{
		"use_beta_sigmas": true, "use_lu_lambdas": true, "timestep_type": "continuous"
	}`), &other))
	for _, c := range []struct {
		sampler, says string
		change        func(*diffusion.Config)
	}{
		{"ddim", "thresholding is not supported", func(c *diffusion.Config) {
			c.Thresholding = new(true)
		}},
		{"ddpm", "thresholding is not supported", func(c *diffusion.Config) {
			c.Thresholding = new(true)
		}},
		{"dpmpp_2m", "thresholding is not supported", func(c *diffusion.Config) {
			c.Thresholding = new(true)
		}},
		// Euler does not know the key.
		{"euler", "", func(c *diffusion.Config) { c.Thresholding = new(true) }},
		{"ddpm", "variance_type learned is not supported", func(c *diffusion.Config) {
			c.Variance = new("learned")
		}},
		{"ddim", `timestep_spacing "even"`, func(c *diffusion.Config) { c.Spacing = new("even") }},
		{"ddim", "no signal at timestep 999", func(c *diffusion.Config) {
			c.ZeroSNR, c.Spacing = new(true), new("trailing")
		}},
		{"pndm", "needs at least 4, not 3", func(c *diffusion.Config) { c.SkipPRK = nil }},
		{"euler", `interpolation_type "cubic"`, func(c *diffusion.Config) {
			c.Interpolation = new("cubic")
		}},
		{"euler", `final_sigmas_type "one"`, func(c *diffusion.Config) {
			c.FinalSigma = new("one")
		}},
		{
			"flow_euler", "follows a Flow, and the process is a diffusion.Table",
			func(*diffusion.Config) {},
		},
		{"ddim", "the process is a diffusion.Flow", func(c *diffusion.Config) {
			*c = diffusion.RectifiedFlow(1)
		}},
		{"flow_euler", "use_dynamic_shifting true", func(c *diffusion.Config) {
			*c = diffusion.RectifiedFlow(1)
			require.NoError(t, json.Unmarshal([]byte(`{"use_dynamic_shifting": true}`), c))
		}},
		{"flow_euler", "no eta, not 0.5", func(c *diffusion.Config) {
			*c = diffusion.RectifiedFlow(1)
		}},
		{"euler_a", "eta 0.5 is for ddim", func(*diffusion.Config) {}},
		{"euler", "use_beta_sigmas true", func(c *diffusion.Config) { c.Other = other.Other }},
		{"euler_a", "", func(c *diffusion.Config) { c.Other = other.Other }},
		{"dpmpp_2m", "use_beta_sigmas true", func(c *diffusion.Config) { c.Other = other.Other }},
		{"dpmpp_2m", "algorithm_type sde-dpmsolver++", func(c *diffusion.Config) {
			c.Algorithm = new("sde-dpmsolver++")
		}},
		{"dpmpp_2m", "solver_type bh3", func(c *diffusion.Config) { c.Solver = new("bh3") }},
		{"dpmpp_2m", "variance_type learned_range", func(c *diffusion.Config) {
			c.Variance = new("learned_range")
		}},
		{"dpmpp_2m", "use_lu_lambdas true", func(c *diffusion.Config) { c.Other = lu.Other }},
		// Karras' levels go before.
		{"dpmpp_2m_karras", "", func(c *diffusion.Config) { c.Other = lu.Other }},
		{"euler", "use_exponential_sigmas 1", func(c *diffusion.Config) { c.Other = one.Other }},
		{"dpmpp_2m", "solver_order 3", func(c *diffusion.Config) { c.SolverOrder = new(3) }},
		{"dpmpp_2m", "lambda_min_clipped 90", func(c *diffusion.Config) { c.LambdaMin = new(90.) }},
	} {
		s := schedule(t, c.change)
		sampler, err := diffusion.ParseSampler(c.sampler)
		require.NoError(t, err)
		noise := diffusion.SeededNoise(1, 0)
		o := diffusion.SampleOptions{Steps: 3, Noise: noise}
		if strings.Contains(c.says, "eta 0.5") || strings.Contains(c.says, "no eta") {
			o.Eta = 0.5
		}
		g := diffusiontest.Gaussian{Std: 1, Schedule: s}
		start := noise.Start(1, 2, 2, 1)
		_, err = diffusion.Last(sampler.Sample(t.Context(), g.Predict, s, start, o))
		if c.says == "" {
			require.NoError(t, err, c.sampler)
			continue
		}
		require.ErrorContains(t, err, c.says, c.sampler)
	}
	_, err := diffusion.ParseSampler("heun")
	require.EqualError(t, err, `diffusion: "heun" is no sampler; these are: `+
		"ddpm, ddim, pndm, euler, euler_a, dpmpp_2m, dpmpp_2m_karras, flow_euler")
}

// A sampler's result can be ranged over again: nothing of the first time is left.
func TestSamplingAgain(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) { c.SkipPRK = new(true) })
	g := diffusiontest.Gaussian{Mean: 0.1, Std: 1, Schedule: s}
	noise := diffusion.SeededNoise(9, 0)
	for _, name := range []string{
		"ddpm", "ddim", "pndm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras",
	} {
		sampler, err := diffusion.ParseSampler(name)
		require.NoError(t, err)
		steps := sampler.Sample(context.Background(), g.Predict, s, noise.Start(2, 2, 2, 1),
			diffusion.SampleOptions{Steps: 6, Noise: noise})
		for _, err := range steps {
			require.NoError(t, err)
			break
		}
		first, err := diffusion.Last(steps)
		require.NoError(t, err)
		again, err := diffusion.Last(steps)
		require.NoError(t, err)
		require.Equal(t, first.Latent.Float32s(), again.Latent.Float32s(), name)
	}
}
