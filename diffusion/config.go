package diffusion

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
)

// A Config is a scheduler_config.json of diffusers. A key that the file lacks is nil and means the
// default of the class that reads it, which is in the comment above the field. Keys of samplers
// that we do not have are kept in Other, so that saving loses nothing.
type Config struct {
	// Class is the sampler that the folder's makers chose.
	Class *string `json:"_class_name,omitempty"`
	// TrainSteps is 1000.
	TrainSteps *int `json:"num_train_timesteps,omitempty"`
	// BetaStart is 0.0001.
	BetaStart *float64 `json:"beta_start,omitempty"`
	// BetaEnd is 0.02.
	BetaEnd *float64 `json:"beta_end,omitempty"`
	// BetaSchedule is "linear"; others are "scaled_linear" and "squaredcos_cap_v2".
	BetaSchedule *string `json:"beta_schedule,omitempty"`
	// TrainedBetas stand instead of a formula, num_train_timesteps of them.
	TrainedBetas []float64 `json:"trained_betas,omitempty"`
	// Prediction is "epsilon"; others are "v_prediction" and "sample".
	Prediction *string `json:"prediction_type,omitempty"`
	// Spacing is "leading" for DDIM, DDPM and PNDM, and "linspace" for others. There is "trailing"
	// too.
	Spacing *string `json:"timestep_spacing,omitempty"`
	// StepsOffset is 0. It is added to the timesteps of "leading".
	StepsOffset *int `json:"steps_offset,omitempty"`
	// ZeroSNR is false. True leaves no signal at the last timestep. PNDM does not know it.
	ZeroSNR *bool `json:"rescale_betas_zero_snr,omitempty"`
	// SetAlphaToOne is true for DDIM and false for PNDM. With true the last step ends at ᾱ = 1,
	// with false at ᾱ of timestep 0.
	SetAlphaToOne *bool `json:"set_alpha_to_one,omitempty"`
	// ClipSample is false, see NewSchedule. With true DDIM and DDPM clamp x̂₀.
	ClipSample *bool `json:"clip_sample,omitempty"`
	// ClipRange is 1.
	ClipRange *float64 `json:"clip_sample_range,omitempty"`
	// Thresholding is false. DDIM, DDPM and DPM-Solver++ refuse true.
	Thresholding *bool `json:"thresholding,omitempty"`
	// Variance is "fixed_small" for DDPM; others are "fixed_small_log" and "fixed_large".
	Variance *string `json:"variance_type,omitempty"`
	// SkipPRK is false. True starts PNDM without Runge-Kutta steps.
	SkipPRK *bool `json:"skip_prk_steps,omitempty"`

	// Karras is false. Euler and DPM-Solver++ know it.
	Karras *bool `json:"use_karras_sigmas,omitempty"`
	// SigmaMin and SigmaMax are where Karras' noise levels of Euler and DPM-Solver++ end and begin.
	// They are the schedule's own.
	SigmaMin *float64 `json:"sigma_min,omitempty"`
	SigmaMax *float64 `json:"sigma_max,omitempty"`
	// Interpolation is "linear" for Euler; another is "log_linear".
	Interpolation *string `json:"interpolation_type,omitempty"`
	// FinalSigma is "zero" for Euler and DPM-Solver++; another is "sigma_min".
	FinalSigma *string `json:"final_sigmas_type,omitempty"`
	// Algorithm is "dpmsolver++". Others are refused.
	Algorithm *string `json:"algorithm_type,omitempty"`
	// Solver is "midpoint"; another is "heun".
	Solver *string `json:"solver_type,omitempty"`
	// SolverOrder is 2. 1 is known too, and others are refused.
	SolverOrder *int `json:"solver_order,omitempty"`
	// LowerOrderFinal is true: fewer than 15 steps of DPM-Solver++ end with one of order 1.
	LowerOrderFinal *bool `json:"lower_order_final,omitempty"`
	// EulerAtFinal is false. With true any number of steps ends with one of order 1.
	EulerAtFinal *bool `json:"euler_at_final,omitempty"`
	// LambdaMin is -Inf. DPM-Solver++ begins where ln √(ᾱ/(1-ᾱ)) is at least this.
	LambdaMin *float64 `json:"lambda_min_clipped,omitempty"`

	// Shift is 1. It is that of rectified flow, see Flow.
	Shift *float64 `json:"shift,omitempty"`
	// ShiftTerminal is the σ of FlowEuler's last step. It has no default.
	ShiftTerminal *float64 `json:"shift_terminal,omitempty"`
	// Stochastic is false. With true FlowEuler draws noise.
	Stochastic *bool `json:"stochastic_sampling,omitempty"`

	// Other holds every other key.
	Other map[string]json.RawMessage `json:"-"`
}

// The classes of diffusers whose samplers we have.
const (
	classDDPM           = "DDPMScheduler"
	classDDIM           = "DDIMScheduler"
	classPNDM           = "PNDMScheduler"
	classEuler          = "EulerDiscreteScheduler"
	classEulerAncestral = "EulerAncestralDiscreteScheduler"
	classDPMSolver      = "DPMSolverMultistepScheduler"
	classFlowEuler      = "FlowMatchEulerDiscreteScheduler"
)

// own are the defaults of which classes differ, common those of all others.
var (
	own = map[string]Config{
		classDDPM: {Spacing: new("leading"), Variance: new("fixed_small")},
		classDDIM: {Spacing: new("leading"), SetAlphaToOne: new(true)},
		classPNDM: {Spacing: new("leading"), SetAlphaToOne: new(false)},
	}
	common = Config{
		TrainSteps: new(1000), BetaStart: new(0.0001), BetaEnd: new(0.02),
		BetaSchedule: new("linear"), Prediction: new("epsilon"), Spacing: new("linspace"),
		StepsOffset: new(0), ZeroSNR: new(false),
		ClipSample: new(false), ClipRange: new(1.), Thresholding: new(false), Variance: new(""),
		SkipPRK: new(false), Karras: new(false), Interpolation: new("linear"),
		FinalSigma: new("zero"),
		Algorithm:  new("dpmsolver++"), Solver: new("midpoint"), SolverOrder: new(2),
		LowerOrderFinal: new(true), EulerAtFinal: new(false), LambdaMin: new(math.Inf(-1)),
		Shift: new(1.), Stochastic: new(false),
	}
)

// settle is the config as a class reads it: no key that the class knows is nil, but for those that
// have no default.
func (c Config) settle(class string) Config {
	for _, defaults := range []Config{own[class], common} {
		from, to := reflect.ValueOf(defaults), reflect.ValueOf(&c).Elem()
		for i := range to.NumField() {
			if to.Field(i).IsZero() {
				to.Field(i).Set(from.Field(i))
			}
		}
	}
	return c
}

// StableDiffusion is the schedule of Stable Diffusion 1 and 2, for models that predict ε.
func StableDiffusion() Config {
	return Config{
		Class:        new("DDIMScheduler"),
		TrainSteps:   new(1000),
		BetaStart:    new(0.00085),
		BetaEnd:      new(0.012),
		BetaSchedule: new("scaled_linear"),
		Prediction:   new("epsilon"),
		Spacing:      new("leading"),
		StepsOffset:  new(1), SetAlphaToOne: new(false), ClipSample: new(false),
	}
}

// RectifiedFlow is the schedule of models that predict ε - x₀ on a Flow. Stable Diffusion 3 has
// shift 3.
func RectifiedFlow(shift float64) Config {
	return Config{Class: new(classFlowEuler), TrainSteps: new(1000), Shift: &shift}
}

// plain has Config's fields and none of its methods.
type plain Config

// UnmarshalJSON reads a scheduler_config.json. A null means what it means in diffusers: false for a
// bool, whatever its default is; nothing for the keys whose default is null; and an error for
// others.
func (c *Config) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, (*plain)(c)); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &c.Other); err != nil {
		return err
	}
	values := reflect.ValueOf(c).Elem()
	for i := range values.NumField() {
		key, _, _ := strings.Cut(values.Type().Field(i).Tag.Get("json"), ",")
		if string(c.Other[key]) == "null" {
			if flag, ok := values.Field(i).Addr().Interface().(**bool); ok {
				*flag = new(false)
			} else if !slices.Contains(nullable, key) {
				return fmt.Errorf("%s is null", key)
			}
		}
		delete(c.Other, key)
	}
	return nil
}

// nullable are the keys, but for bools, that may be null.
var nullable = []string{
	"trained_betas", "variance_type", "sigma_min", "sigma_max", "lambda_min_clipped",
	"shift_terminal",
}

// MarshalJSON writes a scheduler_config.json.
func (c Config) MarshalJSON() ([]byte, error) {
	all, err := fields(c)
	if err != nil {
		return nil, err
	}
	for key, value := range c.Other {
		all[key] = value
	}
	return json.Marshal(all)
}

// fields are the keys of c that are present, without Other's.
func fields(c Config) (map[string]json.RawMessage, error) {
	data, err := json.Marshal(plain(c))
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	return all, json.Unmarshal(data, &all)
}

const configFile = "scheduler_config.json"

// minusInfinity is how Python writes the default of lambda_min_clipped, in what is no JSON.
var minusInfinity = regexp.MustCompile(`("lambda_min_clipped"\s*:\s*)-Infinity`)

// LoadSchedule reads dir/scheduler_config.json.
func LoadSchedule(dir string) (*Schedule, error) {
	s, err := LoadScheduleFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return s, nil
}

// LoadScheduleFS is LoadSchedule of the folder that is fsys.
func LoadScheduleFS(fsys fs.FS) (*Schedule, error) {
	data, err := text.ReadFS(fsys, configFile)
	if err != nil {
		return nil, fmt.Errorf("diffusion: %w", err)
	}
	data = minusInfinity.ReplaceAll(data, []byte("${1}null"))
	var c Config
	if err := weights.ParseJSON(data, &c); err != nil {
		return nil, fmt.Errorf("diffusion: %s: %w", configFile, err)
	}
	s, err := NewSchedule(c)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, configFile)
	}
	return s, nil
}

// Save writes dir/scheduler_config.json. It makes dir if that is not there.
func (s *Schedule) Save(dir string) error {
	data, err := json.MarshalIndent(s.Config, "", "  ")
	if err != nil {
		return fmt.Errorf("diffusion: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("diffusion: %w", err)
	}
	if err := file.WriteBytes(filepath.Join(dir, configFile), append(data, '\n')); err != nil {
		return fmt.Errorf("diffusion: %w", err)
	}
	return nil
}

// or is what p points to, or a default.
func or[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}

// clip is the bound of x̂₀, +Inf for none.
func (c *Config) clip() float64 {
	if *c.ClipSample {
		return *c.ClipRange
	}
	return math.Inf(1)
}

// refuse returns an error for the first of keys that has another value than its default: they
// change what a sampler does in ways that ours do not.
func (c *Config) refuse(keys ...string) error {
	defaults := []string{"", "null", "false", `"discrete"`}
	for _, key := range keys {
		if value := string(c.Other[key]); !slices.Contains(defaults, value) {
			return fmt.Errorf("diffusion: %s %s is not supported", key, value)
		}
	}
	return nil
}

// refuseThresholding is for samplers that know this key.
func (c *Config) refuseThresholding() error {
	if *c.Thresholding {
		return fmt.Errorf(
			"diffusion: thresholding is not supported (it is meant for models of pixels)")
	}
	return nil
}

// only returns an error unless v is one of values.
func only[T comparable](key string, v T, values ...T) error {
	if !slices.Contains(values, v) {
		return fmt.Errorf("diffusion: %s %s is not supported; these are: %v",
			key, weights.Printable(fmt.Sprint(v)), values)
	}
	return nil
}
