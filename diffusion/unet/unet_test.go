package unet_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// firstLayout is a parameter's memory in the order of a checkpoint: [Cout,KH,KW,Cin] as
// [Cout,Cin,KH,KW].
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

// conditionOf adds a case's conditions to a graph.
func conditionOf(t *testing.T, g *gorgonia.ExprGraph, c golden.Case) diffusion.Condition {
	condition := dataset.Condition{Tokens: c.Tensor(t, "unet.encoder_hidden_states")}
	if c.Has("unet.text_embeds") {
		condition.Pooled = c.Tensor(t, "unet.text_embeds")
		condition.Sizes = c.Tensor(t, "unet.time_ids")
	}
	return diffusion.Input(g, condition)
}

// TestGolden holds the network's output and all its gradients to what diffusers computes.
func TestGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		u, err := unet.Load(filepath.Join(c.Dir, "unet"))
		require.NoError(t, err)
		g := gorgonia.NewGraph()
		x := kernels.Input(g, "x", c.ChannelsLast(t, "unet.sample"))
		condition := conditionOf(t, g, c)
		out, err := u.Predict(x, kernels.Input(g, "t", c.Tensor(t, "unet.timestep")), condition)
		require.NoError(t, err)
		product, err := kernels.Mul(out,
			kernels.Input(g, "cotangent", c.ChannelsLast(t, "unet.cotangent")))
		require.NoError(t, err)
		loss, err := kernels.Sum(product)
		require.NoError(t, err)
		params := nn.Parameters(u)
		wrt, names := gorgonia.Nodes{x, condition.Tokens}, []string{"x", "c"}
		if condition.Pooled != nil {
			wrt, names = append(wrt, condition.Pooled), append(names, "pooled")
		}
		inputs := len(wrt)
		for _, p := range params {
			wrt = append(wrt, kernels.Param(g, p.Value))
		}
		grads, err := gorgonia.Grad(loss, wrt...)
		require.NoError(t, err)
		m, err := kernels.NewMachine(g, kernels.Config{Want: append(gorgonia.Nodes{out}, grads...)})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.RunAll())

		golden.Near(t, "unet.out", m.Value(out).Float32s(),
			c.ChannelsLast(t, "unet.out").Float32s(), 1e-5)
		want := map[string][]float32{
			"x": c.ChannelsLast(t, "unet.grad_sample").Float32s(),
			"c": c.Tensor(t, "unet.grad_encoder_hidden_states").Float32s(),
		}
		if condition.Pooled != nil {
			want["pooled"] = c.Tensor(t, "unet.grad_text_embeds").Float32s()
		}
		largest, worst := 0.0, 0.0
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
			if i >= inputs {
				values = firstLayout(got)
			}
			diff := make([]float32, len(values))
			require.Len(t, want[name], len(values), name)
			for k, v := range values {
				diff[k] = v - want[name][k]
			}
			d := norm(diff)
			if !(d <= 1e-4*norm(want[name])+1e-8*largest) {
				t.Errorf("gradient of %s: off by %.3g of %.3g", name, d, norm(want[name]))
			}
			worst = max(worst, d/(norm(want[name])+1e-4*largest))
		}
		t.Logf("%d gradients: the worst is off by %.2g", len(want), worst)
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
	for _, refused := range []struct{ config, want string }{
		{`{"class_embed_type": "timestep"}`, `class_embed_type: "timestep" is not supported`},
		{`{"_class_name": "UNet2DModel"}`, `_class_name: "UNet2DModel" is not supported`},
		{`{"mid_block_type": null}`, "mid_block_type: null is not supported"},
		{
			`{"only_cross_attention": [true, false]}`,
			"only_cross_attention: [true, false] is not supported",
		},
		{`{"act_fn": "gelu"}`, `act_fn: "gelu" is not supported`},
		{`{"resnet_time_scale_shift": "scale_shift"}`, "resnet_time_scale_shift"},
		{`{"dual_cross_attention": true}`, "dual_cross_attention"},
		{`{"block_out_channels": [320, 640]}`, "not one a level"},
		{`{"block_out_channels": [321, 640, 1280, 1280]}`, "32 groups do not divide"},
		{`{"attention_head_dim": [5, 10]}`, "attention_head_dim has 2 numbers"},
		{`{"num_attention_heads": 8}`, "num_attention_heads: 8 is not supported"},
		{`{"center_input_sample": true}`, "center_input_sample"},
		{`{"num_class_embeds": 1000}`, "num_class_embeds: 1000 is not supported"},
		{`{"time_cond_proj_dim": 256}`, "time_cond_proj_dim"},
		{`{"encoder_hid_dim_type": "text_proj"}`, "encoder_hid_dim_type"},
		{`{"mid_block_scale_factor": 2}`, "mid_block_scale_factor: 2 is not supported"},
		{
			`{"addition_embed_type": "text_image"}`,
			`addition_embed_type: "text_image" is not supported`,
		},
		{
			`{"addition_embed_type": "text_time"}`,
			"addition_time_embed_dim 0 and projection_class_embeddings_input_dim 0",
		},
		{`{"sample_size": [64, 96]}`, "sample_size: [64 96] is not supported"},
		{`{"time_embedding_dim": -1}`, "time_embedding_dim is -1"},
		{`{"transformer_layers_per_block": [[1, 2], 1]}`, "transformer_layers_per_block: "},
		{
			`{"reverse_transformer_layers_per_block": [1]}`,
			"reverse_transformer_layers_per_block is [1]",
		},
		{`{"attention_head_dim": 0}`, "attention_head_dim has 0"},
		{`{"layers_per_block": -1}`, "layers_per_block is -1"},
		{`{"norm_num_groups": 0}`, "norm_num_groups"},
		{`{"attention_head_dim": 7}`, "not divided by 7 heads"},
		{
			`{"down_block_types": [
				"AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"
			]}`,
			"AttnDownBlock2D is not supported",
		},
		{`{"in_channels": "four"}`, "in_channels"},
		{`[`, "config.json"},
	} {
		config, want := refused.config, refused.want
		_, err := unet.ParseConfig([]byte(config))
		require.ErrorContains(t, err, want, config)
	}
}

// What a config may say without asking for another network.
func TestConfigsOfTheSameNetwork(t *testing.T) {
	for _, config := range []string{
		`{
			"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.2", "_name_or_path": "x"
		}`,
		`{"act_fn": "swish"}`, // SiLU's other name
		`{
			"only_cross_attention": [false, false], "dual_cross_attention": false,
			"class_embed_type": null, "conv_in_kernel": 3, "mid_block_scale_factor": 1
		}`,
		`{"down_block_types": [
			"UNetResCrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
			"UNetResDownBlock2D"
		]}`,
		// Of blocks and embeddings that are refused.
		`{
			"resnet_skip_time_act": true, "resnet_out_scale_factor": 1.5,
			"cross_attention_norm": "layer_norm", "mid_block_only_cross_attention": true
		}`,
		`{
			"addition_time_embed_dim": 256, "addition_embed_type_num_heads": 8,
			"projection_class_embeddings_input_dim": 2816
		}`,
		`{"decay": 0.9999, "model": {"name": "x"}}`, // no keys of the class: diffusers ignores them
		`{
			"sample_size": null, "time_embedding_dim": null,
			"reverse_transformer_layers_per_block": null, "upcast_attention": null, "dropout": 0.1
		}`,
	} {
		c, err := unet.ParseConfig([]byte(config))
		require.NoError(t, err, config)
		require.Equal(t, unet.DefaultConfig(), c, config)
	}
	c, err := unet.ParseConfig([]byte(`{"sample_size": [64, 64]}`))
	require.NoError(t, err)
	require.Equal(t, 64, c.SampleSize)
}

// Transformers of other depths on the way up than on the way down, and a time of another length.
func TestAsymmetricConfig(t *testing.T) {
	c, err := unet.ParseConfig([]byte(`{
		"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1,
		"cross_attention_dim": 12, "attention_head_dim": 2,
		"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
		"up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
		"transformer_layers_per_block": [1, 2], "reverse_transformer_layers_per_block": [3, 4],
		"time_embedding_dim": 20
	}`))
	require.NoError(t, err)
	u, err := unet.New(c)
	require.NoError(t, err)
	depths, shapes := map[string]int{}, map[string]string{}
	for _, p := range nn.Parameters(u) {
		shapes[p.Name] = fmt.Sprint(p.Value.Shape())
		part, _, ok := strings.Cut(p.Name, ".attentions.0.transformer_blocks.")
		if ok && strings.HasSuffix(p.Name, ".norm1.weight") {
			depths[part]++
		}
	}
	require.Equal(t, map[string]int{
		"down_blocks.0": 1, "down_blocks.1": 2, "mid_block": 2, "up_blocks.0": 3, "up_blocks.1": 4,
	}, depths)
	require.Equal(t, "(20, 8)", shapes["time_embedding.linear_1.weight"])
	require.Equal(t, "(20, 20)", shapes["time_embedding.linear_2.weight"])
	require.Equal(t, "(16, 20)", shapes["mid_block.resnets.0.time_emb_proj.weight"])
}

// A config that asks for more than the file holds is refused before memory is taken for it.
func TestConfigsBeyondTheFile(t *testing.T) {
	c := unet.DefaultConfig()
	c.BlockOutChannels, c.NormNumGroups, c.CrossAttentionDim = []int{8, 16, 16, 16}, 4, []int{12}
	u, err := unet.New(c)
	require.NoError(t, err)
	numbers := 0
	for _, p := range nn.Parameters(u) {
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
		"up": func(c *unet.Config) {
			c.ReverseTransformerLayersPerBlock = []int{1, 1, 1, 1 << 30}
		},
		"time": func(c *unet.Config) { c.TimeEmbeddingDim = 1 << 40 },
		"pooled": func(c *unet.Config) {
			c.AdditionEmbedType, c.AdditionTimeEmbedDim = "text_time", 2
			c.ProjectionClassEmbeddingsInputDim = 1 << 50
		},
		"output": func(c *unet.Config) { c.OutChannels = 1 << 40 },
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
	c.UpcastAttention, c.TimeEmbeddingDim = true, 24
	c.ReverseTransformerLayersPerBlock = []int{1, 1, 2, 1}
	c.AdditionEmbedType = "text_time"
	c.AdditionTimeEmbedDim, c.ProjectionClassEmbeddingsInputDim = 4, 30
	u, err := unet.New(c)
	require.NoError(t, err)
	for i, p := range nn.Parameters(u) {
		for k := range p.Value.Float32s() {
			p.Value.Float32s()[k] = float32(i + k%7)
		}
	}
	dir := t.TempDir()
	require.NoError(t, u.Save(dir, kernels.Float32))
	again, err := unet.Load(dir)
	require.NoError(t, err)
	require.Equal(t, u.Config, again.Config)
	require.Equal(t, weights.Hash(u), weights.Hash(again))
}

// What a network reads and a condition lacks is named, and so is what does not fit.
func TestConditionsThatAreRefused(t *testing.T) {
	u, err := unet.Load(filepath.Join("..", "..", "testdata", "golden", "xl", "unet"))
	require.NoError(t, err)
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	}
	const tooMany = "pooled (2, 11) and sizes (2, 6); with 6 numbers a size they are not the 46"
	for want, change := range map[string]func(c *dataset.Condition){
		"unet: the condition has no tokens":        func(c *dataset.Condition) { c.Tokens = nil },
		"unet: the condition has no pooled vector": func(c *dataset.Condition) { c.Pooled = nil },
		"unet: the condition has no sizes":         func(c *dataset.Condition) { c.Sizes = nil },
		tooMany: func(c *dataset.Condition) {
			c.Pooled = zeros(2, 11)
		},
		"pooled (2, 10) and sizes (2, 5)": func(c *dataset.Condition) { c.Sizes = zeros(2, 5) },
		"pooled (20) and sizes (2, 6)":    func(c *dataset.Condition) { c.Pooled = zeros(20) },
		"pooled (2, 10) and sizes (12)":   func(c *dataset.Condition) { c.Sizes = zeros(12) },
		"(3, 10)":                         func(c *dataset.Condition) { c.Pooled = zeros(3, 10) },
		"x (2, 9, 13) and w": func(c *dataset.Condition) {
			c.Tokens = zeros(2, 9, 13)
		},
	} {
		batch := dataset.Condition{
			Tokens: zeros(2, 9, 12), Pooled: zeros(2, 10), Sizes: zeros(2, 6),
		}
		change(&batch)
		g := gorgonia.NewGraph()
		_, err := u.Predict(kernels.Input(g, "x", zeros(2, 8, 8, 4)),
			kernels.Input(g, "t", zeros(2)), diffusion.Input(g, batch))
		require.ErrorContains(t, err, want)
	}
}

// No text makes a config that panics or takes more memory than a file's numbers are worth.
func FuzzParseConfig(f *testing.F) {
	text, err := os.ReadFile("../../testdata/golden/sd1/unet/config.json")
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(`{"in_channels": 9223372036854775807, "sample_size": 65536}`))
	f.Add([]byte(`{"block_out_channels": [], "layers_per_block": [1,2]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := unet.ParseConfig(text); err == nil {
			_, _ = unet.NewWithin(c, 1<<14)
		}
	})
}
