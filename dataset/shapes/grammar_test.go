package shapes_test

import (
	"image"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
)

// A caller's grammar is his own: what he changes in it changes neither the next one nor the judge.
func TestGrammarIsACopy(t *testing.T) {
	mine := shapes.Grammar()
	mine.Objects[0].Name = "ring"
	mine.Counts[0] = "1"
	mine.Colours[0] = "scarlet"
	mine.Backgrounds[0] = "in the sand"
	mine.Colored = "colored"

	for _, prompt := range []string{"one circle", "a red circle", "a circle on the beach"} {
		claim, err := shapes.Grammar().Parse(prompt)
		require.NoError(t, err)
		again, err := shapes.Grammar().Render(claim)
		require.NoError(t, err)
		require.Equal(t, prompt, again)
	}
	claim := dataset.Claim{Object: "circle", Count: 2, Colour: "red", Background: "on the beach"}
	scene, err := shapes.Compose(claim, rand.New(rand.NewPCG(1, 0)))
	require.NoError(t, err)
	require.True(t, shapes.Judge(shapes.Draw(scene)).Follows(claim))
}

// A prompt that is not of the world's language is found by its type through the rater's error.
func TestRaterNamesTheWordsThatDoNotFit(t *testing.T) {
	blank := image.NewRGBA(image.Rect(0, 0, shapes.Side, shapes.Side))
	_, err := shapes.Rater{}.Label(dataset.Sample{ID: "7", Prompt: "two green dogs", Image: blank})
	var wrong *dataset.PromptError
	require.ErrorAs(t, err, &wrong)
	want := dataset.PromptError{Prompt: "two green dogs", Words: "dogs", Part: "object"}
	require.Equal(t, want, *wrong)
	require.ErrorContains(t, err, `shapes: sample "7": `)
}
