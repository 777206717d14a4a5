package pipeline

import (
	"context"
	"errors"
	"fmt"
	"image"
	"iter"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/rng"
)

// Conditions are the conditions of prompts, by prompt: the text encoder's last hidden state, which
// the UNet reads. Each takes the memory of one, however often its prompt is there.
func (p *Pipeline) Conditions(
	ctx context.Context, prompts ...string,
) (map[string]dataset.Condition, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	t := p.newTexts()
	defer t.graphs.close()
	if _, err := t.encode(ctx, prompts); err != nil {
		return nil, err
	}
	return t.known, nil
}

// EncodeOptions say how pictures become latents.
type EncodeOptions struct {
	// Batch is the number of samples that are read and encoded together; 0 is one whose picture has
	// 512×512 pixels or more, and of smaller ones as many as have that many together.
	Batch int

	// Sampled draws a latent from the distribution that the VAE's encoder gives, from Seed and the
	// sample's position, as training by diffusers' script does. Otherwise the latent is its mean,
	// which hardly differs.
	Sampled bool
	Seed    uint64

	// Cache is a folder in which latents and conditions are kept, a few dozen samples a file, so
	// that another process need not encode them again. What is read from it is bit for bit what
	// encoding would give. A file that is not as it was written is made anew. Empty keeps nothing.
	Cache string
}

func (o EncodeOptions) check() error {
	if o.Batch < 0 {
		return fmt.Errorf("pipeline: a batch of %d samples", o.Batch)
	}
	return nil
}

// Encode returns the samples of data with Latent (scaled, as the UNet reads it) and Condition
// filled in, those of Alternatives too. A sample that has a latent keeps it; one with neither
// latent nor picture is an error that names it. Each picture is fitted as it comes, and Image is
// the fitted one from then on, so that the memory of a batch does not depend on the pictures'
// sizes.
//
//   - A picture that a model made, whose sample has a Source.Model, is never cut, whatever its
//     shape. It keeps its size if that is of multiples of the VAE's factor, and the shorter side is
//     not above the model's side, as in 512×768. Otherwise it is resized to the nearest such size.
//   - Any other picture is resized to cover the sample's Fit, or else what Frame has settled, or
//     else the model's square, and that is cut out of its middle. One that has one side more than
//     32 times the other is an error that names the sample.
//
// Behind what is transparent there is white, as in clip.Preprocessor.
func (p *Pipeline) Encode(data dataset.Dataset, o EncodeOptions) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			if err := errors.Join(p.check(), o.check()); err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			e := p.newEncoder(o)
			defer e.close()
			size, encode := e.o.Batch, e.encode
			if o.Cache != "" {
				size *= max(1, (keptTogether+size-1)/size)
				encode = e.newKeeper().encode
			}
			for batch, err := range dataset.Batches(ctx, dataset.Map(data, e.fit), size) {
				if err == nil {
					err = encode(ctx, batch)
				}
				if err != nil {
					yield(dataset.Sample{}, err)
					return
				}
				for _, s := range batch {
					if !yield(s, nil) {
						return
					}
				}
			}
		}
	})
}

// Blank is a sample of zeros in the shapes that Encode gives, with which training can be planned
// before anything is encoded.
func (p *Pipeline) Blank() dataset.Sample {
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	}
	return dataset.Sample{
		Latent:    zeros(p.latent(p.target())...),
		Condition: dataset.Condition{Tokens: zeros(p.Tokenizer.Length, p.Text.Config.Width)},
	}
}

// An encoder fills in latents and conditions.
type encoder struct {
	p     *Pipeline
	o     EncodeOptions
	texts *texts
	sizes map[image.Point]*stages // by the size of the pictures
	seen  uint64                  // samples whose pictures were fitted
	done  uint64                  // samples before the batch
}

func (p *Pipeline) newEncoder(o EncodeOptions) *encoder {
	e := &encoder{p: p, o: o, texts: p.newTexts(), sizes: map[image.Point]*stages{}}
	if o.Batch == 0 {
		e.o.Batch = together(p.target())
	}
	return e
}

// together is how many pictures of a size are encoded at once.
func together(size image.Point) int { return max(1, decodePixels/(size.X*size.Y)) }

// graphs are those for pictures of a size. Those of two sizes are kept, as each takes the memory of
// a VAE.
func (e *encoder) graphs(size image.Point) *stages {
	const kept = 2
	if e.sizes[size] == nil {
		if len(e.sizes) == kept {
			e.closeGraphs()
		}
		e.sizes[size] = &stages{build: func(n int) (*stage, error) {
			return e.p.newStage([]int{n, size.Y, size.X, 3}, e.p.encodeNodes(e.o.Sampled))
		}}
	}
	return e.sizes[size]
}

// fit is Pipeline.fit of a sample that needs a latent.
func (e *encoder) fit(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
	e.seen++
	if s.Latent != nil || s.Image == nil {
		return s, nil
	}
	fitted, err := e.p.fit(s)
	if err != nil {
		return s, fmt.Errorf("pipeline: sample %d (%s): %w", e.seen-1, name(s), err)
	}
	return fitted, nil
}

// encodeNodes adds the VAE's encoder to a graph: the mean, and the log variance if it is wanted.
func (p *Pipeline) encodeNodes(spread bool) func(x *gorgonia.Node) (gorgonia.Nodes, error) {
	return func(x *gorgonia.Node) (gorgonia.Nodes, error) {
		mean, logvar, err := p.VAE.Encode(x)
		if spread {
			return gorgonia.Nodes{mean, logvar}, err
		}
		return gorgonia.Nodes{mean}, err
	}
}

func (e *encoder) close() {
	e.texts.graphs.close()
	e.closeGraphs()
}

func (e *encoder) closeGraphs() {
	for _, graphs := range e.sizes {
		graphs.close()
	}
	clear(e.sizes)
}

// encode fills in a batch.
func (e *encoder) encode(ctx context.Context, batch []dataset.Sample) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	var pictures []int
	for i, s := range batch {
		switch {
		case s.Latent != nil:
		case s.Image != nil:
			pictures = append(pictures, i)
		default:
			return fmt.Errorf("pipeline: sample %d (%s) has neither a latent nor a picture",
				e.done+uint64(i), name(s))
		}
	}
	if _, err := e.texts.encode(ctx, captions(batch)); err != nil {
		return err
	}
	e.texts.fill(batch)
	if err := e.allLatents(ctx, batch, pictures); err != nil {
		return err
	}
	e.done += uint64(len(batch))
	return nil
}

// name is what an error calls a sample.
func name(s dataset.Sample) string {
	for _, n := range []string{s.ID, s.File, s.Prompt} {
		if n != "" {
			return n
		}
	}
	return "without a name"
}

// allLatents encodes the pictures of some samples of a batch: those of one size that follow each
// other at once, as far as memory allows.
func (e *encoder) allLatents(ctx context.Context, batch []dataset.Sample, which []int) error {
	size := func(k int) image.Point { return batch[which[k]].Image.Bounds().Size() }
	for from, n := 0, 0; from < len(which); from += n {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("pipeline: %w", err)
		}
		most := min(from+together(size(from)), len(which))
		for n = 1; from+n < most && size(from+n) == size(from); n++ {
		}
		if err := e.latents(batch, which[from:from+n], size(from)); err != nil {
			return err
		}
	}
	return nil
}

// latents encodes pictures of one size at once.
func (e *encoder) latents(batch []dataset.Sample, which []int, size image.Point) error {
	st, err := e.graphs(size).of(len(which))
	if err != nil {
		return err
	}
	for row, i := range which {
		x := picture.FromImage(batch[i].Image).Tensor()
		copy(st.in.Float32s()[row*size.X*size.Y*3:], x.Float32s())
	}
	values, err := st.run()
	if err != nil {
		return err
	}
	for row, i := range which {
		z := copyRow(values[0], row)
		if e.o.Sampled {
			e.draw(z.Float32s(), copyRow(values[1], row).Float32s(), e.done+uint64(i))
		}
		for j, v := range z.Float32s() {
			z.Float32s()[j] = float32(float64(v) * e.p.VAE.Config.ScalingFactor)
		}
		batch[i].Latent = z
	}
	return nil
}

// draw turns a mean into a draw from the normal distribution around it.
func (e *encoder) draw(mean, logvar []float32, index uint64) {
	noise := make([]float32, len(mean))
	rng.Normal(noise, e.o.Seed, "latent", 0, index)
	for i := range mean {
		mean[i] += float32(math.Exp(0.5*float64(logvar[i])) * float64(noise[i]))
	}
}
