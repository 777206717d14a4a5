package lora

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// load reads a case's pipeline.
func load(t *testing.T, c golden.Case) *pipeline.Pipeline {
	t.Helper()
	p, err := pipeline.Load(c.Dir)
	require.NoError(t, err)
	return p
}

// predict is the UNet's output on the case's input.
func predict(t *testing.T, p *pipeline.Pipeline, c golden.Case) []float32 {
	t.Helper()
	g := gorgonia.NewGraph()
	out, err := p.UNet.Predict(
		kernels.Input(g, "x", c.ChannelsLast(t, "unet.sample")),
		kernels.Input(g, "t", c.Tensor(t, "unet.timestep")),
		diffusion.Condition{
			Tokens: kernels.Input(g, "c", c.Tensor(t, "unet.encoder_hidden_states")),
		},
	)
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{out}})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	return slices.Clone(m.Value(out).Float32s())
}

// hidden is the text encoder's output on the case's prompts.
func hidden(t *testing.T, p *pipeline.Pipeline, c golden.Case) []float32 {
	t.Helper()
	prompts := make([]string, c.Tensor(t, "text.last_hidden_state").Shape()[0])
	for i := range prompts {
		prompts[i] = c.Data.Metadata["tokenizer.text."+string(rune('0'+i))]
	}
	conditions, err := p.Conditions(context.Background(), prompts...)
	require.NoError(t, err)
	var out []float32
	for _, prompt := range prompts {
		out = append(out, conditions[prompt].Tokens.Float32s()...)
	}
	return out
}

// forms are the files of a case and where what diffusers computes with each begins.
var forms = map[string]string{
	"pytorch_lora_weights": "lora.unet.out",
	"kohya":                "lora.kohya.out",
	"old":                  "lora.old.out",
}

// Every form of file makes the UNet and the text encoder compute what diffusers computes with it:
// attached, merged, and saved and loaded again in either naming.
func TestFilesGolden(t *testing.T) {
	compared := 0
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		for form, name := range forms {
			if !c.Has(name) {
				continue
			}
			t.Run(form, func(t *testing.T) {
				compared++
				p := load(t, c)
				check := func(what string) {
					t.Helper()
					golden.Near(t, what+" "+name, predict(t, p, c),
						c.ChannelsLast(t, name).Float32s(), 1e-5)
					text := strings.TrimSuffix(strings.TrimSuffix(name, "out"), "unet.")
					if text += "text.last_hidden_state"; c.Has(text) {
						golden.Near(t, what+" "+text, hidden(t, p, c), c.Tensor(t, text).Float32s(),
							1e-5)
					}
				}
				base, basePrompts := predict(t, p, c), hidden(t, p, c)
				a, err := Load(filepath.Join(c.Dir, "lora", form+".safetensors"), p.UNet, p.Text)
				require.NoError(t, err)
				check("attached")
				a.Scale(0)
				golden.Near(t, "scale 0", predict(t, p, c), base, 1e-6)

				dir := t.TempDir()
				for naming, save := range map[string]func(string, kernels.Precision) error{
					"diffusers": a.Save,
					"kohya":     a.SaveKohya,
				} {
					file := filepath.Join(dir, naming)
					require.NoError(t, save(file, kernels.Float32))
					a.Detach()
					again, err := Load(file, p.UNet, p.Text)
					require.NoError(t, err)
					check("saved in the naming of " + naming)
					again.Detach()
				}
				require.Equal(t, base, predict(t, p, c), "detached")
				require.Equal(t, basePrompts, hidden(t, p, c), "detached")

				a.Scale(1)
				a.Merge()
				check("merged")
				a.Merge()
				check("merged once only")
				require.NoError(t, p.Save(filepath.Join(dir, "merged"), kernels.Float32))
			})
		}
	})
	require.GreaterOrEqual(t, compared, 2*len(forms))
}

// The gradients of A and B are peft's.
func TestGradientsGolden(t *testing.T) {
	compared := 0
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		if !c.Has("lora.train.loss") {
			return // a case without references for gradients
		}
		compared++
		p := load(t, c)
		a, err := Load(filepath.Join(c.Dir, "lora", "pytorch_lora_weights.safetensors"), p.UNet,
			p.Text)
		require.NoError(t, err)
		g := gorgonia.NewGraph()
		out, err := a.Predict(
			kernels.Input(g, "x", c.ChannelsLast(t, "unet.sample")),
			kernels.Input(g, "t", c.Tensor(t, "unet.timestep")),
			diffusion.Condition{
				Tokens: kernels.Input(g, "c", c.Tensor(t, "unet.encoder_hidden_states")),
			},
		)
		require.NoError(t, err)
		product, err := kernels.Mul(out,
			kernels.Input(g, "cotangent", c.ChannelsLast(t, "unet.cotangent")))
		require.NoError(t, err)
		loss, err := kernels.Sum(product)
		require.NoError(t, err)
		var wrt gorgonia.Nodes
		for _, q := range a.Trainable() {
			wrt = append(wrt, kernels.Param(g, q.Value))
		}
		grads, err := gorgonia.Grad(loss, wrt...)
		require.NoError(t, err)
		m, err := kernels.NewMachine(g, kernels.Config{Want: grads})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.RunAll())
		largest, wants := 0.0, map[string][]float32{}
		for _, q := range a.Trainable() {
			w := c.Tensor(t, "lora.grad."+q.Name)
			if w.Dims() == 4 {
				w = c.ChannelsLast(t, "lora.grad."+q.Name)
			}
			wants[q.Name] = w.Float32s()
			largest = max(largest, norm(w.Float32s(), nil))
		}
		for i, q := range a.Trainable() {
			got, want := m.Value(grads[i]).Float32s(), wants[q.Name]
			require.Len(t, got, len(want))
			if d := norm(got, want); !(d <= 1e-4*norm(want, nil)+1e-8*largest) {
				t.Errorf("gradient of %s: off by %.3g of %.3g", q.Name, d, norm(want, nil))
			}
		}
	})
	require.GreaterOrEqual(t, compared, 2)
}

// norm is ‖x−y‖; nil is 0.
func norm(x, y []float32) float64 {
	s := 0.0
	for i, v := range x {
		d := float64(v)
		if y != nil {
			d -= float64(y[i])
		}
		s += d * d
	}
	return math.Sqrt(s)
}

// first is the first case of the repository.
func first(t *testing.T) golden.Case {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "golden", "sd1")
	f, err := weights.Open(filepath.Join(dir, "cases.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return golden.Case{Dir: dir, Data: f}
}

func TestNew(t *testing.T) {
	c := first(t)
	p := load(t, c)
	base := predict(t, p, c)
	a, err := New(p.UNet, Config{Rank: 3, Alpha: 6, Seed: 1})
	require.NoError(t, err)
	require.Len(t, a.pairs, 4*2*4, "q, k, v and out of two attentions in four transformers")
	golden.Near(t, "B is 0", predict(t, p, c), base, 1e-6)
	for _, q := range a.Trainable() {
		if strings.HasSuffix(q.Name, "lora_B.weight") {
			require.Zero(t, norm(q.Value.Float32s(), nil), q.Name)
			continue
		}
		bound := 1 / math.Sqrt(float64(q.Value.Shape()[1]))
		largest := float64(slices.Max(q.Value.Float32s()))
		require.LessOrEqual(t, largest, bound*(1+1e-6), q.Name)
		// Of 24 and more draws none is that near 0 in 2^-13.
		require.Greater(t, largest, 0.7*bound, q.Name)
	}
	a.Detach()
	keys := func(name string) bool { return strings.HasSuffix(name, "attn2.to_k") }
	again, err := New(p.UNet, Config{Rank: 3, Alpha: 6, Seed: 1, Targets: keys})
	require.NoError(t, err)
	require.Len(t, again.Trainable(), 2*4)
	for _, q := range again.Trainable() {
		i := slices.IndexFunc(a.Trainable(),
			func(o kernels.Parameter) bool { return o.Name == q.Name })
		require.Equal(t, a.Trainable()[i].Value.Float32s(), q.Value.Float32s(),
			"what is drawn depends on the name alone")
	}
	again.Detach()
	all, err := New(p.UNet, Config{Rank: 1, Alpha: 1, Targets: Everything})
	require.NoError(t, err)
	require.Equal(t, "conv_in", all.pairs[0].name)
	require.Equal(t, tensor.Shape{1, 3, 3, 4}, all.Trainable()[0].Value.Shape())
	all.Detach()
	same, err := New(p.UNet, Config{Rank: 3})
	require.NoError(t, err)
	require.Equal(t, 3.0, same.pairs[0].alpha, "α is the rank where Config says none")
	same.Detach()

	for _, bad := range []Config{
		{Alpha: 1},
		{Rank: -1, Alpha: 1},
		{Rank: 1, Alpha: -1},
		{Rank: 1, Alpha: math.NaN()},
		{Rank: 1, Alpha: math.Inf(1)},
	} {
		_, err := New(p.UNet, bad)
		require.ErrorContains(t, err, "not both more than 0")
	}
	_, err = New(p.UNet, Config{Rank: 16})
	require.NoError(t, err)
	for _, rank := range []int{17, 1_000_000_000} {
		_, err = New(p.UNet, Config{Rank: rank})
		require.ErrorContains(t, err, "is more than the weights of any target have, 16")
	}
	_, err = New(p.UNet, Config{Rank: 1, Alpha: 1, Targets: func(string) bool { return false }})
	require.ErrorContains(t, err, "no layer of the UNet is a target")
}

// What is attached would not be saved, so saving is refused.
func TestAttachedIsNotSaved(t *testing.T) {
	c := first(t)
	p := load(t, c)
	a, err := Load(filepath.Join(c.Dir, "lora", "kohya.safetensors"), p.UNet, p.Text)
	require.NoError(t, err)
	dir := t.TempDir()
	require.ErrorContains(t, p.Save(dir, kernels.Float32), "merge or detach")
	require.NoFileExists(t, filepath.Join(dir, "model_index.json"))
	a.Detach()
	require.NoError(t, p.Save(dir, kernels.Float32))
}

// One error says all that is wrong with a file, and nothing is attached.
func TestErrors(t *testing.T) {
	c := first(t)
	p := load(t, c)
	const attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn1"
	const q, k = attention + ".to_q", attention + ".to_k"
	const kohya = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
	type tensors map[string][]int
	whole := tensors{q + ".lora_A.weight": {2, 16}, q + ".lora_B.weight": {16, 2}}
	for _, bad := range []struct {
		tensors  tensors
		metadata string
		want     []string
	}{
		{
			tensors{
				q + ".lora_A.weight": {2, 16}, q + ".lora_B.weight": {16, 3},
				k + ".lora_A.weight": {2, 17}, k + ".lora_B.weight": {16, 2},
			},
			"",
			[]string{
				q + ".lora_B.weight is [16 3], not [16 2]",
				k + ".lora_A.weight is [2 17], not [2 16]",
			},
		},
		{
			tensors{
				q + ".lora_A.weight":         {2, 16},
				"unet.nowhere.lora_A.weight": {2, 2},
				k + ".lora_magnitude_vector": {16},
			},
			"",
			[]string{
				q + ".lora_B.weight is missing",
				"unet.nowhere.lora_A.weight is not a tensor",
				k + ".lora_magnitude_vector is not a tensor",
			},
		},
		{tensors{q + ".lora_B.weight": {16, 2}}, "", []string{q + ".lora_A.weight is missing"}},
		{tensors{kohya + ".alpha": {1}}, "", []string{kohya + ".alpha is not a tensor"}},
		{
			tensors{
				kohya + ".alpha":            {2},
				kohya + ".lora_down.weight": {2, 16},
				kohya + ".lora_up.weight":   {16, 2},
			},
			"", []string{kohya + ".alpha is [0 0], not one number"},
		},
		{
			tensors{q + ".lora_A.weight": {0, 16}, q + ".lora_B.weight": {16, 0}},
			"", []string{q + ".lora_A.weight is [0 16]"},
		},
		{whole, `{"unet.r": 4}`, []string{q + " has rank 2", "it is 4"}},
		{whole, `{"unet.rank_pattern": {"(": 4}}`, []string{metadataKey, "missing closing"}},
		{whole, `{"unet.r": "four"}`, []string{metadataKey}},
		{
			whole, `{"unet.r": 2, "unet.init_lora_weights": "pissa"}`,
			[]string{metadataKey + ": unet: init_lora_weights is pissa"},
		},
		{
			whole, `{"unet.r": 2, "unet.use_dora": true}`,
			[]string{q + " has no lora_magnitude_vector", "use_dora is true in " + metadataKey},
		},
		{
			tensors{q + ".lora_A.weight": {1 << 20, 1}, q + ".lora_B.weight": {16, 2}},
			"", []string{q + ".lora_A.weight is [1048576 1], not [1048576 16]"},
		},
		{tensors{}, "", []string{"holds no pairs"}},
	} {
		var parameters []kernels.Parameter
		for name, shape := range bad.tensors {
			zeros := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
			parameters = append(parameters, kernels.Parameter{Name: name, Value: zeros})
		}
		file := filepath.Join(t.TempDir(), "bad.safetensors")
		metadata := map[string]string{metadataKey: bad.metadata}
		require.NoError(t, weights.Save(file, parameters, kernels.Float32, metadata))
		_, err := Load(file, p.UNet, p.Text)
		require.Error(t, err, bad.want)
		for _, want := range append(bad.want, file) {
			require.ErrorContains(t, err, want)
		}
	}
	_, err := Load(filepath.Join(c.Dir, "lora", "kohya.safetensors"), p.UNet, nil)
	require.ErrorContains(t, err,
		"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha is not a tensor of this model")
	_, err = Load("nowhere", p.UNet, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, p.Save(t.TempDir(), kernels.Float32), "nothing is attached")
}

// Every spelling of a layer's pair is read as the same pair.
func TestSpellings(t *testing.T) {
	c := first(t)
	const (
		cross = "up_blocks.1.attentions.0.transformer_blocks.0.attn2"
		self  = "encoder.layers.1.self_attn"
		kohya = "up_blocks_1_attentions_0_transformer_blocks_0_attn2"
	)
	// A stem, and what A and B are called behind it.
	for layer, names := range map[string][][3]string{
		cross + ".to_out.0": {
			{"unet." + cross + ".to_out.0", ".lora_A", ".lora_B"},
			{"unet." + cross + ".to_out.0", ".lora.down", ".lora.up"},
			{"unet." + cross + ".processor.to_out_lora", ".down", ".up"},
			{cross + ".processor.to_out_lora", ".down", ".up"},
			{"lora_unet_" + kohya + "_to_out_0", ".lora_down", ".lora_up"},
		},
		self + ".out_proj": {
			{"text_encoder.text_model." + self + ".out_proj", ".lora_A", ".lora_B"},
			{"text_encoder." + self + ".out_proj", ".lora_A", ".lora_B"},
			{
				"text_encoder.text_model." + self + ".out_proj",
				".lora_linear_layer.down", ".lora_linear_layer.up",
			},
			{"text_encoder.text_model." + self + ".to_out_lora", ".down", ".up"},
			{"lora_te_text_model_encoder_layers_1_self_attn_out_proj", ".lora_down", ".lora_up"},
			{"lora_te1_text_model_encoder_layers_1_self_attn_out_proj", ".lora_down", ".lora_up"},
		},
	} {
		for _, name := range names {
			p := load(t, c)
			var parameters []kernels.Parameter
			for _, l := range targets(p.UNet, p.Text) {
				if l.name != layer {
					continue
				}
				for i, q := range nn.Parameters(l.layer.NewLowRank(2)) {
					q.Name = name[0] + name[1+i] + ".weight"
					for k := range q.Value.Float32s() {
						q.Value.Float32s()[k] = float32(i + k)
					}
					parameters = append(parameters, q)
				}
			}
			file := filepath.Join(t.TempDir(), "pair.safetensors")
			require.NoError(t, weights.Save(file, parameters, kernels.Float32, nil))
			a, err := Load(file, p.UNet, p.Text)
			require.NoError(t, err, name)
			require.Len(t, a.pairs, 1)
			require.Equal(t, layer, a.pairs[0].name)
			for i, q := range nn.Parameters(a.pairs[0].LowRank) {
				require.Equal(t, parameters[i].Value.Float32s(), q.Value.Float32s(), name)
			}
		}
	}
}

// Patterns match as peft's get_pattern_key does: the whole name or its end behind a dot, the first
// in order.
func TestLookUp(t *testing.T) {
	at := &target{network: unetNetwork, name: "down_blocks.0.attentions.0.proj_in"}
	for pattern, matches := range map[string]bool{
		"proj_in": true, "attentions.0.proj_in": true, "^down_blocks.0.attentions.0.proj_in": true,
		`.*\.0\.proj_.*`: true,
		"oj_in":          false, "^proj_in": false, "down_blocks": false, "proj_i": false,
	} {
		got, err := lookUp(map[string]int{pattern: 2}, at, 1)
		require.NoError(t, err)
		require.Equal(t, matches, got == 2, pattern)
	}
	got, err := lookUp(map[string]int{"proj_in": 2, "attentions.0.proj_in": 3}, at, 1)
	require.NoError(t, err)
	require.Equal(t, 3, got)
}

// An adapter's name may be that of a repository in the cache.
func TestLoadFromCache(t *testing.T) {
	c := first(t)
	p := load(t, c)
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	repo := filepath.Join(cache, "models--some--lora")
	snapshot := filepath.Join(repo, "snapshots", "abc")
	require.NoError(t, os.MkdirAll(snapshot, 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("abc"), 0o666))
	const name = "pytorch_lora_weights.safetensors"
	data, err := os.ReadFile(filepath.Join(c.Dir, "lora", name))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(snapshot, name), data, 0o666))
	a, err := Load("some/lora", p.UNet, p.Text)
	require.NoError(t, err)
	require.NotEmpty(t, a.pairs)
	_, err = Load("some/other", p.UNet, p.Text)
	require.ErrorIs(t, err, os.ErrNotExist)
}
