package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/golden"
)

// Every case passes, and each of its tensors is used.
func TestGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		var out bytes.Buffer
		status := run([]string{c.Dir}, &out, io.Discard)
		require.Zero(t, status, "%s", &out)
		require.Contains(t, out.String(), ", 0 failed")
		if c.HasFile("single.safetensors") {
			require.Contains(t, out.String(), "single.unet.out")
		}
	})
}

// copied returns a copy of a case's folder, or of the named parts of it, that may be changed.
func copied(t *testing.T, name string, parts ...string) string {
	t.Helper()
	from, to := filepath.Join("..", "..", "testdata", "golden", name), t.TempDir()
	if parts == nil {
		require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	}
	for _, part := range append(parts, casesFile) {
		if info, err := os.Stat(filepath.Join(from, part)); err == nil && info.IsDir() {
			folder := os.DirFS(filepath.Join(from, part))
			require.NoError(t, os.CopyFS(filepath.Join(to, part), folder))
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, part))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, part), data, 0o644))
	}
	return to
}

// change edits a tensor's bytes in a safetensors file.
func change(t *testing.T, file, name string, edit func(data []byte)) {
	t.Helper()
	all, err := os.ReadFile(file)
	require.NoError(t, err)
	start := 8 + binary.LittleEndian.Uint64(all)
	var header map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(all[8:start], &header))
	require.Contains(t, header, name)
	var entry struct {
		Offsets [2]uint64 `json:"data_offsets"`
	}
	require.NoError(t, json.Unmarshal(header[name], &entry))
	edit(all[start:][entry.Offsets[0]:entry.Offsets[1]])
	require.NoError(t, os.WriteFile(file, all, 0o644))
}

// set makes the first number of a float32 tensor another.
func set(f func(v float32) float32) func(data []byte) {
	return func(data []byte) {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data))
		binary.LittleEndian.PutUint32(data, math.Float32bits(f(v)))
	}
}

// failing compares a folder, which must not pass, and returns the rows that fail.
func failing(t *testing.T, dir string) map[string]row {
	t.Helper()
	var out bytes.Buffer
	require.Equal(t, 1, run([]string{"-json", dir}, &out, io.Discard))
	var reports []struct {
		Rows []struct {
			Name, Worst, Problem string
			Error                *float64
			OK                   bool
		}
		OK bool
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &reports))
	require.Len(t, reports, 1)
	require.False(t, reports[0].OK)
	rows := map[string]row{}
	for _, r := range reports[0].Rows {
		if !r.OK {
			rows[r.Name] = row{Name: r.Name, Worst: r.Worst, Problem: r.Problem}
		}
	}
	return rows
}

// One number that is off fails the row that it belongs to, whatever it is the result of.
func TestEveryRowCanFail(t *testing.T) {
	dir := copied(t, "sd1")
	file := filepath.Join(dir, casesFile)
	const toQ = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"
	want := map[string]string{ // tensors by rows; "" is the row's name
		"text.last_hidden_state": "",
		"text.pooler_output":     "",

		"vae.mean":    "",
		"vae.logvar":  "",
		"vae.decoded": "",

		"clip.text_embeds":      "",
		"clip.image_embeds":     "",
		"clip.logits_per_image": "",
		"image.pixel_values":    "",

		"unet.out":                        "",
		"unet.grad_sample":                "",
		"unet.grad_encoder_hidden_states": "",
		"unet.grad":                       "unet.grad.conv_in.weight",

		"lora.unet.out":                     "",
		"lora.kohya.out":                    "",
		"lora.old.out":                      "",
		"lora.text.last_hidden_state":       "",
		"lora.kohya.text.last_hidden_state": "",
		"lora.grad":                         "lora.grad." + toQ,

		"lora.train.loss":      "",
		"lora.train.grad_norm": "",
		"lora.train.delta":     "lora.train.delta." + toQ,
		"train.loss":           "",
		"train.grad_norm":      "",

		"generate.latents":       "",
		"sampler.ddim":           "sampler.ddim.trajectory", // its start
		"sampler.ddpm":           "sampler.ddpm.trajectory",
		"sampler.ddpm.timesteps": "",
	}
	for name, tensor := range want {
		if tensor == "" {
			tensor = name
		}
		change(t, file, tensor, set(func(v float32) float32 { return v*1.01 + 0.01 }))
	}
	change(t, file, "tokenizer.ids.3", func(data []byte) { data[8]++ })
	change(t, file, "generate.images", func(data []byte) { data[0] ^= 2 })
	got := failing(t, dir)
	for name := range want {
		require.Contains(t, got, name)
		require.Empty(t, got[name].Problem)
		require.NotEmpty(t, got[name].Worst)
	}
	require.Contains(t, got["tokenizer.ids"].Worst, "tokenizer.ids.3")
	require.Contains(t, got["sampler.ddim"].Worst, "start [0 0 0 0]")
	require.Contains(t, got["unet.grad"].Worst, "conv_in.weight [0 0 0 0]")
	require.Contains(t, got["generate.images"].Worst, "[0 0 0 0]")
	require.Len(t, got, len(want)+3, "and the ids of clip's tokenizer")
}

func TestNaNFails(t *testing.T) {
	nan := set(func(float32) float32 { return float32(math.NaN()) })
	dir := copied(t, "shards", "text_encoder", "tokenizer", "vae", "unet")
	file := filepath.Join(dir, casesFile)
	for _, name := range []string{"text.pooler_output", "vae.latent", "unet.grad.conv_in.weight"} {
		change(t, file, name, nan)
	}
	got := failing(t, dir)
	require.Contains(t, got, "text.pooler_output")
	require.Contains(t, got, "vae.decoded")
	require.Contains(t, got, "unet.grad")
	require.NotContains(t, got, "text.last_hidden_state")
}

func TestEverythingIsUsed(t *testing.T) {
	got := failing(t, copied(t, "shards", "text_encoder", "tokenizer"))
	require.Len(t, got, 1)
	require.Contains(t, got["unused"].Problem, "unet.cotangent, unet.encoder_hidden_states")

	dir := copied(t, "shards", "text_encoder", "tokenizer", "vae")
	file := filepath.Join(dir, casesFile)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	data = bytes.Replace(data, []byte(`"text.pooler_output"`), []byte(`"text.cooler_output"`), 1)
	require.NoError(t, os.WriteFile(file, data, 0o644))
	require.Contains(t, failing(t, dir)["unused"].Problem, "text.cooler_output")
}

// What is broken is an error in a row and not a panic. The rest is compared all the same.
func TestBrokenFolders(t *testing.T) {
	require.Equal(t, 1, run(nil, io.Discard, io.Discard))
	require.Equal(t, 1, run([]string{"-nonsense"}, io.Discard, io.Discard))
	require.Zero(t, run([]string{"-help"}, io.Discard, io.Discard))
	require.Contains(t, failing(t, t.TempDir())[casesFile].Problem, casesFile)

	got := failing(t, copied(t, "shards", "model_index.json"))
	require.Contains(t, got[casesFile].Problem, "nothing was compared")

	dir := copied(t, "shards", "text_encoder", "tokenizer")
	file := filepath.Join(dir, casesFile)
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.Contains(t, failing(t, dir)[casesFile].Problem, "0 bytes")
	empty := append(binary.LittleEndian.AppendUint64(nil, 2), "{}"...)
	require.NoError(t, os.WriteFile(file, empty, 0o644))
	require.Contains(t, failing(t, dir)[casesFile].Problem, "nothing was compared")

	dir = copied(t, "shards", "text_encoder", "tokenizer", "vae")
	cases := filepath.Join(dir, casesFile)
	change(t, cases, "text.input_ids", func(data []byte) { data[2] = 1 })
	weights := filepath.Join(dir, "vae", "diffusion_pytorch_model.safetensors")
	whole, err := os.ReadFile(weights)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(weights, whole[:len(whole)-2], 0o644))
	got = failing(t, dir)
	require.Contains(t, got["text"].Problem, "not in the model's vocabulary")
	require.Contains(t, got["vae"].Problem, "diffusion_pytorch_model.safetensors")
	require.NotContains(t, got, "tokenizer.ids")
}

// A tensor of the checkpoint in one file that is not that of the folder fails.
func TestSingleFileDiffers(t *testing.T) {
	dir := copied(t, "shards")
	single := filepath.Join(dir, "single.safetensors")
	change(t, single, "model.diffusion_model.out.2.weight", func(data []byte) { data[0] ^= 1 })
	got := failing(t, dir)
	require.Len(t, got, 2)
	require.Contains(t, got, "single.unet.out")
	require.Contains(t, got["single.unet"].Worst, "conv_out.weight differs")
	require.True(t, strings.HasPrefix(got["single.unet"].Worst, "1 of "), got["single.unet"].Worst)
}
