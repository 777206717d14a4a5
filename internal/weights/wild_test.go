package weights_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// What lies under a model's name and is none is said in a sentence that names the file.
func TestFilesThatAreSomethingElse(t *testing.T) {
	pickled := "PK\x03\x04\x00\x00archive/data.pkl"
	for _, k := range []struct{ name, content, want string }{
		{"m.safetensors", "version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"},
		{"m.safetensors", "<!DOCTYPE html><html><body>no</body></html>", "a web page"},
		{"m.safetensors", "\ufeff \n<HTML><head>", "a web page"},
		{"m.safetensors", "<?xml version=\"1.0\"?><Error><Code>AccessDenied", "a web page"},
		{"m.safetensors", `{"error":"Invalid username or password."}`, "a JSON text"},
		{"m.safetensors", "https://example.org/m.safetensors\n", "a web address"},
		{"m.safetensors", "<!-- x --><html>", "a web page"},
		{"m.safetensors", "\xff\xfe<\x00!\x00D\x00O\x00C\x00T\x00Y\x00P\x00E\x00", "a web page"},
		{"m.safetensors", "Entry not found", `a text, which may be the answer to a download that ` +
			`failed: "Entry not found"`},
		{"m.safetensors", "\x1b[2J is no text", "its header says"},
		{"m.zip", "PK\x03\x04\x14\x00unet/config.json", "a ZIP archive"},
		{"m.tar", "unet/" + strings.Repeat("\x00", 252) + "ustar\x00", "an archive"},
		{"m.safetensors", "%PDF-1.4 ...", "a PDF"},
		{"m.safetensors", "\x00\x00\x00\x1cftypmp42", "a film"},
		{"m.safetensors", "", "it has 0 bytes: nothing was downloaded"},
		{"m.safetensors", pickled, "a pickle file"},
		{"m.safetensors", "\x80\x02}q\x00(X\x0f\x00", "a pickle file"},
		{"m.ckpt", "something that nobody knows", "a pickle file"},
		{"m.pt", pickled, "a pickle file"},
		{"m.gguf", "GGUF\x03\x00\x00\x00\x00", "a GGUF file"},
		{"m.h5", "\x89HDF\r\n\x1a\n", "an HDF5 file"},
		{"m.onnx", "\x08\x07\x12\x07pytorch", "an ONNX file"},
		{"m.msgpack", "\x82\xa6params", "a file of Flax"},
		{"m.safetensors", "\x1f\x8b\x08\x00", "an archive"},
		{"m.safetensors", "\x89PNG\r\n\x1a\n", "a picture"},
		{"m.safetensors.part", "\x90\x01\x00\x00\x00\x00\x00\x00{\"a", "a part of a download"},
		{"m.safetensors.crdownload", "\x90\x01\x00\x00\x00\x00\x00\x00{", "a part of a download"},
		{"m.safetensors", strings.Repeat("\x00", 4096), "4096 zero bytes"},
	} {
		file := filepath.Join(t.TempDir(), k.name)
		require.NoError(t, os.WriteFile(file, []byte(k.content), 0o644))
		_, err := weights.Open(file)
		require.ErrorContains(t, err, k.want)
		require.ErrorContains(t, err, file)
		require.NotContains(t, err.Error(), "\n", "one sentence")
	}
	// A name alone is no reason to refuse what is a safetensors file.
	file := filepath.Join(t.TempDir(), "m.ckpt")
	require.NoError(t, weights.Save(file, newModel(0), kernels.Float32, nil))
	f, err := weights.Open(file)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(file+".aria2", nil, 0o644))
	_, err = weights.Open(file)
	require.ErrorContains(t, err, "the download of "+file+" has not finished")
	// Of what was cut off it is said, too.
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	_, err = open(t, whole[:len(whole)-5])
	require.ErrorContains(t, err, "the file is cut off")
	_, err = weights.Open(filepath.Join(t.TempDir(), "absent.ckpt"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// zeros is a tensor of zeros.
func zeros(shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
}

// kindOf makes a file of tensors of zeros and asks what it is.
func kindOf(t *testing.T, metadata map[string]string, shapes map[string][]int) string {
	var all []kernels.Parameter
	for name, shape := range shapes {
		all = append(all, kernels.Parameter{Name: name, Value: zeros(shape...)})
	}
	file := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, weights.Save(file, all, kernels.Float16, metadata))
	f, err := weights.Open(file)
	require.NoError(t, err)
	defer f.Close()
	return f.Kind()
}

// A file says by its names what it is.
func TestKinds(t *testing.T) {
	const key = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
	one := []int{1}
	for _, k := range []struct {
		names []string
		shape []int
		want  string
	}{
		{[]string{"lora_unet_" + key}, []int{4, 768}, "a LoRA for Stable Diffusion 1"},
		{[]string{"lora_unet_" + key}, []int{4, 1024}, "a LoRA for Stable Diffusion 2"},
		{[]string{"lora_unet_" + key}, []int{4, 2048}, "a LoRA for Stable Diffusion XL"},
		{
			[]string{"lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha"}, one,
			"a LoRA for Stable Diffusion XL",
		},
		{
			[]string{"lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_up.weight"},
			one, "a LoRA for Stable Diffusion XL",
		},
		{
			[]string{"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"}, one,
			"a LoRA for Flux",
		},
		{[]string{"lora_unet_double_blocks_0_img_attn_qkv.alpha"}, one, "a LoRA for Flux"},
		{
			[]string{"transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight"}, one,
			"a LoRA for Stable Diffusion 3",
		},
		{
			[]string{"diffusion_model.joint_blocks.0.context_block.attn.qkv.lora_A.weight"}, one,
			"a LoRA for Stable Diffusion 3",
		},
		{[]string{"lora_unet_x.hada_w1_a"}, one, "a LoRA"},
		{[]string{"down_blocks.0.attentions.0.transformer_blocks.0.x.lora_A"}, one, "a LoRA"},
		{
			[]string{"transformer.blocks.0.attn.to_q.lora_A.weight"}, one,
			"a LoRA for a model without a UNet",
		},
		{
			[]string{"transformer.transformer_blocks.5.attn.to_q.lora_A.weight"}, one,
			"a LoRA for a model without a UNet", // a PixArt, a Flux or an SD 3, and no SDXL
		},
		{
			[]string{"lora_unet_transformer_blocks_7_attn_to_q.lora_down.weight"}, one,
			"a LoRA for a model without a UNet",
		},
		{
			[]string{"diffusion_model.blocks.0.self_attn.q.lora_A.weight"}, one,
			"a LoRA for a model without a UNet",
		},
		{
			[]string{"base_model.model.transformer_blocks.1.attn1.to_q.lora_A.weight"}, one,
			"a LoRA for a model without a UNet",
		},
		{
			[]string{"unet.down_blocks.1.attentions.0.transformer_blocks.1.x.lora_A.weight"}, one,
			"a LoRA for Stable Diffusion XL",
		},
		{
			[]string{"lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q.alpha"}, one,
			"a LoRA for Stable Diffusion XL",
		},
		{
			[]string{"conditioner.embedders.1.model.ln_final.weight"}, one,
			"a checkpoint of Stable Diffusion XL",
		},
		{
			[]string{"model.diffusion_model.label_emb.0.0.weight"}, one,
			"a checkpoint of Stable Diffusion XL",
		},
		{
			[]string{"model.diffusion_model.joint_blocks.0.x"}, one,
			"a checkpoint of Stable Diffusion 3",
		},
		{[]string{"model.diffusion_model.double_blocks.0.x"}, one, "a checkpoint of Flux"},
		{
			[]string{"model.diffusion_model.label_emb.0.0.weight", "noise_augmentor.data_mean"},
			one, "a checkpoint of Stable unCLIP",
		},
		{
			[]string{"model.diffusion_model.out.2.bias", "edm_vpred.sigma_max"}, one,
			"a checkpoint with the noise levels of EDM (CosXL, Playground)",
		},
		{
			[]string{"model.diffusion_model.out.2.bias", "first_stage_model.decoder.conv_in.bias"},
			one, "a checkpoint of Stable Diffusion",
		},
		{[]string{"decoder.up.0.block.0.conv1.weight"}, one, "a VAE"},
		{[]string{"decoder.conv_in.weight", "quant_conv.weight"}, one, "a VAE"},
		{[]string{"time_embedding.linear_1.weight", "conv_in.weight"}, one, "a UNet"},
		{[]string{"text_model.embeddings.token_embedding.weight"}, one, "a text encoder"},
		{[]string{"vision_model.embeddings.class_embedding"}, one, "a CLIP"},
		{[]string{"control_model.input_blocks.0.0.weight"}, one, "a ControlNet"},
		{[]string{"controlnet_cond_embedding.conv_in.weight"}, one, "a ControlNet"},
		{[]string{"emb_params"}, []int{4, 768}, "an embedding (textual inversion)"},
		{[]string{"<my-cat>"}, []int{1, 768}, "an embedding (textual inversion)"},
		{[]string{"state.0.exp_avg"}, one, "an optimizer's state"},
		{[]string{"ip_adapter.1.to_k_ip.weight"}, one, "an IP-Adapter"},
		{[]string{"a.weight", "a.weight.absmax"}, one, "quantized to 4 bits"},
		{[]string{"a.weight", "a.SCB"}, one, "quantized to 8 bits (LLM.int8)"},
		{[]string{"a.weight", "a.scale_weight"}, one, "quantized to 8 bits (scaled float8)"},
		{[]string{"a.weight"}, one, ""},
	} {
		shapes := map[string][]int{}
		for _, name := range k.names {
			shapes[name] = k.shape
		}
		require.Equal(t, k.want, kindOf(t, nil, shapes), "%v", k.names)
	}
	says := map[string]string{"ss_base_model_version": "sdxl_base_v1-0"}
	require.Equal(t, "a LoRA for Stable Diffusion XL",
		kindOf(t, says, map[string][]int{"lora_unet_x.alpha": one}))
}

// Numbers of 8 bits, by hand: 1.5, −2, the smallest above 0 and the largest.
func TestFloat8(t *testing.T) {
	for dtype, k := range map[string]struct {
		data []byte
		want []float32
	}{
		"F8_E4M3": {[]byte{0x3c, 0xc0, 1, 0x7e}, []float32{1.5, -2, 1. / 512, 448}},
		"F8_E5M2": {[]byte{0x3e, 0xc0, 1, 0x7b}, []float32{1.5, -2, 1. / 65536, 57344}},
	} {
		f, err := open(t, file(entry("a", dtype, "[4]", 0, 4), k.data...))
		require.NoError(t, err)
		got, err := f.Floats("a")
		require.NoError(t, err)
		require.Equal(t, k.want, got, dtype)
	}
	f, err := open(t, file(entry("bias", "F8_E4M3", "[2]", 0, 2), 0, 0xff))
	require.NoError(t, err)
	err = weights.Load(&layer{Bias: dense(0, 2)}, f, weights.Names{})
	require.ErrorContains(t, err, "bias is NaN at element 1")
	f, err = open(t, file(entry("bias", "F8_E8M0", "[2]", 0, 2), 0, 0))
	require.NoError(t, err)
	_, err = f.Floats("bias")
	require.ErrorContains(t, err, "F8_E8M0, which is not read")
}

// A checkpoint in shards is read by its index and by any of them.
func TestShardsByName(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for i, name := range []string{"a", "b"} {
		p := []kernels.Parameter{{Name: name, Value: zeros(i + 1)}}
		shard := at(fmt.Sprintf("m-%05d-of-00002.safetensors", i+1))
		require.NoError(t, weights.Save(shard, p, kernels.Float32, nil))
	}
	require.NoError(t, os.WriteFile(at("m.safetensors.index.json"), []byte(`{"weight_map":
		{"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}`), 0o644))
	for _, name := range []string{
		"m.safetensors.index.json", "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors",
	} {
		f, err := weights.Open(at(name))
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, f.Names())
		require.Equal(t, at(name), f.Name)
		require.NoError(t, f.Close())
	}
	require.NoError(t, os.Remove(at("m-00002-of-00002.safetensors")))
	_, err := weights.Open(at("m-00001-of-00002.safetensors"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "\n\tm-00002-of-00002.safetensors")
}

// A folder with one variant of its weights has those.
func TestVariants(t *testing.T) {
	content := file(entry("a", "F32", "[1]", 0, 4), 0, 0, 0, 0)
	with := func(names ...string) fstest.MapFS {
		fsys := fstest.MapFS{}
		for _, name := range names {
			fsys[name] = &fstest.MapFile{Data: content}
		}
		return fsys
	}
	for want, names := range map[string][]string{
		"m.safetensors":         {"m.safetensors", "m.fp16.safetensors", "m.non_ema.safetensors"},
		"m.fp16.safetensors":    {"m.fp16.safetensors", "m.non_ema.safetensors"},
		"m.non_ema.safetensors": {"m.non_ema.safetensors", "model.safetensors"},
		"m.bf16.safetensors":    {"m.bf16.safetensors"},
	} {
		f, err := weights.OpenFolder(with(names...), "m")
		require.NoError(t, err)
		require.Equal(t, want, f.Name)
		require.NoError(t, f.Close())
	}
	for _, index := range []string{
		"m.safetensors.index.bf16.json", "m.bf16.safetensors.index.json",
	} {
		fsys := with("m.bf16-00001-of-00001.safetensors")
		fsys[index] = &fstest.MapFile{
			Data: []byte(`{"weight_map": {"a": "m.bf16-00001-of-00001.safetensors"}}`),
		}
		f, err := weights.OpenFolder(fsys, "m")
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, f.Names())
		require.NoError(t, f.Close())
	}
	_, err := weights.OpenFolder(with("m.bf16.safetensors", "m.ema.safetensors"), "m")
	require.ErrorIs(t, err, os.ErrNotExist)
	for name, want := range map[string]string{
		"model.onnx": "an ONNX file", "flax_model.msgpack": "Flax", "m.bin": "pickle",
		"m.gguf": "GGUF",
	} {
		_, err := weights.OpenFolder(with(name), "m")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, name)
	}
}

// Names out of files are shown so that no terminal obeys them, and lists of them are short.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"a.b_c-0.weight":         "a.b_c-0.weight",
		"":                       `""`,
		"\x1b[2Jx":               `"\x1b[2Jx"`,
		"a\nb":                   `"a\nb"`,
		"a b":                    `"a b"`,
		"\u202egnp.exe":          `"\u202egnp.exe"`,
		"\xff":                   `"\xff"`,
		strings.Repeat("x", 999): strings.Repeat("x", 200) + "…",
	} {
		require.Equal(t, want, weights.Printable(text))
	}
	require.Equal(t, "\n\ta\n\tb", weights.Few([]string{"b", "a"}))
	lines := []string{}
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("%03d", i))
	}
	require.Equal(t, "\n\t000\n\t001\n\t002\n\t003\n\t004\n\t005\n\tand 994 more",
		weights.Few(lines))

	evil := file(`"\u001b[2Jx":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`, 0, 0, 0, 0)
	f, err := open(t, evil)
	require.NoError(t, err)
	err = weights.Load(&layer{Bias: dense(0, 2)}, f, weights.Names{})
	require.ErrorContains(t, err, `"\x1b[2Jx" is not a tensor`)
	require.NotContains(t, err.Error(), "\x1b")
	long := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	_, err = open(t, long)
	require.ErrorContains(t, err, "its header says")
}

// An error says what a file seems to be, unless that is what it should be, or it is a part.
func TestSeems(t *testing.T) {
	f, err := open(t, file(entry("control_model.x", "F32", "[1]", 0, 4), 0, 0, 0, 0))
	require.NoError(t, err)
	model := &layer{Bias: dense(0, 2)}
	err = weights.Load(model, f, weights.Names{})
	require.ErrorContains(t, err, "does not fit: it seems to be a ControlNet\n")
	err = weights.Load(model, f, weights.Names{Kind: "a UNet"})
	require.ErrorContains(t, err, "does not fit: it seems to be a ControlNet\n")
	err = weights.Load(model, f, weights.Names{Kind: "a ControlNet"})
	require.ErrorContains(t, err, "does not fit\n")
	part, err := f.Part(map[string][]string{"control_model.x": {"control_model.x"}})
	require.NoError(t, err)
	require.ErrorContains(t, weights.Load(model, part, weights.Names{}), "does not fit\n")
}
