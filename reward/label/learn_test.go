package label

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"iter"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// greyCLIP sees how bright a picture is, and nothing of a prompt.
type greyCLIP struct{}

func (greyCLIP) Hash() string { return "grey" }

func (greyCLIP) ImageFeatures(_ context.Context, all []image.Image) (*tensor.Dense, error) {
	d := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(len(all), 2))
	for i, img := range all {
		r, _, _, _ := img.At(0, 0).RGBA()
		angle := float64(r) / 0xffff * math.Pi / 2
		d.Float32s()[2*i] = float32(math.Cos(angle))
		d.Float32s()[2*i+1] = float32(math.Sin(angle))
	}
	return d, nil
}

func (greyCLIP) TextFeatures(_ context.Context, all []string) (*tensor.Dense, error) {
	d := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(len(all), 2))
	for i := range all {
		d.Float32s()[2*i] = 1
	}
	return d, nil
}

// A reward is tested on prompts that it was not learned of, and the pictures come first that it is
// least sure of: where bright is good, those between bright and dark.
func TestLearner(t *testing.T) {
	dir := t.TempDir()
	var samples []dataset.Sample
	for i := range 40 {
		img := image.NewGray(image.Rect(0, 0, 2, 2))
		for p := range img.Pix {
			img.Pix[p] = uint8(6 * i)
		}
		var out bytes.Buffer
		require.NoError(t, png.Encode(&out, img))
		file := fmt.Sprintf("%02d.png", i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), out.Bytes(), 0o600))
		is := dataset.Bad
		if i >= 20 {
			is = dataset.Good
		}
		samples = append(samples, dataset.Sample{
			ID: file, Prompt: fmt.Sprint("prompt ", i%10), File: file, Label: is,
		})
	}
	unlabelled := dataset.Sample{ID: "none", Prompt: "prompt 0"} // it has no file
	l := Learner{
		CLIP: greyCLIP{}, Folder: dir, Seed: 1,
		Pictures: dataset.FromSlice(append(samples, unlabelled)),
	}
	reward, err := l.Train(t.Context(), dataset.FromSlice(samples))
	require.NoError(t, err)
	assert.Equal(t, 2*4, reward.N, "two prompts of ten, with four pictures each")
	assert.GreaterOrEqual(t, reward.Right, 6)
	require.Len(t, reward.Uncertain, 40)
	ends := map[string]bool{"00.png": true, "39.png": true}
	for _, id := range reward.Uncertain[:20] {
		assert.False(t, ends[id], "it is sure of %s", id)
	}
	assert.Contains(t, reward.Uncertain[:8], "20.png")

	_, err = l.Train(t.Context(), dataset.FromSlice(samples[:1]))
	assert.Error(t, err, "of one prompt nothing can be held out")
	var model *alignment.Model
	l.Folder = filepath.Join(dir, "nowhere")
	_, err = l.uncertain(t.Context(), model)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// What was painted, but not added before the program was killed, is added when it goes on.
func TestPaint(t *testing.T) {
	dir := t.TempDir()
	store, err := feedback.Open(t.Context(), feedback.Config{Path: filepath.Join(dir, "labels.db")})
	require.NoError(t, err)
	defer store.Close()
	stop := errors.New("stop")
	paint := func(n int) func(there int) dataset.Dataset {
		return func(there int) dataset.Dataset {
			return dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
				return func(yield func(dataset.Sample, error) bool) {
					for i := there; i < n; i++ {
						img := image.NewRGBA(image.Rect(0, 0, 4, 4))
						img.Set(0, 0, color.RGBA{uint8(i), 1, 2, 255})
						s := dataset.Sample{Prompt: "a dog", Image: img}
						s.Source.Seed, s.Source.Index = 1, uint64(i)
						if !yield(s, nil) {
							return
						}
					}
					if n < 5 {
						yield(dataset.Sample{}, stop)
					}
				}
			})
		}
	}
	ids := func() (all []string) {
		for s, err := range store.Pictures().All(t.Context()) {
			require.NoError(t, err)
			all = append(all, s.ID)
		}
		return all
	}
	require.ErrorIs(t, Paint(t.Context(), store, dir, paint(2)), stop)
	assert.Equal(t, []string{"00000", "00001"}, ids())
	_, err = dataset.WriteFolder(t.Context(), dir, dataset.Take(paint(3)(2), 1))
	require.NoError(t, err)
	require.NoError(t, Paint(t.Context(), store, dir, paint(5)))
	assert.Equal(t, []string{"00000", "00001", "00002", "00003", "00004"}, ids())
	assert.NoError(t, store.Verify(t.Context()))
}

// Who errs now and then does not differ from the others. Who says anything does.
func TestDiffers(t *testing.T) {
	table := feedback.Table{Raters: []string{"a", "b", "c", "now and then", "anything"}}
	for i := range 40 {
		table.Pictures = append(table.Pictures, fmt.Sprint(i))
		is := func(good bool) dataset.Label {
			if good {
				return dataset.Good
			}
			return dataset.Bad
		}
		truth := i%2 == 0
		for r, good := range []bool{truth, truth, truth, truth != (i%8 == 0), i%4 < 2} {
			table.Opinions = append(table.Opinions, feedback.Opinion{
				Picture: i, Rater: r, Label: is(good),
			})
		}
	}
	all, err := raters(t.Context(), table)
	require.NoError(t, err)
	require.Len(t, all, 5)
	// Of 40 pictures the first three stand with most others each time, where those are not divided.
	assert.EqualValues(t, 1, all[0].With.Value)
	assert.InDelta(t, 35./40, float64(all[3].With.Value), 1e-12)
	for i, s := range all {
		assert.Equal(t, i == 4, s.Differs, s.Name)
	}
}
