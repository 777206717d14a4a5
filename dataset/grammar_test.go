package dataset

import (
	"testing"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/stretchr/testify/require"
)

var pets = Grammar{
	Objects:     []Object{{"dog", "dogs"}, {"wolf", "wolves"}, {"orange", "oranges"}},
	Counts:      []string{"one", "two", "three"},
	Colours:     []string{"green", "red", "orange"},
	Backgrounds: []string{"in the city", "in the forest", "on the moon"},
	Colored:     "colored",
}

func TestRender(t *testing.T) {
	for want, c := range map[string]Claim{
		"a dog":                           {"dog", 0, "", ""},
		"an orange":                       {"orange", 0, "", ""},
		"one dog":                         {"dog", 1, "", ""},
		"two wolves":                      {"wolf", 2, "", ""},
		"a green colored dog":             {"dog", 0, "green", ""},
		"an orange colored orange":        {"orange", 0, "orange", ""},
		"a dog in the forest":             {"dog", 0, "", "in the forest"},
		"two green dogs in the city":      {"dog", 2, "green", "in the city"},
		"an orange wolf on the moon":      {"wolf", 0, "orange", "on the moon"},
		"three orange oranges":            {"orange", 3, "orange", ""},
		"one orange orange in the forest": {"orange", 1, "orange", "in the forest"},
	} {
		got, err := pets.Render(c)
		require.NoError(t, err)
		require.Equal(t, want, got)
		back, err := pets.Parse(want)
		require.NoError(t, err, want)
		require.Equal(t, c, back, want)
	}
	c, err := pets.Parse("  Two green COLORED dogs  in the city")
	require.NoError(t, err)
	require.Equal(t, Claim{"dog", 2, "green", "in the city"}, c)
}

func TestEveryPromptOfTheGrammarIsReadBack(t *testing.T) {
	n := map[Category]int{}
	for _, category := range append(Categories(), Plain) {
		for _, c := range pets.Claims(category) {
			require.Equal(t, category, c.Category())
			text, err := pets.Render(c)
			require.NoError(t, err)
			back, err := pets.Parse(text)
			require.NoError(t, err)
			require.Equal(t, c, back)
			n[category]++
		}
	}
	want := map[Category]int{Plain: 3, Count: 9, Colour: 9, Background: 9, Combination: 81}
	require.Equal(t, want, n)
}

func TestParseNamesWhatDoesNotFit(t *testing.T) {
	for prompt, want := range map[string]string{
		"two green dragons in the city": `"dragons" is no object of it`,
		"a dragon":                      `"dragon" is no object of it`,
		"two dog":                       `"dog" is no object of it`,
		"a dogs":                        `"dogs" is no object of it`,
		"seven dogs":                    `"seven" is no number of it`,
		"dogs":                          `"dogs" is no number of it`,
		"":                              `"" is no number of it`,
		"two":                           `"" is no object of it`,
		"a dog at night":                `"at night" is no background of it`,
		"a blue dog":                    `"blue dog" is no object of it`,
		"a greenish dog":                `"greenish dog" is no object of it`,
	} {
		_, err := pets.Parse(prompt)
		require.ErrorContains(t, err, want, prompt)
		require.ErrorContains(t, err, "dataset: prompt", prompt)
	}
	for _, c := range []Claim{
		{},
		{Object: "cat"},
		{Object: "dog", Count: 4},
		{Object: "dog", Count: -1},
		{Object: "dog", Colour: "blue"},
		{Object: "dog", Background: "at night"},
	} {
		_, err := pets.Render(c)
		require.ErrorContains(t, err, "not in the grammar")
	}
}

func TestSplit(t *testing.T) {
	seen, unseen, err := pets.Split("wolf")
	require.NoError(t, err)
	require.Equal(t, []Object{{"dog", "dogs"}, {"orange", "oranges"}}, seen.Objects)
	require.Equal(t, []Object{{"wolf", "wolves"}}, unseen.Objects)
	require.Equal(t, pets.Counts, unseen.Counts)
	require.Len(t, pets.Objects, 3)
	_, err = seen.Parse("two wolves")
	require.Error(t, err)
	_, _, err = pets.Split("cat")
	require.ErrorContains(t, err, `"cat"`)
}

func TestPerturb(t *testing.T) {
	r := rng.New(1, "test", 0, 0)
	const prompt = "two green dogs in the city"
	// 2 objects, 2 counts, 2 colours and 2 backgrounds are one change away.
	one, err := pets.Perturb(prompt, 8, r)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"two green wolves in the city", "two green oranges in the city",
		"one green dog in the city", "three green dogs in the city",
		"two red dogs in the city", "two orange dogs in the city",
		"two green dogs in the forest", "two green dogs on the moon",
	}, one)
	// All 80 others, all different.
	all, err := pets.Perturb(prompt, 80, r)
	require.NoError(t, err)
	different := map[string]bool{prompt: true}
	for _, p := range all {
		different[p] = true
	}
	require.Len(t, different, 81)
	_, err = pets.Perturb(prompt, 81, r)
	require.ErrorContains(t, err, "only 80 perturbations, not 81")

	// What is not claimed does not change.
	plain, err := pets.Perturb("a dog", 2, r)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"a wolf", "an orange"}, plain)
	_, err = pets.Perturb("a cat", 1, r)
	require.Error(t, err)

	// The kind of change is drawn evenly, and the same generator draws the same.
	objects := 0
	for i := range uint64(4000) {
		p, err := pets.Perturb(prompt, 1, rng.New(2, "test", 0, i))
		require.NoError(t, err)
		again, err := pets.Perturb(prompt, 1, rng.New(2, "test", 0, i))
		require.NoError(t, err)
		require.Equal(t, p, again)
		c, err := pets.Parse(p[0])
		require.NoError(t, err)
		if c.Object != "dog" {
			objects++
		}
	}
	require.InDelta(t, 1000, objects, 110) // four standard deviations of a fair quarter
}

// Whoever changes the list that Categories returned changes nobody else's.
func TestCategoriesIsACopy(t *testing.T) {
	Categories()[0] = "mine"
	require.Equal(t, []Category{Count, Colour, Background, Combination}, Categories())
}
