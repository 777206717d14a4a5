package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
	"github.com/kudos-ml/kudos/reward/measure"
)

const (
	candidates = "candidates"

	miniature = "../tiny/model"
	sd1       = "../../testdata/golden/sd1"
)

// evaluated runs the program and returns its report.json.
func evaluated(t *testing.T, args ...string) (r evaluate.Report, out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out")
	o, err := parse(t.Context(), append(args, "-out", out))
	require.NoError(t, err)
	require.NoError(t, run(t.Context(), o))
	text, err := os.ReadFile(filepath.Join(out, "report.json"))
	require.NoError(t, err)
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	return r, out
}

// samplesOf reads an arm's samples with their pictures.
func samplesOf(t *testing.T, out, arm string) []dataset.Sample {
	t.Helper()
	file := dataset.File{Path: filepath.Join(out, arm, "samples.jsonl"), Images: true}
	samples, err := dataset.Collect(t.Context(), file)
	require.NoError(t, err)
	for _, s := range samples {
		require.NotNil(t, s.Image)
	}
	return samples
}

func samePixels(a, b dataset.Sample) bool {
	return bytes.Equal(picture.FromImage(a.Image).Pix, picture.FromImage(b.Image).Pix)
}

func written(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// changed is the miniature with another UNet.
func changed(t *testing.T) string {
	t.Helper()
	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	nn.Init(p.UNet, 5)
	dir := filepath.Join(t.TempDir(), "changed")
	require.NoError(t, p.Save(dir, kernels.Float16))
	return dir
}

// learned is a reward on the miniature's CLIP, of a few labels.
func learned(t *testing.T) string {
	t.Helper()
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	labels, err := dataset.Collect(t.Context(), tiny.Pretraining(3, 96))
	require.NoError(t, err)
	for i := range labels {
		labels[i].Label, err = shapes.Rater{}.Label(labels[i])
		require.NoError(t, err)
	}
	training := &alignment.Training{
		CLIP: encoder, Samples: dataset.FromSlice(labels), Hidden: 16, Product: true, LR: 1e-2,
		Seed: 1, Passes: 5, HeldOut: 0.15,
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	dir := filepath.Join(t.TempDir(), "reward")
	require.NoError(t, training.Model().Save(dir))
	return dir
}

// The base against itself, an adapter of scale 0 and another UNet: what is the same makes the same
// pictures, because their noise is, and differs by nothing; what is not, does.
func TestAgainstItselfAndAnother(t *testing.T) {
	prompts := written(t, "prompts.txt",
		"two green circles\none red star on the beach\nthree hearts\n")
	dir := learned(t)
	r, out := evaluated(t, "-model", miniature, "-model", miniature, "-model", changed(t),
		"-prompts", prompts, "-reward", dir, "-steps", "2", "-sampler", "euler_a",
		"-guidance", "2", "-per-prompt", "2", "-n", "3", "-batch", "4", "-seed", "9")

	base := samplesOf(t, out, "base")
	require.Len(t, base, 6)
	for i, s := range base {
		require.Equal(t, dataset.Source{
			Model: "model", Sampler: "euler_a", Steps: 2, Guidance: 2, Seed: 9, Index: uint64(i),
		}, s.Source)
	}
	same, other := samplesOf(t, out, "tuned"), samplesOf(t, out, "tuned_2")
	for i := range base {
		require.True(t, samePixels(base[i], same[i]), "picture %d", i)
		require.False(t, samePixels(base[i], other[i]), "picture %d", i)
		require.Equal(t, base[i].Source.Index, other[i].Source.Index)
		require.Equal(t, base[i].Source.Seed, other[i].Source.Seed)
	}

	require.Equal(t, []string{
		"tuned − base", "tuned_2 − base", "best_of_3 − base", "tuned − best_of_3",
		"tuned_2 − best_of_3",
	}, each(r.Differences, func(d evaluate.Difference) string { return d.Arm + " − " + d.From }))
	none := measure.Difference{N: 6}
	require.Equal(t, &none, r.Differences[0].Reward)
	require.Equal(t, none, r.Differences[0].CLIPScore)
	require.Equal(t, &measure.Difference{N: 3}, r.Differences[0].Diversity)
	require.Equal(t, r.Arms[0].UNet, r.Arms[1].UNet)
	require.NotEqual(t, r.Arms[0].UNet, r.Arms[2].UNet)
	d := r.Differences[1]
	require.NotZero(t, d.Reward.Mean)
	require.Less(t, d.Reward.Low, d.Reward.High)
	require.LessOrEqual(t, d.Reward.Low, d.Reward.Mean)
	require.GreaterOrEqual(t, d.Reward.High, d.Reward.Mean)
	require.Less(t, d.CLIPScore.Low, d.CLIPScore.High)
	require.NotZero(t, d.Diversity.Mean)

	t.Run("numbers", func(t *testing.T) { numbers(t, r, out, dir) })
	t.Run("best of n", func(t *testing.T) { bestOfThree(t, r, out) })
	t.Run("page", func(t *testing.T) {
		page, err := os.ReadFile(filepath.Join(out, "report.html"))
		require.NoError(t, err)
		require.Equal(t, 3*4, strings.Count(string(page), "<img src="))
		best := samplesOf(t, out, "best_of_3")[0]
		require.Contains(t, string(page), fmt.Sprintf("best of 3 <b>%.2f</b>", *best.Reward))
		require.Contains(t, string(page), "cannot be told apart")
		require.Contains(t, string(page),
			"-sampler euler_a -guidance 2 -per-prompt 2 -n 3 -batch 4 -seed 9")
	})
}

// numbers are what the pictures that were written say, worked out another way.
func numbers(t *testing.T, r evaluate.Report, out, reward string) {
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	model, err := alignment.Load(reward, encoder)
	require.NoError(t, err)
	type mean struct{ reward, clip, diversity float64 }
	means := map[string]mean{}
	for _, arm := range r.Arms {
		samples := samplesOf(t, out, arm.Name)
		scores, err := model.Score(t.Context(), samples)
		require.NoError(t, err)
		var m mean
		var features [][]float32
		for i, s := range samples {
			require.InDelta(t, scores[i], *s.Reward, 1e-6)
			m.reward += scores[i] / 6
			pixels, err := encoder.ImageFeatures(t.Context(), []image.Image{s.Image})
			require.NoError(t, err)
			texts, err := encoder.TextFeatures(t.Context(), []string{s.Prompt})
			require.NoError(t, err)
			m.clip += 100 * dot(pixels.Float32s(), texts.Float32s()) / 6 // features have length 1
			features = append(features, pixels.Float32s())
		}
		for i := 0; i < 6; i += 2 {
			m.diversity += (1 - dot(features[i], features[i+1])) / 3
		}
		require.InDelta(t, m.reward, *arm.Reward, 1e-6)
		require.InDelta(t, m.clip, arm.CLIPScore, 1e-4)
		require.InDelta(t, m.diversity, *arm.Diversity, 1e-6)
		require.Equal(t, arm.Name+"/samples.jsonl", arm.Samples)
		means[arm.Name] = m
	}
	require.Len(t, means, 4)
	for _, d := range r.Differences {
		require.InDelta(t, means[d.Arm].reward-means[d.From].reward, d.Reward.Mean, 1e-6)
		require.InDelta(t, means[d.Arm].clip-means[d.From].clip, d.CLIPScore.Mean, 1e-4)
		require.InDelta(t, means[d.Arm].diversity-means[d.From].diversity, d.Diversity.Mean, 1e-6)
	}
	r.Arms, r.Differences = nil, nil
	require.Equal(t, evaluate.Report{
		Prompts: 3, PerPrompt: 2, BestOf: 3, Sampler: "euler_a", Steps: 2, Guidance: 2, Width: 64,
		Height: 64, Seed: 9, Reward: reward,
	}, r)
}

// bestOfThree is, place by place, the one of highest reward of the base's picture and the two
// candidates.
func bestOfThree(t *testing.T, r evaluate.Report, out string) {
	base, more := samplesOf(t, out, "base"), samplesOf(t, out, candidates)
	best := samplesOf(t, out, "best_of_3")
	require.Len(t, more, 12)
	require.Len(t, best, 6)
	others := 0
	for i, b := range best {
		draws := []dataset.Sample{base[i], more[i], more[6+i]}
		top := draws[0]
		for k, d := range draws {
			require.Equal(t, uint64(6*k+i), d.Source.Index)
			require.Equal(t, b.Prompt, d.Prompt)
			if *d.Reward > *top.Reward {
				top = d
			}
		}
		require.Equal(t, *top.Reward, *b.Reward)
		require.Equal(t, top.Source, b.Source)
		require.True(t, samePixels(top, b), "picture %d", i)
		require.GreaterOrEqual(t, *b.Reward, *base[i].Reward)
		if b.Source.Index >= 6 {
			others++
		}
	}
	require.NotZero(t, others, "the base's own were the best everywhere: this says little")
	require.Equal(t, r.Arms[0].Model, r.Arms[3].Model)
	require.Equal(t, r.Arms[0].UNet, r.Arms[3].UNet)
}

// Adapters and folders of others' layout, CLIP alone, one picture a prompt.
func TestAdapterAndCLIPAlone(t *testing.T) {
	prompts := written(t, "p.jsonl", `{"prompt":"a dog"}`+"\n"+`{"prompt":"a cat"}`)
	args := []string{
		"-model", sd1, "-lora", filepath.Join(sd1, "lora", "kohya.safetensors"), "-prompts",
		prompts, "-clip", filepath.Join(sd1, "clip"), "-steps", "2", "-per-prompt", "1",
	}
	r, out := evaluated(t, args...)
	require.Len(t, r.Arms, 2)
	require.NotEqual(t, r.Arms[0].UNet, r.Arms[1].UNet)
	require.Equal(t, 1.0, r.Arms[1].LoRAScale)
	require.Nil(t, r.Arms[0].Reward)
	require.Nil(t, r.Arms[0].Diversity)
	require.Len(t, r.Differences, 1)
	require.Nil(t, r.Differences[0].Reward)
	require.Nil(t, r.Differences[0].Diversity)
	require.NotZero(t, r.Differences[0].CLIPScore.Mean)
	require.Nil(t, samplesOf(t, out, "base")[0].Reward)
	require.Equal(t, "sd1+kohya.safetensors*1", samplesOf(t, out, "tuned")[0].Source.Model)
	require.NoDirExists(t, filepath.Join(out, candidates))

	r, _ = evaluated(t, append(args, "-lora-scale", "0")...)
	require.Equal(t, measure.Difference{N: 2}, r.Differences[0].CLIPScore)
	require.Equal(t, r.Arms[0].UNet, r.Arms[1].UNet)
}

// Of one prompt, the interval is about its pictures.
func TestOnePrompt(t *testing.T) {
	r, _ := evaluated(t, "-model", sd1,
		"-lora", filepath.Join(sd1, "lora", "kohya.safetensors"),
		"-prompts", written(t, "p.txt", "a dog\n"), "-clip", filepath.Join(sd1, "clip"),
		"-steps", "2", "-per-prompt", "3")
	d := r.Differences[0]
	require.Nil(t, d.Diversity)
	require.NotNil(t, r.Arms[0].Diversity)
	require.Less(t, d.CLIPScore.Low, d.CLIPScore.High)
}

func TestWhatCannotBe(t *testing.T) {
	prompts := written(t, "prompts.txt", "a dog\n")
	ok := []string{"-model", "m", "-model", "n", "-prompts", prompts}
	with := func(more ...string) []string { return append(ok[:len(ok):len(ok)], more...) }
	latin := written(t, "latin1.txt", "a dog\nein gr\xfcner Hund\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "-model and -prompts are required"},
		{[]string{"-prompts", prompts}, "-model and -prompts are required"},
		{[]string{"-lora", "x"}, "the base, a -model, comes first"},
		{[]string{"-model", "m", "-prompts", prompts}, "there is nothing to compare the base with"},
		{with("more"), `unexpected argument "more"`},
		{with("-n", "4"), "-n 4: best-of-n needs a -reward"},
		{with("-n", "0"), "-n 0 must be 1 to 16777216"},
		{with("-per-prompt", "0"), "-per-prompt 0"},
		{with("-per-prompt", "1"), "one picture of one prompt"},
		{with("-lora-scale", "2"), "-lora-scale needs a -lora"},
		{with("-lora", "x", "-lora-scale", "nan"), "-lora-scale NaN"},
		{with("-lora", "x", "-lora-scale", "1e30"), "-lora-scale 1e+30 must be -1000 to 1000"},
		{with("-steps", "0"), "-steps 0"},
		{with("-sampler", "heun"), `-sampler: diffusion: "heun" is no sampler`},
		{with("-prompts", latin), "-prompts: dataset: " + latin + ":2: the line is not UTF-8"},
		{with("-prompts", "gone.txt"), "-prompts: dataset: open gone.txt"},
	} {
		_, err := parse(t.Context(), c.args)
		require.ErrorContains(t, err, c.want, c.args)
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-model", "gone/x", "-model", sd1}, "base: -model: "},
		{[]string{"-model", sd1, "-model", "gone/x"}, "tuned: -model: "},
		{[]string{"-model", sd1, "-lora", "gone.safetensors"}, "tuned: -lora: "},
		{[]string{"-model", sd1, "-model", miniature}, "tuned: its latents are "},
		{[]string{"-model", sd1, "-reward", "gone"}, "-reward: "},
		{[]string{"-model", sd1, "-model", sd1, "-clip", "gone"}, "-clip: "},
		{[]string{"-model", sd1, "-model", sd1, "-width", "15"}, "-width 15 is not a multiple"},
	} {
		o, err := parse(t.Context(), append(c.args, "-prompts", prompts, "-out", out))
		require.NoError(t, err)
		require.ErrorContains(t, run(t.Context(), o), c.want, c.args)
		require.NoDirExists(t, out, "it fails before anything is made")
	}
}

func each[T, U any](in []T, f func(T) U) (out []U) {
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
