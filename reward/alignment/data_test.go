package alignment

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A state belongs to the samples that it was trained on: to their pictures, prompts and labels.
func TestStateOfOtherSamples(t *testing.T) {
	start := func(d *Training) *Training {
		d.Hidden, d.Batch, d.LR, d.Passes = 4, 6, 0.2, 2
		t.Cleanup(func() { d.Close() })
		return d
	}
	state, err := start(training(labelled(2, 3, "cup", "box"))).State(t.Context())
	require.NoError(t, err)
	require.NoError(t, start(training(labelled(2, 3, "cup", "box"))).Restore(t.Context(), state))
	for _, other := range []*Training{
		start(training(labelled(3, 3, "cup", "box"))),
		start(training(labelled(2, 3, "cup", "jar"))),
	} {
		require.ErrorContains(t, other.Restore(t.Context(), state), "other samples")
	}
	whole := start(training(labelled(2, 3, "cup", "box")))
	require.NoError(t, whole.prepare(t.Context()))
	before := whole.session.data
	require.Positive(t, before)
	e := &whole.session.train[0]
	e.good = !e.good
	require.NotEqual(t, before, whole.session.dataHash())
	e.good = !e.good
	pixel := e.image[0]
	e.image[0]++
	require.NotEqual(t, before, whole.session.dataHash())
	e.image[0] = pixel
	text := e.texts[0][0]
	e.texts[0][0]++
	require.NotEqual(t, before, whole.session.dataHash())
	e.texts[0][0] = text

	// What does not count is not looked at; what counts is.
	e.target, e.weight = 0.5, 2
	require.Equal(t, before, whole.session.dataHash())
	whole.session.Soft = true
	both := whole.session.dataHash()
	e.target = 0.75
	require.NotEqual(t, both, whole.session.dataHash())
	e.target, e.weight = 0.5, 3
	require.NotEqual(t, both, whole.session.dataHash())
}
