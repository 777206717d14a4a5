package unet_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// firstLayout is a parameter's memory in the order of a checkpoint: [Cout,KH,KW,Cin] as [Cout,Cin,KH,KW].
func firstLayout(t *tensor.Dense) []float32 {
	s, data := t.Shape(), t.Float32s()
	if s.Dims() != 4 {
		return data
	}
	out := make([]float32, 0, len(data))
	for o := range s[0] {
		for c := range s[3] {
			for k := range s[1] * s[2] {
				out = append(out, data[(o*s[1]*s[2]+k)*s[3]+c])
			}
		}
	}
	return out
}

// TestGolden holds the network's output and all its gradients to what diffusers computes.
func TestGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		u, err := unet.Load(filepath.Join(c.Dir, "unet"))
		require.NoError(t, err)
		g := gorgonia.NewGraph()
		x := kernels.Input(g, "x", c.ChannelsLast(t, "unet.sample"))
		text := kernels.Input(g, "c", c.Tensor(t, "unet.encoder_hidden_states"))
		out, err := u.Predict(x, kernels.Input(g, "t", c.Tensor(t, "unet.timestep")), text)
		require.NoError(t, err)
		product, err := kernels.Mul(out, kernels.Input(g, "cotangent", c.ChannelsLast(t, "unet.cotangent")))
		require.NoError(t, err)
		loss, err := kernels.Sum(product)
		require.NoError(t, err)
		params := weights.Parameters(u)
		wrt := gorgonia.Nodes{x, text}
		for _, p := range params {
			wrt = append(wrt, kernels.Param(g, p.Value))
		}
		grads, err := gorgonia.Grad(loss, wrt...)
		require.NoError(t, err)
		m, err := kernels.NewMachine(g, kernels.Config{Want: append(gorgonia.Nodes{out}, grads...)})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.RunAll())

		golden.Near(t, "unet.out", m.Value(out).Float32s(), c.ChannelsLast(t, "unet.out").Float32s(), 1e-5)
		want := map[string][]float32{
			"x": c.ChannelsLast(t, "unet.grad_sample").Float32s(),
			"c": c.Tensor(t, "unet.grad_encoder_hidden_states").Float32s(),
		}
		names := []string{"x", "c"}
		largest := 0.0
		for _, p := range params {
			names = append(names, p.Name)
			if c.Has("unet.grad." + p.Name) {
				want[p.Name] = c.Tensor(t, "unet.grad."+p.Name).Float32s()
			}
		}
		require.Greater(t, len(want), 2+len(params)/10, "the case has gradients")
		for _, w := range want {
			largest = max(largest, norm(w))
		}
		for i, name := range names {
			if want[name] == nil {
				continue // the case keeps some of the gradients
			}
			got := m.Value(grads[i])
			values := got.Float32s()
			if i >= 2 {
				values = firstLayout(got)
			}
			diff := make([]float32, len(values))
			require.Len(t, want[name], len(values), name)
			for k, v := range values {
				diff[k] = v - want[name][k]
			}
			if d := norm(diff); !(d <= 1e-4*norm(want[name])+1e-8*largest) {
				t.Errorf("gradient of %s: off by %.3g of %.3g", name, d, norm(want[name]))
			}
		}
	})
}

func norm(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}

func TestConfigsThatAreRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"class_embed_type": "timestep"}`:               `class_embed_type: "timestep" is not supported`,
		`{"_class_name": "UNet2DModel"}`:                 `_class_name: "UNet2DModel" is not supported`,
		`{"mid_block_type": null}`:                       "mid_block_type: null is not supported",
		`{"only_cross_attention": [true, false]}`:        "only_cross_attention: [true, false] is not supported",
		`{"act_fn": "gelu"}`:                             `act_fn: "gelu" is not supported`,
		`{"resnet_time_scale_shift": "scale_shift"}`:     "resnet_time_scale_shift",
		`{"dual_cross_attention": true}`:                 "dual_cross_attention",
		`{"block_out_channels": [320, 640]}`:             "not one a level",
		`{"block_out_channels": [321, 640, 1280, 1280]}`: "32 groups do not divide",
		`{"attention_head_dim": [5, 10]}`:                "attention_head_dim has 2 numbers",
		`{"num_attention_heads": 8}`:                     "num_attention_heads: 8 is not supported",
		`{"center_input_sample": true}`:                  "center_input_sample",
		`{"attention_head_dim": 0}`:                      "attention_head_dim has 0",
		`{"layers_per_block": -1}`:                       "layers_per_block has -1",
		`{"norm_num_groups": 0}`:                         "norm_num_groups",
		`{"attention_head_dim": 7}`:                      "not divided by 7 heads",
		`{"down_block_types": ["AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"]}`: "AttnDownBlock2D is not supported",
		`{"in_channels": "four"}`: "in_channels",
		`[`:                       "config.json",
	} {
		_, err := unet.ParseConfig([]byte(config))
		require.ErrorContains(t, err, want, config)
	}
	for _, config := range []string{`{}`, `{"upcast_attention": true, "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.2", "only_cross_attention": [false, false], "dual_cross_attention": false, "class_embed_type": null}`} {
		_, err := unet.ParseConfig([]byte(config))
		require.NoError(t, err, config)
	}
}

// A config that asks for more than the file holds is refused before memory is taken for it.
func TestConfigsBeyondTheFile(t *testing.T) {
	c := unet.DefaultConfig()
	c.BlockOutChannels, c.NormNumGroups, c.CrossAttentionDim = []int{8, 16, 16, 16}, 4, []int{12}
	u, err := unet.New(c)
	require.NoError(t, err)
	numbers := 0
	for _, p := range weights.Parameters(u) {
		numbers += p.Value.Shape().TotalSize()
	}
	_, err = unet.NewWithin(c, numbers)
	require.NoError(t, err)
	for name, change := range map[string]func(c *unet.Config){
		"channels": func(c *unet.Config) { c.BlockOutChannels = []int{8, 16, 16, 1 << 40} },
		"layers":   func(c *unet.Config) { c.LayersPerBlock = []int{1 << 50} },
		"text":     func(c *unet.Config) { c.CrossAttentionDim = []int{1 << 60} },
		"blocks":   func(c *unet.Config) { c.TransformerLayersPerBlock = []int{1, 1, 1 << 30, 1} },
		"input":    func(c *unet.Config) { c.InChannels = 1 << 62 },
		"output":   func(c *unet.Config) { c.OutChannels = 1 << 40 },
	} {
		big := c
		change(&big)
		_, err := unet.NewWithin(big, numbers)
		require.ErrorContains(t, err, "the file holds", name)
	}
}

func TestSavedIsTheSame(t *testing.T) {
	c := unet.DefaultConfig()
	c.BlockOutChannels, c.NormNumGroups, c.CrossAttentionDim = []int{8, 16, 16, 16}, 4, []int{12}
	u, err := unet.New(c)
	require.NoError(t, err)
	for i, p := range weights.Parameters(u) {
		for k := range p.Value.Float32s() {
			p.Value.Float32s()[k] = float32(i + k%7)
		}
	}
	dir := t.TempDir()
	require.NoError(t, u.Save(dir, weights.Float32))
	again, err := unet.Load(dir)
	require.NoError(t, err)
	require.Equal(t, u.Config, again.Config)
	require.Equal(t, weights.Hash(u), weights.Hash(again))
}
