package pipeline

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
)

// A Request says what to generate.
type Request struct {
	Prompts   []string
	PerPrompt int     // pictures of each prompt; 0 is 1
	Steps     int     // sampling steps; 0 is 25
	Guidance  float64 // scale of classifier-free guidance; 1 is none, and half the work
	Negative  string  // what guidance leads away from; usually empty
	Eta       float64 // DDIM's noise, 0 to 1; 0 for other samplers
	Seed      uint64

	// Sampler is diffusion.ParseSampler's, or one's own; without one, it is Schedule.Sampler's.
	Sampler diffusion.Sampler

	// Conditions are those of prompts that are encoded already, Negative among them; see
	// Pipeline.Conditions. With all of them, the text encoder is not used and may be nil, whose
	// memory is free then.
	Conditions map[string]dataset.Condition

	// Noise, unless nil, is drawn from instead of by Seed: its row r is of sample First+r.
	Noise diffusion.Noise

	// First is the index of the first sample: a request for samples 100 to 199 of a larger one sets
	// 100 here and asks for that part's prompts. Sample i of a run has the same noise whatever else
	// the run makes.
	First uint64

	// Batch is the number of pictures that are made at once; 0 is as many as have the pixels of one
	// of 512×512 together, at most 16. It changes the speed and the memory, and the pictures by
	// rounding alone.
	Batch int

	// Skip is how many samples at the beginning are left out, because they were made before: what
	// follows is bit for bit what it is without Skip. Where they end within a batch, all of that
	// batch is computed.
	Skip int

	// Cache is a folder in which the latents of every batch are kept, so that another process need
	// not sample them again: what it reads there is bit for bit what sampling would give. A file
	// that is not as it was written is made anew. What is kept is told apart by all it depends on,
	// samplers of one's own by their Name. It is an error with Noise, with a network that is no
	// UNet, and with a UNet that an adapter is attached to. Empty keeps nothing.
	Cache string

	// Width and Height are in pixels; 0 is the size that the model was trained for.
	Width, Height int

	// Latents leaves the pictures undecoded: samples then have a Latent and no Image.
	Latents bool
}

func (r Request) check(p *Pipeline) error {
	if err := r.checkText(p); err != nil {
		return err
	}
	switch {
	case p.unread != nil:
		return &UnreadError{Model: p.Name}
	case p.inpaints():
		return p.inpaintError()
	case len(r.Prompts) == 0:
		return fmt.Errorf("pipeline: no prompts to generate from")
	case r.PerPrompt < 0 || r.Batch < 0 || r.Steps < 0 || r.Skip < 0:
		return fmt.Errorf("pipeline: %d pictures a prompt in batches of %d, %d steps, %d skipped: "+
			"none may be negative", r.PerPrompt, r.Batch, r.Steps, r.Skip)
	case !(r.Guidance >= 1):
		return fmt.Errorf("pipeline: guidance %g is below 1, which is no guidance", r.Guidance)
	case r.Width < 0 || r.Height < 0 || r.Width%p.scale() != 0 || r.Height%p.scale() != 0:
		return fmt.Errorf("pipeline: %d×%d pixels are not multiples of %d",
			r.Width, r.Height, p.scale())
	}
	return nil
}

// checkText checks the pipeline and the conditions that stand in for its text encoder.
func (r Request) checkText(p *Pipeline) error {
	for prompt, c := range r.Conditions {
		if err := c.Fits(c); err != nil {
			return fmt.Errorf("pipeline: prompt %q: %w", prompt, err)
		}
		if c.Tokens == nil {
			return fmt.Errorf("pipeline: the condition of %q has no tokens", prompt)
		}
		width := c.Tokens.Shape()[1]
		other := func(d int) bool { return d != width }
		if p.UNet != nil && slices.ContainsFunc(p.UNet.Config.CrossAttentionDim, other) {
			return fmt.Errorf("pipeline: the tokens of %q are %v, not what the UNet reads",
				prompt, c.Tokens.Shape())
		}
	}
	asked := r.Prompts
	if r.Guidance != 1 {
		asked = append(slices.Clone(asked), r.Negative)
	}
	for _, prompt := range asked {
		if _, ok := r.Conditions[prompt]; !ok {
			return p.check()
		}
	}
	return p.checkImages()
}

// Generate returns the samples of a request as a dataset: PerPrompt pictures of the first prompt,
// then the second's. Each sample has an ID, a prompt, an image, the scaled latent it was decoded
// from and where it comes from. The ID is the pipeline's name, the seed and the sample's index, as
// in tiny-1-42; so requests whose samples come together have different seeds or First.
//
// Nothing is computed before the dataset is ranged over, and each range computes everything again,
// with the weights that the networks have by then; dataset.Keep makes it once. Cancelling the
// context ends it with an error between two steps of sampling.
func (p *Pipeline) Generate(r Request) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			if err := r.check(p); err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			r, err := p.Settle(r)
			if err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			g := p.newGenerator(r)
			defer g.close()
			for from := r.Skip / r.Batch * r.Batch; max(from, r.Skip) < g.count(); from += r.Batch {
				samples, err := g.batch(ctx, from, min(r.Batch, g.count()-from))
				if err != nil {
					yield(dataset.Sample{}, err)
					return
				}
				for _, s := range samples[max(0, r.Skip-from):] {
					if !yield(s, nil) {
						return
					}
				}
			}
		}
	})
}

// A generator carries out a request.
type generator struct {
	p        *Pipeline
	r        Request // with a Sampler
	schedule *diffusion.Schedule
	texts    *texts
	decoder  *decoder
	networks map[int]*diffusion.Compiled
	latent   tensor.Shape // [H,W,C]
	maker    string       // what names all that is kept; see store.go
}

func (p *Pipeline) newGenerator(r Request) *generator {
	h, w := r.Height/p.scale(), r.Width/p.scale()
	g := &generator{
		p: p, r: r, schedule: p.Schedule.InPipeline(), texts: p.newTexts(),
		networks: map[int]*diffusion.Compiled{},
		latent:   tensor.Shape{h, w, p.VAE.Config.LatentChannels},
	}
	maps.Copy(g.texts.known, r.Conditions)
	g.decoder = p.newDecoder(g.latent)
	return g
}

func (g *generator) count() int { return len(g.r.Prompts) * g.r.PerPrompt }

func (g *generator) close() {
	g.texts.graphs.close()
	g.decoder.close()
	for _, n := range g.networks {
		n.Close()
	}
}

// batch makes samples from to from+n-1.
func (g *generator) batch(ctx context.Context, from, n int) ([]dataset.Sample, error) {
	prompts := make([]string, n)
	for i := range prompts {
		prompts[i] = g.r.Prompts[(from+i)/g.r.PerPrompt]
	}
	conditions, err := g.texts.encode(ctx, prompts)
	if err != nil {
		return nil, err
	}
	latents, err := g.kept(ctx, from, conditions)
	if err != nil {
		return nil, err
	}
	samples := make([]dataset.Sample, n)
	for i := range samples {
		index := g.r.First + uint64(from+i)
		samples[i] = dataset.Sample{
			ID:     g.p.sampleID(g.r.Seed, index),
			Prompt: prompts[i], Latent: latents[i], Condition: conditions[i],
			Source: dataset.Source{
				Model: g.p.Name, Sampler: g.r.Sampler.Name, Steps: g.r.Steps,
				Guidance: g.r.Guidance, Negative: g.r.Negative, Seed: g.r.Seed, Index: index,
			},
		}
	}
	if g.r.Latents {
		return samples, nil
	}
	return samples, g.decode(ctx, samples)
}

// latents samples a latent for each condition, from the noise of samples from and on.
func (g *generator) latents(
	ctx context.Context, from int, conditions []dataset.Condition,
) ([]*tensor.Dense, error) {
	n := len(conditions)
	net, err := g.network(ctx, n, conditions[0])
	if err != nil {
		return nil, err
	}
	if err := net.Condition.Fill(conditions...); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	noise := diffusion.SeededNoise(g.r.Seed, g.r.First+uint64(from))
	if g.r.Noise != nil {
		noise = func(row, draw int, dst []float32) { g.r.Noise(from+row, draw, dst) }
	}
	start := noise.Start(append([]int{n}, g.latent...)...)
	o := diffusion.SampleOptions{Steps: g.r.Steps, Eta: g.r.Eta, Noise: noise}
	last, err := diffusion.Last(g.r.Sampler.Sample(ctx, net.Predict, g.schedule, start, o))
	if err != nil {
		return nil, err
	}
	latents := make([]*tensor.Dense, n)
	for i := range latents {
		latents[i] = copyRow(last.Latent, i)
	}
	return latents, nil
}

// sampleID names a generated sample, so that its ID can be a file's name too.
func (p *Pipeline) sampleID(seed, index uint64) string {
	id := fmt.Sprintf("%d-%d", seed, index)
	if p.Name == "" {
		return id
	}
	return strings.NewReplacer("/", "--", `\`, "--").Replace(p.Name) + "-" + id
}

// network is the guided denoiser for n samples under conditions like one.
func (g *generator) network(
	ctx context.Context, n int, like dataset.Condition,
) (*diffusion.Compiled, error) {
	if net, ok := g.networks[n]; ok {
		return net, nil
	}
	d := diffusion.Denoiser(g.p.denoiser())
	if g.r.Guidance != 1 {
		empty, err := g.negative(ctx)
		if err != nil {
			return nil, err
		}
		d = diffusion.Guide(d, empty, g.r.Guidance)
	}
	latent := append(tensor.Shape{n}, g.latent...)
	machine := g.p.Machine
	machine.ConstantParameters = true // while a generator lives
	net, err := diffusion.CompileOn(machine, d, latent, like)
	if err != nil {
		return nil, err
	}
	g.networks[n] = net
	return net, nil
}

// negative is the condition that guidance leads away from.
func (g *generator) negative(ctx context.Context) (dataset.Condition, error) {
	empty, err := g.texts.encode(ctx, []string{g.r.Negative})
	if err != nil {
		return dataset.Condition{}, err
	}
	return empty[0], nil
}

// decode fills in the samples' images.
func (g *generator) decode(ctx context.Context, samples []dataset.Sample) error {
	latents := make([]*tensor.Dense, len(samples))
	for i, s := range samples {
		latents[i] = s.Latent
	}
	pictures, err := g.decoder.decode(ctx, samples[0].Source.Index, latents)
	for i, x := range pictures {
		samples[i].Image = x
	}
	return err
}
