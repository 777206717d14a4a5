package alignment_test

import (
	"context"
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// secondary is primary with other weights.
type secondary struct{ primary }

func (secondary) Hash() string { return "secondary" }

// A reward is refused on another CLIP, and the error says by what name to look for the right one.
func TestDifferentCLIP(t *testing.T) {
	labels := []dataset.Sample{
		{Prompt: "red", Image: image.NewUniform(color.White), Label: dataset.Good},
		{Prompt: "red", Image: image.NewUniform(color.Black), Label: dataset.Bad},
	}
	training := &alignment.Training{
		CLIP: primary{}, Samples: dataset.FromSlice(labels), Hidden: 2, Passes: 1,
	}
	for _, err := range training.Epochs(context.Background()) {
		require.NoError(t, err)
	}
	dir := t.TempDir()
	require.NoError(t, training.Model().Save(dir))

	_, err := alignment.Load(dir, secondary{})
	var different *alignment.DifferentCLIPError
	require.ErrorAs(t, err, &different)
	require.Equal(t, alignment.DifferentCLIPError{
		Folder: dir, Learned: "primary", Given: "secondary",
	}, *different)
	require.EqualError(t, err, "alignment: "+dir+
		" was trained on the CLIP primary…, this one is secondary…")
	_, err = alignment.Load(dir, primary{})
	require.NoError(t, err)
}
