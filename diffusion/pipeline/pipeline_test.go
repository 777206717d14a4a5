package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"iter"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// folders runs a test on the pipelines of every golden case.
func folders(t *testing.T, test func(t *testing.T, p *Pipeline, c golden.Case), needs ...string) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		p, err := Load(c.Dir)
		require.NoError(t, err)
		test(t, p, c)
	}, append(needs, "model_index.json")...)
}

// generators runs a test on the pipelines that the reference has sampled from.
func generators(t *testing.T, test func(t *testing.T, p *Pipeline, c golden.Case)) {
	folders(t, test, "sampler.ddim.trajectory")
}

func collect(t *testing.T, d dataset.Dataset) (all []dataset.Sample) {
	for s, err := range d.All(context.Background()) {
		require.NoError(t, err)
		all = append(all, s)
	}
	return all
}

func request() Request {
	return Request{
		Prompts: []string{"two green dogs", "a red car"}, PerPrompt: 2,
		Steps: 2, Guidance: 2, Seed: 5, Batch: 3,
	}
}

func TestGenerate(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		r := request()
		all := collect(t, p.Generate(r))
		require.Len(t, all, 4)
		folders, err := p.Schedule.Sampler()
		require.NoError(t, err)
		side := p.side() * p.scale()
		for i, s := range all {
			require.Equal(t, r.Prompts[i/2], s.Prompt)
			require.Equal(t, fmt.Sprintf("%s-5-%d", filepath.Base(c.Dir), i), s.ID)
			require.Equal(t, image.Rect(0, 0, side, side), s.Image.Bounds())
			require.Equal(t, tensor.Shape{p.side(), p.side(), 4}, s.Latent.Shape())
			require.Equal(t, dataset.Source{
				Model: filepath.Base(c.Dir), Sampler: folders.Name,
				Steps: 2, Guidance: 2, Seed: 5, Index: uint64(i),
			}, s.Source)
		}
		require.NotEqual(t, all[0].Latent.Float32s(), all[1].Latent.Float32s())

		// The split into batches, the rest of the request and leaving out the decoder change
		// nothing but rounding.
		part := r
		part.Prompts, part.First, part.Batch, part.Latents = r.Prompts[1:], 2, 1, true
		for i, s := range collect(t, p.Generate(part)) {
			require.Nil(t, s.Image)
			require.Equal(t, all[2+i].Source, s.Source)
			require.Equal(t, all[2+i].ID, s.ID)
			golden.Near(t, "latent", s.Latent.Float32s(), all[2+i].Latent.Float32s(), 1e-5)
		}
		require.Equal(t, all[3].Latent.Float32s(), collect(t, p.Generate(r))[3].Latent.Float32s(),
			"ranging again gives the same")
	})
}

// IDs of generated samples can be names of files.
func TestSampleIDs(t *testing.T) {
	for name, want := range map[string]string{
		"tiny": "tiny-1-7", "": "1-7", "ORG/NAME": "ORG--NAME-1-7", `a\b`: "a--b-1-7",
	} {
		require.Equal(t, want, (&Pipeline{Name: name}).sampleID(1, 7))
	}
}

func sampler(t *testing.T, name string) diffusion.Sampler {
	s, err := diffusion.ParseSampler(name)
	require.NoError(t, err)
	return s
}

// With every sampler, a sample is the same in whatever batch it is made; the pictures are not those
// of another sampler.
func TestGenerateWithEverySampler(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	p.Schedule.Config.Spacing = nil // at the same timesteps, ddpm and euler_a are one process
	r := request()
	r.Steps, r.Latents = 4, true
	seen := map[float32]string{}
	for _, name := range []string{
		"ddpm", "ddim", "pndm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras",
	} {
		r.Sampler = sampler(t, name)
		all := collect(t, p.Generate(r))
		part := r
		part.Prompts, part.First, part.Batch = r.Prompts[1:], 2, 1
		for i, s := range collect(t, p.Generate(part)) {
			require.Equal(t, name, s.Source.Sampler)
			golden.Near(t, name, s.Latent.Float32s(), all[2+i].Latent.Float32s(), 1e-5)
		}
		first := all[0].Latent.Float32s()[0]
		require.Empty(t, seen[first], name)
		seen[first] = name
	}
}

// Without a choice, model_index.json says which sampler; one that we do not have is named, and any
// other can be chosen.
func TestGenerateWithTheFoldersSampler(t *testing.T) {
	for class, want := range map[string]string{
		"EulerAncestralDiscreteScheduler": "euler_a", "DPMSolverMultistepScheduler": "dpmpp_2m",
		"UniPCMultistepScheduler": "",
	} {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS("../../testdata/golden/sd2")))
		index := `{
			"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "` + class + `"]
		}`
		require.NoError(t,
			os.WriteFile(filepath.Join(dir, "model_index.json"), []byte(index), 0o644))
		p, err := Load(dir)
		require.NoError(t, err)
		r := request()
		r.Latents = true
		all, err := dataset.Collect(context.Background(), p.Generate(r))
		if want == "" {
			require.ErrorContains(t, err, "the scheduler UniPCMultistepScheduler is not supported")
			require.ErrorContains(t, err, "PNDMScheduler, EulerDiscreteScheduler")
			r.Sampler = sampler(t, "euler")
			collect(t, p.Generate(r))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, all[0].Source.Sampler)
		r.Eta = 0.5
		_, err = dataset.Collect(context.Background(), p.Generate(r))
		require.ErrorContains(t, err, "eta 0.5 is for ddim")
	}
}

// A schedule that leaves no signal at its last timestep is sampled from there, with and without
// noise.
func TestGenerateFromZeroSignal(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	c := p.Schedule.Config
	c.ZeroSNR, c.Spacing = new(true), new("trailing")
	p.Schedule, err = diffusion.NewSchedule(c)
	require.NoError(t, err)
	r := request()
	r.Latents = true
	for _, name := range []string{"ddim", "ddpm", "euler", "dpmpp_2m"} {
		r.Sampler = sampler(t, name)
		for _, s := range collect(t, p.Generate(r)) {
			for _, v := range s.Latent.Float32s() {
				require.Less(t, float64(v)*float64(v), 1e4, name) // and no NaN
			}
		}
	}
}

// What a UNet predicts reaches the sampler as it is: by way of ε, what there is little signal for
// would be lost to rounding.
func TestGenerateFromLittleSignal(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	c := p.Schedule.Config
	c.BetaSchedule, c.Spacing = new("squaredcos_cap_v2"), new("trailing")
	c.SetAlphaToOne = new(true)
	p.Schedule, err = diffusion.NewSchedule(c)
	require.NoError(t, err)
	r := request()
	r.Prompts, r.PerPrompt, r.Steps, r.Guidance, r.Latents = r.Prompts[:1], 1, 1, 1, true
	conditions, err := p.Conditions(t.Context(), r.Prompts...)
	require.NoError(t, err)
	net, err := diffusion.Compile(p.UNet, tensor.Shape{1, p.side(), p.side(), 4},
		conditions[r.Prompts[0]])
	require.NoError(t, err)
	defer net.Close()
	require.NoError(t, net.Condition.Fill(conditions[r.Prompts[0]]))
	x := diffusion.SeededNoise(r.Seed, 0).Start(1, p.side(), p.side(), 4)
	said, err := net.Predict(x, 999)
	require.NoError(t, err)
	bar := p.Schedule.Process.(diffusion.Table).AlphaBar[999]
	require.Less(t, bar, 1e-8)
	want := make([]float32, len(x.Float32s()))
	for i, v := range said.Float32s() {
		want[i] = float32(math.Sqrt(bar)*float64(x.Float32s()[i]) - math.Sqrt(1-bar)*float64(v))
	}
	for _, name := range []string{"ddim", "ddpm"} {
		r.Sampler = sampler(t, name)
		golden.Near(t, name, collect(t, p.Generate(r))[0].Latent.Float32s(), want, 1e-5)
	}
}

// The folder's own sampler has steps_offset 1 and clips nothing, whatever the folder says, however
// it is chosen. Other samplers have that where it says anything, and their own steps_offset where
// it does not.
func TestGenerateAsStableDiffusionPipeline(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	r := request()
	r.Latents = true
	latents := func(name string, offset *int, clips *bool) []float32 {
		p.Schedule.Config.StepsOffset, p.Schedule.Config.ClipSample = offset, clips
		if r.Sampler = (diffusion.Sampler{}); name != "" {
			r.Sampler = sampler(t, name)
		}
		return collect(t, p.Generate(r))[0].Latent.Float32s()
	}
	want := latents("", new(1), new(false))
	for _, name := range []string{"", "ddim"} {
		require.Equal(t, want, latents(name, new(0), new(true)))
		require.Equal(t, want, latents(name, nil, nil))
	}
	other := latents("ddpm", new(1), new(false))
	require.Equal(t, other, latents("ddpm", new(0), new(true)))
	require.NotEqual(t, other, latents("ddpm", nil, nil))

	// Whoever samples the UNet by hand gets the same, with the pipeline's schedule and with one
	// that is made of a config without a word on clip_sample: latents lie outside of ±1.
	bare := diffusion.StableDiffusion()
	bare.Prediction, bare.ClipSample = p.Schedule.Config.Prediction, nil
	byHand, err := diffusion.NewSchedule(bare)
	require.NoError(t, err)
	require.Equal(t, p.Schedule.Process, byHand.Process)
	p.Schedule.Config.StepsOffset = nil
	conditions, err := p.Conditions(t.Context(), r.Prompts[0], "")
	require.NoError(t, err)
	shape := tensor.Shape{1, p.side(), p.side(), 4}
	net, err := diffusion.Compile(diffusion.Guide(p.UNet, conditions[""], r.Guidance), shape,
		conditions[""])
	require.NoError(t, err)
	defer net.Close()
	require.NoError(t, net.Condition.Fill(conditions[r.Prompts[0]]))
	start := diffusion.SeededNoise(r.Seed, 0).Start(shape...)
	for _, s := range []*diffusion.Schedule{p.Schedule, byHand} {
		o := diffusion.SampleOptions{Steps: r.Steps}
		last, err := diffusion.Last(diffusion.DDIM(t.Context(), net.Predict, s, start, o))
		require.NoError(t, err)
		golden.Near(t, "by hand", last.Latent.Float32s(), want, 1e-5)
		require.Greater(t, slices.Max(last.Clean.Float32s()), float32(1.2),
			"±1 would clamp nothing")
	}
}

// Guidance and the whole way from prompt to latent, against the same made of parts.
func TestGenerateIsDDIMOfTheGuidedNetwork(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		r := request()
		r.Prompts, r.PerPrompt, r.Negative, r.Latents = r.Prompts[:1], 1, "a car", true
		r.Sampler = sampler(t, "ddim")
		conditions, err := p.Conditions(context.Background(), r.Prompts[0], r.Negative)
		require.NoError(t, err)
		net := func(prompt string) diffusion.Network {
			n, err := diffusion.Compile(p.UNet, tensor.Shape{1, p.side(), p.side(), 4},
				conditions[prompt])
			require.NoError(t, err)
			t.Cleanup(func() { n.Close() })
			require.NoError(t, n.Condition.Fill(conditions[prompt]))
			return n.Predict
		}
		with, without := net(r.Prompts[0]), net(r.Negative)
		guided := func(x *tensor.Dense, at float64) (*tensor.Dense, error) {
			a, err := with(x, at)
			require.NoError(t, err)
			b, err := without(x, at)
			require.NoError(t, err)
			out := a.Clone().(*tensor.Dense)
			for i := range out.Float32s() {
				out.Float32s()[i] = b.Float32s()[i] + 2*(a.Float32s()[i]-b.Float32s()[i])
			}
			return out, nil
		}
		start := diffusion.SeededNoise(5, 0).Start(1, p.side(), p.side(), 4)
		want, err := diffusion.Last(diffusion.DDIM(context.Background(), guided, p.Schedule, start,
			diffusion.SampleOptions{Steps: 2}))
		require.NoError(t, err)
		golden.Near(t, "latent", collect(t, p.Generate(r))[0].Latent.Float32s(),
			want.Latent.Float32s(), 1e-5)
	})
}

func TestGenerateSizes(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, _ golden.Case) {
		r := request()
		r.Guidance, r.Width, r.Height, r.PerPrompt = 1, 4*p.scale(), 8*p.scale(), 1
		all := collect(t, p.Generate(r))
		require.Equal(t, image.Rect(0, 0, r.Width, r.Height), all[0].Image.Bounds())
	})
}

func TestPromptsGolden(t *testing.T) {
	folders(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		want := c.Tensor(t, "text.last_hidden_state")
		prompts := make([]string, want.Shape()[0])
		for i := range prompts {
			prompts[i] = c.Data.Metadata[fmt.Sprintf("tokenizer.text.%d", i)]
		}
		conditions, err := p.Conditions(context.Background(), prompts...)
		require.NoError(t, err)
		var got []float32
		for _, prompt := range prompts {
			got = append(got, conditions[prompt].Tokens.Float32s()...)
		}
		golden.Near(t, "conditions", got, want.Float32s(), 1e-5)
	}, "text.last_hidden_state")
}

func TestEncode(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, _ golden.Case) {
		made := collect(t, p.Generate(request()))
		for i := range made[:3] {
			made[i].Latent, made[i].Condition = nil, dataset.Condition{}
		}
		data := dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
			return func(yield func(dataset.Sample, error) bool) {
				for _, s := range made {
					if !yield(s, nil) {
						return
					}
				}
			}
		})
		mean := collect(t, p.Encode(data, EncodeOptions{Batch: 3}))
		require.Len(t, mean, 4)
		blank := p.Blank()
		require.True(t, blank.Latent.Shape().Eq(mean[0].Latent.Shape()))
		require.NoError(t, blank.Condition.Fits(mean[0].Condition))
		require.Equal(t, made[3].Latent.Float32s(), mean[3].Latent.Float32s(),
			"a latent that is there stays")
		conditions, err := p.Conditions(context.Background(), made[0].Prompt)
		require.NoError(t, err)
		golden.Near(t, "condition", mean[0].Condition.Tokens.Float32s(),
			conditions[made[0].Prompt].Tokens.Float32s(), 1e-6)

		one := collect(t, p.Encode(data, EncodeOptions{Batch: 1}))
		golden.Near(t, "latent", one[1].Latent.Float32s(), mean[1].Latent.Float32s(), 1e-5)
		drawn := collect(t, p.Encode(data, EncodeOptions{Batch: 3, Sampled: true, Seed: 1}))
		again := collect(t, p.Encode(data, EncodeOptions{Sampled: true, Seed: 1}))
		require.Greater(t, golden.Distance(drawn[1].Latent.Float32s(), mean[1].Latent.Float32s()),
			1e-3)
		golden.Near(t, "drawn latent", again[1].Latent.Float32s(), drawn[1].Latent.Float32s(), 1e-5)
		require.Nil(t, made[0].Latent, "the data's own samples stay as they are")
	})
}

// The mean that Encode gives is the reference's, times the scaling factor.
func TestEncodeGolden(t *testing.T) {
	folders(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		x := c.ChannelsLast(t, "vae.sample")
		s := x.Shape()
		st, err := p.newStage(s, p.encodeNodes(false))
		require.NoError(t, err)
		defer st.machine.Close()
		copy(st.in.Float32s(), x.Float32s())
		values, err := st.run()
		require.NoError(t, err)
		golden.Near(t, "mean", values[0].Float32s(), c.ChannelsLast(t, "vae.mean").Float32s(), 1e-5)
	}, "vae.sample")
}

func TestSave(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, _ golden.Case) {
		dir := filepath.Join(t.TempDir(), "saved")
		require.NoError(t, p.Save(dir, kernels.Float32))
		again, err := Load(dir)
		require.NoError(t, err)
		require.Equal(t, "saved", again.Name)
		r := request()
		r.PerPrompt = 1
		a, b := collect(t, p.Generate(r)), collect(t, again.Generate(r))
		require.Equal(t, picture.FromImage(a[1].Image), picture.FromImage(b[1].Image))
		require.Equal(t, a[1].Latent.Float32s(), b[1].Latent.Float32s())
		require.Equal(t, "tuned", p.With("tuned", again.UNet).Name)
	})
}

// Without its UNet's numbers a pipeline encodes, and says so where it is asked for more; read
// later, and saved in two parts, it is whole.
func TestFrozen(t *testing.T) {
	shards := filepath.Join("..", "..", "testdata", "golden", "shards")
	for _, name := range []string{shards, filepath.Join(shards, "single.safetensors")} {
		whole, err := Load(name)
		require.NoError(t, err)
		p, err := LoadFrozen(name)
		require.NoError(t, err)
		require.Equal(t, whole.Name, p.Name)
		require.Equal(t, whole.UNet.Config, p.UNet.Config)
		for _, q := range p.UNet.Trainable() {
			require.Zero(t, slices.Max(q.Value.Float32s()))
		}
		want, err := whole.Conditions(t.Context(), "a dog")
		require.NoError(t, err)
		got, err := p.Conditions(t.Context(), "a dog")
		require.NoError(t, err)
		require.Equal(t, want["a dog"].Tokens.Float32s(), got["a dog"].Tokens.Float32s())

		dir := t.TempDir()
		_, err = dataset.Collect(t.Context(), p.Generate(request()))
		var unread *UnreadError
		require.ErrorAs(t, err, &unread)
		require.ErrorAs(t, p.Save(dir, kernels.Float32), &unread)
		require.ErrorAs(t, p.SaveUNet(dir, kernels.Float32), &unread)
		require.NoError(t, p.SaveFrozen(dir, kernels.Float32))
		_, err = Load(dir)
		require.ErrorContains(t, err, "model_index.json", "it is not complete")

		require.NoError(t, p.LoadUNet())
		require.Equal(t, weights.Hash(whole.UNet), weights.Hash(p.UNet))
		require.ErrorContains(t, p.LoadUNet(), "there is no UNet to read")
		p.Text, p.VAE = nil, nil
		empty := t.TempDir()
		require.ErrorContains(t, p.SaveUNet(empty, kernels.Float32), "text_encoder: ")
		require.NoFileExists(t, filepath.Join(empty, "model_index.json"))
		require.NoError(t, p.SaveUNet(dir, kernels.Float32))
		again, err := Load(dir)
		require.NoError(t, err)
		require.Equal(t, weights.Hash(whole.UNet), weights.Hash(again.UNet))
		require.Equal(t, weights.Hash(whole.Text), weights.Hash(again.Text))
		require.Equal(t, weights.Hash(whole.VAE), weights.Hash(again.VAE))
	}
	_, err := LoadFrozen(filepath.Join(shards, "unet"))
	require.ErrorContains(t, err, "model_index.json")

	// Weights that don't fit are known before they are read.
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.CopyFS(other, os.DirFS(shards)))
	config := filepath.Join(other, "unet", "config.json")
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	text = bytes.Replace(text, []byte(`"in_channels": 4`), []byte(`"in_channels": 9`), 1)
	require.NoError(t, os.WriteFile(config, text, 0o644))
	for _, name := range []string{other, filepath.Join(other, "single.safetensors")} {
		_, err := LoadFrozen(name)
		require.ErrorContains(t, err, "4 3 3], not [")
	}
	require.ErrorContains(t, (&Pipeline{}).LoadUNet(), "there is no UNet to read")
}

// A pipeline may be in memory, as one that is embedded in a program.
func TestLoadFS(t *testing.T) {
	folders(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		embedded := fstest.MapFS{}
		for _, folder := range []string{
			"", "scheduler", "tokenizer", "text_encoder", "vae", "unet",
		} {
			files, err := filepath.Glob(filepath.Join(c.Dir, folder, "*"))
			require.NoError(t, err)
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err == nil && filepath.Base(file) != "cases.safetensors" {
					embedded[path.Join(folder, filepath.Base(file))] = &fstest.MapFile{Data: data}
				}
			}
		}
		again, err := LoadFS(embedded)
		require.NoError(t, err)
		require.Equal(t, weights.Hash(p.UNet), weights.Hash(again.UNet))
		require.Equal(t, weights.Hash(p.VAE), weights.Hash(again.VAE))
		require.Equal(t, weights.Hash(p.Text), weights.Hash(again.Text))
		delete(embedded, "unet/config.json")
		_, err = LoadFS(embedded)
		require.ErrorContains(t, err, "unet: ")
		require.ErrorContains(t, err, "config.json")
	})
}

func TestErrors(t *testing.T) {
	tested := false
	generators(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		if tested {
			t.Skip("one pipeline is enough")
		}
		tested = true
		fails := func(change func(*Request)) error {
			r := request()
			change(&r)
			for _, err := range p.Generate(r).All(context.Background()) {
				return err
			}
			return nil
		}
		require.ErrorContains(t, fails(func(r *Request) { r.Prompts = nil }), "no prompts")
		require.ErrorContains(t, fails(func(r *Request) { r.PerPrompt = -1 }),
			"-1 pictures a prompt")
		require.ErrorContains(t, fails(func(r *Request) { r.Guidance = 0 }),
			"guidance 0 is below 1")
		require.ErrorContains(t, fails(func(r *Request) { r.Steps = -1 }), "-1 steps")
		require.ErrorContains(t, fails(func(r *Request) { r.Batch = -1 }), "batches of -1")
		require.ErrorContains(t, fails(func(r *Request) { r.Width = 3 }), "3×0 pixels")
		for _, err := range p.With("empty", nil).Generate(request()).All(context.Background()) {
			require.ErrorContains(t, err, "UNet, VAE or schedule is missing")
		}
		for _, err := range p.Encode(nil, EncodeOptions{Batch: -1}).All(context.Background()) {
			require.ErrorContains(t, err, "a batch of -1 samples")
		}
		require.ErrorContains(t, p.With("empty", nil).Save(t.TempDir(), kernels.Float32),
			"is missing")

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, err := range p.Generate(request()).All(ctx) {
			require.ErrorIs(t, err, context.Canceled)
		}
		empty := dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
			return func(yield func(dataset.Sample, error) bool) {
				yield(dataset.Sample{ID: "seven"}, nil)
			}
		})
		for _, err := range p.Encode(empty, EncodeOptions{Batch: 1}).All(context.Background()) {
			require.ErrorContains(t, err, "sample 0 (seven) has neither a latent nor a picture")
		}
		broken := errors.New("broken")
		bad := dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
			return func(yield func(dataset.Sample, error) bool) { yield(dataset.Sample{}, broken) }
		})
		for _, err := range p.Encode(bad, EncodeOptions{Batch: 1}).All(context.Background()) {
			require.ErrorIs(t, err, broken)
		}

		dir := filepath.Join(t.TempDir(), "saved")
		require.NoError(t, p.Save(dir, kernels.Float16))
		file := filepath.Join(dir, "unet", "diffusion_pytorch_model.safetensors")
		whole, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, whole[:len(whole)-1], 0o644))
		_, err = Load(dir)
		require.ErrorContains(t, err, "unet: ")
		require.ErrorContains(t, err, "diffusion_pytorch_model.safetensors")
		require.ErrorContains(t, err, dir)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "tokenizer")))
		_, err = Load(dir)
		require.ErrorContains(t, err, "tokenizer: ")
		index := []byte(`{"_class_name": "StableDiffusionXLPipeline"}`)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "model_index.json"), index, 0o644))
		_, err = Load(dir)
		require.ErrorContains(t, err, "StableDiffusionXLPipeline")
		_, err = Load(filepath.Join(dir, "unet"))
		require.ErrorContains(t, err, "this is no folder of a diffusers pipeline")
	})
}

// From the reference's noise and conditions, with no text encoder, come the reference's last
// states.
func TestGenerateGolden(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		steps, err := strconv.Atoi(c.Data.Metadata["sampler.steps"])
		require.NoError(t, err)
		eta, err := strconv.ParseFloat(c.Data.Metadata["sampler.ddim.eta"], 64)
		require.NoError(t, err)
		draws := c.ChannelsLast(t, "sampler.ddim.noise")
		want := c.ChannelsLast(t, "sampler.ddim.trajectory")
		shape := want.Shape() // [K+1,B,H,W,C]
		size := shape[2:].TotalSize()
		r := Request{
			PerPrompt: 1, Steps: steps, Eta: eta, Guidance: 1, Batch: 2,
			Sampler: sampler(t, "ddim"), Conditions: map[string]dataset.Condition{},
			Height: shape[2] * p.scale(), Width: shape[3] * p.scale(), Latents: true,
			Noise: func(row, draw int, dst []float32) {
				copy(dst, draws.Float32s()[(draw*shape[1]+row)*size:][:size])
			},
		}
		conditions := c.Tensor(t, "unet.encoder_hidden_states")
		for i := range shape[1] {
			r.Prompts = append(r.Prompts, fmt.Sprint(i))
			r.Conditions[fmt.Sprint(i)] = dataset.Condition{Tokens: conditions}.Row(i)
		}
		p.Text = nil
		for i, s := range collect(t, p.Generate(r)) {
			golden.Near(t, "latent", s.Latent.Float32s(),
				want.Float32s()[(steps*shape[1]+i)*size:][:size], 1e-5)
		}

		r.Guidance = 2 // the negative prompt's condition is not there
		for _, err := range p.Generate(r).All(t.Context()) {
			require.ErrorContains(t, err, "text encoder is missing")
		}
		r.Conditions["0"] = dataset.Condition{
			Tokens: tensor.New(tensor.WithShape(3, 5), tensor.Of(tensor.Float32)),
		}
		for _, err := range p.Generate(r).All(t.Context()) {
			require.ErrorContains(t, err, `the tokens of "0" are (3, 5)`)
		}
	})
}

// Prompts become, from the reference's noise, the latents and pictures that StableDiffusionPipeline
// makes of them with the folder's own sampler and guidance.
func TestPicturesGolden(t *testing.T) {
	folders(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		var k struct {
			Prompts  []string
			Steps    int
			Guidance float64
			Dtype    string
		}
		require.NoError(t, json.Unmarshal([]byte(c.Data.Metadata["generate"]), &k))
		latent, level := 1e-5, 1
		if k.Dtype == "float32" { // a model of full size, whose reference errs as we do
			latent, level = 1e-3, 2
		}
		noise, want := c.ChannelsLast(t, "generate.noise"), c.ChannelsLast(t, "generate.latents")
		images := c.Tensor(t, "generate.images").Float32s()
		size, shape := want.Shape()[1:].TotalSize(), want.Shape()
		got := collect(t, p.Generate(Request{
			Prompts: k.Prompts, PerPrompt: 1, Steps: k.Steps, Guidance: k.Guidance, Batch: 2,
			Height: shape[1] * p.scale(), Width: shape[2] * p.scale(),
			Noise: func(row, draw int, dst []float32) {
				copy(dst, noise.Float32s()[(draw*shape[0]+row)*size:][:size])
			},
		}))
		require.Len(t, got, shape[0])
		for i, s := range got {
			golden.Near(t, "latent", s.Latent.Float32s(), want.Float32s()[i*size:][:size], latent)
			pix := picture.FromImage(s.Image).Pix
			off, differ, moved := 0, 0, 0.0
			for j, v := range pix {
				d := max(int(v), int(images[i*len(pix)+j])) - min(int(v), int(images[i*len(pix)+j]))
				off = max(off, d)
				differ += min(d, 1)
				moved += math.Abs(float64(images[i*len(pix)+j]) - float64(images[j]))
			}
			require.Len(t, images, len(pix)*len(got))
			t.Logf("%q: %d of %d values differ, by %d of 255 at most; "+
				"%.2f from the first picture in the mean",
				s.Prompt, differ, len(pix), off, moved/float64(len(pix)))
			require.LessOrEqual(t, off, level)
		}
		require.NotEqual(t, picture.FromImage(got[0].Image).Pix,
			picture.FromImage(got[1].Image).Pix)
	}, "generate.latents")
}

// Conditions that are there are used, and give what the text encoder would.
func TestGenerateFromConditions(t *testing.T) {
	generators(t, func(t *testing.T, p *Pipeline, _ golden.Case) {
		r := request()
		r.Negative, r.Latents = "a blue cat", true
		want := collect(t, p.Generate(r))
		var err error
		r.Conditions, err = p.Conditions(t.Context(), append(r.Prompts, r.Negative)...)
		require.NoError(t, err)
		require.Len(t, r.Conditions, 3)
		p.Text = nil
		got := collect(t, p.Generate(r))
		require.Len(t, got, len(want))
		for i := range got {
			golden.Near(t, "latent", got[i].Latent.Float32s(), want[i].Latent.Float32s(), 1e-5)
		}
	})
}

// own is a network of one's own: says half of what it is shown.
type own struct{ side, channels int }

func (o own) Predict(x, _ *gorgonia.Node, _ diffusion.Condition) (*gorgonia.Node, error) {
	return kernels.Scale(x, 0.5)
}

func (o own) Latents() (side, channels int) { return o.side, o.channels }

// A network of one's own makes the latents that the sampler makes of what it says, and cannot be
// saved as a UNet.
func TestNetworkOfOnesOwn(t *testing.T) {
	p, err := Load("../../testdata/golden/sd1")
	require.NoError(t, err)
	mine := p.With("mine", own{4, 4})
	require.Nil(t, mine.UNet)
	require.NotNil(t, p.UNet)
	r := Request{Prompts: []string{"a dog"}, Steps: 2, Guidance: 1, Seed: 1}
	samples, err := dataset.Collect(t.Context(), mine.Generate(r))
	require.NoError(t, err)
	half := func(x *tensor.Dense, _ float64) (*tensor.Dense, error) {
		y := x.Clone().(*tensor.Dense)
		for i := range y.Float32s() {
			y.Float32s()[i] /= 2
		}
		return y, nil
	}
	sampler, err := p.Schedule.Sampler()
	require.NoError(t, err)
	noise := diffusion.SeededNoise(1, 0)
	last, err := diffusion.Last(sampler.Sample(t.Context(), half, p.Schedule,
		noise.Start(1, 4, 4, 4), diffusion.SampleOptions{Steps: 2, Noise: noise}))
	require.NoError(t, err)
	require.Equal(t, last.Latent.Float32s(), samples[0].Latent.Float32s())
	require.Equal(t, 4*p.scale(), samples[0].Image.Bounds().Dx())

	require.ErrorContains(t, mine.Save(t.TempDir(), kernels.Float32),
		"own is not what diffusers reads")
	for _, err := range p.With("wide", own{4, 3}).Generate(r).All(t.Context()) {
		require.ErrorContains(t, err,
			"the VAE has 4 latent channels, the pipeline.own latents [4 4 3]")
	}
	frozen, err := LoadFrozen("../../testdata/golden/sd1")
	require.NoError(t, err)
	again, err := dataset.Collect(t.Context(), frozen.With("mine", own{4, 4}).Generate(r))
	require.NoError(t, err)
	require.Equal(t, samples[0].Latent.Float32s(), again[0].Latent.Float32s())
}
