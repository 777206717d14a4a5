package alignment

import (
	"context"
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/nn"
)

func rngOf(seed uint64, i int) *rand.Rand { return rng.New(seed, "perturb", 0, uint64(i)) }

// trained is a model after a few passes.
func trained(t *testing.T) *Model {
	training := training(labelled(4, 1, "cup", "box", "dog"))
	training.Passes = 2
	train(t, training)
	return training.Model()
}

// A model that is saved and loaded gives the same scores, bit for bit; they are in [0,1] and not a
// sample's neighbours'.
func TestSavedIsTheSame(t *testing.T) {
	m := trained(t)
	dir := filepath.Join(t.TempDir(), "a", "reward")
	require.NoError(t, m.Save(dir))
	again, err := Load(dir, fakeCLIP{hash: "0123456789abcdef"})
	require.NoError(t, err)
	samples := labelled(3, 7, "cup", "egg")
	want, err := m.Score(context.Background(), samples)
	require.NoError(t, err)
	got, err := again.Score(context.Background(), samples)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NotEqual(t, want[0], want[1])
	for i, s := range samples {
		require.True(t, want[i] > 0 && want[i] < 1)
		alone, err := m.Score(context.Background(), []dataset.Sample{s})
		require.NoError(t, err)
		require.Equal(t, want[i:i+1], alone)
	}
	none, err := m.Score(context.Background(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "something is left behind")
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.Equal(t, `{
  "format": "kudos reward/alignment 1",
  "clip": "0123456789abcdef",
  "embedding": 20,
  "hidden": 32,
  "product": true
}
`, string(text))
	// Saved over itself it is the same again.
	require.NoError(t, again.Save(dir))
	again, err = Load(dir, fakeCLIP{hash: "0123456789abcdef"})
	require.NoError(t, err)
	require.Equal(t, vector(m.head), vector(again.head))
}

// A process that dies while it saves a reward over another leaves the one or the other, or what is
// known to be neither.
func TestSaveDies(t *testing.T) {
	clip := fakeCLIP{hash: "0123456789abcdef"}
	first, second := trained(t), trained(t)
	second.temperature = 2
	second.head = emptyHead(first.head.config)
	hashes := map[string]int{first.Hash(): 0, second.Hash(): 0}
	dead, refused := errors.New("dead"), 0
	defer func() { file.Before = nil }()
	for k, died := 0, true; died; k++ {
		dir := t.TempDir()
		file.Before = nil
		require.NoError(t, first.Save(dir))
		n := 0
		file.Before = func(string, string) error {
			if n++; n > k {
				return dead
			}
			return nil
		}
		died = second.Save(dir) != nil
		m, err := Load(dir, clip)
		if err != nil {
			require.ErrorContains(t, err, "do not belong together")
			refused++
			continue
		}
		require.Contains(t, hashes, m.Hash(), "after operation %d", k)
		hashes[m.Hash()]++
	}
	require.Positive(t, refused)
	for _, times := range hashes {
		require.Positive(t, times)
	}
}

func TestWhatCannotBeLoaded(t *testing.T) {
	m := trained(t)
	hash := "0123456789abcdef"
	for what, c := range map[string]struct {
		damage func(dir string) error
		hash   string
		want   []string
	}{
		"another CLIP": {
			want: []string{"DIR", "0123456789ab", "fedcba987654"},
			hash: "fedcba9876543210",
		},
		"no folder": {damage: os.RemoveAll, want: []string{"config.json", "no such file"}},
		"no config": {
			damage: func(dir string) error { return os.Remove(filepath.Join(dir, "config.json")) },
			want:   []string{"DIR/config.json"},
		},
		"no head": {
			damage: func(dir string) error {
				return os.Remove(filepath.Join(dir, "head.safetensors"))
			},
			want: []string{"DIR/head.safetensors"},
		},
		"no JSON": {
			damage: replace("config.json", `"format"`, `format`),
			want:   []string{"DIR/config.json", "invalid character"},
		},
		"wrong format": {
			damage: replace("config.json", "alignment 1", "alignment 2"),
			want: []string{
				"DIR/config.json", `"kudos reward/alignment 2"`, `"kudos reward/alignment 1"`,
			},
		},
		"no width": {
			damage: replace("config.json", `"embedding": 20`, `"embedding": 0`),
			want:   []string{"DIR/config.json", "0 inputs"},
		},
		"huge": {
			damage: replace("config.json", `"hidden": 32`, `"hidden": 1000000000`),
			want:   []string{"DIR/config.json", "1000000000 hidden"},
		},
		"other width": {
			damage: replace("config.json", `"hidden": 32`, `"hidden": 33`),
			want: []string{
				"DIR/head.safetensors", "linear_1.weight is [32 60], not [33 60]",
				"linear_2.weight",
			},
		},
		"other inputs": {
			damage: replace("config.json", `"product": true`, `"product": false`),
			want:   []string{"DIR/head.safetensors", "linear_1.weight is [32 60], not [32 40]"},
		},
		"truncated": {
			damage: func(dir string) error {
				return os.Truncate(filepath.Join(dir, "head.safetensors"), 500)
			},
			want: []string{"DIR/head.safetensors"},
		},
		"empty": {
			damage: func(dir string) error {
				return os.Truncate(filepath.Join(dir, "head.safetensors"), 0)
			},
			want: []string{"DIR/head.safetensors"},
		},
		"another file": {
			damage: replace("head.safetensors", "linear_2.bias", "linear_3.bias"),
			want: []string{
				"DIR/head.safetensors", "linear_2.bias is missing", "linear_3.bias is not",
			},
		},
		"not a number": {damage: func(dir string) error {
			name := filepath.Join(dir, "head.safetensors")
			data, err := os.ReadFile(name)
			copy(data[len(data)-4:], "\x00\x00\xc0\x7f")
			return errors.Join(err, os.WriteFile(name, data, 0o644))
		}, want: []string{"DIR/head.safetensors", "NaN"}},
	} {
		dir := filepath.Join(t.TempDir(), "reward")
		require.NoError(t, m.Save(dir))
		if c.damage != nil {
			require.NoError(t, c.damage(dir))
		}
		if c.hash == "" {
			c.hash = hash
		}
		got, err := Load(dir, fakeCLIP{hash: c.hash})
		require.Nil(t, got, what)
		require.Error(t, err, what)
		require.True(t, strings.HasPrefix(err.Error(), "alignment: "), "%s: %s", what, err)
		for _, part := range c.want {
			require.ErrorContains(t, err, strings.ReplaceAll(part, "DIR", dir), what)
		}
	}
}

// replace changes a file's text.
func replace(name, from, to string) func(dir string) error {
	return func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if !strings.Contains(string(text), from) {
			return errors.New(from + " is not there to be replaced")
		}
		return os.WriteFile(filepath.Join(dir, name),
			[]byte(strings.Replace(string(text), from, to, 1)), 0o644)
	}
}

// What is not a reward is not replaced by one.
func TestVacant(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Vacant(dir))
	require.NoError(t, Vacant(filepath.Join(dir, "none")))
	name := filepath.Join(dir, "config.json")
	for _, text := range []string{`{"program": "generate"}`, "broken", `{"format": 1}`, "[]"} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		require.ErrorContains(t, Vacant(dir), name+" is not that of a reward")
	}
	require.NoError(t, trained(t).Save(dir))
	require.NoError(t, Vacant(dir))
}

func TestSaveSaysWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.ErrorContains(t, trained(t).Save(filepath.Join(file, "reward")), file)
}

func TestWhatCannotBeScored(t *testing.T) {
	m := trained(t)
	samples := labelled(1, 1, "cup")
	samples[2].Image = nil
	_, err := m.Score(context.Background(), samples)
	require.EqualError(t, err, `alignment: sample id2 ("blue cup") has no picture`)
	m.clip = fakeCLIP{width: 24}
	_, err = m.Score(context.Background(), labelled(1, 1, "cup"))
	require.EqualError(t, err, "alignment: CLIP's embeddings are 24 wide, the reward's 20")
	m.clip = fakeCLIP{broken: errors.New("the disk is gone")}
	_, err = m.Score(context.Background(), labelled(1, 1, "cup"))
	require.EqualError(t, err, "alignment: the disk is gone")
}

// On four samples one can see by hand what Evaluate counts.
func TestEvaluate(t *testing.T) {
	m := trained(t)
	samples := labelled(3, 9, "cup", "egg")
	scores, err := m.Score(context.Background(), samples)
	require.NoError(t, err)
	right, above, closer, pairs := 0, 0.0, 0.0, 0.0
	similarity := func(s dataset.Sample) (sum float64) {
		picture, err := fakeCLIP{}.ImageFeatures(context.Background(), []image.Image{s.Image})
		require.NoError(t, err)
		text, err := fakeCLIP{}.TextFeatures(context.Background(), []string{s.Prompt})
		require.NoError(t, err)
		for i, v := range picture.Float32s() {
			sum += float64(v) * float64(text.Float32s()[i])
		}
		return sum
	}
	for i, s := range samples {
		if (scores[i] >= 0.5) == (s.Label == dataset.Good) {
			right++
		}
		for j, other := range samples {
			if s.Label == dataset.Good && other.Label == dataset.Bad {
				pairs++
				if scores[i] > scores[j] {
					above++
				}
				if similarity(s) > similarity(other) {
					closer++
				}
			}
		}
	}
	c, err := m.Evaluate(context.Background(),
		dataset.FromSlice(append(samples, dataset.Sample{Prompt: "skipped", Label: dataset.Skip})))
	require.NoError(t, err)
	require.Equal(t, len(samples), c.N)
	require.InDelta(t, float64(right)/float64(len(samples)), c.Accuracy.Accuracy, 1e-12)
	require.InDelta(t, above/pairs, c.AUC, 1e-12)
	require.InDelta(t, closer/pairs, c.CLIPAUC, 1e-12)

	// Where all are good there is no AUC, and none of CLIP's.
	for i := range samples {
		samples[i].Label = dataset.Good
	}
	c, err = m.Evaluate(context.Background(), dataset.FromSlice(samples))
	require.NoError(t, err)
	require.True(t, math.IsNaN(c.AUC) && math.IsNaN(c.CLIPAUC))
	_, err = m.Evaluate(context.Background(), dataset.FromSlice(nil))
	require.ErrorIs(t, err, dataset.ErrNoLabels)
}

// A model's name is its head's and its CLIP's.
func TestHash(t *testing.T) {
	with := func(v float32) *head {
		h := &head{nn.NewLinear(4, 3, true), nn.NewLinear(3, 1, true), headConfig{}}
		weights.Parameters(h)[0].Value.Float32s()[1] = v
		return h
	}
	model := Model{clip: fakeCLIP{hash: "a"}, head: with(0)}
	same := Model{clip: fakeCLIP{hash: "a"}, head: with(0)}
	require.Equal(t, model.Hash(), same.Hash())
	for _, other := range []Model{
		{clip: fakeCLIP{hash: "b"}, head: with(0)},
		{clip: fakeCLIP{hash: "a"}, head: with(1)},
	} {
		require.NotEqual(t, model.Hash(), other.Hash())
	}
}
