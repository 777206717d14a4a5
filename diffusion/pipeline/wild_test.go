package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// rewrite copies a case's folder, with its checkpoint file under the names that rename gives; an
// empty one leaves a tensor out. Further tensors have one number. It returns the file.
func rewrite(
	t *testing.T, dir string, rename func(name string) string, metadata map[string]string,
	more ...string,
) string {
	t.Helper()
	to := copyFolder(t, dir)
	file := filepath.Join(to, "single.safetensors")
	f, err := weights.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var all []kernels.Parameter
	for _, name := range f.Names() {
		value, err := f.Tensor(name)
		require.NoError(t, err)
		if name = rename(name); name != "" {
			all = append(all, kernels.Parameter{Name: name, Value: value})
		}
	}
	for _, name := range more {
		one := tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{1}))
		all = append(all, kernels.Parameter{Name: name, Value: one})
	}
	again := filepath.Join(to, "again.safetensors")
	require.NoError(t, weights.Save(again, all, kernels.Float32, metadata))
	require.NoError(t, f.Close())
	require.NoError(t, os.Rename(again, file))
	return file
}

func asItIs(name string) string { return name }

const (
	inpaintCase = "../../testdata/golden/inpaint" // of Stable Diffusion 1's names
	shardsCase  = "../../testdata/golden/shards"  // of Stable Diffusion 2's
)

// hashes are a pipeline's parts.
func hashes(p *Pipeline) [3]string {
	return [3]string{weights.Hash(p.UNet), weights.Hash(p.VAE), weights.Hash(p.Text)}
}

// Whatever programs put around names, the model is the same.
func TestNamesInTheWild(t *testing.T) {
	before := func(prefix string) func(string) string {
		return func(name string) string { return prefix + name }
	}
	within := func(at, word string) func(string) string {
		return func(name string) string {
			if rest, ok := strings.CutPrefix(name, at); ok {
				return at + word + rest
			}
			return name
		}
	}
	replaced := func(old, new string) func(string) string {
		return func(name string) string { return strings.Replace(name, old, new, 1) }
	}
	wants := map[string][3]string{}
	for _, dir := range []string{inpaintCase, shardsCase} {
		want, err := Load(dir)
		require.NoError(t, err)
		wants[dir] = hashes(want)
	}
	for what, rename := range map[string]func(string) string{
		"NovelAI":             replaced(clipPrefix, "cond_stage_model.transformer."),
		"compiled":            within(unetPrefix, "_orig_mod."),
		"compiled deep":       replaced(".input_blocks.", ".input_blocks._orig_mod."),
		"compiled text":       replaced("cond_stage_model.", "cond_stage_model._orig_mod."),
		"compiled VAE":        within(vaePrefix, "_orig_mod."),
		"module.":             before("module."),
		"module. of the UNet": replaced(unetPrefix, "module."+unetPrefix),
		"model.":              before("model."),
		"model.module.":       before("module.model."),
		"state_dict.":         before("state_dict."),
		"bare UNet":           replaced(unetPrefix, "diffusion_model."),
		"no prefix at all":    replaced(unetPrefix, ""),
		"FSDP":                within(unetPrefix, "_fsdp_wrapped_module."),
		"checkpointed": replaced(
			".transformer_blocks.", ".transformer_blocks._checkpoint_wrapped_module."),
		"a diffusers script's VAE": func(name string) string {
			return strings.NewReplacer(
				"attn_1.q.", "attn_1.to_q.", "attn_1.k.", "attn_1.to_k.", "attn_1.v.",
				"attn_1.to_v.", "attn_1.proj_out.", "attn_1.to_out.0.",
			).Replace(name)
		},
		"sgm": replaced("cond_stage_model.", "conditioner.embedders.0."),
	} {
		for dir, want := range wants {
			got, err := Load(rewrite(t, dir, rename, nil))
			require.NoError(t, err, what)
			require.Equal(t, want, hashes(got), what)
			require.Empty(t, got.Notes, what)
		}
	}
	// What is there twice is an error.
	file := rewrite(t, inpaintCase, asItIs, nil, unetPrefix+"_orig_mod.out.2.bias")
	_, err := Load(file)
	require.ErrorContains(t, err, "are the same tensor, "+unetPrefix+"out.2.bias")
}

// A file with averages alone is read as those, and it is said; beside the numbers they are extra.
func TestAverages(t *testing.T) {
	average := func(name string) string {
		if rest, ok := strings.CutPrefix(name, "model."); ok {
			return emaPrefix + strings.ReplaceAll(rest, ".", "")
		}
		return name
	}
	dotted := func(name string) string {
		if rest, ok := strings.CutPrefix(name, "model."); ok {
			return emaPrefix + rest
		}
		return name
	}
	for _, dir := range []string{inpaintCase, shardsCase} {
		want, err := Load(dir)
		require.NoError(t, err)
		for _, rename := range []func(string) string{average, dotted} {
			file := rewrite(t, dir, rename, nil)
			got, err := Load(file)
			require.NoError(t, err)
			require.Equal(t, hashes(want), hashes(got))
			require.Equal(t, []string{file + " holds no weights of the UNet but their average " +
				"over the training (model_ema), which is read"}, got.Notes)
			var said []string
			got.WarnPrompts(func(format string, args ...any) {
				said = append(said, fmt.Sprintf(format, args...))
			}, nil)
			require.Equal(t, []string{got.Notes[0] + "."}, said)
			frozen, err := LoadFrozen(file)
			require.NoError(t, err)
			require.NoError(t, frozen.LoadUNet())
			require.Equal(t, hashes(want), hashes(frozen))

			file = rewrite(t, dir, rename, nil, "model_ema.diffusion_modelout9bias")
			_, err = Load(file)
			require.ErrorContains(t, err, "model_ema.diffusion_modelout9bias is not a tensor")
		}
		got, err := Load(rewrite(t, dir, asItIs, nil, "model_ema.diffusion_modelout2bias"))
		require.NoError(t, err)
		require.Equal(t, hashes(want), hashes(got))
		require.Contains(t, got.Extra, "model_ema.diffusion_modelout2bias")
		require.Empty(t, got.Notes)
	}
}

// A VAE or a text encoder that a file lacks is read where it is looked for, or asked for.
func TestPartsBeside(t *testing.T) {
	without := func(prefix string) func(string) string {
		return func(name string) string {
			if strings.HasPrefix(name, prefix) {
				return ""
			}
			return name
		}
	}
	for _, dir := range []string{inpaintCase, shardsCase} {
		want, err := Load(dir)
		require.NoError(t, err)
		for part, prefix := range map[string]string{"vae": vaePrefix, "text_encoder": textPrefix} {
			file := rewrite(t, dir, without(prefix), nil)
			got, err := Load(file)
			require.NoError(t, err)
			require.Equal(t, hashes(want), hashes(got), part)
			require.Len(t, got.Notes, 1)
			require.Contains(t, got.Notes[0], filepath.Join(filepath.Dir(file), part)+" is read")

			beside, err := filepath.Glob(filepath.Join(filepath.Dir(file), part, "*.safetensors*"))
			require.NoError(t, err)
			for _, name := range beside {
				require.NoError(t, os.Remove(name))
			}
			_, err = Load(file)
			require.ErrorContains(t, err, file+" holds no ")
			require.ErrorContains(t, err, filepath.Join(filepath.Dir(file), part))
			require.NotContains(t, err.Error(), "\n")
			if part == "text_encoder" {
				continue
			}
			// As programs with a page call it, under the names of the checkpoint or its own.
			for _, cut := range []string{"", prefix} {
				only := rewrite(t, dir, func(name string) string {
					if !strings.HasPrefix(name, prefix) {
						return ""
					}
					return strings.TrimPrefix(name, cut)
				}, nil)
				named := strings.TrimSuffix(file, ".safetensors") + ".vae.safetensors"
				require.NoError(t, os.Rename(only, named))
				got, err = Load(file)
				require.NoError(t, err)
				require.Equal(t, hashes(want), hashes(got))
			}
		}
	}
}

// What is predicted is said by the scheduler's config, by a .yaml, by a mark or by metadata. What
// disagrees is an error, or a note where it is metadata.
func TestPredictionInTheWild(t *testing.T) {
	const v, eps = "      parameterization: \"v\"\n", "    target: ldm.models.diffusion.ddpm.X\n"
	for _, k := range []struct {
		yaml, name, scheduler, says string
		mark                        string
		want, fail                  string
		notes                       int
	}{
		{want: "epsilon"},
		{yaml: v, want: "v_prediction"},
		{yaml: v, name: "single.yml", want: "v_prediction"},
		{yaml: eps, want: "epsilon"},
		{yaml: "model:\n    parameterization: eps # as v1\r\n", want: "epsilon"},
		{yaml: "    parameterization: 'x0'\n", want: "sample"},
		{yaml: "    parameterization: banana\n", fail: "parameterization banana is neither"},
		{yaml: v + "  context_dim: 1024\n", name: "v2-inference-v.yaml", want: "epsilon"},
		{yaml: v + "  context_dim: 12\n", name: "v2-inference-v.yaml", want: "v_prediction"},
		{yaml: "learning_rate: 1e-5\n", want: "epsilon"},
		{yaml: "  params: {linear_start: 0.1, parameterization: v, x: 1}\n", want: "v_prediction"},
		{yaml: "{\"model\": {\n  \"parameterization\" : \"v\"}}\n", want: "v_prediction"},
		{yaml: eps + "# parameterization: v\n", want: "epsilon"},
		{yaml: "\ufeff" + v, want: "v_prediction"},
		{yaml: "model:\r  parameterization: v\r  x: 1\r", want: "v_prediction"},
		{yaml: "\xff\xfe" + strings.Join(strings.Split(v, ""), "\x00") + "\x00",
			want: "v_prediction"},
		{yaml: v + "# caf\xe9\n", fail: "single.yaml"},
		{yaml: "<!DOCTYPE html><html>", fail: "a web page"},
		{yaml: "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", fail: "Git LFS"},
		{yaml: "parameterization: \x1b[2J\n", fail: "single.yaml"},
		{says: "v", want: "v_prediction"},
		{says: "V_prediction", want: "v_prediction"},
		{says: "\x1b[2J", fail: `modelspec.prediction_type "\x1b[2J"`},
		{mark: "v_pred", want: "v_prediction"},
		{mark: unetPrefix + "v_pred", want: "v_prediction"},
		{yaml: v, says: "epsilon", want: "v_prediction", notes: 1},
		{yaml: eps, mark: "v_pred", fail: "remove what is wrong"},
		{scheduler: "epsilon", yaml: v, fail: "remove what is wrong"},
		{scheduler: "epsilon", mark: "v_pred", fail: "remove what is wrong"},
		{scheduler: "epsilon", says: "v", want: "epsilon", notes: 1},
		{scheduler: "v_prediction", want: "v_prediction"},
		{scheduler: "v_prediction", yaml: v, want: "v_prediction"},
	} {
		metadata, more := map[string]string{}, []string{}
		if k.says != "" {
			metadata["modelspec.prediction_type"] = k.says
		}
		if k.mark != "" {
			more = append(more, k.mark)
		}
		file := rewrite(t, inpaintCase, asItIs, metadata, more...)
		dir := filepath.Dir(file)
		config := `{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}`
		if k.scheduler != "" {
			config = `{"_class_name": "DDIMScheduler", "prediction_type": "` + k.scheduler + `"}`
		}
		put := func(name, text string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		put(filepath.Join("scheduler", "scheduler_config.json"), config)
		if k.yaml != "" {
			name := k.name
			if name == "" {
				name = "single.yaml"
			}
			put(name, k.yaml)
		}
		p, err := Load(file)
		if k.fail != "" {
			require.ErrorContains(t, err, k.fail)
			require.NotContains(t, err.Error(), "\x1b")
			continue
		}
		require.NoError(t, err, "%+v", k)
		require.Equal(t, k.want, p.Schedule.Prediction.String(), "%+v", k)
		require.Len(t, p.Notes, k.notes, "%+v", k)
		require.NotContains(t, p.Extra, unetPrefix+"v_pred")
	}
	// A file marked so is of a schedule without signal at its end.
	file := rewrite(t, inpaintCase, asItIs, nil, "v_pred", "ztsnr")
	config := filepath.Join(filepath.Dir(file), "scheduler", "scheduler_config.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"_class_name": "DDIMScheduler"}`), 0o644))
	p, err := Load(file)
	require.NoError(t, err)
	require.True(t, *p.Schedule.Config.ZeroSNR)

	// So is one whose .yaml says it.
	file = rewrite(t, inpaintCase, asItIs, nil)
	for name, text := range map[string]string{
		"scheduler/scheduler_config.json": `{"_class_name": "DDIMScheduler"}`,
		"single.yaml":                     "    parameterization: v\n    zero_terminal_snr: true\n",
	} {
		name = filepath.Join(filepath.Dir(file), filepath.FromSlash(name))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	p, err = Load(file)
	require.NoError(t, err)
	require.True(t, *p.Schedule.Config.ZeroSNR)
}

// What is no checkpoint of these models is said in a sentence.
func TestOtherFilesAsModels(t *testing.T) {
	for name, want := range map[string]string{
		"conditioner.embedders.1.model.ln_final.weight": "a checkpoint of Stable Diffusion XL",
		"model.diffusion_model.joint_blocks.0.x":        "a checkpoint of Stable Diffusion 3",
		"double_blocks.0.img_attn.qkv.weight":           "a checkpoint of Flux",
		"lora_unet_x.lora_down.weight":                  "goes with one (-lora)",
		"decoder.up.0.block.0.conv1.weight":             "a VAE, not a checkpoint",
		"first_stage_model.decoder.conv_in.weight":      "a VAE, not a checkpoint",
		"text_model.embeddings.token_embedding.weight":  "a text encoder, not a checkpoint",
		"control_model.out.weight":                      "a ControlNet",
		"emb_params":                                    "an embedding",
		"optimizer.state.0.exp_avg":                     "an optimizer's state",
		"time_embedding.linear_1.weight":                "a UNet, not a checkpoint",
		"a.weight.absmax":                               "quantized to 4 bits, which is not read",
		"noise_augmentor.data_mean":                     "a checkpoint of Stable unCLIP",
		"edm_vpred.sigma_max":                           "with the noise levels of EDM",
		"x":                                             "a file without a UNet",
	} {
		shape := []int{768}
		if name == "x" {
			shape = []int{7}
		}
		f := write(t, nil, map[string][]int{name: shape})
		_, err := LoadFile(f.Name, "")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, f.Name)
		require.NotContains(t, err.Error(), "\n")
	}
}

// A folder whose files were saved from compiled or distributed models, and one saved by a pipeline
// that begins from pictures, are as they were.
func TestWrappedFolders(t *testing.T) {
	want, err := Load(inpaintCase)
	require.NoError(t, err)
	for _, before := range []string{"_orig_mod.", "module.", "module._orig_mod."} {
		dir := copyFolder(t, inpaintCase)
		for _, part := range []string{
			"unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model",
		} {
			file := filepath.Join(dir, filepath.FromSlash(part)+".fp16.safetensors")
			f, err := weights.Open(file)
			require.NoError(t, err)
			var all []kernels.Parameter
			for _, name := range f.Names() {
				value, err := f.Tensor(name)
				require.NoError(t, err)
				all = append(all, kernels.Parameter{Name: before + name, Value: value})
			}
			require.NoError(t, f.Close())
			require.NoError(t, weights.Save(file, all, kernels.Float32, nil))
		}
		got, err := Load(dir)
		require.NoError(t, err, before)
		require.Equal(t, hashes(want), hashes(got), before)
	}
	// So are configs with byte order marks, and those that are something else are named.
	for _, name := range []string{
		"model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
		"scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json",
	} {
		dir := copyFolder(t, inpaintCase)
		file := filepath.Join(dir, filepath.FromSlash(name))
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for before, fail := range map[string]string{
			"\ufeff": "", "<!DOCTYPE html>": "web page",
			"version https://git-lfs.github.com/spec/v1\n": "Git LFS",
		} {
			require.NoError(t, os.WriteFile(file, append([]byte(before), text...), 0o644))
			got, err := Load(dir)
			if fail == "" {
				require.NoError(t, err, name)
				require.Equal(t, hashes(want), hashes(got), name)
				continue
			}
			require.ErrorContains(t, err, fail)
			require.ErrorContains(t, err, filepath.Base(name))
			require.ErrorContains(t, err, dir)
		}
	}
	index := filepath.Join(copyFolder(t, inpaintCase), "model_index.json")
	require.NoError(t, os.WriteFile(index, []byte("[]"), 0o644))
	_, err = Load(filepath.Dir(index))
	require.ErrorContains(t, err, "model_index.json: the whole is a JSON array")
	dir := copyFolder(t, shardsCase)
	change(t, filepath.Join(dir, "model_index.json"), className, pictureName)
	_, err = Load(dir)
	require.NoError(t, err)
}

// A folder that is no model's, a part of one, and a file in one say what to name.
func TestFoldersInTheWild(t *testing.T) {
	whole := copyFolder(t, inpaintCase)
	p, err := Load(filepath.Join(whole, "model_index.json"))
	require.NoError(t, err)
	require.Equal(t, filepath.Base(whole), p.Name)
	_, err = Load(filepath.Join(whole, "unet"))
	require.ErrorContains(t, err, "name the folder above it")
	_, err = Load(filepath.Join(whole, "unet", "diffusion_pytorch_model.fp16.safetensors"))
	require.ErrorContains(t, err, "which is to be named: "+whole)
	require.NoError(t, os.Remove(filepath.Join(whole, "model_index.json")))
	_, err = Load(whole)
	require.ErrorContains(t, err, "though it holds a UNet")

	dir := t.TempDir()
	put := func(name string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644))
	}
	put("m.ckpt")
	_, err = Load(dir)
	require.ErrorContains(t, err, "a pickle file")
	put("m.safetensors")
	_, err = Load(dir)
	require.ErrorContains(t, err, "it holds m.safetensors: name that file")
	if runtime.GOOS != "windows" { // which has no such names
		put("n\x1b.safetensors")
		_, err = Load(dir)
		require.ErrorContains(t, err, "\n\t\"n\\x1b.safetensors\"")
	}
	index := `{"_class_name": "\u001b[2JPipeline"}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model_index.json"), []byte(index), 0o644))
	_, err = Load(dir)
	require.ErrorContains(t, err, `"\x1b[2JPipeline"`)
}
