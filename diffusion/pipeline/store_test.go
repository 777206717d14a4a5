package pipeline

import (
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// few is a request for seven small pictures in batches of three, the last of one.
func few() Request {
	return Request{
		Prompts: []string{"a star", "a cross", "a ring", "a star", "a heart", "two rings", "x"},
		Steps:   2, Guidance: 2, Seed: 3, First: 5, Batch: 3,
	}
}

// alike says that generated samples are equal, to the bit.
func alike(t *testing.T, want, got []dataset.Sample) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].ID, got[i].ID)
		require.Equal(t, want[i].Prompt, got[i].Prompt)
		require.Equal(t, want[i].Source, got[i].Source)
		require.Equal(t, want[i].Latent.Float32s(), got[i].Latent.Float32s())
		require.True(t, want[i].Latent.Shape().Eq(got[i].Latent.Shape()))
		require.Equal(t, want[i].Condition.Tokens.Float32s(), got[i].Condition.Tokens.Float32s())
		require.Equal(t, want[i].Image.(*image.NRGBA).Pix, got[i].Image.(*image.NRGBA).Pix)
	}
}

func TestSkip(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	all := collect(t, p.Generate(few()))
	require.Len(t, all, 7)
	for skip := range 9 {
		r, err := p.Settle(few())
		require.NoError(t, err)
		r.Skip = skip
		done := 0
		alike(t, all[min(skip, 7):], collect(t, p.Generate(r.Watched(func(n int) { done += n }))))
		require.Equal(t, []int{6, 6, 6, 4, 4, 4, 2, 0, 0}[skip], done)
		require.Equal(t, done, r.Parts())
	}
	r := few()
	r.Skip = -1
	_, err = dataset.Collect(t.Context(), p.Generate(r))
	require.ErrorContains(t, err, "-1 skipped")
}

func TestGeneratedIsKept(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "cache")
	files := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		require.NoError(t, err)
		return names
	}
	want := collect(t, p.Generate(few()))
	kept := few()
	kept.Cache = dir
	sampled := func() (steps int) {
		r, err := p.Settle(kept)
		require.NoError(t, err)
		alike(t, want, collect(t, p.Generate(r.Watched(func(n int) { steps += n }))))
		return steps
	}
	require.Equal(t, 6, sampled())
	require.Len(t, files(), 3)
	require.Zero(t, sampled(), "all batches are there")
	require.NoError(t, os.Remove(files()[1]))
	require.Equal(t, 2, sampled())
	text, err := os.ReadFile(files()[2])
	require.NoError(t, err)
	text[len(text)-2] ^= 1
	require.NoError(t, os.WriteFile(files()[2], text, 0o644))
	require.Equal(t, 2, sampled(), "a batch that is not as it was written")
	require.Zero(t, sampled())

	// A file that is whole is believed.
	for _, name := range files() {
		f, err := weights.Open(name)
		require.NoError(t, err)
		var all []kernels.Parameter
		for _, n := range f.Names() {
			v, err := f.Tensor(n)
			require.NoError(t, err)
			v.Float32s()[0]++
			all = append(all, kernels.Parameter{Name: n, Value: v})
		}
		require.NoError(t, f.Close())
		sum := map[string]string{sumKey: weights.Hash(all)}
		require.NoError(t, weights.Save(name, all, kernels.Float32, sum))
	}
	for i, s := range collect(t, p.Generate(kept)) {
		require.Equal(t, want[i].Latent.Float32s()[0]+1, s.Latent.Float32s()[0])
	}
}

// Whatever generated latents depend on has files of its own.
func TestGeneratedIsToldApart(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	dir := t.TempDir()
	there := 0
	other := func(name string, new int, change func(r *Request)) {
		t.Helper()
		r := few()
		change(&r)
		want := collect(t, p.Generate(r))
		r.Cache = dir
		alike(t, want, collect(t, p.Generate(r)))
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		there += new
		require.Len(t, files, there, name)
	}
	euler, err := diffusion.ParseSampler("euler")
	require.NoError(t, err)
	other("the first", 3, func(r *Request) {})
	other("a prompt", 1, func(r *Request) { r.Prompts[4] = "a moon" })
	other("prompts at the end", 1, func(r *Request) { r.Prompts = r.Prompts[:5] })
	other("pictures a prompt", 4, func(r *Request) { r.PerPrompt, r.Prompts = 2, r.Prompts[:6] })
	other("steps", 3, func(r *Request) { r.Steps = 3 })
	other("guidance", 3, func(r *Request) { r.Guidance = 3 })
	other("no guidance", 3, func(r *Request) { r.Guidance = 1 })
	other("the negative prompt", 3, func(r *Request) { r.Negative = "blurry" })
	other("the seed", 3, func(r *Request) { r.Seed = 4 })
	other("the place of the first", 3, func(r *Request) { r.First = 6 })
	other("the batch, but for the last", 3, func(r *Request) { r.Batch = 2 })
	other("the sampler", 3, func(r *Request) { r.Sampler = euler })
	other("the size", 3, func(r *Request) { r.Width = 16 })
	other("what does not matter", 0, func(r *Request) { r.Skip = 4 })
	p.Name = "other"
	other("the name", 0, func(r *Request) {})
	p.UNet.Config.NormEps *= 2
	other("the UNet's config", 3, func(r *Request) {})
	schedule := *p.Schedule
	p.Schedule = &schedule
	schedule.Prediction = diffusion.Epsilon
	other("the prediction", 3, func(r *Request) {})
	weights.Parameters(p.UNet)[0].Value.Float32s()[0]++
	other("the UNet", 3, func(r *Request) {})
	last := weights.Parameters(p.Text)
	for i := range last[len(last)-1].Value.Float32s() {
		last[len(last)-1].Value.Float32s()[i] += 0.5
	}
	other("the text encoder", 3, func(r *Request) {})
	weights.Parameters(p.VAE)[0].Value.Float32s()[0]++
	other("the VAE, whose work is done anew", 0, func(r *Request) {})
}

// What cannot be told apart is not kept.
func TestGeneratedIsNotKept(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	fails := func(p *Pipeline, r Request, want string) {
		t.Helper()
		r.Cache = t.TempDir()
		_, err := dataset.Collect(t.Context(), p.Generate(r))
		require.ErrorContains(t, err, want)
	}
	r := few()
	r.Noise = func(row, draw int, dst []float32) { clear(dst) }
	fails(p, r, "only what comes of seeded noise is kept")
	fails(p.With("mine", struct{ Network }{p.UNet}), few(), "only what a UNet makes is kept")
	for _, l := range nn.Layers(p.UNet) {
		l.Attach(l.NewLowRank(1))
		break
	}
	fails(p, few(), "merge or detach it first")
}
