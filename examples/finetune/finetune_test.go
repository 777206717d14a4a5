package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/report"
	"github.com/kudos-ml/kudos/internal/weights"
)

// A place has what a user brings along: a model's folder, pictures with rewards in samples.jsonl, captioned pictures.
type place struct{ dir, model, samples, pretrain string }

// at makes the place, of the miniature.
func at(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	p := place{dir, filepath.Join(dir, "model"), filepath.Join(dir, "samples.jsonl"), filepath.Join(dir, "pretrain")}
	require.NoError(t, os.CopyFS(p.model, tiny.FS()))
	require.NoError(t, os.Mkdir(p.pretrain, 0o755))
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(7, 9))
	require.NoError(t, err)
	for i, s := range samples {
		if i >= 6 {
			name := filepath.Join(p.pretrain, fmt.Sprint(i))
			require.NoError(t, picture.WritePNG(name+".png", s.Image))
			require.NoError(t, os.WriteFile(name+".txt", []byte(s.Prompt), 0o644))
			continue
		}
		samples[i].File, samples[i].Reward = fmt.Sprintf("%d.png", i), new(float64(i)/5)
		require.NoError(t, picture.WritePNG(filepath.Join(dir, samples[i].File), s.Image))
	}
	_, err = dataset.Write(t.Context(), p.samples, dataset.FromSlice(samples[:6]))
	require.NoError(t, err)
	return p
}

// args are those of a short run into the folder named.
func (p place) args(out string, more ...string) []string {
	return append([]string{"-model", p.model, "-samples", p.samples, "-pretrain", p.pretrain, "-out", p.out(out), "-steps", "3", "-batch", "2", "-lr", "1e-3"}, more...)
}

func (p place) out(name string) string { return filepath.Join(p.dir, name) }

// try runs the program; printed is its standard output.
func try(t *testing.T, args ...string) (s *session, printed string, err error) {
	t.Helper()
	s = newSession()
	var b bytes.Buffer
	s.print, s.progress = &b, report.Plain(io.Discard)
	s.options, err = parse(args)
	if err == nil {
		err = s.run(t.Context())
	}
	return s, b.String(), err
}

// files are a folder's, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return all
}

func load(t *testing.T, dir string) *pipeline.Pipeline {
	t.Helper()
	p, err := pipeline.Load(dir)
	require.NoError(t, err)
	return p
}

// The whole UNet: the result is a folder that loads, with a UNet that changed and all else as it was; the model's folder is as it was; the
// same seed leaves the same bytes.
func TestFull(t *testing.T) {
	p := at(t)
	before := files(t, p.model)
	s, printed, err := try(t, p.args("a", "-min-snr", "5", "-warm-up", "2")...)
	require.NoError(t, err)
	require.Contains(t, printed, "Planned peak memory")
	require.Contains(t, printed, "The tuned model is in "+p.out("a/tuned"))
	base, tuned := load(t, p.model), load(t, p.out("a/tuned"))
	require.NotEqual(t, weights.Hash(base.UNet), weights.Hash(tuned.UNet))
	require.Equal(t, weights.Hash(base.Text), weights.Hash(tuned.Text))
	require.Equal(t, weights.Hash(base.VAE), weights.Hash(tuned.VAE))
	require.Equal(t, base.Schedule.AlphaBar, tuned.Schedule.AlphaBar)
	require.Equal(t, base.Tokenizer.Encode("two green circles"), tuned.Tokenizer.Encode("two green circles"))
	require.Equal(t, before, files(t, p.model))

	entries, err := os.ReadDir(p.out("a"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"config.json", "metrics.jsonl", "report.html", "report.json", "tuned"}, names)
	var config map[string]any
	require.NoError(t, json.Unmarshal([]byte(files(t, p.out("a"))["config.json"]), &config))
	flags(&options{}).VisitAll(func(f *flag.Flag) { require.Contains(t, config, f.Name) })
	require.EqualValues(t, 2, config["pretrain-batch"])
	require.EqualValues(t, 1e-3, config["lr"])
	require.Equal(t, map[string]any{"unet": weights.Hash(base.UNet), "vae": weights.Hash(base.VAE), "text_encoder": weights.Hash(base.Text), "samples": s.hashes["samples"]}, config["sha256"])

	_, _, err = try(t, p.args("b", "-min-snr", "5", "-warm-up", "2")...)
	require.NoError(t, err)
	require.Equal(t, files(t, p.out("a/tuned")), files(t, p.out("b/tuned")))
	_, _, err = try(t, p.args("c", "-min-snr", "5", "-warm-up", "2", "-seed", "2")...)
	require.NoError(t, err)
	require.NotEqual(t, files(t, p.out("a/tuned"))["unet/diffusion_pytorch_model.safetensors"], files(t, p.out("c/tuned"))["unet/diffusion_pytorch_model.safetensors"])

	_, _, err = try(t, p.args("a")...)
	require.EqualError(t, err, "-out "+p.out("a")+": the folder is not empty")
}

// The result is that of the library on the same samples, so no flag is lost on the way. It is what a moving average says that it is, too.
func TestEveryFlagCounts(t *testing.T) {
	p := at(t)
	tuned := func(name string, args ...string) string {
		_, _, err := try(t, p.args(name, args...)...)
		require.NoError(t, err, args)
		return weights.Hash(load(t, p.out(name+"/tuned")).UNet)
	}
	plain := tuned("plain")
	seen := map[string]string{plain: "plain"}
	for i, args := range [][]string{
		{"-by-reward"}, {"-beta", "0.25"}, {"-pretrain-batch", "1"}, {"-lr", "1e-4"}, {"-warm-up", "3"}, {"-dropout", "0.9"}, {"-min-snr", "1"}, {"-max-grad-norm", "1e-3"},
		{"-ema", "0.5"}, {"-steps", "2"}, {"-batch", "3"}, {"-seed", "9"},
	} {
		hash := tuned(fmt.Sprint(i), args...)
		require.Empty(t, seen[hash], "%v has no effect", args)
		seen[hash] = fmt.Sprint(args)
	}

	base := load(t, p.model)
	all, err := dataset.Collect(t.Context(), base.Encode(dataset.Join(dataset.File{Path: p.samples, Images: true}, dataset.Folder{Path: p.pretrain, Images: true}), pipeline.EncodeOptions{Batch: 9}))
	require.NoError(t, err)
	empty, err := base.Conditions(t.Context(), "")
	require.NoError(t, err)
	tuner := &finetune.Tuner{
		Network: base.UNet, Schedule: base.Schedule, Model: dataset.FromSlice(all[:6]), ModelBatch: 2, Pretrain: dataset.FromSlice(all[6:]), PretrainBatch: 2, Updates: 3,
		LR: func(int) float64 { return 1e-3 }, Dropout: 0.1, Unconditional: empty[""], Seed: 1,
	}
	for _, err := range tuner.Steps(t.Context()) {
		require.NoError(t, err)
	}
	require.InDeltaSlice(t, base.UNet.ConvOut.Weight.Float32s(), load(t, p.out("plain/tuned")).UNet.ConvOut.Weight.Float32s(), 1e-4)
}

// Low-rank pairs: a file in diffusers' form and one in kohya's, which are the same adapter, and nothing else.
func TestAdapter(t *testing.T) {
	p := at(t)
	_, printed, err := try(t, p.args("run", "-lora-rank", "3", "-kohya", "-ema", "0.5", "-max-grad-norm", "1")...)
	require.NoError(t, err)
	require.Contains(t, printed, "moving average")
	require.Contains(t, printed, "gradients, kept")
	result := files(t, p.out("run/tuned"))
	require.Len(t, result, 2)
	merged := func(file string) string {
		m := load(t, p.model)
		a, err := lora.Load(filepath.Join(p.out("run/tuned"), file), m.UNet, nil)
		require.NoError(t, err)
		for _, q := range a.Trainable() {
			require.Equal(t, 3, min(q.Value.Shape()[0], q.Value.Shape()[1]))
		}
		a.Merge()
		return weights.Hash(m.UNet)
	}
	require.NotEqual(t, weights.Hash(load(t, p.model).UNet), merged("pytorch_lora_weights.safetensors"))
	require.Equal(t, merged("pytorch_lora_weights.safetensors"), merged("kohya.safetensors"))
	_, _, err = try(t, p.args("again", "-lora-rank", "3", "-kohya", "-ema", "0.5", "-max-grad-norm", "1")...)
	require.NoError(t, err)
	require.Equal(t, result, files(t, p.out("again/tuned")))
}
