package lora

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Stems mean the same layer however they are spelled, and those of other models none.
func TestStems(t *testing.T) {
	p := load(t, first(t))
	s := newStems(p.UNet, p.Text)
	const te, q = "text_model_encoder_layers_0_mlp_fc1", "text_model.encoder.layers.0.self_attn."
	for want, stems := range map[string][]string{
		middle: {
			kohyas, middle, "unet." + middle, "lora_unet." + middle, "unet." + flat(middle),
			"lycoris_" + flat(middle), "base_model.model." + middle, "module.unet." + middle,
			"base_model.model.unet." + middle, "base_model.model.module." + middle,
			"unet._orig_mod." + middle, "lora_unet__orig_mod_" + flat(middle),
			"lora_unet_" + strings.Replace(flat(middle), "_0_", "_0__orig_mod_", 1),
			"state_dict." + kohyas,
			"diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q",
			"model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q",
			"lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q",
			"unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q",
		},
		"conv_in":                 {"lora_unet_input_blocks_0_0"},
		"conv_out":                {"lora_unet_out_2"},
		"time_embedding.linear_1": {"lora_unet_time_embed_0"},
		"encoder.layers.0.mlp.fc1": {
			"lora_te_" + te, "lora_te1_" + te, "te." + te, "lora_te_encoder_layers_0_mlp_fc1",
			"cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1",
		},
		"encoder.layers.0.self_attn.q_proj": {
			"te1." + q + "q_proj", "text_encoder.encoder.layers.0.self_attn.to_q",
		},
		"encoder.layers.0.self_attn.out_proj": {
			"text_encoder." + q + "to_out", "clip_l.transformer." + q + "out_proj",
		},
		"": {
			"lora_te2_" + te, "lora_te3_encoder_layers_0_mlp_fc1", "lora_unet_" + te,
			"text_encoder_2." + te, "lora_te_" + flat(middle),
			"lora_unet_middle_block_1_transformer_blocks_1_attn1_to_q",
			"transformer.transformer_blocks.0.attn.to_q", "", "lora_unet_",
		},
	} {
		for _, stem := range stems {
			got := ""
			if l := s.find(stem); l != nil {
				got = l.name
			}
			require.Equal(t, want, got, stem)
		}
	}
}

// of makes a matrix of numbers.
func of(rows, columns int, v ...float32) *matrix {
	return &matrix{rows: rows, columns: columns, shape: []int{rows, columns}, v: v}
}

// The products of which ΔW is made, by hand.
func TestProducts(t *testing.T) {
	a, b := of(2, 2, 1, 2, 3, 4), of(2, 2, 0, 5, 6, 7)
	require.Equal(t, []float32{12, 19, 24, 43}, a.times(b).v)
	require.Equal(t, []float32{1, 3, 2, 4}, a.transposed().v)
	require.Equal(t, []float32{
		0, 5, 0, 10,
		6, 7, 12, 14,
		0, 15, 0, 20,
		18, 21, 24, 28,
	}, kronecker(a, b).v)
	require.Equal(t, []float32{0, 10, 18, 28}, hadamard(of(2, 2, 1, 2, 3, 4), b).v)

	// Δ[o,c,k] = Σ_ij out[i,o]·t[i,j,k]·in[j,c] of one output, one input and a kernel of two: for k
	// = 0 it is 1·1·5 + 1·2·6 + 10·3·5 + 10·4·6, for k = 1 a hundred times that.
	kernel := &matrix{
		shape: []int{2, 2, 1, 2}, rows: 2, columns: 4, v: []float32{1, 100, 2, 200, 3, 300, 4, 400},
	}
	require.Equal(t, []float32{407, 40700}, core(kernel, of(2, 1, 1, 10), of(2, 1, 5, 6)).v)
}

// DoRA by hand: rows of lengths 5 and 13 become 10 and 1 long; columns of lengths 5 and 13 the
// same, and with two positions an input both columns are one input, of length √194.
func TestMagnitude(t *testing.T) {
	near := func(want []float32, m magnitude, rows, area int, w ...float32) {
		t.Helper()
		m.apply(w, rows, area)
		for i, v := range want {
			require.InDelta(t, v, w[i], 1e-6)
		}
	}
	near([]float32{6, 8, 5. / 13, 12. / 13}, magnitude{of: []float32{10, 1}}, 2, 1, 3, 4, 5, 12)
	near([]float32{6, 5. / 13, 8, 12. / 13},
		magnitude{of: []float32{10, 1}, columns: true}, 2, 1, 3, 5, 4, 12)
	// Two inputs of two positions: (3, 4) and (5, 12).
	near([]float32{6, 8, 5. / 13, 12. / 13},
		magnitude{of: []float32{10, 1}, columns: true}, 1, 2, 3, 4, 5, 12)
	l := float32(math.Sqrt(194))
	near([]float32{3 / l, 5 / l, 4 / l, 12 / l},
		magnitude{of: []float32{1}, columns: true}, 2, 2, 3, 5, 4, 12)
	near([]float32{0, 0}, magnitude{of: []float32{1}}, 1, 1, 0, 0)
}

// put writes a file of tensors.
func put(t *testing.T, file string, metadata map[string]string, tensors map[string]*matrix) string {
	var all []kernels.Parameter
	for name, m := range tensors {
		v := tensor.New(tensor.WithShape(m.shape...), tensor.WithBacking(m.v))
		all = append(all, kernels.Parameter{Name: name, Value: v})
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, weights.Save(file, all, kernels.Float32, metadata))
	return file
}

// ones is a tensor of ones.
func ones(shape ...int) *matrix {
	m := &matrix{shape: shape, v: make([]float32, tensor.Shape(shape).TotalSize())}
	for i := range m.v {
		m.v[i] = 1
	}
	return m
}

const (
	middle = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q" // [16,16]
	kohyas = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
)

// middleOf is that layer's weight.
func middleOf(t *testing.T, p *pipeline.Pipeline) []float32 {
	for _, l := range targets(p.UNet, p.Text) {
		if l.name == middle {
			return l.weight.Float32s()
		}
	}
	t.Fatal("there is no such layer")
	return nil
}

// α is the tensor's, of which 0 is the rank, or that of adapter_config.json beside peft's file, or
// the rank. A file is named or its folder.
func TestAlpha(t *testing.T) {
	const stem = "base_model.model." + middle
	p := load(t, first(t))
	pair := func(stem string) map[string]*matrix {
		return map[string]*matrix{
			stem + ".lora_A.weight": ones(2, 16), stem + ".lora_B.weight": ones(16, 2),
		}
	}
	with := func(tensors map[string]*matrix, name string, v float32) map[string]*matrix {
		tensors[name] = &matrix{shape: []int{1}, v: []float32{v}}
		return tensors
	}
	const model = "adapter_model.safetensors"
	for _, k := range []struct {
		file, config string
		tensors      map[string]*matrix
		scale        float64
	}{
		{"a.safetensors", "", pair(stem), 1},
		{"a.safetensors", "", with(pair(kohyas), kohyas+".alpha", 3), 1.5},
		{"a.safetensors", "", with(pair(kohyas), kohyas+".alpha", 0), 1},
		{"a.safetensors", "", with(pair(kohyas), kohyas+".alpha", -1), -0.5},
		{"a.safetensors", `{"r": 2, "lora_alpha": 8}`, pair(stem), 4},
		{"a.safetensors", `{"r": 2, "lora_alpha": 8}`, pair(middle), 1}, // not peft's names
		{"a.safetensors", `{"r": 2, "lora_alpha": 8}`, with(pair(stem), stem+".alpha", 3), 1.5},
		{model, `{"r": 2, "lora_alpha": 8, "init_lora_weights": "eva", "bias": "none",
			"modules_to_save": [], "peft_type": "LORA", "layer_replication": null}`, pair(stem), 4},
		{model, `{"r": 2, "lora_alpha": 8}`, pair(stem), 4},
		{model, `{"r": 2, "lora_alpha": 8, "use_rslora": true}`, pair(stem), 8 / math.Sqrt(2)},
		{model, `{"r": 4, "lora_alpha": 8, "rank_pattern": {"to_q": 2}}`, pair(stem), 4},
		{model, `{"r": 2, "lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 6}}`, pair(stem), 3},
		{model, `{"r": 2, "lora_alpha": 8}`, with(pair(kohyas), kohyas+".alpha", 3), 1.5},
		{model, "\xff\xfe" + strings.Join(strings.Split(`{"r": 2, "lora_alpha": 8}`, ""), "\x00") +
			"\x00", pair(stem), 4},
		{"A.SAFETENSORS", "", pair(stem), 1},
		{model, "", pair(stem), 1},
	} {
		dir := t.TempDir()
		file := put(t, filepath.Join(dir, k.file), nil, k.tensors)
		if k.config != "" {
			config := filepath.Join(dir, "adapter_config.json")
			require.NoError(t, os.WriteFile(config, []byte(k.config), 0o644))
		}
		for _, name := range []string{file, dir} {
			a, err := Load(name, p.UNet, p.Text)
			require.NoError(t, err, k.config)
			require.InDelta(t, k.scale, a.pairs[0].LowRank.Scale, 1e-12, k.config)
			a.Detach()
		}
	}
	for config, want := range map[string]string{
		`{"r": 4}`:                      middle + " has rank 2, by adapter_config.json it is 4",
		`{"r": 2, "use_dora": true}`:    middle + " has no lora_magnitude_vector",
		`{"r": 2`:                       "adapter_config.json: unexpected end",
		`{"r": 2, "lora_alpha": 1e300}`: "alpha is 1e+300",
		`{"r": 2, "alpha_pattern": []}`: "adapter_config.json",

		`{"r": 9223372036854775807}`: "by adapter_config.json it is 9223372036854775807",

		`{"r": 2, "init_lora_weights": "pissa_niter_4"}`: "weights that were changed before the",
		`{"r": 2, "init_lora_weights": "OLoRA"}`:         "init_lora_weights is OLoRA",
		`{"r": 2, "init_lora_weights": "corda"}`:         "save it again as a plain LoRA",
		`{"r": 2, "peft_type": "OFT"}`:                   "peft_type is OFT, which is not read",
		`{"r": 2, "bias": "lora_only"}`:                  "bias is lora_only",
		`{"r": 2, "modules_to_save": ["conv_in"]}`:       "modules_to_save is [conv_in]",
		`{"r": 2, "alora_invocation_tokens": [7]}`:       "alora_invocation_tokens is [7]",
		`{"r": 2, "use_qalora": true}`:                   "use_qalora is true",
		"{\"r\": 2,\n\"x\": \"\xe9\"}":                   "adapter_config.json:2: the line is not",
		`{"r": 2, "rank_pattern": null}`:                 "",
	} {
		file := put(t, filepath.Join(t.TempDir(), model), nil, pair(stem))
		beside := filepath.Join(filepath.Dir(file), "adapter_config.json")
		require.NoError(t, os.WriteFile(beside, []byte(config), 0o644))
		a, err := Load(file, p.UNet, p.Text)
		if want == "" {
			require.NoError(t, err)
			a.Detach()
			continue
		}
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, file)
	}
}

// What a folder holds is found, or named.
func TestFolders(t *testing.T) {
	p, dir := load(t, first(t)), t.TempDir()
	_, err := Load(dir, p.UNet, p.Text)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, dir)
	pair := map[string]*matrix{
		middle + ".lora_A.weight": ones(2, 16), middle + ".lora_B.weight": ones(16, 2),
	}
	put(t, filepath.Join(dir, "my lora.safetensors"), nil, pair)
	a, err := Load(dir, p.UNet, p.Text)
	require.NoError(t, err)
	a.Detach()
	put(t, filepath.Join(dir, "other.safetensors"), nil, pair)
	_, err = Load(dir, p.UNet, p.Text)
	require.ErrorContains(t, err, "holds 2 safetensors files; name one of them")
	put(t, filepath.Join(dir, "pytorch_lora_weights.safetensors"), nil, pair)
	_, err = Load(dir, p.UNet, p.Text)
	require.NoError(t, err)
}

// peft's folders for the networks are read together, as one file of both is, each with the config
// beside it.
func TestFoldersOfPeft(t *testing.T) {
	c := first(t)
	p := load(t, c)
	before := [][]float32{predict(t, p, c), hidden(t, p, c)}
	f, err := weights.Open(filepath.Join(c.Dir, "lora", "pytorch_lora_weights.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	both, err := Load(f.Name, p.UNet, p.Text)
	require.NoError(t, err)
	want := [][]float32{predict(t, p, c), hidden(t, p, c)}
	alphas := map[string]map[string]float64{"unet": {}, "text_encoder": {}}
	ranks := map[string]map[string]int{"unet": {}, "text_encoder": {}}
	for _, pair := range both.pairs {
		n, name := "unet", pair.name
		if pair.network == textNetwork {
			n, name = "text_encoder", "text_model."+name
		}
		name = regexp.QuoteMeta(name)
		alphas[n][name], ranks[n][name] = pair.alpha, pair.Rank()
	}
	both.Detach()
	dir := t.TempDir()
	for n, patterns := range alphas {
		tensors := map[string]*matrix{}
		for _, name := range f.Names() {
			if rest, ok := strings.CutPrefix(name, n+"."); ok {
				shape, _ := f.Shape(name)
				v, err := f.Floats(name)
				require.NoError(t, err)
				tensors["base_model.model."+rest] = &matrix{shape: shape, v: v}
			}
		}
		require.NotEmpty(t, tensors)
		put(t, filepath.Join(dir, n, "adapter_model.safetensors"), nil, tensors)
		config, err := json.Marshal(map[string]any{
			"r": 1, "alpha_pattern": patterns, "rank_pattern": ranks[n],
		})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, n, configFile), config, 0o644))
	}
	a, err := Load(dir, p.UNet, p.Text)
	require.NoError(t, err)
	require.Len(t, a.pairs, len(both.pairs))
	require.Equal(t, want, [][]float32{predict(t, p, c), hidden(t, p, c)})
	a.Detach()
	require.Equal(t, before, [][]float32{predict(t, p, c), hidden(t, p, c)})

	one, err := Load(filepath.Join(dir, "unet"), p.UNet, p.Text)
	require.NoError(t, err)
	require.Less(t, len(one.pairs), len(both.pairs))
	one.Detach()

	// What one of them lacks leaves nothing attached, and what is adapted twice is named.
	config := filepath.Join(dir, "text_encoder", configFile)
	require.NoError(t, os.WriteFile(config, []byte(`{"r": 77}`), 0o644))
	_, err = Load(dir, p.UNet, p.Text)
	require.ErrorContains(t, err, filepath.Join(dir, "text_encoder", "adapter_model.safetensors"))
	require.Equal(t, before, [][]float32{predict(t, p, c), hidden(t, p, c)})
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "text_encoder")))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "text_encoder"),
		os.DirFS(filepath.Join(dir, "unet"))))
	_, err = Load(dir, p.UNet, p.Text)
	require.ErrorContains(t, err, "is adapted in "+filepath.Join(dir, "text_encoder"))
	require.NoError(t, os.Rename(filepath.Join(dir, "text_encoder"), filepath.Join(dir, "mine")))
	_, err = Load(dir, p.UNet, p.Text)
	require.ErrorContains(t, err, "holds the adapters of 2 folders, not of unet and text_encoder")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "unet")))
	a, err = Load(dir, p.UNet, p.Text)
	require.NoError(t, err)
	require.Len(t, a.pairs, len(one.pairs))
	a.Detach()
}

// Changes of weights are scaled between what was and what the file makes of it, taken back to the
// last bit, and merged once; they are not trained on or saved by themselves.
func TestChanges(t *testing.T) {
	p := load(t, first(t))
	base := append([]float32{}, middleOf(t, p)...)
	file := put(t, filepath.Join(t.TempDir(), "a.safetensors"), nil, map[string]*matrix{
		kohyas + ".lokr_w1": ones(4, 4), kohyas + ".lokr_w2": ones(4, 4),
		kohyas + ".alpha": {shape: []int{1}, v: []float32{8}}, // of no meaning: nothing has a rank
	})
	a, err := Load(file, p.UNet, p.Text)
	require.NoError(t, err)
	differs := func(by float32) {
		t.Helper()
		for i, v := range middleOf(t, p) {
			require.InDelta(t, base[i]+by, v, 1e-6)
		}
	}
	differs(1)
	require.ErrorContains(t, a.Tunable(), "LoKr is made part of the weights")
	require.Empty(t, a.Trainable())
	require.ErrorContains(t, a.Save(filepath.Join(t.TempDir(), "x"), kernels.Float32), "LoKr")
	require.ErrorContains(t, a.SaveKohya(filepath.Join(t.TempDir(), "x"), kernels.Float32), "LoKr")
	a.Scale(0.5)
	differs(0.5)
	a.Scale(-2)
	differs(-2)
	a.Detach()
	require.Equal(t, base, middleOf(t, p))
	a.Scale(1)
	a.Scale(0.5)
	b, err := Load(file, p.UNet, p.Text)
	require.NoError(t, err)
	differs(1.5)
	b.Detach()
	differs(0.5)
	a.Merge()
	differs(0.5)
	a.Merge()
	a.Scale(3)
	a.Detach()
	differs(0.5)
}

// DoRA's scale goes from what was to what the file makes of it: 0 does nothing.
func TestScaleOfDoRA(t *testing.T) {
	p := load(t, first(t))
	base := append([]float32{}, middleOf(t, p)...)
	file := put(t, filepath.Join(t.TempDir(), "a.safetensors"), nil, map[string]*matrix{
		kohyas + ".lora_down.weight": ones(1, 16), kohyas + ".lora_up.weight": ones(16, 1),
		kohyas + ".dora_scale": ones(16, 1),
	})
	a, err := Load(file, p.UNet, p.Text)
	require.NoError(t, err)
	require.ErrorContains(t, a.Tunable(), "DoRA")
	whole := append([]float32{}, middleOf(t, p)...)
	for row := range 16 { // every row has length 1
		sum := 0.
		for _, v := range whole[16*row : 16*row+16] {
			sum += float64(v) * float64(v)
		}
		require.InDelta(t, 1, sum, 1e-5)
	}
	a.Scale(0.25)
	for i, v := range middleOf(t, p) {
		require.InDelta(t, 0.75*base[i]+0.25*whole[i], v, 1e-6)
	}
	a.Scale(0)
	require.Equal(t, base, middleOf(t, p))
}

// Embeddings that lie in a LoRA's file are named and left out.
func TestBundledEmbeddings(t *testing.T) {
	p := load(t, first(t))
	file := put(t, filepath.Join(t.TempDir(), "a.safetensors"), nil, map[string]*matrix{
		middle + ".lora_A.weight": ones(2, 16), middle + ".lora_B.weight": ones(16, 2),
		"bundle_emb.my cat.clip_l":              ones(2, 16),
		"bundle_emb.\x1b[2Jdog.string_to_param": ones(2, 16),
		"emb_params":                            ones(2, 16),
		"string_to_param.*":                     ones(2, 16),
		"clip_g":                                ones(2, 16),
	})
	a, err := Load(file, p.UNet, p.Text)
	require.NoError(t, err)
	require.Equal(t, []string{
		file + ` also holds embeddings, which are left out: "\x1b[2Jdog", "my cat", ` +
			`clip_g, emb_params, string_to_param.*`,
	}, a.Notes)
}

// What a file is is said in the first line, and few of its tensors are named.
func TestOtherFiles(t *testing.T) {
	xl := map[string]*matrix{}
	for _, stem := range []string{"lora_te1_", "lora_te2_"} {
		for i := range 12 {
			for _, what := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
				name := stem + "text_model_encoder_layers_" + string(rune('0'+i%10)) +
					"_self_attn_" + what
				xl[name+".lora_down.weight"] = ones(2, 768)
				xl[name+".lora_up.weight"] = ones(768, 2)
			}
		}
	}
	p := load(t, first(t))
	one := func(name string, shape ...int) map[string]*matrix {
		return map[string]*matrix{name: ones(shape...)}
	}
	for _, k := range []struct {
		tensors map[string]*matrix
		want    string
	}{
		{xl, "it seems to be a LoRA for Stable Diffusion XL, and the model is one that reads"},
		{
			one("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", 2, 2),
			"a LoRA for Flux",
		},
		{
			one("lora_unet_joint_blocks_0_context_block_attn_qkv.lora_up.weight", 2, 2),
			"a LoRA for Stable Diffusion 3",
		},
		{
			one("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down."+
				"weight", 2, 768),
			"a LoRA for Stable Diffusion 1",
		},
		{one("model.diffusion_model.out.2.bias", 4), "a checkpoint of Stable Diffusion"},
		{one("emb_params", 2, 768), "an embedding (textual inversion)"},
		{one("control_model.input_blocks.0.0.weight", 2), "a ControlNet"},
		{one("state.0.exp_avg", 2), "an optimizer's state"},
		{one(kohyas+".oft_blocks", 2, 2, 2), "holds an adapter by OFT, which"},
		{one(kohyas+".a1.weight", 2, 2), "holds an adapter by GLoRA, which"},
		{one("base_model.model."+middle+".ia3_l", 16), "holds an adapter by (IA)³, which"},
		{one(kohyas+".scalar", 1), "by a scalar, which"},
		{one("base_model.model."+middle+".miss_block", 2, 16), "holds an adapter by MiSS, which"},
		{one("base_model.model."+middle+".bone_block", 2, 16), "holds an adapter by Bone, which"},
		{one("base_model.model."+middle+".vblora_logits_A", 2), "holds an adapter by VB-LoRA"},
		{one("base_model.model."+middle+".shira_weight", 9), "holds an adapter by SHiRA, which"},
		{
			map[string]*matrix{
				middle + ".lora_A.weight": ones(2, 16), middle + ".lora_B.weight": ones(16, 2),
				middle + ".lora_B.bias": ones(16),
			},
			".lora_B.bias is not a tensor of this model",
		},
		{
			map[string]*matrix{
				middle + ".lora_A": ones(2, 16), middle + ".lora_B": ones(16, 2),
				middle + ".lora_E": ones(2, 1),
			},
			"holds an adapter by AdaLoRA",
		},
		{one(kohyas+".hada_w1_a", 16, 2), middle + ".hada_w1_b is missing"},
		{one(kohyas+".lokr_w1", 4, 4), middle + ".lokr_w2_a is missing"},
		{one(kohyas+".dora_scale", 16, 1), ".dora_scale is not a tensor of this model"},
		{one(kohyas+".diff", 16, 15), ".diff is [16 15], not [16 16]"},
		{one(kohyas+".diff_b", 16), ".diff_b is not a tensor of this model"}, // it has no bias
		{
			map[string]*matrix{kohyas + ".lokr_w1": ones(4, 4), kohyas + ".lokr_w2": ones(4, 5)},
			"the product of [4 4] and [4 5] is no [16 16]",
		},
		{
			map[string]*matrix{
				kohyas + ".lora_down.weight": ones(2, 16), kohyas + ".lora_up.weight": ones(16, 2),
				kohyas + ".dora_scale": ones(15, 1),
			},
			"neither one number for each of 16 outputs nor of 16 inputs",
		},
		{
			map[string]*matrix{
				kohyas + ".lora_down.weight": ones(2, 16), kohyas + ".lora_up.weight": ones(16, 2),
				kohyas + ".lora_mid.weight": ones(2, 2, 3, 3),
			},
			"makes no [16 16]",
		},
		{
			map[string]*matrix{
				middle + ".lora_A.weight":           ones(2, 16),
				middle + ".lora_B.weight":           ones(16, 2),
				kohyas + ".lora_down.weight":        ones(2, 16),
				middle + ".lora_A.another.weight":   ones(2, 16),
				"\x1b[31mevil" + ".lora_A.weight":   ones(2, 16),
				middle + ".lora_B.mine.weight.junk": ones(2, 16),
			},
			`several adapters, of which one can be read: "", "another"`,
		},
	} {
		file := put(t, filepath.Join(t.TempDir(), "a.safetensors"), nil, k.tensors)
		_, err := Load(file, p.UNet, p.Text)
		require.ErrorContains(t, err, k.want)
		require.ErrorContains(t, err, file)
		require.LessOrEqual(t, strings.Count(err.Error(), "\n"), 7, "a few names and a count")
		require.NotContains(t, err.Error(), "\x1b")
	}
	require.NoError(t, p.Save(t.TempDir(), kernels.Float32), "nothing is attached")
	require.Equal(t, weights.Hash(load(t, first(t)).UNet), weights.Hash(p.UNet), "or changed")
}
