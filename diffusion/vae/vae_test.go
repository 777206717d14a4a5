package vae_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// TestGolden holds both halves to what diffusers computes.
func TestGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		v, err := vae.Load(filepath.Join(c.Dir, "vae"))
		require.NoError(t, err)
		g := gorgonia.NewGraph()
		mean, logvar, err := v.Encode(kernels.Input(g, "x", c.ChannelsLast(t, "vae.sample")))
		require.NoError(t, err)
		decoded, err := v.Decode(kernels.Input(g, "z", c.ChannelsLast(t, "vae.latent")))
		require.NoError(t, err)
		m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{mean, logvar, decoded}})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.RunAll())
		golden.Near(t, "vae.mean", m.Value(mean).Float32s(),
			c.ChannelsLast(t, "vae.mean").Float32s(), 1e-5)
		golden.Near(t, "vae.logvar", m.Value(logvar).Float32s(),
			c.ChannelsLast(t, "vae.logvar").Float32s(), 1e-5)
		golden.Near(t, "vae.decoded", m.Value(decoded).Float32s(),
			c.ChannelsLast(t, "vae.decoded").Float32s(), 1e-5)
	}, "vae")
}

func TestConfigsThatAreRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"act_fn": "gelu"}`:             `act_fn: "gelu" is not supported`,
		`{"latents_mean": [0, 1]}`:       "latents_mean",
		`{"shift_factor": 0.1}`:          "shift_factor: 0.1 is not supported",
		`{"block_out_channels": [48]}`:   "32 groups do not divide",
		`{"block_out_channels": []}`:     "not one a level",
		`{"scaling_factor": 0}`:          "scaling_factor",
		`{"down_block_types": ["Down"]}`: "Down is not supported",
	} {
		_, err := vae.ParseConfig([]byte(config))
		require.ErrorContains(t, err, want, config)
	}
}

// What a config may say without asking for another network.
func TestConfigsOfTheSameNetwork(t *testing.T) {
	for _, config := range []string{
		`{"act_fn": "swish", "shift_factor": 0, "latents_mean": null}`,
		// No key of the class: diffusers ignores it.
		`{"_diffusers_version": "0.2", "double_z": true}`,
	} {
		c, err := vae.ParseConfig([]byte(config))
		require.NoError(t, err, config)
		require.Equal(t, vae.DefaultConfig(), c, config)
	}
	c, err := vae.ParseConfig([]byte(`{"sample_size": [512, 768]}`))
	require.NoError(t, err)
	require.Equal(t, 512, c.SampleSize)
}

// A config that asks for more than the file holds is refused before memory is taken for it.
func TestConfigsBeyondTheFile(t *testing.T) {
	c := vae.DefaultConfig()
	c.BlockOutChannels, c.NormNumGroups = []int{8}, 4
	v, err := vae.New(c)
	require.NoError(t, err)
	numbers := 0
	for _, p := range nn.Parameters(v) {
		numbers += p.Value.Shape().TotalSize()
	}
	_, err = vae.NewWithin(c, numbers)
	require.NoError(t, err)
	for name, change := range map[string]func(c *vae.Config){
		"channels": func(c *vae.Config) { c.BlockOutChannels = []int{1 << 40} },
		"layers":   func(c *vae.Config) { c.LayersPerBlock = 1 << 50 },
		"latents":  func(c *vae.Config) { c.LatentChannels = 1 << 61 },
		"input":    func(c *vae.Config) { c.InChannels = 1 << 62 },
	} {
		big := c
		change(&big)
		_, err := vae.NewWithin(big, numbers)
		require.ErrorContains(t, err, "the file holds", name)
	}
}

func TestSavedIsTheSame(t *testing.T) {
	c := vae.DefaultConfig()
	c.BlockOutChannels, c.NormNumGroups, c.ForceUpcast = []int{8}, 4, false
	v, err := vae.New(c)
	require.NoError(t, err)
	for i, p := range nn.Parameters(v) {
		p.Value.Float32s()[0] = float32(i)
	}
	dir := t.TempDir()
	require.NoError(t, v.Save(dir, kernels.Float16))
	again, err := vae.Load(dir)
	require.NoError(t, err)
	require.Equal(t, v.Config, again.Config)
	require.Equal(t, weights.Hash(v), weights.Hash(again))
}

// No text makes a config that panics or takes more memory than a file's numbers are worth.
func FuzzParseConfig(f *testing.F) {
	text, err := os.ReadFile("../../testdata/golden/sd1/vae/config.json")
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(`{"in_channels": 9223372036854775807, "scaling_factor": 1e-320}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := vae.ParseConfig(text); err == nil {
			_, _ = vae.NewWithin(c, 1<<14)
		}
	})
}

// Numbers that no network comes near are refused by name.
func TestBounds(t *testing.T) {
	blocks := func(n int, of string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + "]"
	}
	for text, want := range map[string]string{
		`{"sample_size": 65536}`:               "sample_size is 65536",
		`{"sample_size": -1}`:                  "sample_size is -1",
		`{"in_channels": 9223372036854775807}`: "in_channels is 9223372036854775807",
		`{"out_channels": 2147483648}`:         "out_channels is 2147483648",
		`{"layers_per_block": 1000}`:           "layers_per_block is 1000",
		`{"scaling_factor": 1e-320}`:           "scaling_factor is",
		`{"scaling_factor": 1e300}`:            "scaling_factor is 1e+300",
		`{"block_out_channels": ` + blocks(64, "32") + `, "down_block_types": ` +
			blocks(64, `"DownEncoderBlock2D"`) + `, "up_block_types": ` +
			blocks(64, `"UpDecoderBlock2D"`) + `}`: "block_out_channels has 64 levels",
	} {
		_, err := vae.ParseConfig([]byte(text))
		require.ErrorContains(t, err, want)
	}
}
