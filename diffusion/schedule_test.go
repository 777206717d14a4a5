package diffusion_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
)

func TestAlphaBarIsTheProduct(t *testing.T) {
	const n = 1000
	at := func(a, b float64, i int) float64 { return a + (b-a)*float64(i)/(n-1) }
	for kind, beta := range map[string]func(i int) float64{
		"linear": func(i int) float64 { return at(0.00085, 0.012, i) },
		"scaled_linear": func(i int) float64 {
			return math.Pow(at(math.Sqrt(0.00085), math.Sqrt(0.012), i), 2)
		},
		"squaredcos_cap_v2": func(i int) float64 {
			bar := func(u float64) float64 {
				return math.Pow(math.Cos((u+0.008)/1.008*math.Pi/2), 2)
			}
			return min(0.999, 1-bar(float64(i+1)/n)/bar(float64(i)/n))
		},
	} {
		s := schedule(t, func(c *diffusion.Config) { c.BetaSchedule = &kind })
		require.Len(t, bars(s), n)
		want := 1.0
		for i, got := range bars(s) {
			want *= 1 - beta(i)
			require.InEpsilon(t, want, got, 3e-5, "%s at %d", kind, i)
		}
	}
}

// The values of every Stable Diffusion's alphas_cumprod, from the checkpoint sd-v1-4.
func TestStableDiffusionsLevels(t *testing.T) {
	s := schedule(t, func(*diffusion.Config) {})
	require.InDelta(t, 0.9991499781608582, bars(s)[0], 1e-9)
	require.InDelta(t, 0.00466009508818388, bars(s)[999], 2e-9)
}

// alphas_cumprod of diffusers' DDPMScheduler, by PyTorch 2.15, to the last bit.
func TestLevelsAreFloat32s(t *testing.T) {
	for schedule, want := range map[string]map[int]float64{
		`{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}`: {
			0: 0.9991499781608582, 75: 0.9240922331809998, 300: 0.5905007719993591,
			500: 0.27633246779441833, 700: 0.08252081274986267, 999: 0.00466009508818388,
		},
		`{}`: {
			0: 0.9998999834060669, 75: 0.9376237392425537, 300: 0.3940110206604004,
			500: 0.07779665291309357, 700: 0.006868278607726097, 999: 4.035830352222547e-05,
		},
	} {
		var c diffusion.Config
		require.NoError(t, json.Unmarshal([]byte(schedule), &c))
		s, err := diffusion.NewSchedule(c)
		require.NoError(t, err)
		for i, bar := range want {
			require.Equal(t, bar, bars(s)[i], "%s at %d", schedule, i)
		}
	}
}

func TestNoising(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.TrainedBetas = new(2), []float64{0.36, 0.4375} // √ᾱ: 0.8, 0.6
	})
	x := tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float32{1, 2, 3, 4}))
	e := tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float32{-1, 1, -1, 1}))
	dst := tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.Of(tensor.Float32))
	levels := []diffusion.Level{s.Process.At(0), s.Process.At(1)}
	require.NoError(t, diffusion.Disturb(dst, x, e, levels))
	require.InDeltaSlice(t, []float32{0.8 - 0.6, 1.6 + 0.6, 1.8 - 0.8, 2.4 + 0.8}, dst.Float32s(),
		1e-6)
	for p, want := range map[diffusion.Prediction][]float32{
		diffusion.Epsilon:      e.Float32s(),
		diffusion.Velocity:     {-0.8 - 0.6, 0.8 - 1.2, -0.6 - 2.4, 0.6 - 3.2},
		diffusion.Clean:        x.Float32s(),
		diffusion.FlowVelocity: {-2, -1, -4, -3},
	} {
		require.NoError(t, p.Target(dst, x, e, levels))
		require.InDeltaSlice(t, want, dst.Float32s(), 1e-6, p.String())
	}

	require.NoError(t, diffusion.Disturb(x, x, e, levels), "in place")
	require.InDeltaSlice(t, []float32{0.2, 2.2, 1, 3.2}, x.Float32s(), 1e-6)
	require.ErrorContains(t, diffusion.Disturb(dst, x, e, levels[:1]), "1 levels do not fit")
	levels[1] = s.Process.At(2)
	require.ErrorContains(t, diffusion.Disturb(dst, x, e, levels),
		"sample 1 has no level: {Signal:NaN Noise:NaN Timestep:2}")
}

func TestMinSNR(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.TrainedBetas = new(2), []float64{0.1, 0.8} // ᾱ 0.9, 0.18
	})
	much, little := s.Process.At(0), s.Process.At(1)
	require.InDelta(t, 9, much.SNR(), 1e-5)
	require.InDelta(t, 5./9, diffusion.Epsilon.MinSNR(5, much), 1e-6)
	require.InDelta(t, 1, diffusion.Epsilon.MinSNR(5, little), 1e-6)
	require.InDelta(t, 0.5, diffusion.Velocity.MinSNR(5, much), 1e-6)
	require.InDelta(t, 0.18, diffusion.Velocity.MinSNR(5, little), 1e-6)
	require.InDelta(t, 5, diffusion.Clean.MinSNR(5, much), 1e-6)
	require.InDelta(t, 0.18/0.82, diffusion.Clean.MinSNR(5, little), 1e-6)
	// At σ = 1/4 of a flow the SNR is 9, and an error of ε - x₀ is 4 of x₀; at 3/4 it is 1/9, and
	// 4/3.
	require.InDelta(t, 5./16, diffusion.FlowVelocity.MinSNR(5, diffusion.Flow{Steps: 1000}.At(250)),
		1e-12)
	require.InDelta(t, 1./16, diffusion.FlowVelocity.MinSNR(5, diffusion.Flow{Steps: 1000}.At(750)),
		1e-12)
	noise, picture := diffusion.Level{Noise: 1}, diffusion.Level{Signal: 1}
	require.Equal(t, 1., diffusion.Epsilon.MinSNR(5, noise), "the limit, where there is no signal")
	require.Equal(t, 5., diffusion.Clean.MinSNR(5, picture), "the limit, where there is no noise")
}

func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	text := `{
		"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
		"beta_start": 0.00085, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null
	}`
	require.NoError(t,
		os.WriteFile(filepath.Join(dir, "scheduler_config.json"), []byte(text), 0o644))
	s, err := diffusion.LoadSchedule(dir)
	require.NoError(t, err)
	require.Len(t, bars(s), 1000)
	require.Nil(t, s.Config.Prediction)
	require.Equal(t, diffusion.Epsilon, s.Prediction)

	other := filepath.Join(dir, "other")
	require.NoError(t, s.Save(other))
	again, err := diffusion.LoadSchedule(other)
	require.NoError(t, err)
	require.Equal(t, s.Process, again.Process)
	saved, err := os.ReadFile(filepath.Join(other, "scheduler_config.json"))
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, json.Unmarshal(saved, &keys))
	require.Equal(t, map[string]any{
		"_class_name":    "PNDMScheduler",
		"beta_end":       0.012,
		"beta_schedule":  "scaled_linear",
		"beta_start":     0.00085,
		"skip_prk_steps": true,
		"steps_offset":   1.,
	}, keys)
}

// √ᾱ of 0.8, 0.6 and 0.36 are shifted to end at 0 and scaled to begin at 0.8: 0.8·(√ᾱ-0.36)/0.44.
func TestZeroTerminalSNR(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.TrainedBetas, c.ZeroSNR = new(3), []float64{0.36, 0.4375, 0.64}, new(true)
	})
	require.InDelta(t, 0.64, bars(s)[0], 1e-6)
	require.InDelta(t, math.Pow(0.8*0.24/0.44, 2), bars(s)[1], 1e-6)
	require.Zero(t, bars(s)[2])
}

// Python writes -Infinity, which is no JSON, where diffusers' DPM-Solver++ has its default.
func TestConfigOfDPMSolver(t *testing.T) {
	dir := t.TempDir()
	text := `{
		"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "scaled_linear",
		"lambda_min_clipped": -Infinity, "solver_order": 2, "use_lu_lambdas": false
	}`
	require.NoError(t,
		os.WriteFile(filepath.Join(dir, "scheduler_config.json"), []byte(text), 0o644))
	s, err := diffusion.LoadSchedule(dir)
	require.NoError(t, err)
	require.Nil(t, s.Config.LambdaMin)
	require.Equal(t, new(2), s.Config.SolverOrder)
	sampler, err := s.Sampler()
	require.NoError(t, err)
	require.Equal(t, "dpmpp_2m", sampler.Name)
	require.NoError(t, s.Save(dir))
	saved, err := os.ReadFile(filepath.Join(dir, "scheduler_config.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{
		"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "scaled_linear",
		"solver_order": 2, "use_lu_lambdas": false
	}`, string(saved))
}

// In diffusers, null is false where a bool is asked for, also where the default is true.
func TestConfigOfNulls(t *testing.T) {
	var c diffusion.Config
	require.NoError(t, json.Unmarshal([]byte(`{
		"clip_sample": null, "lower_order_final": null, "set_alpha_to_one": null,
		"sigma_min": null, "trained_betas": null, "variance_type": null, "solver_p": null
	}`), &c))
	require.Equal(t, diffusion.Config{
		ClipSample: new(false), LowerOrderFinal: new(false), SetAlphaToOne: new(false),
		Other: map[string]json.RawMessage{"solver_p": json.RawMessage("null")},
	}, c)
}

func TestConfigErrors(t *testing.T) {
	dir := t.TempDir()
	for _, refused := range []struct{ text, says string }{
		{`{`, "scheduler_config.json: unexpected end"},
		{`{"beta_schedule": "sigmoid"}`, `beta_schedule "sigmoid"`},
		{`{"prediction_type": "flow"}`, `prediction_type "flow"`},
		{`{"num_train_timesteps": 0}`, "num_train_timesteps is 0"},
		{`{"num_train_timesteps": 2, "trained_betas": [0.1, 1.5]}`, "beta 1.5 at timestep 1"},
		{`{"trained_betas": [0.1, 0.2]}`, "trained_betas are 2, num_train_timesteps is 1000"},
		{`{"trained_betas": []}`, "trained_betas are 0, num_train_timesteps is 1000"},
		{`{"steps_offset": null}`, "scheduler_config.json: steps_offset is null"},
		{`{"beta_start": -1, "beta_end": 0}`, "at timestep 0"},
	} {
		text, says := refused.text, refused.says
		require.NoError(t,
			os.WriteFile(filepath.Join(dir, "scheduler_config.json"), []byte(text), 0o644))
		_, err := diffusion.LoadSchedule(dir)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, dir)
	}
	_, err := diffusion.LoadSchedule(filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
