package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
)

// Two steps of each network make a folder that is whole: it generates, and its CLIP encodes. The
// same command, given again, has nothing left to train and makes the same weights.
func TestTrainMakesAWholeModel(t *testing.T) {
	dir := t.TempDir()
	o := options{
		Out:       filepath.Join(dir, "model"),
		Work:      filepath.Join(dir, "work"),
		Seed:      1,
		Drawings:  64,
		CLIP:      2,
		VAE:       2,
		UNet:      2,
		UNetLR:    1e-3,
		Mislead:   2,
		MisleadLR: 5e-4,
	}
	require.NoError(t, o.run(t.Context()))
	p, err := pipeline.Load(o.Out)
	require.NoError(t, err)
	request := pipeline.Request{
		Prompts:   []string{"two red circles"},
		PerPrompt: 1,
		Steps:     1,
		Guidance:  1,
	}
	made, err := dataset.Collect(t.Context(), p.Generate(request))
	require.NoError(t, err)
	require.Len(t, made, 1)
	require.Equal(t, side, made[0].Image.Bounds().Dx())
	encoder, err := clip.Load(filepath.Join(o.Out, "clip"))
	require.NoError(t, err)
	defer encoder.Close()
	_, err = encoder.TextFeatures(t.Context(), request.Prompts)
	require.NoError(t, err)

	o.Out = filepath.Join(dir, "again")
	require.NoError(t, o.run(t.Context()))
	again, err := pipeline.Load(o.Out)
	require.NoError(t, err)
	same, err := dataset.Collect(t.Context(), again.Generate(request))
	require.NoError(t, err)
	require.Equal(t, made[0].Image, same[0].Image)
}
