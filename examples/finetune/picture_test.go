package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/picture"
)

// All pictures that cannot be encoded are named at once, before any is, and nothing is left behind.
func TestBadPictures(t *testing.T) {
	p := at(t)
	whole, err := os.ReadFile(filepath.Join(p.dir, "2.png"))
	require.NoError(t, err)
	cut := filepath.Join(p.dir, "2.png")
	page, thread := filepath.Join(p.dir, "3.png"), filepath.Join(p.pretrain, "6.png")
	require.NoError(t, os.WriteFile(cut, whole[:len(whole)-30], 0o644))
	require.NoError(t, os.WriteFile(page, []byte("<!DOCTYPE html><html>404"), 0o644))
	require.NoError(t, picture.WritePNG(thread, image.NewGray(image.Rect(0, 0, 1, 20000))))
	half := filepath.Join(p.pretrain, "7.png")
	require.NoError(t, os.WriteFile(half, whole[:len(whole)/2], 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(p.pretrain, "metadata.jsonl"), []byte(
		`{"file_name":"6.png","text":"a"}`+"\n"+`{"file_name":"7.png","text":"a"}`), 0o644))
	_, _, err = try(t, p.args("run")...)
	for _, want := range []string{
		"-samples: dataset: bad pictures: 2 of 6", cut + ": broken png: the file ends before",
		page, "a web page", "-pretrain: dataset: bad pictures: 2 of 2",
		thread + ": 1×20000 pixels: one side is more than 32 times the other",
		half + ": broken png: the file ends before",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NoDirExists(t, p.out("run"))
}

// Portraits that a model made are trained on whole, and pretraining pictures are cut to their
// shape, which is said. So are portraits of which the file does not say that a model made them, as
// long as all are of one size.
func TestPortraits(t *testing.T) {
	p := at(t)
	m := load(t, p.model)
	r := pipeline.Request{
		Prompts: []string{"a red star"}, PerPrompt: 4, Steps: 2, Guidance: 1, Seed: 1,
		Width: 64, Height: 96,
	}
	dir := filepath.Join(p.dir, "portraits")
	_, err := dataset.WriteFolder(t.Context(), dir, m.Generate(r))
	require.NoError(t, err)
	p.samples = filepath.Join(dir, "samples.jsonl")
	own, err := os.ReadFile(p.samples)
	require.NoError(t, err)
	own = bytes.ReplaceAll(own, []byte(`"source"`), []byte(`"reward":1,"source"`))
	unknown := regexp.MustCompile(`,"source":\{[^}]*\}`).ReplaceAll(own, nil)
	tuned := map[string]string{}
	for name, text := range map[string][]byte{"own": own, "unknown": unknown} {
		require.NoError(t, os.WriteFile(p.samples, text, 0o644))
		s := newSession()
		var printed, said bytes.Buffer
		s.print, s.progress = &printed, report.Plain(&said)
		require.NoError(t, s.parse(p.args(name, "-buckets=false")))
		require.NoError(t, s.run(t.Context()))
		for _, sample := range s.all {
			require.Equal(t, "(24, 16, 4)", fmt.Sprint(sample.Latent.Shape()))
		}
		require.Contains(t, said.String(), "Training is on pictures of 64×96 pixels")
		others := map[string]string{"own": "3 of 3", "unknown": "3 of 7"}[name]
		require.Contains(t, said.String(), others+" pictures have not the shape 64×96: 33 % of "+
			"their area is cut away at the sides.")
		tuned[name] = files(t, p.out(name+"/tuned"))["unet/diffusion_pytorch_model.safetensors"]
	}
	require.NotEmpty(t, tuned["own"])
	require.Equal(t, tuned["own"], tuned["unknown"])

	require.NoError(t, picture.WritePNG(filepath.Join(dir, "square.png"),
		image.NewGray(image.Rect(0, 0, 64, 64))))
	line, err := json.Marshal(map[string]any{"prompt": "a dog", "file": "square.png", "reward": 1,
		"source": map[string]string{"model": "tiny"}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.samples, append(own, line...), 0o644))
	_, _, err = try(t, p.args("mixed")...)
	require.ErrorContains(t, err, "come in 64×96 and in 64×64 pixels: a training is on pictures "+
		"of one size")
}
