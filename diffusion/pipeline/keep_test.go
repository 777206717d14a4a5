package pipeline

import (
	"image"
	"image/color"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// coloured are samples of pictures of one colour each, three of which share two prompts.
func coloured(n int) (all []dataset.Sample) {
	for i := range n {
		img := image.NewNRGBA(image.Rect(0, 0, 20, 24))
		for k := range img.Pix {
			img.Pix[k] = uint8(37*i + k%4*11)
		}
		prompts := []string{"a star", "a cross", "a star"}
		all = append(all, dataset.Sample{Prompt: prompts[i%3], Image: img})
	}
	return all
}

// same says that samples have the same latents and conditions, to the bit.
func same(t *testing.T, want, got []dataset.Sample) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.Equal(t, want[i].Latent.Float32s(), got[i].Latent.Float32s(), i)
		require.Equal(t, want[i].Condition.Tokens.Float32s(), got[i].Condition.Tokens.Float32s(), i)
		require.True(t, want[i].Latent.Shape().Eq(got[i].Latent.Shape()))
	}
}

// What is kept is what encoding gives, to the bit, and is read instead of encoding again.
func TestKept(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	samples := coloured(70)
	encode := func(dir string, o EncodeOptions) []dataset.Sample {
		o.Batch, o.Cache = 3, dir
		return collect(t, p.Encode(dataset.FromSlice(samples), o))
	}
	dir := filepath.Join(t.TempDir(), "cache")
	kept := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		require.NoError(t, err)
		return names
	}
	for _, o := range []EncodeOptions{{}, {Sampled: true, Seed: 3}} {
		require.NoError(t, os.RemoveAll(dir))
		want := encode("", o)
		same(t, want, encode(dir, o))
		require.Len(t, kept(), 3, "33 samples a file, as batches are of 3")
		same(t, want, encode(dir, o))
		require.Len(t, kept(), 3)
		require.Same(t, want[0].Condition.Tokens, want[2].Condition.Tokens)

		// Some files are not there, or not as they were written: the result is the same.
		require.NoError(t, os.Remove(kept()[1]))
		for _, name := range kept() {
			whole, err := os.ReadFile(name)
			require.NoError(t, err)
			broken := append([]byte(nil), whole...)
			broken[len(broken)-5] ^= 1
			for _, text := range [][]byte{broken, whole[:len(whole)/2], {}} {
				require.NoError(t, os.WriteFile(name, text, 0o644))
				same(t, want, encode(dir, o))
				now, err := os.ReadFile(name)
				require.NoError(t, err)
				require.Equal(t, whole, now)
			}
		}
	}

	// A file that is whole is believed: nothing is encoded.
	f, err := weights.Open(kept()[0])
	require.NoError(t, err)
	var list []kernels.Parameter
	for _, name := range f.Names() {
		v, err := f.Tensor(name)
		require.NoError(t, err)
		v.Float32s()[0] = 1234
		list = append(list, kernels.Parameter{Name: name, Value: v})
	}
	require.NoError(t, f.Close())
	sum := map[string]string{sumKey: weights.Hash(list)}
	require.NoError(t, weights.Save(kept()[0], list, kernels.Float32, sum))
	found := 0
	for _, s := range encode(dir, EncodeOptions{Sampled: true, Seed: 3}) {
		if s.Latent.Float32s()[0] == 1234 {
			found++
		}
	}
	require.GreaterOrEqual(t, found, 4)
}

// Whatever a result depends on has files of its own.
func TestKeptTellsApart(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	dir := t.TempDir()
	n := 0
	other := func(name string, samples []dataset.Sample, o EncodeOptions) {
		t.Helper()
		want := collect(t, p.Encode(dataset.FromSlice(samples), o))
		o.Cache = dir
		same(t, want, collect(t, p.Encode(dataset.FromSlice(samples), o)))
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		n++
		require.Len(t, names, n, name)
	}
	o := EncodeOptions{Batch: 2}
	other("the first", coloured(4), o)
	pixel := coloured(4)
	pixel[1].Image.(*image.NRGBA).Set(3, 3, color.White)
	other("a pixel", pixel, o)
	prompt := coloured(4)
	prompt[3].Prompt = "a ring"
	other("a prompt", prompt, o)
	other("their number", coloured(3), o)
	other("the batch", coloured(4), EncodeOptions{Batch: 3})
	other("draws", coloured(4), EncodeOptions{Batch: 2, Sampled: true})
	other("a seed", coloured(4), EncodeOptions{Batch: 2, Sampled: true, Seed: 1})
	p.Tokenizer.Length--
	other("the prompts' length", coloured(4), o)
	p.VAE.Config.ScalingFactor /= 2
	other("the latents' scale", coloured(4), o)
	p.UNet.Config.SampleSize /= 2
	other("the crop", coloured(4), o)
	weights.Parameters(p.VAE)[0].Value.Float32s()[0]++
	other("the VAE", coloured(4), o)
	weights.Parameters(p.Text)[0].Value.Float32s()[0]++
	other("the text encoder", coloured(4), o)
}
