package study

import (
	"context"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// Whole sets become pairs, of prompts that both models have pictures of. To make them again changes
// nothing, and with more pictures there are more.
func TestMake(t *testing.T) {
	s := &small{t: t, dir: t.TempDir()}
	var err error
	s.store, err = feedback.Open(t.Context(), feedback.Config{
		Path: filepath.Join(s.dir, "study.db"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.store.Close()) })
	for i := range 8 {
		for k, model := range []string{"tuned", "base"} {
			c := color.NRGBA{uint8(i), uint8(k), 0, 255}
			s.picture(fmt.Sprintf("%s/%d.png", model, i), 8, 8, c)
		}
	}
	s.picture("wide/0.png", 16, 8, color.White)
	s.picture("wide/1.png", 16, 8, color.White)
	s.picture("far/0.png", 8, 8, color.White)
	s.picture("far/1.png", 8, 8, color.White)
	tuned := []string{"dog", "dog", "cat", "cat", "dog", "dog", "dog", "bird"}
	base := []string{"cat", "dog", "dog", "dog", "dog", "cow"}
	d := Design{
		Study: "s", A: side(s.dir, "tuned", tuned...), B: side(s.dir, "base", base...), Set: 2,
	}
	made, err := Make(t.Context(), s.store, d)
	require.NoError(t, err)
	want := Made{Pairs: 2, New: 2, Prompts: 1, Without: []string{"cat", "bird", "cow"}}
	assert.Equal(t, want, made)
	pairs, err := s.store.Pairs(t.Context(), "s")
	require.NoError(t, err)
	require.Len(t, pairs, 2)
	assert.Equal(t, []string{"tuned/0.png", "tuned/1.png"}, pairs[0].A)
	assert.Equal(t, []string{"base/1.png", "base/2.png"}, pairs[0].B)
	assert.Equal(t, []string{"tuned/4.png", "tuned/5.png"}, pairs[1].A)
	assert.Equal(t, []string{"base/3.png", "base/4.png"}, pairs[1].B)
	assert.NotEqual(t, pairs[0].ID, pairs[1].ID)
	o, err := s.store.Overview(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 9, o.Studies[0].Wanted)

	made, err = Make(t.Context(), s.store, d)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 0}, []int{made.Pairs, made.New})
	d.B = side(s.dir, "base", append(slices.Clone(base), "cat")...)
	made, err = Make(t.Context(), s.store, d)
	require.NoError(t, err)
	assert.Equal(t, []int{3, 1, 2}, []int{made.Pairs, made.New, made.Prompts})

	model := func(name, prompt string) func(*Design) {
		return func(d *Design) { d.Study, d.A = "w", side(s.dir, name, prompt, prompt) }
	}
	for text, change := range map[string]func(*Design){
		"two names":            func(d *Design) { d.B.Model = "tuned" },
		"has no name":          func(d *Design) { d.Study = "" },
		"sets of -1":           func(d *Design) { d.Set = -1 },
		"not wide with base":   func(d *Design) { d.A = side(s.dir, "wide", "dog", "dog") },
		"of far and as many":   model("far", "rat"),
		"shapes of their pict": model("wide", "dog"),
	} {
		wrong := d
		change(&wrong)
		_, err := Make(t.Context(), s.store, wrong)
		assert.ErrorContains(t, err, text)
	}
	pairs, err = s.store.Pairs(t.Context(), "w")
	require.NoError(t, err)
	assert.Empty(t, pairs)
}

// A study that is not there has no pages, and neither has one whose pairs' IDs can be guessed.
func TestNew(t *testing.T) {
	s := newSmall(t, 3)
	_, err := New(t.Context(), Config{Study: "s"})
	assert.ErrorContains(t, err, "no store")
	_, err = New(t.Context(), Config{Store: s.store, Study: "other"})
	assert.ErrorIs(t, err, feedback.ErrUnknown)
	_, err = Analyse(t.Context(), s.store, Analysis{Study: "other"})
	assert.ErrorIs(t, err, feedback.ErrUnknown)
	require.NoError(t, s.store.AddPairs(t.Context(), feedback.Pair{
		Study: "guess", ID: "1", Prompt: "p", ModelA: "a", ModelB: "b",
		A: []string{"tuned/0.png"}, B: []string{"base/0.jpg"},
	}))
	_, err = New(t.Context(), Config{Store: s.store, Study: "guess"})
	assert.ErrorContains(t, err, "can be guessed")
}

// What is transparent shows white, with and without alpha in the file.
func TestTransparent(t *testing.T) {
	s := &small{t: t, dir: t.TempDir()}
	s.picture("clear.png", 8, 8, color.NRGBA{255, 0, 0, 0})
	s.picture("white.png", 8, 8, color.White)
	g := gallery{read: func(_ context.Context, id string) ([]byte, error) {
		return os.ReadFile(filepath.Join(s.dir, id))
	}}
	pair, err := newShape(feedback.Pair{
		ID: strings.Repeat("x", leastID), A: []string{"clear.png"}, B: []string{"white.png"},
	})
	require.NoError(t, err)
	a, err := g.file(t.Context(), pair, pair.sets[0][0].handle)
	require.NoError(t, err)
	b, err := g.file(t.Context(), pair, pair.sets[1][0].handle)
	require.NoError(t, err)
	assert.Equal(t, a, b)
}

// A picture that is larger than anybody sees is shrunk, and keeps its shape.
func TestBounded(t *testing.T) {
	for _, c := range [][4]int{{64, 64, 64, 64}, {2048, 1024, 1024, 512}, {1000, 4096, 250, 1024},
		{100000, 1, 1024, 1}} {
		w, h := bounded(c[0], c[1])
		assert.Equal(t, [2]int{c[2], c[3]}, [2]int{w, h})
	}
}
