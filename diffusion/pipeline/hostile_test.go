package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
)

// hostile are values that no config has.
var hostile = func() []string {
	all := []string{
		"0", "-1", "3", "-9223372036854775808", "9223372036854775807",
		"18446744073709551616", "2147483648", "65536", "0.5",
		"1e-320", "1e308", "1e400", "NaN", "-1e308", "true", "null", `""`,
		`"\u001b[2J"`, `"v_prediction"`, "[]", "[0]", "[1,1]", "[-1]", "[9223372036854775807]",
		"{}",
		`{"a":1}`, `[["x"]]`, "[null]",
	}
	long := make([]int, 2000)
	text, _ := json.Marshal(long)
	return append(all, string(text))
}()

// bounded calls f, which must not panic, and says how many bytes it has taken.
func bounded(t *testing.T, what string, f func() error) (bytes uint64, err error) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s: panic: %v", what, r)
		}
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// Whatever stands in a config, it is refused or used before memory is taken for more than the file
// of weights beside it holds.
func TestHostileConfigs(t *testing.T) {
	const numbers = 1 << 18 // that the files of weights are said to hold
	for part, k := range map[string]struct {
		file string
		use  func(fsys fs.FS) error
	}{
		"unet": {"config.json", func(fsys fs.FS) error {
			c, err := unet.ReadConfig(fsys)
			if err != nil {
				return err
			}
			u, err := unet.NewWithin(c, numbers)
			if err != nil {
				return err
			}
			side, channels := u.Latents()
			require.LessOrEqual(t, side, 1024)
			require.LessOrEqual(t, channels, 1<<20)
			return nil
		}},
		"vae": {"config.json", func(fsys fs.FS) error {
			c, err := vae.ReadConfig(fsys)
			if err != nil {
				return err
			}
			_, err = vae.NewWithin(c, numbers)
			return err
		}},
		"text_encoder": {"config.json", func(fsys fs.FS) error {
			c, err := clip.ReadTextConfig(fsys)
			if err != nil {
				return err
			}
			_, err = clip.NewTextModelWithin(c, numbers)
			return err
		}},
		"clip": {"config.json", func(fsys fs.FS) error {
			_, err := clip.LoadModelFS(fsys)
			return err
		}},
		"scheduler": {"scheduler_config.json", func(fsys fs.FS) error {
			s, err := diffusion.LoadScheduleFS(fsys)
			if err != nil {
				return err
			}
			return samples(s.InPipeline())
		}},
		"tokenizer": {"tokenizer_config.json", func(fsys fs.FS) error {
			k, err := tokenizer.LoadFS(fsys)
			if err == nil {
				k.Encode("a dog on a hill")
			}
			return err
		}},
	} {
		dir := filepath.Join("../../testdata/golden/sd1", part)
		text, err := os.ReadFile(filepath.Join(dir, k.file))
		require.NoError(t, err)
		var config map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &config))
		keys := slices.Collect(maps.Keys(config))
		keys = append(keys, // of samplers, and of newer files
			"steps_offset", "timestep_spacing", "sample_size", "freq_shift", "norm_eps",
			"trained_betas", "num_train_timesteps", "beta_start", "prediction_type",
			"projection_dim", "transformer_layers_per_block", "time_embedding_dim",
			"sigma_min", "sigma_max", "use_karras_sigmas", "model_max_length")
		whole := map[string]*fstest.MapFile{}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			whole[e.Name()] = &fstest.MapFile{Data: data}
		}
		require.NoError(t, k.use(fstest.MapFS(whole)), "as it is")
		refused, used := 0, 0
		for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
			was, there := config[key]
			for _, value := range hostile {
				config[key] = json.RawMessage(value)
				changed, err := json.Marshal(config)
				if err != nil { // no JSON at all
					changed = fmt.Appendf(nil, `{%q:%s}`, key, value)
				}
				fsys := fstest.MapFS(whole)
				fsys[k.file] = &fstest.MapFile{Data: changed}
				what := fmt.Sprintf("%s %s %.40s", part, key, value)
				taken, err := bounded(t, what, func() error { return k.use(fsys) })
				if taken > 64<<20 {
					t.Errorf("%s: %d MiB were taken, the error is %v", what, taken>>20, err)
				}
				if used++; err != nil {
					used--
					refused++
					require.NotContains(t, err.Error(), "\x1b", what)
				}
			}
			if config[key] = was; !there {
				delete(config, key)
			}
		}
		require.Greater(t, refused, len(hostile), part)
		require.Greater(t, used, len(hostile), part)
	}
}

// samples makes three steps with the schedule's own sampler, of latents of one number.
func samples(s *diffusion.Schedule) error {
	sampler, err := s.Sampler()
	if err != nil {
		return err
	}
	one := tensor.New(tensor.WithShape(1, 1, 1, 1), tensor.WithBacking([]float32{1}))
	net := func(x *tensor.Dense, _ float64) (*tensor.Dense, error) {
		return x, nil
	}
	o := diffusion.SampleOptions{Steps: 3, Noise: diffusion.SeededNoise(1, 0)}
	for _, err := range sampler.Sample(context.Background(), net, s, one, o) {
		if err != nil {
			return err
		}
	}
	return nil
}
