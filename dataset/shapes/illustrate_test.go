package shapes

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// The judge sees in each picture what its prompt says, and no two pictures of a prompt are the
// same.
func TestIllustrate(t *testing.T) {
	prompts := []string{"three green hearts on the beach", "two red circles", "a star", "a star"}
	got, err := dataset.Collect(t.Context(), Illustrate(prompts, "test", 1))
	require.NoError(t, err)
	require.Len(t, got, 4)
	for i, s := range got {
		require.Equal(t, prompts[i], s.Prompt)
		label, err := (Rater{}).Label(s)
		require.NoError(t, err)
		require.Equal(t, dataset.Good, label, s.Prompt)
	}
	require.NotEqual(t, got[2].Image, got[3].Image)
	again, err := dataset.Collect(t.Context(), Illustrate(prompts[:2], "test", 1))
	require.NoError(t, err)
	require.Equal(t, got[:2], again)
	other, err := dataset.Collect(t.Context(), Illustrate(prompts, "another", 1))
	require.NoError(t, err)
	require.NotEqual(t, got[0].Image, other[0].Image)
	_, err = dataset.Collect(t.Context(), Illustrate([]string{"a dog"}, "test", 1))
	require.ErrorContains(t, err, `"dog" is no object`)
}
