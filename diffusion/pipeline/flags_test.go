package pipeline

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// parsed is a request of flags, with what CheckFlags says of them.
func parsed(t *testing.T, args ...string) (Request, error) {
	t.Helper()
	r := Request{Prompts: []string{"a star"}, PerPrompt: 1, Steps: 25, Guidance: 7.5, Seed: 1}
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	r.Flags(f)
	require.NoError(t, f.Parse(args))
	return r, r.CheckFlags()
}

// Flags set what they are called, and leave the rest to the request and to the model.
func TestFlags(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	r, err := parsed(t, "-sampler", "euler_a", "-steps", "3", "-negative", "x", "-width", "128",
		"-seed", "9", "-batch", "2")
	require.NoError(t, err)
	require.NotNil(t, r.Sampler.Sample)
	r, err = p.SettleFlags(r)
	require.NoError(t, err)
	got := fmt.Sprint(r.Sampler.Name, r.Steps, r.Eta, r.Guidance, r.Negative, r.Width, r.Height,
		r.Seed, r.Batch)
	require.Equal(t, "euler_a3 0 7.5x128 64 9 2", got)

	r, err = parsed(t)
	require.NoError(t, err)
	want, err := p.Settle(Request{Prompts: r.Prompts, Guidance: 7.5, Seed: 1})
	require.NoError(t, err)
	r, err = p.SettleFlags(r)
	require.NoError(t, err)
	require.Equal(t, want.Sampler.Name, r.Sampler.Name)
	require.Equal(t, want.Steps, r.Steps)
	require.Equal(t, []int{want.Width, want.Height, want.Batch}, []int{r.Width, r.Height, r.Batch})
}

// What cannot be is named by its flag, before there is a model or by what the model needs.
func TestWrongFlags(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	for args, want := range map[string]string{
		"-steps 0":                "-steps 0: at least 1",
		"-eta 2":                  "-eta 2 is not in 0 to 1",
		"-eta NaN":                "-eta NaN",
		"-guidance 0.5":           "-guidance 0.5",
		"-guidance NaN":           "-guidance NaN",
		"-guidance Inf":           "-guidance +Inf is not in 1, which is none, to 1000000",
		"-negative caf\xe9":       `-negative "caf\xe9" is not UTF-8`,
		"-negative b -guidance 1": "-negative works by guidance",
		"-width -8":               "-width -8",
		"-height -8":              "-height -8",
		"-batch -1":               "-batch -1",
		"-sampler heun":           `-sampler: diffusion: "heun" is no sampler`,
		"-width 62":               "-width 62 is not a multiple",
		"-height 45":              "-height 45 is not a multiple",
		"-sampler euler -eta 0.5": "-eta 0.5 is for the sampler ddim; euler has none",
		"-sampler flow_euler":     "-sampler flow_euler with -steps 25: diffusion: FlowEuler",
		"-sampler ddim -steps 1001": "-sampler ddim with -steps 1001: diffusion: 1001 sampling " +
			"steps are not between 1 and the 1000 steps of training",
	} {
		r, err := parsed(t, strings.Fields(args)...)
		if err == nil {
			_, err = p.SettleFlags(r)
		}
		require.ErrorContains(t, err, want, args)
	}
}

// Noise of a file has the size of the pictures where no flag does, and decides in the seed's place.
func TestSettleNoise(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	noise := func(shape ...int) string {
		file := filepath.Join(t.TempDir(), "noise.safetensors")
		value := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
		all := []kernels.Parameter{{Name: "noise", Value: value}}
		require.NoError(t, weights.Save(file, all, kernels.Float32, nil))
		return file
	}
	channels, scale := p.VAE.Config.LatentChannels, p.VAE.Factor()
	r, err := parsed(t, "-sampler", "ddpm", "-steps", "2")
	require.NoError(t, err)
	settled, err := p.SettleNoise(r, noise(3, 1, channels, 16, 24))
	require.NoError(t, err)
	require.Equal(t, []int{24 * scale, 16 * scale}, []int{settled.Width, settled.Height})
	require.NotNil(t, settled.Noise)
	require.Zero(t, settled.Seed)
	for want, file := range map[string]string{
		"of 2 draws, where the sampler makes 3": noise(2, 1, channels, 16, 16),
		"of 2 pictures, where 1 are asked for":  noise(3, 2, channels, 16, 16),
		"where the pictures' are [":             noise(3, 1, channels+1, 16, 16),
		"no such file":                          "gone.safetensors",
	} {
		_, err := p.SettleNoise(r, file)
		require.ErrorContains(t, err, want)
	}
	r.Width = 8 * scale
	_, err = p.SettleNoise(r, noise(3, 1, channels, 16, 16))
	require.ErrorContains(t, err, "where the pictures' are [")
}

// A prompt that is as long as the text encoder reads is whole; of one more word, people are told,
// once. The text encoder goes when all prompts are encoded.
// What the machine has no room for is known before anything is made, and it is what is then taken.
func TestSettledFits(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	r, err := parsed(t, "-steps", "1", "-batch", "2", "-guidance", "2")
	require.NoError(t, err)
	r.Prompts, r.PerPrompt = []string{"a star"}, 2
	full := errors.New("full")
	var asked []int64
	p.Machine.Room = func(bytes int64) error {
		asked = append(asked, bytes)
		return nil
	}
	settled, err := p.SettleFlags(r)
	require.NoError(t, err)
	first := asked
	require.Len(t, first, 2, "for the network and for the decoder")
	asked = nil
	settled, err = p.SettlePrompts(t.Context(), settled, nil)
	require.NoError(t, err)
	_, err = dataset.Collect(t.Context(), p.Generate(settled))
	require.NoError(t, err)
	require.Equal(t, first, asked[len(asked)-2:])

	p, err = Load("../../examples/tiny/model")
	require.NoError(t, err)
	for place, most := range first {
		p.Machine.Room = func(bytes int64) error {
			if bytes == most {
				return full
			}
			return nil
		}
		_, err = p.SettleFlags(r)
		require.ErrorIs(t, err, full, place)
		require.ErrorContains(t, err, "2 pictures of 64×64 pixels at once, as -batch, -width and")
	}
}

func TestSettlePrompts(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	text := p.Text
	fits := strings.TrimSpace(strings.Repeat("red ", p.Tokenizer.Length-2))
	require.Len(t, p.Tokenizer.Tokens(fits), p.Tokenizer.Length-2)
	var said []string
	printf := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	r, err := p.SettlePrompts(t.Context(), Request{Prompts: []string{fits}}, printf)
	require.NoError(t, err)
	require.Empty(t, said)
	require.Nil(t, p.Text)
	require.Len(t, r.Conditions, 2)
	require.Contains(t, r.Conditions, "")
	require.Contains(t, r.Conditions, fits)

	p.Text = text
	long := Request{Prompts: []string{fits, fits + " star", fits + " star", fits + " cross"}}
	_, err = p.SettlePrompts(t.Context(), long, printf)
	require.NoError(t, err)
	require.Len(t, said, 1)
	require.Contains(t, said[0], "Longer prompts: 2,")
	require.Contains(t, said[0], fits+" star")
	p.Text = text
	_, err = p.SettlePrompts(t.Context(), long, nil)
	require.NoError(t, err)
	_, err = p.SettlePrompts(t.Context(), long, nil)
	require.Error(t, err, "the text encoder is gone")
}

// Requests of one another's noise have each their own part of Skip.
func TestDraws(t *testing.T) {
	r := Request{Prompts: []string{"a", "b"}, PerPrompt: 3, Steps: 2, Batch: 4, First: 100}
	for skip, want := range map[int][]int{
		0: {0, 0, 0}, 5: {5, 0, 0}, 6: {6, 0, 0}, 7: {6, 1, 0}, 17: {6, 6, 5}, 20: {6, 6, 6},
	} {
		r.Skip = skip
		var got []int
		for k, d := range r.Draws(3) {
			require.EqualValues(t, 100+6*k, d.First)
			got = append(got, d.Skip)
		}
		require.Equal(t, want, got)
	}
	require.Empty(t, r.Draws(0))
}
