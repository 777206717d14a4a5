package main

import (
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// labelled writes pictures of shapes with captions that are often wrong, labelled by the judge, and
// returns the file.
func labelled(t *testing.T, n int) string {
	dir := t.TempDir()
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(5, n))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Label, err = shapes.Rater{}.Label(samples[i])
		require.NoError(t, err)
		samples[i].File = fmt.Sprintf("%d.png", i)
		f, err := os.Create(filepath.Join(dir, samples[i].File))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, samples[i].Image))
		require.NoError(t, f.Close())
	}
	file := filepath.Join(dir, "samples.jsonl")
	_, err = dataset.Write(t.Context(), file, dataset.FromSlice(samples))
	require.NoError(t, err)
	return file
}

// What labels teach is true of prompts that were not among them; the reward is there for others to
// load; features are computed once.
func TestReward(t *testing.T) {
	out := filepath.Join(t.TempDir(), "reward")
	o, err := parse([]string{"-samples", labelled(t, 600), "-out", out, "-hidden", "64"})
	require.NoError(t, err)
	read := func() (r alignment.Report) {
		text, err := os.ReadFile(filepath.Join(o.out, "report.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &r))
		return r
	}
	require.NoError(t, run(t.Context(), o))
	first := read()
	require.Equal(t, 600, first.Train.Good+first.Train.Bad+first.Test.Good+first.Test.Bad)
	require.Equal(t, first.HeldOut.Labels, first.Test)
	require.Greater(t, first.Test.Prompts, 20)
	require.Greater(t, first.HeldOut.AUC.Value, 0.7)
	require.Greater(t, first.HeldOut.CLIPAUC.Value, 0.6)
	require.NotEqual(t, 1.0, first.Temperature)
	require.Nil(t, first.KFold)

	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	loaded, err := alignment.Load(o.out, encoder)
	require.NoError(t, err)
	require.Equal(t, first.Temperature, loaded.Temperature())

	before, err := os.Stat(o.cache)
	require.NoError(t, err)
	require.ErrorAs(t, run(t.Context(), o), new(*finetune.RunExistsError))
	o.resume = true
	require.NoError(t, run(t.Context(), o))
	require.Equal(t, first, read())
	after, err := os.Stat(o.cache)
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime(), "the features were computed again")
}

// Stopped, it says so and leaves the features that it has.
func TestStopped(t *testing.T) {
	out := filepath.Join(t.TempDir(), "reward")
	o, err := parse([]string{"-samples", labelled(t, 20), "-out", out})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, o), context.Canceled)
	require.NoFileExists(t, filepath.Join(o.out, "config.json"))
	require.NoFileExists(t, filepath.Join(o.out, "report.json"))
}

func TestWhatCannotBeLearnedFrom(t *testing.T) {
	gone := func(prompt, label string) string {
		return fmt.Sprintf(`{"prompt":%q,"label":%q,"file":"gone.png"}`, prompt, label) + "\n"
	}
	for _, c := range []struct{ text, want string }{
		{
			gone("a star", "good") + `{"prompt":"a star","lable":"bad"}`,
			`samples.jsonl:2: there is no field "lable"`,
		},
		{`{"prompt":"a star","label":"skip"}`, "no sample is labelled good or bad"},
		{`{"prompt":"a star","label":"good"}`, "there are samples of 1 prompts; at least 3"},
		{
			gone("a", "good") + gone("b", "good") + gone("c", "bad"),
			"of 3 prompts, 2 have pictures labelled good and 1 have pictures labelled bad",
		},
		{
			gone("a", "good") + gone("b", "good") + gone("c", "good") +
				gone("a", "bad") + gone("b", "bad") + gone("c", "bad"), "no such file",
		},
	} {
		text, want := c.text, c.want
		file := filepath.Join(t.TempDir(), "samples.jsonl")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		out := filepath.Join(t.TempDir(), "out")
		o, err := parse([]string{"-samples", file, "-out", out, "-hidden", "8"})
		require.NoError(t, err)
		err = run(t.Context(), o)
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, file, text)
	}
	// Folds that the prompts do not fill are known before any picture is read, too.
	file := labelled(t, 30)
	o, err := parse([]string{"-samples", file, "-out", t.TempDir(), "-folds", "31"})
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), o), file+": 31 folds of ")

	// All pictures that cannot be read are named before any is.
	for _, name := range []string{"3.png", "17.png"} {
		name := filepath.Join(filepath.Dir(file), name)
		require.NoError(t, os.WriteFile(name, []byte("GIF89a"), 0o644))
	}
	out := filepath.Join(t.TempDir(), "out")
	o, err = parse([]string{"-samples", file, "-out", out, "-hidden", "8"})
	require.NoError(t, err)
	err = run(t.Context(), o)
	for _, want := range []string{file, "bad pictures: 2 of 30", "3.png", "17.png", "a GIF"} {
		require.ErrorContains(t, err, want)
	}
	require.NoDirExists(t, out)

	for want, args := range map[string][]string{
		"one of -samples and -db is required": {"-out", "x"},
		"one of -samples and -db":             {"-out", "x", "-db", "y", "-samples", "z"},
		"-out is required":                    {"-db", "y"},
		"-aggregate mean needs -db":           {"-samples", "x", "-out", "y", "-aggregate", "mean"},
		"-aggregate no must be majority":      {"-db", "x", "-out", "y", "-aggregate", "no"},
		"-curve needs -folds":                 {"-samples", "x", "-out", "y", "-curve"},
		"-ablate needs -folds":                {"-samples", "x", "-out", "y", "-ablate"},
		`unexpected argument "more"`:          {"-samples", "x", "-out", "y", "more"},
		"-held-out 1":                         {"-samples", "x", "-out", "y", "-held-out", "1"},
		"-lambda -1":                          {"-samples", "x", "-out", "y", "-lambda", "-1"},
		"-hidden 70000 must be 1 to 65536":    {"-samples", "x", "-out", "y", "-hidden", "70000"},
		"-hidden 0":                           {"-samples", "x", "-out", "y", "-hidden", "0"},
	} {
		_, err := parse(args)
		require.ErrorContains(t, err, want)
	}
}
