package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// A place has what a user brings along: a model's folder, pictures with rewards in samples.jsonl,
// captioned pictures.
type place struct{ dir, model, samples, pretrain string }

// at makes the place, of the miniature.
func at(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	p := place{
		dir:      dir,
		model:    filepath.Join(dir, "model"),
		samples:  filepath.Join(dir, "samples.jsonl"),
		pretrain: filepath.Join(dir, "pretrain"),
	}
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

// small is at with a model that is a hundredth of the miniature, for tests of many runs.
func small(t *testing.T) place {
	t.Helper()
	p := at(t)
	require.NoError(t, os.RemoveAll(p.model))
	require.NoError(t, os.CopyFS(p.model, os.DirFS("../../testdata/golden/sd1")))
	return p
}

// args are those of a short run into the folder named.
func (p place) args(out string, more ...string) []string {
	return append([]string{
		"-model", p.model, "-samples", p.samples, "-pretrain", p.pretrain, "-out", p.out(out),
		"-steps", "3", "-batch", "2", "-lr", "1e-3",
	}, more...)
}

func (p place) out(name string) string { return filepath.Join(p.dir, name) }

// try runs the program; printed is its standard output.
func try(t *testing.T, args ...string) (s *session, printed string, err error) {
	t.Helper()
	s = newSession()
	var b bytes.Buffer
	s.print, s.progress = &b, report.Plain(io.Discard)
	if err = s.parse(args); err == nil {
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

// The whole UNet: the result is a folder that loads, with a UNet that changed and all else as it
// was; the model's folder is as it was; the same seed leaves the same bytes.
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
	require.Equal(t, base.Schedule.Process, tuned.Schedule.Process)
	const prompt = "two green circles"
	require.Equal(t, base.Tokenizer.Encode(prompt), tuned.Tokenizer.Encode(prompt))
	require.Equal(t, before, files(t, p.model))

	entries, err := os.ReadDir(p.out("a"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{
		"cache", "checkpoints", "config.json", "metrics.jsonl", "report.html", "report.json",
		"tuned",
	}, names)
	var config map[string]any
	require.NoError(t, json.Unmarshal([]byte(files(t, p.out("a"))["config.json"]), &config))
	s.flags.VisitAll(func(f *flag.Flag) {
		if f.Name != "resume" && f.Name != "out" { // which is not the run's
			require.Contains(t, config, f.Name)
		}
	})
	require.EqualValues(t, 2, config["pretrain-batch"])
	require.EqualValues(t, 1e-3, config["lr"])
	require.Equal(t, map[string]any{
		"unet":         weights.Hash(base.UNet),
		"vae":          weights.Hash(base.VAE),
		"text_encoder": weights.Hash(base.Text),
		"samples":      s.hashes["samples"],
		"data":         s.hashes["data"],
	}, config["sha256"])

	_, _, err = try(t, p.args("b", "-min-snr", "5", "-warm-up", "2")...)
	require.NoError(t, err)
	require.Equal(t, files(t, p.out("a/tuned")), files(t, p.out("b/tuned")))
	_, _, err = try(t, p.args("c", "-min-snr", "5", "-warm-up", "2", "-seed", "2")...)
	require.NoError(t, err)
	unet := func(tuned string) string {
		return files(t, p.out(tuned))["unet/diffusion_pytorch_model.safetensors"]
	}
	require.NotEqual(t, unet("a/tuned"), unet("c/tuned"))

	_, _, err = try(t, p.args("a")...)
	require.EqualError(t, err, "-out: finetune: "+p.out("a")+" holds a run already: resume it, "+
		"or choose another folder. To resume it:\n\tgo run ./examples/finetune "+
		strings.Join(p.args("a"), " ")+" -resume")
}

// The result is that of the library on the same samples, so no flag is lost on the way. It is what
// a moving average says that it is, too.
func TestEveryFlagCounts(t *testing.T) {
	p := small(t)
	tuned := func(name string, args ...string) string {
		_, _, err := try(t, p.args(name, args...)...)
		require.NoError(t, err, args)
		return weights.Hash(load(t, p.out(name+"/tuned")).UNet)
	}
	plain := tuned("plain")
	seen := map[string]string{plain: "plain"}
	for i, args := range [][]string{
		{"-by-reward"}, {"-beta", "0.25"}, {"-pretrain-batch", "1"}, {"-lr", "1e-4"},
		{"-warm-up", "3"}, {"-dropout", "0.9"}, {"-min-snr", "1"}, {"-min-timestep", "900"},
		{"-max-grad-norm", "1e-3"},
		{"-ema", "0.5"}, {"-steps", "2"}, {"-batch", "3"}, {"-seed", "9"},
	} {
		hash := tuned(fmt.Sprint(i), args...)
		require.Empty(t, seen[hash], "%v has no effect", args)
		seen[hash] = fmt.Sprint(args)
	}

	base := load(t, p.model)
	pictures := dataset.Join(
		dataset.File{Path: p.samples, Images: true},
		dataset.Folder{Path: p.pretrain, Images: true},
	)
	latents := base.Encode(pictures, pipeline.EncodeOptions{Batch: 9})
	all, err := dataset.Collect(t.Context(), latents)
	require.NoError(t, err)
	empty, err := base.Conditions(t.Context(), "")
	require.NoError(t, err)
	tuner := &finetune.Tuner{
		Network: base.UNet, Schedule: base.Schedule, Updates: 3,
		Own: dataset.FromSlice(all[:6]), OwnBatch: 2,
		Pretrain: dataset.FromSlice(all[6:]), PretrainBatch: 2,
		LR: func(int) float64 { return 1e-3 }, Dropout: 0.1, Unconditional: empty[""], Seed: 1,
	}
	for _, err := range tuner.Steps(t.Context()) {
		require.NoError(t, err)
	}
	got := load(t, p.out("plain/tuned"))
	require.InDeltaSlice(t, base.UNet.ConvOut.Weight.Float32s(),
		got.UNet.ConvOut.Weight.Float32s(), 1e-4)
}

// A file that changes after it was read changes nothing: what belongs to a picture is what was read
// with it.
func TestSamplesThatChangeMeanwhile(t *testing.T) {
	encoded := func(
		t *testing.T, change func(p place, lines []string) []string,
	) map[string]dataset.Sample {
		p, s := at(t), newSession()
		s.print, s.progress = io.Discard, report.Plain(io.Discard)
		require.NoError(t, s.parse(p.args("run")))
		require.NoError(t, s.read(t.Context()))
		text, err := os.ReadFile(p.samples)
		require.NoError(t, err)
		lines := change(p, strings.Split(strings.TrimSpace(string(text)), "\n"))
		require.NoError(t, os.WriteFile(p.samples, []byte(strings.Join(lines, "\n")), 0o644))
		_, err = report.NewFolder(p.out("run"))
		require.NoError(t, err)
		require.NoError(t, s.encode(t.Context()))
		require.Equal(t, []int{6, 9}, []int{s.own, len(s.all)})
		all := map[string]dataset.Sample{}
		for _, sample := range s.all {
			all[sample.ID] = sample
		}
		return all
	}
	want := encoded(t, func(_ place, lines []string) []string { return lines })
	require.Equal(t, 9, len(want))
	for name, change := range map[string]func(p place, lines []string) []string{
		"reordered": func(_ place, lines []string) []string { slices.Reverse(lines); return lines },
		"grown": func(_ place, lines []string) []string {
			return append(lines, `{"id":"new","prompt":"a dog","file":"0.png"}`)
		},
		"shrunk": func(_ place, lines []string) []string { return lines[1:] },
		"other captions": func(p place, lines []string) []string {
			name := filepath.Join(p.pretrain, "0")
			require.NoError(t, os.WriteFile(name+".txt", []byte("a new one"), 0o644))
			require.NoError(t, picture.WritePNG(name+".png", image.NewGray(image.Rect(0, 0, 8, 8))))
			return lines
		},
	} {
		t.Run(name, func(t *testing.T) {
			for id, got := range encoded(t, change) {
				require.Equal(t, want[id].Reward, got.Reward)
				require.Equal(t, want[id].Prompt, got.Prompt)
				require.InDeltaSlice(t, want[id].Latent.Float32s(), got.Latent.Float32s(), 1e-4)
			}
		})
	}
}

// Low-rank pairs: a file in diffusers' form and one in kohya's, which are the same adapter, and
// nothing else.
func TestAdapter(t *testing.T) {
	p := at(t)
	flags := []string{"-lora-rank", "3", "-kohya", "-ema", "0.5", "-max-grad-norm", "1"}
	_, printed, err := try(t, p.args("run", flags...)...)
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
	tuned := merged("pytorch_lora_weights.safetensors")
	require.NotEqual(t, weights.Hash(load(t, p.model).UNet), tuned)
	require.Equal(t, tuned, merged("kohya.safetensors"))
	_, _, err = try(t, p.args("again", flags...)...)
	require.NoError(t, err)
	require.Equal(t, result, files(t, p.out("again/tuned")))

	// On every layer that there is.
	_, _, err = try(t, p.args("everything", "-lora-rank", "2", "-lora-everything")...)
	require.NoError(t, err)
	m := load(t, p.model)
	every, err := lora.New(m.UNet, lora.Config{Rank: 2, Alpha: 2, Targets: lora.Everything})
	require.NoError(t, err)
	every.Detach()
	a, err := lora.Load(p.out("everything/tuned/pytorch_lora_weights.safetensors"), m.UNet, nil)
	require.NoError(t, err)
	require.Len(t, a.Trainable(), len(every.Trainable()))
}

// Rewards of a learned reward replace those of the file, which needs none then.
func TestReward(t *testing.T) {
	p := at(t)
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	training := &alignment.Training{
		CLIP: encoder, Samples: labelled(t), Hidden: 8, Passes: 2, Seed: 1, HeldOut: 0.15,
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	require.NoError(t, training.Model().Save(p.out("reward")))
	text, err := os.ReadFile(p.samples)
	require.NoError(t, err)
	text = regexp.MustCompile(`"reward":[0-9.]+`).ReplaceAll(text, []byte(`"label":"good"`))
	require.NoError(t, os.WriteFile(p.samples, text, 0o644))

	_, _, err = try(t, p.args("run")...)
	require.ErrorContains(t, err, p.samples+":1: there is no reward; -reward gives one")
	require.NoDirExists(t, p.out("run"))

	s := p.ready(t, "-reward", p.out("reward"), "-beta", "0", "-pretrain", "")
	s.Run.Folder = t.TempDir()
	require.NoError(t, s.score(t.Context()))
	pictures, err := dataset.Collect(t.Context(), dataset.File{Path: p.samples, Images: true})
	require.NoError(t, err)
	want, err := training.Model().Score(t.Context(), pictures)
	require.NoError(t, err)
	require.Len(t, s.all, len(want))
	for i, sample := range s.all {
		require.InDelta(t, want[i], *sample.Reward, 1e-6)
		require.Nil(t, sample.Image)
	}
	require.NotEqual(t, want[0], want[1])

	_, _, err = try(t, p.args("run", "-reward", p.out("reward"), "-beta", "0", "-pretrain", "")...)
	require.NoError(t, err)
	text, err = os.ReadFile(p.out("run/metrics.jsonl"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "pretraining")
}

// labelled are pictures of the world of shapes with the judge's labels.
func labelled(t *testing.T) dataset.Dataset {
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(3, 40))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Label, err = shapes.Rater{}.Label(samples[i])
		require.NoError(t, err)
	}
	return dataset.FromSlice(samples)
}

// A Stable Diffusion in the layout of the 1.x repositories, whose prompts are 77 tokens long, and a
// checkpoint file.
func TestOtherModelsGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		p := at(t)
		base := load(t, c.Dir)
		args := p.args("run", "-model", c.Dir, "-steps", "2", "-batch", "1")
		if base.UNet.Config.InChannels != base.VAE.Config.LatentChannels {
			_, _, err := try(t, args...)
			require.ErrorContains(t, err, "its UNet reads 9 channels")
			return
		}
		_, _, err := try(t, args...)
		require.NoError(t, err)
		tuned := load(t, p.out("run/tuned"))
		require.NotEqual(t, weights.Hash(base.UNet), weights.Hash(tuned.UNet))
		require.Equal(t, weights.Hash(base.VAE), weights.Hash(tuned.VAE))
		require.Equal(t, base.Schedule.Prediction, tuned.Schedule.Prediction)
		if !c.HasFile("single.safetensors") {
			return
		}
		single := filepath.Join(c.Dir, "single.safetensors")
		_, _, err = try(t, p.args("file", "-model", single, "-steps", "2", "-batch", "1")...)
		require.NoError(t, err)
		require.Equal(t, weights.Hash(tuned.UNet), weights.Hash(load(t, p.out("file/tuned")).UNet))
	}, "model_index.json")
}

func TestWhatCannotBeTuned(t *testing.T) {
	p := at(t)
	line := func(text string) string {
		file := filepath.Join(p.dir, "bad.jsonl")
		text = `{"prompt":"a star","file":"0.png","reward":1}` + "\n" + text
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	folder := func(name, text string) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		return dir
	}
	gone := folder("metadata.jsonl", `{"file_name":"gone.png","text":"a"}`)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"-model: pipeline: ", []string{"-model", p.out("gone")}},
		{"-model: pipeline: open model_index.json", []string{"-model", p.dir}},
		{"-samples: dataset: open " + p.out("gone"), []string{"-samples", p.out("gone")}},
		{"-reward: alignment: open " + p.out("gone"), []string{"-reward", p.out("gone")}},
		{"-clip: clip: ", []string{"-reward", p.out("gone"), "-clip", p.out("gone")}},
		{"-pretrain: dataset: ", []string{"-pretrain", p.out("gone")}},
		{`metadata.jsonl:1: file "gone.png": file does not exist`, []string{"-pretrain", gone}},
		{"a.png has no caption", []string{"-pretrain", folder("a.png", "x")}},
		{"-out: finetune: " + p.dir + ": the folder is not empty", []string{"-out", p.dir}},
		{"-out: finetune: mkdir " + p.samples, []string{"-out", p.samples}},
	} {
		_, _, err := try(t, p.args("run", c.args...)...)
		require.ErrorContains(t, err, c.want, c.args)
		require.NoDirExists(t, p.out("run"))
	}
	for text, want := range map[string]string{
		`{"prompt":"b","file":"1.png"}`:               "bad.jsonl:2: there is no reward",
		`{"prompt":"b","reward":1}`:                   `sample "bad.jsonl:2" ("b") names no file`,
		`{"prompt":"b","file":"gone.png","reward":1}`: p.out("gone.png") + ": no such file",
		`{"prompt":"b","file":"1.png","reward":-1}`: "bad.jsonl:2: the reward is -1: " +
			"-by-reward takes none below 0",
		`{"prompt":"b","file":"1.png","rewrad":1}`:     `bad.jsonl:2: there is no field "rewrad"`,
		`{"prompt":"b","file":"bad.jsonl","reward":1}`: "JPEG or WebP picture: it is JSON text",
	} {
		_, _, err := try(t, p.args("run", "-by-reward", "-samples", line(text))...)
		require.ErrorContains(t, err, want, text)
		require.NoDirExists(t, p.out("run"))
	}
	for rewards, want := range map[[2]string]string{
		{"0", "0"}:    "bad.jsonl: reward: all 2 rewards are 0",
		{"0", "-0.5"}: "bad.jsonl: reward: no reward of 2 is above 0 (1 are 0, 1 below)",
		{"1", "1e39"}: "bad.jsonl: reward: the reward of sample \"1.png\" (b) is 1e+39, more than",
	} {
		text := fmt.Sprintf(`{"prompt":"a","file":"0.png","reward":%s}`+"\n"+
			`{"prompt":"b","file":"1.png","reward":%s}`, rewards[0], rewards[1])
		require.NoError(t, os.WriteFile(p.out("bad.jsonl"), []byte(text), 0o644))
		_, _, err := try(t, p.args("run", "-samples", p.out("bad.jsonl"))...)
		require.ErrorContains(t, err, want)
		require.NoDirExists(t, p.out("run"), "it is known before anything is encoded")
	}
	require.NoError(t, os.WriteFile(p.out("bad.jsonl"), nil, 0o644))
	_, _, err := try(t, p.args("run", "-samples", p.out("bad.jsonl"))...)
	require.ErrorContains(t, err, "bad.jsonl holds no pictures")
}

func TestWrongFlags(t *testing.T) {
	required := []string{"-model", "m", "-samples", "s", "-out", "o"}
	for want, args := range map[string][]string{
		"-beta 1 needs -pretrain, and -beta 0":  {},
		"-pretrain p needs -beta":               {"-beta", "0", "-pretrain", "p"},
		"-pretrain-batch 2 needs -beta":         {"-beta", "0", "-pretrain-batch", "2"},
		"-beta -1":                              {"-beta", "-1"},
		"-beta NaN":                             {"-beta", "NaN"},
		"-beta +Inf":                            {"-beta", "inf"},
		"-beta 1e+300 must be 0 to 1000000":     {"-beta", "1e300"},
		"-lr 1e+300 must be above 0":            {"-beta", "0", "-lr", "1e300"},
		"-batch 1000000000 must be 1 to 65536":  {"-beta", "0", "-batch", "1000000000"},
		"-pretrain-batch 100000 must be":        {"-pretrain", "p", "-pretrain-batch", "100000"},
		"-steps 1000000000 must be 1 to 167":    {"-beta", "0", "-steps", "1000000000"},
		"-min-timestep 1000 must be 0 to 999":   {"-beta", "0", "-min-timestep", "1000"},
		"-min-snr +Inf must be 0 to 1000000":    {"-beta", "0", "-min-snr", "Inf"},
		"-model, -samples and -out are":         {"-out", ""},
		`unexpected argument "more"`:            {"more"},
		"-clip c needs -reward":                 {"-clip", "c"},
		"-steps 0":                              {"-beta", "0", "-steps", "0"},
		"-batch 0":                              {"-beta", "0", "-batch", "0"},
		"-pretrain-batch -1":                    {"-pretrain", "p", "-pretrain-batch", "-1"},
		"-lr 0 must be":                         {"-beta", "0", "-lr", "0"},
		"-lr NaN":                               {"-beta", "0", "-lr", "NaN"},
		"-lr 1e-300 is nearer to 0 than 1e-12":  {"-beta", "0", "-lr", "1e-300"},
		"-warm-up -1":                           {"-beta", "0", "-warm-up", "-1"},
		"-dropout 1.5":                          {"-beta", "0", "-dropout", "1.5"},
		"-min-timestep -1":                      {"-beta", "0", "-min-timestep", "-1"},
		"-min-snr -1":                           {"-beta", "0", "-min-snr", "-1"},
		"-max-grad-norm NaN":                    {"-beta", "0", "-max-grad-norm", "NaN"},
		"-ema 1 must be at least 0 and below 1": {"-beta", "0", "-ema", "1"},
		"-every -1":                             {"-beta", "0", "-every", "-1"},
		"-lora-rank -1":                         {"-beta", "0", "-lora-rank", "-1"},
		"-kohya needs -lora-rank":               {"-beta", "0", "-kohya"},
		"-lora-everything needs -lora-rank":     {"-beta", "0", "-lora-everything"},
		`"lots" is no size: 16GiB`:              {"-memory", "lots"},
	} {
		err := newSession().parse(append(slices.Clone(required), args...))
		require.ErrorContains(t, err, want, args)
	}
	s := newSession()
	require.NoError(t, s.parse(append(required, "-pretrain", "p", "-batch", "3")))
	require.Equal(t, 3, s.Tuner.PretrainBatch)
	require.Equal(t, 1e-5, s.LR)
	s = newSession()
	require.NoError(t, s.parse(append(required, "-pretrain", "p", "-lora-rank", "4")))
	require.Equal(t, 1e-4, s.LR)
}

// A caption that is longer than the text encoder reads is named before anything takes time.
func TestLongCaption(t *testing.T) {
	p := at(t)
	long := strings.Repeat("red ", 100)
	require.NoError(t, os.WriteFile(filepath.Join(p.pretrain, "7.txt"), []byte(long), 0o644))
	s := newSession()
	var said bytes.Buffer
	s.progress = report.Plain(&said)
	require.NoError(t, s.parse(p.args("run")))
	require.NoError(t, s.read(t.Context()))
	require.Contains(t, said.String(), "Longer prompts: 1,")
	require.Contains(t, said.String(), strings.TrimSpace(long))
}
