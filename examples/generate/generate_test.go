package main

import (
	"context"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

const sd1 = "../../testdata/golden/sd1"

// A session is a run whose model is loaded, for a folder of the test's.
type session struct {
	options
	model *pipeline.Pipeline
	judge reward.Model
}

func prepared(t *testing.T, args ...string) *session {
	t.Helper()
	o, err := parse(t.Context(), append(args, "-out", filepath.Join(t.TempDir(), "run")))
	require.NoError(t, err)
	s := &session{options: o}
	s.model, err = s.load(map[string]any{})
	require.NoError(t, err)
	return s
}

// encode fills in the conditions.
func (s *session) encode(t *testing.T) {
	t.Helper()
	var err error
	s.Request, err = s.model.SettlePrompts(t.Context(), s.Request, t.Logf)
	require.NoError(t, err)
}

// finish generates and returns the samples that are then in the folder, with their pictures.
func (s *session) finish(t *testing.T) []dataset.Sample {
	t.Helper()
	err := s.generate(t.Context(), s.model, s.judge, report.Plain(io.Discard))
	require.NoError(t, err)
	return samplesOf(t, s.out)
}

// samplesOf reads samples.jsonl and its pictures.
func samplesOf(t *testing.T, out string) []dataset.Sample {
	t.Helper()
	file := dataset.File{Path: filepath.Join(out, "samples.jsonl"), Images: true}
	samples, err := dataset.Collect(t.Context(), file)
	require.NoError(t, err)
	for _, s := range samples {
		require.NotNil(t, s.Image)
	}
	return samples
}

func pixels(img image.Image) []uint8 { return picture.FromImage(img).Pix }

func TestPicturesOfTheMiniature(t *testing.T) {
	prompts := filepath.Join(t.TempDir(), "prompts.txt")
	text := "\ufefftwo green circles\r\n\n  one red star \n"
	require.NoError(t, os.WriteFile(prompts, []byte(text), 0o644))
	out := filepath.Join(t.TempDir(), "a", "b")
	o, err := parse(t.Context(), []string{
		"-prompts", prompts, "-negative", "six: blue, squares", "-n", "2", "-steps", "3",
		"-seed", "7", "-sampler", "euler_a", "-batch", "3", "-out", out,
	})
	require.NoError(t, err)
	require.NoError(t, run(t.Context(), o))

	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	want, err := dataset.Collect(t.Context(), p.Generate(pipeline.Request{
		Prompts: []string{"two green circles", "one red star"}, PerPrompt: 2, Steps: 3,
		Guidance: 2, Negative: "six: blue, squares", Seed: 7, Sampler: o.Sampler, Batch: 3,
	}))
	require.NoError(t, err)
	got := samplesOf(t, out)
	require.Len(t, got, 4)
	for i, s := range got {
		want[i].Source.Model = "tiny"
		require.Equal(t, want[i].Source, s.Source)
		require.Equal(t, want[i].Prompt, s.Prompt)
		require.Equal(t, fmt.Sprintf("%05d", i), s.ID)
		require.Equal(t, fmt.Sprintf("samples/%05d.png", i), s.File)
		require.Equal(t, pixels(want[i].Image), pixels(s.Image))
		require.Nil(t, s.Reward)
	}
	file, err := os.ReadFile(filepath.Join(out, "samples", "00003.png"))
	require.NoError(t, err)
	require.Contains(t, string(file), "iTXtparameters\x00\x00\x00\x00\x00one red star\n"+
		"Negative prompt: six: blue, squares\nSteps: 3, Sampler: Euler a, CFG scale: 2, Seed: 7, "+
		"Size: 64x64, Model: tiny, Index: 3, Version: kudos")

	err = run(t.Context(), o)
	require.ErrorAs(t, err, new(*finetune.RunExistsError))
	require.ErrorContains(t, err, "-negative 'six: blue, squares' -n 2 -steps 3 -seed 7")
	require.ErrorContains(t, err, "-out "+out+" -resume")
	require.Len(t, samplesOf(t, out), 4)
}

// From the reference's noise and conditions, the pictures are those of its last states.
func TestLatentsGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		for _, sampler := range []string{"ddim", "ddpm"} {
			if c.Has("sampler."+sampler+".config") || !c.Has("sampler."+sampler+".noise") {
				continue
			}
			t.Run(sampler, func(t *testing.T) {
				last := c.ChannelsLast(t, "sampler."+sampler+".trajectory")
				shape := last.Shape().Clone() // [K+1,B,H,W,C]
				size := shape[1:].TotalSize()
				args := []string{
					"-model", c.Dir, "-prompt", "any",
					"-latents", filepath.Join(c.Dir, "cases.safetensors"),
					"-sampler", sampler, "-guidance", "1", "-batch", "2",
					"-steps", c.Data.Metadata["sampler.steps"], "-n", strconv.Itoa(shape[1]),
				}
				if sampler == "ddim" {
					args = append(args, "-eta", c.Data.Metadata["sampler.ddim.eta"])
				}
				// The size is the noise's: the case's is not always the model's own.
				s := prepared(t, args...)
				s.encode(t)
				require.Nil(t, s.model.Text)
				s.Prompts, s.PerPrompt = nil, 1
				s.Conditions = map[string]dataset.Condition{}
				conditions := c.Tensor(t, "unet.encoder_hidden_states")
				for i := range shape[1] {
					prompt := fmt.Sprintf("condition %d", i)
					s.Prompts = append(s.Prompts, prompt)
					s.Conditions[prompt] = dataset.Condition{Tokens: conditions}.Row(i)
				}
				got := s.finish(t)
				require.Len(t, got, shape[1])
				want := decoded(t, s.model, last.Float32s()[(shape[0]-1)*size:], shape[1:])
				for i, sample := range got {
					require.Zero(t, sample.Source.Seed)
					differ := 0
					for j, v := range pixels(sample.Image) {
						require.InDelta(t, want[i].Pix[j], v, 1)
						if want[i].Pix[j] != v {
							differ++
						}
					}
					require.Less(t, differ, len(want[i].Pix)/200,
						"only values between two levels may round otherwise")
				}
				require.NotEqual(t, want[0].Pix, want[1].Pix)
			})
		}
	}, "sampler.ddim.trajectory", "model_index.json")
}

// decoded are the pictures of latents [N,H,W,C].
func decoded(t *testing.T, p *pipeline.Pipeline, latents []float32, shape []int) []*picture.RGB {
	z := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	for i, v := range latents {
		z.Float32s()[i] = float32(float64(v) / p.VAE.Config.ScalingFactor)
	}
	g := gorgonia.NewGraph()
	x, err := p.VAE.Decode(kernels.Input(g, "z", z))
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{x}})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	s := m.Value(x).Shape()
	size := s[1] * s[2] * s[3]
	var out []*picture.RGB
	for i := range s[0] {
		rgb, err := picture.FromValues(m.Value(x).Float32s()[i*size:(i+1)*size], s[2], s[1])
		require.NoError(t, err)
		out = append(out, rgb)
	}
	return out
}

func TestBestOf(t *testing.T) {
	args := []string{"-prompt", "two green circles", "-n", "2", "-steps", "2"}
	all := prepared(t, append(args, "-n", "6")...)
	all.encode(t)
	six := all.finish(t)

	// The reward is the picture's brightness.
	brightness := reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
		scores := make([]float64, len(samples))
		for i, s := range samples {
			for _, v := range pixels(s.Image) {
				scores[i] += float64(v) / 1e6
			}
		}
		return scores, nil
	})
	want, err := reward.BestOf(t.Context(), brightness, six, 3)
	require.NoError(t, err)
	s := prepared(t, append(args, "-best-of", "3", "-reward", "given below")...)
	s.judge = brightness
	s.encode(t)
	got := s.finish(t)
	require.Len(t, got, 2)
	for i := range got {
		require.Equal(t, want[i].ID, got[i].ID)
		require.InDelta(t, *want[i].Reward, *got[i].Reward, 1e-9)
		require.Equal(t, pixels(want[i].Image), pixels(got[i].Image))
	}
}

func TestAdapter(t *testing.T) {
	file := filepath.Join(sd1, "lora", "kohya.safetensors")
	args := []string{"-model", sd1, "-prompt", "a dog", "-steps", "2"}
	picture := func(args ...string) dataset.Sample {
		s := prepared(t, args...)
		s.encode(t)
		return s.finish(t)[0]
	}
	plain, adapted := picture(args...), picture(append(args, "-lora", file)...)
	none := picture(append(args, "-lora", file, "-lora-scale", "0")...)
	require.Equal(t, pixels(plain.Image), pixels(none.Image))
	require.NotEqual(t, pixels(plain.Image), pixels(adapted.Image))
	require.Equal(t, "sd1", plain.Source.Model)
	require.Equal(t, "sd1+kohya.safetensors*1", adapted.Source.Model)
}

func TestWrongFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	blank, wrong := write("blank.txt", " \n\n"), write("wrong.jsonl", `{"prompt":""}`)
	for want, args := range map[string][]string{
		"give one of -prompt and -prompts": {},
		"give one of -prompt":              {"-prompt", "a", "-prompts", "b"},
		"-prompt is empty":                 {"-prompt", " "},
		`unexpected argument "dog"`:        {"-prompt", "a", "dog"},
		"-steps 0: at least 1":             {"-prompt", "a", "-steps", "0"},
		"-guidance NaN":                    {"-prompt", "a", "-guidance", "NaN"},
		"-guidance 0.5":                    {"-prompt", "a", "-guidance", "0.5"},
		"-eta 2 is not in 0 to 1":          {"-prompt", "a", "-eta", "2"},
		"-negative works by guidance":      {"-prompt", "a", "-negative", "b", "-guidance", "1"},
		"-width -8":                        {"-prompt", "a", "-width", "-8"},
		"-n 0":                             {"-prompt", "a", "-n", "0"},
		"-best-of 0":                       {"-prompt", "a", "-best-of", "0"},
		"-best-of needs a -reward":         {"-prompt", "a", "-best-of", "2"},
		"-clip is what a -reward":          {"-prompt", "a", "-clip", "b"},
		"-lora-scale needs a -lora":        {"-prompt", "a", "-lora-scale", "2"},
		"-lora-scale +Inf":                 {"-prompt", "a", "-lora", "b", "-lora-scale", "inf"},
		"-lora-scale 1e+30 must be -1000":  {"-prompt", "a", "-lora", "b", "-lora-scale", "1e30"},
		`-prompt "caf\xe9" is not UTF-8`:   {"-prompt", "caf\xe9"},
		"give one of them":                 {"-prompt", "a", "-latents", "b", "-seed", "1"},
		`-sampler: diffusion: "heun" is no sampler; these are: dd`: {
			"-prompt", "a", "-sampler", "heun",
		},
		"-prompts: dataset: open gone.txt":     {"-prompts", "gone.txt"},
		"blank.txt holds no prompt":            {"-prompts", blank},
		"wrong.jsonl:1: the prompt is missing": {"-prompts", wrong},
	} {
		_, err := parse(t.Context(), args)
		require.ErrorContains(t, err, want, args)
	}
	right := write("right.jsonl", `{"prompt":"a, b"}`+"\n"+`{"id":"2","prompt":"c"}`)
	o, err := parse(t.Context(), []string{"-prompts", right})
	require.NoError(t, err)
	require.Equal(t, []string{"a, b", "c"}, o.Prompts)
	require.EqualValues(t, tinyGuidance, o.Guidance)
	require.Equal(t, true, o.config["plain"])
	o, err = parse(t.Context(), []string{"-model", "m", "-prompt", "a"})
	require.NoError(t, err)
	require.EqualValues(t, usualGuidance, o.Guidance)
	require.True(t, o.machine.Winograd)
	require.Equal(t, false, o.config["plain"])
}

func TestWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	noise := func(name string, shape ...int) string {
		file := filepath.Join(dir, name)
		value := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
		all := []kernels.Parameter{{Name: "noise", Value: value}}
		require.NoError(t, weights.Save(file, all, kernels.Float32, nil))
		return file
	}
	for want, args := range map[string][]string{
		"-model: ":                         {"-model", filepath.Join(dir, "gone")},
		"-lora: ":                          {"-lora", filepath.Join(dir, "gone.safetensors")},
		"-sampler pndm with -steps 1001: ": {"-sampler", "pndm", "-steps", "1001"},

		"-width 62 is not a multiple":                      {"-width", "62"},
		"-height 45 is not a multiple":                     {"-height", "45"},
		"-eta 0.5 is for the sampler ddim; euler has none": {"-sampler", "euler", "-eta", "0.5"},
		"-latents: ":                        {"-latents", filepath.Join(dir, "gone.safetensors")},
		"is [2 4 16 16], not [K+1,B,C,H,W]": {"-latents", noise("four", 2, 4, 16, 16)},
		"is of 2 draws, where the sampler makes 4 with the start": {
			"-latents", noise("short", 2, 1, 4, 16, 16), "-steps", "3", "-sampler", "ddpm",
		},
		"is of 2 pictures, where 3 are asked for": {
			"-latents", noise("two", 1, 2, 4, 16, 16), "-n", "3",
		},
		"is of latents [3 16 16], where the pictures' are [4": {
			"-latents", noise("three", 1, 1, 3, 16, 16),
		},
		"and none is named sampler.ddim.noise": {
			"-latents", filepath.Join(sd1, "unet", "diffusion_pytorch_model.safetensors"),
		},
		"inpaint is an inpainting model": {"-model", filepath.Join(filepath.Dir(sd1), "inpaint")},
		"-clip: ":                        {"-reward", dir, "-clip", filepath.Join(dir, "gone")},
		"-reward: alignment: open " + filepath.Join(dir, "config.json"): {"-reward", dir},
	} {
		out := filepath.Join(dir, "out")
		o, err := parse(t.Context(), append(args, "-prompt", "a", "-out", out))
		require.NoError(t, err)
		err = run(t.Context(), o)
		require.ErrorContains(t, err, want, args)
		require.NotContains(t, err.Error(), "goes on", args)
		require.NoDirExists(t, out, "it fails before anything is written")
	}
}

// learned is a reward on the CLIP of sd1, of a few labels.
func learned(t *testing.T) string {
	t.Helper()
	encoder, err := clip.Load(filepath.Join(sd1, "clip"))
	require.NoError(t, err)
	defer encoder.Close()
	labels, err := dataset.Collect(t.Context(), tiny.Pretraining(3, 16))
	require.NoError(t, err)
	for i := range labels {
		labels[i].Label = []dataset.Label{dataset.Good, dataset.Bad}[i%2]
	}
	training := &alignment.Training{
		CLIP: encoder, Samples: dataset.FromSlice(labels), Hidden: 8, LR: 1e-2, Seed: 1, Passes: 2,
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	dir := filepath.Join(t.TempDir(), "reward")
	require.NoError(t, training.Model().Save(dir))
	return dir
}

// A reward that was learned and saved gives pictures what it gives them in hand.
func TestLearnedReward(t *testing.T) {
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	labels, err := dataset.Collect(t.Context(), tiny.Pretraining(3, 48))
	require.NoError(t, err)
	for i := range labels {
		labels[i].Label, err = shapes.Rater{}.Label(labels[i])
		require.NoError(t, err)
	}
	training := &alignment.Training{
		CLIP: encoder, Samples: dataset.FromSlice(labels), Hidden: 16, Product: true, LR: 1e-3,
		Seed: 1, HeldOut: 0.15,
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
		break
	}
	dir := t.TempDir()
	require.NoError(t, training.Model().Save(dir))

	args := []string{"-prompt", "two green circles", "-n", "2", "-steps", "2", "-reward", dir}
	out := filepath.Join(t.TempDir(), "run")
	o, err := parse(t.Context(), append(args, "-out", out))
	require.NoError(t, err)
	require.NoError(t, run(t.Context(), o))
	got := samplesOf(t, out)
	require.Len(t, got, 2)
	want, err := training.Model().Score(t.Context(), got)
	require.NoError(t, err)
	for i, s := range got {
		require.InDelta(t, want[i], *s.Reward, 1e-6)
	}
	require.NotEqual(t, *got[0].Reward, *got[1].Reward)

	args = append(args, "-clip", filepath.Join(sd1, "clip"), "-out", t.TempDir())
	o, err = parse(t.Context(), args)
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), o), "was trained on the CLIP")
}
