package pipeline

import (
	"image"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// What is planned with blank samples has the tensors of what Encode then gives, in the memory of
// one.
func TestBlanks(t *testing.T) {
	p, err := LoadTunable("../../testdata/golden/shards")
	require.NoError(t, err)
	var samples []dataset.Sample
	for _, prompt := range []string{"b", "a", "b"} {
		samples = append(samples, dataset.Sample{
			ID: "of " + prompt, Prompt: prompt, Group: "g",
			Image: image.NewGray(image.Rect(0, 0, 9, 9)),
		})
	}
	encoded := collect(t, p.Encode(dataset.FromSlice(samples), EncodeOptions{}))
	blanks := p.Blanks(samples)
	require.Len(t, blanks, 3)
	for i, b := range blanks {
		require.Equal(t, 1.0, *b.Reward)
		require.Equal(t, samples[i].Group, b.Group)
		require.True(t, b.Latent.Shape().Eq(encoded[i].Latent.Shape()))
		require.NoError(t, b.Condition.Fits(encoded[i].Condition))
		same := func(x, y *tensor.Dense) bool { return x == y }
		for k := range i {
			require.False(t, same(b.Latent, blanks[k].Latent))
			require.Same(t, &b.Latent.Float32s()[0], &blanks[k].Latent.Float32s()[0], "memory")
			require.Equal(t, same(encoded[i].Condition.Tokens, encoded[k].Condition.Tokens),
				same(b.Condition.Tokens, blanks[k].Condition.Tokens))
		}
	}
	require.Nil(t, samples[0].Reward)

	var said []any
	p.WarnPrompts(func(_ string, args ...any) { said = args }, samples)
	require.Nil(t, said)
	samples[1].Prompt = strings.Repeat("red ", p.Tokenizer.Length)
	p.WarnPrompts(func(_ string, args ...any) { said = args }, samples)
	require.Equal(t, []any{p.Tokenizer.Length - 2, 1, samples[1].Prompt}, said)
	samples[1].Prompt, samples[2].Prompt = "a (hat:1.3)", "b --w 768"
	p.WarnPrompts(func(_ string, args ...any) { said = args }, samples)
	require.Equal(t, []any{2, "a (hat:1.3)"}, said)
}

// Freeze exchanges what is not tuned for the UNet; what it saves is whole when the UNet is added.
func TestFreeze(t *testing.T) {
	whole, err := Load("../../testdata/golden/shards")
	require.NoError(t, err)
	want, err := whole.Conditions(t.Context(), "")
	require.NoError(t, err)
	for _, dir := range []string{filepath.Join(t.TempDir(), "frozen"), ""} {
		p, err := LoadTunable("../../testdata/golden/shards")
		require.NoError(t, err)
		frozen, err := p.Freeze(t.Context(), dir, kernels.Float32)
		require.NoError(t, err)
		require.Equal(t, want[""].Tokens.Float32s(), frozen.Unconditional.Tokens.Float32s())
		require.Equal(t, map[string]string{
			"unet": weights.Hash(whole.UNet), "vae": weights.Hash(whole.VAE),
			"text_encoder": weights.Hash(whole.Text),
		}, frozen.Hashes)
		require.Nil(t, p.Text)
		require.Nil(t, p.VAE)
		require.Equal(t, weights.Hash(whole.UNet), weights.Hash(p.UNet))
		_, err = p.Freeze(t.Context(), dir, kernels.Float32)
		require.ErrorContains(t, err, "after LoadFrozen, and once")
		if dir == "" {
			continue
		}
		_, err = Load(dir)
		require.ErrorContains(t, err, "model_index.json", "it is not complete")
		require.NoError(t, p.SaveUNet(dir, kernels.Float32))
		again, err := Load(dir)
		require.NoError(t, err)
		require.Equal(t, weights.Hash(whole.VAE), weights.Hash(again.VAE))
	}
}

// A UNet that reads more than a picture's latents is not tuned on them, and known by its config.
func TestLoadTunableGolden(t *testing.T) {
	tunable := 0
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		p, err := LoadFrozen(c.Dir)
		require.NoError(t, err)
		_, err = LoadTunable(c.Dir)
		if p.inpaints() {
			require.ErrorContains(t, err, "its UNet reads 9 channels")
			return
		}
		require.NoError(t, err)
		tunable++
	}, "model_index.json")
	require.Positive(t, tunable)
	_, err := LoadTunable(t.TempDir())
	require.ErrorContains(t, err, "model_index.json")
}

// What is an option elsewhere is told from what people write.
func TestWithOptions(t *testing.T) {
	for _, p := range []string{
		"a cat --n blurry --w 768", "a cat --ar 16:9", "--seed=3 a cat", "a (hat:1.3)",
		"a (red hat : 0.8 ), sea", "a cat <lora:x:0.8>", "<hypernet:style:1>",
		"((masterpiece)), cat",
		"a [cat:dog:0.5]", "a {red|blue} cat", "a __animal__ on a sofa",
		"a cat --no-half", "# prompts of mine", "a cat --d 1 --l 7.5", "a cat —ar 16:9",
		"hot:: dog",
		"a cat::2 a dog::1", "/imagine prompt: a cat", "a ((((red))) hat)",
		"a (very (red) hat:1.2)", "a (hat:-0.5)",
		"a (hat : 1,3)", "a [[hat]]", "a [cat|dog]", "a cat BREAK a dog", "a cat AND a dog",
		"a cat\nNegative prompt: a dog", "a cat\nSteps: 20, Sampler: Euler a, Seed: 1",
		"a {{red}} cat", "a hat++", "a (red hat)+", "a (red hat)1.3", "a cat, embedding:style",
	} {
		require.Equal(t, []string{p}, withOptions([]string{p}))
	}
	require.Empty(t, withOptions([]string{
		"a cat", "a well-known cat -- in the rain", "a cat (sitting) on a mat [oil painting]",
		"time 10:30, a clock (at noon)", "a ratio of 16:9", "a < b: a drawing", "e-mail", ":-)",
		"a cat--dog", "the {set} of cats", "snake_case_name", "f(x: y)", "(c) 2023", "#1 dad",
		"CATS AND DOGS", "a book on C++", "a cat — the best of all", "a std::vector",
		"(a cat) 3.5 m tall", "a cat. AND", "embedding: a drawing", "a [red] cat", "1:2 scale",
	}))
}
