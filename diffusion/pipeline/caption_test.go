package pipeline

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// Alternative captions are encoded as prompts are, each once, kept as they are, and planned for.
func TestAlternativesAreEncoded(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	samples := coloured(4)
	other := func(prompts ...string) (all []dataset.Alternative) {
		for _, prompt := range prompts {
			all = append(all, dataset.Alternative{Prompt: prompt})
		}
		return all
	}
	samples[0].Alternatives = other("a cross", "two hats")
	samples[3].Alternatives = other("two hats")
	want, err := p.Conditions(t.Context(), "a star", "a cross", "two hats")
	require.NoError(t, err)
	same := func(name string, want, got dataset.Condition) {
		require.Equal(t, want.Tokens.Float32s(), got.Tokens.Float32s(), name)
	}
	check := func(name string, got []dataset.Sample, err error) {
		require.NoError(t, err, name)
		require.Len(t, got, len(samples))
		for i, s := range got {
			require.Equal(t, samples[i].Captions(), s.Captions(), name)
			same(name, want[s.Prompt], s.Condition)
			for _, a := range s.Alternatives {
				same(name, want[a.Prompt], a.Condition)
			}
		}
		first, last := got[0].Alternatives, got[3].Alternatives
		require.Same(t, first[1].Condition.Tokens, last[0].Condition.Tokens)
		require.Same(t, first[0].Condition.Tokens, got[1].Condition.Tokens)
	}
	encode := func(o EncodeOptions) ([]dataset.Sample, error) {
		return dataset.Collect(t.Context(), p.Encode(dataset.FromSlice(samples), o))
	}
	got, err := encode(EncodeOptions{})
	check("encoded", got, err)
	o := EncodeOptions{Cache: filepath.Join(t.TempDir(), "cache")}
	for _, name := range []string{"written", "read"} {
		got, err = encode(o)
		check(name, got, err)
	}
	require.True(t, samples[0].Alternatives[0].Condition.IsZero(), "what was given stays")

	// Another alternative is another key.
	samples[3].Alternatives = other("a cross")
	got, err = encode(o)
	require.NoError(t, err)
	same("another", want["a cross"], got[3].Alternatives[0].Condition)

	blanks := p.Blanks(samples)
	require.Same(t, blanks[0].Alternatives[0].Condition.Tokens, blanks[1].Condition.Tokens)
	require.NoError(t, blanks[0].Alternatives[1].Condition.Fits(want["a star"]))

	var said []any
	long := strings.Repeat("red ", p.Tokenizer.Length)
	samples[2].Alternatives = other(long)
	p.WarnPrompts(func(_ string, args ...any) { said = args }, samples)
	require.Equal(t, []any{p.Tokenizer.Length - 2, 1, long}, said)
}
