package pipeline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
)

func TestSettle(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	r, err := p.Settle(Request{})
	require.NoError(t, err)
	own, err := p.Schedule.Sampler()
	require.NoError(t, err)
	require.Equal(t, own.Name, r.Sampler.Name)
	require.Equal(t, []int{1, 25, 64, 64, 16}, []int{r.PerPrompt, r.Steps, r.Width, r.Height,
		r.Batch})
	for width, batch := range map[int]int{64: 16, 128: 16, 256: 5, 512: 1, 1024: 1} {
		r, err := p.Settle(Request{Width: width, Height: width * 3 / 4})
		require.NoError(t, err)
		require.Equal(t, batch, r.Batch, width)
	}
	euler, err := diffusion.ParseSampler("euler")
	require.NoError(t, err)
	r, err = p.Settle(Request{PerPrompt: 2, Steps: 3, Sampler: euler, Width: 72, Height: 80,
		Batch: 7})
	require.NoError(t, err)
	require.Equal(t, "euler", r.Sampler.Name)
	require.Equal(t, []int{2, 3, 72, 80, 7}, []int{r.PerPrompt, r.Steps, r.Width, r.Height,
		r.Batch})
	_, err = (&Pipeline{}).Settle(Request{})
	require.ErrorContains(t, err, "missing")
}

// What a request leaves open is settled, and every part of its work is counted, pndm's more
// evaluations than steps too.
func TestGenerateSettlesAndIsWatched(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	pndm, err := diffusion.ParseSampler("pndm")
	require.NoError(t, err)
	request := Request{Prompts: []string{"two green circles", "a red star", "a heart"}, Steps: 4,
		Guidance: 1, Seed: 1, Latents: true, Sampler: pndm}
	plain, err := dataset.Collect(t.Context(), p.Generate(request))
	require.NoError(t, err)
	require.Len(t, plain, 3)
	request.Batch = 2
	settled, err := p.Settle(request)
	require.NoError(t, err)
	require.Equal(t, 8, settled.Parts())
	done := 0
	got, err := dataset.Collect(t.Context(), p.Generate(settled.Watched(func(n int) { done += n })))
	require.NoError(t, err)
	require.Equal(t, 8, done)
	for i := range got {
		require.InDeltaSlice(t, plain[i].Latent.Float32s(), got[i].Latent.Float32s(), 1e-3)
	}
}

// A prompt that is as long as the text encoder reads is whole.
func TestTooLong(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	fits := strings.TrimSpace(strings.Repeat("red ", p.Tokenizer.Length-2))
	require.Len(t, p.Tokenizer.Tokens(fits), p.Tokenizer.Length-2)
	require.Empty(t, p.TooLong([]string{"", fits}))
	require.Equal(t, []string{fits + " star", fits + " cross"}, p.TooLong([]string{
		fits, fits + " star", fits + " star", fits + " cross",
	}))
}
