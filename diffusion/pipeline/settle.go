package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
)

const (
	// usualSteps are enough for every sampler but DDPM's, and those of diffusers' examples are 20
	// to 50.
	usualSteps = 25
	// mostTogether pictures are made at once, however small they are: more are hardly faster.
	mostTogether = 16
)

// Settle returns r with its zero fields filled in, as Generate does it. PerPrompt is 1, Steps 25,
// and Sampler, Width and Height are the model's own. Batch is the number of pictures that have as
// many pixels together as one of 512×512, at most 16. It is an error if p lacks its network, VAE or
// schedule, or is an inpainting model.
func (p *Pipeline) Settle(r Request) (Request, error) {
	if err := p.checkImages(); err != nil {
		return r, err
	}
	if p.inpaints() {
		return r, p.inpaintError()
	}
	if r.Sampler.Sample == nil {
		var err error
		if r.Sampler, err = p.Schedule.Sampler(); err != nil {
			return r, err
		}
	}
	own := p.side() * p.scale()
	r.PerPrompt, r.Steps = cmp.Or(r.PerPrompt, 1), cmp.Or(r.Steps, usualSteps)
	r.Width, r.Height = cmp.Or(r.Width, own), cmp.Or(r.Height, own)
	r.Batch = cmp.Or(r.Batch, max(1, min(mostTogether, decodePixels/(r.Width*r.Height))))
	return r, nil
}

// hasRoom asks the machine whether there is room for what makes the pictures of a settled request.
func (p *Pipeline) hasRoom(r Request) error {
	if p.Machine.Room == nil || p.Machine.Device != nil || p.Text == nil || p.unread != nil {
		return nil
	}
	if n := len(r.Prompts) * r.PerPrompt; n > 0 {
		r.Batch = min(r.Batch, n)
	}
	tokens := tensor.New(
		tensor.WithShape(p.Tokenizer.Length, p.Text.Config.Width), tensor.Of(tensor.Float32))
	like := dataset.Condition{Tokens: tokens}
	r.Conditions = map[string]dataset.Condition{r.Negative: like}
	g := p.newGenerator(r)
	defer g.close()
	_, err := g.network(context.Background(), r.Batch, like)
	if err == nil {
		_, err = g.decoder.graphs.of(min(r.Batch, g.decoder.together()))
	}
	if err != nil {
		return fmt.Errorf("%d pictures of %d×%d pixels at once, as -batch, -width and -height "+
			"say: %w", r.Batch, r.Width, r.Height, err)
	}
	return nil
}

// Parts is the number of parts of a settled request's work, as Watched counts them: the Steps of
// every batch that Skip does not leave out.
func (r Request) Parts() int {
	count := len(r.Prompts) * r.PerPrompt
	if r.Skip >= count {
		return 0
	}
	return ((count+r.Batch-1)/r.Batch - r.Skip/r.Batch) * r.Steps
}

// DiskBytes is about how much n pictures of a request that is settled take as PNG files: a byte and
// a half for each pixel, which is half of what is in it and what is left of photographs.
func (r Request) DiskBytes(n int) int64 {
	return int64(n) * int64(r.Width) * int64(r.Height) * 3 / 2
}

// Watched returns a settled request that reports its progress: after each sampling step it calls
// done with the number of parts that this step has finished. They add up to Parts, however often
// the sampler calls the network. Batches that are read from Cache are not among them. Where done is
// nil, or r is not settled, r is as it was.
func (r Request) Watched(done func(parts int)) Request {
	if done == nil || r.Sampler.Sample == nil {
		return r
	}
	sample := r.Sampler.Sample
	r.Sampler.Sample = func(ctx context.Context, net diffusion.Network, s *diffusion.Schedule,
		x *tensor.Dense, o diffusion.SampleOptions) iter.Seq2[diffusion.Step, error] {
		return func(yield func(diffusion.Step, error) bool) {
			for step, err := range sample(ctx, net, s, x, o) {
				if err == nil {
					done((step.Index+1)*r.Steps/step.Of - step.Index*r.Steps/step.Of)
				}
				if !yield(step, err) {
					return
				}
			}
		}
	}
	return r
}

// TooLong lists the prompts that have more tokens than the text encoder reads, each once. Of such a
// prompt the encoder reads the first p.Tokenizer.Length − 2 tokens.
func (p *Pipeline) TooLong(prompts []string) (long []string) {
	seen := map[string]bool{}
	for _, prompt := range prompts {
		if !seen[prompt] && len(p.Tokenizer.Tokens(prompt))+2 > p.Tokenizer.Length {
			long = append(long, prompt)
		}
		seen[prompt] = true
	}
	return long
}
