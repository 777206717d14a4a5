package pipeline

import (
	"errors"
	"fmt"
	"image"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/picture"
)

// Frame settles the one size in pixels that all pictures of a training are encoded in, because one
// training has latents of one shape. It goes by the Size of samples (dataset.Look), those that are
// weighted by rewards and those of the pretraining term. From then on Encode, Blank and Blanks go
// by it.
//
//   - It is that of pictures that a model made: whose samples have a Source.Model, as Generate
//     gives them one. See Encode. Two such sizes are an error.
//   - Otherwise it is that of the pictures with rewards, if all of them have the same one, of
//     multiples of the VAE's factor, with a shorter side that is not above the model's side, and
//     with no more pixels than two of the model's squares.
//   - Otherwise it is the model's square.
//
// It tells printf, such as a report.Progress has it, what is then cut away of other pictures.
func (p *Pipeline) Frame(
	printf func(format string, args ...any), rewarded, pretraining []dataset.Sample,
) error {
	if err := p.checkImages(); err != nil {
		return err
	}
	p.frame = image.Point{}
	var taken dataset.Sample
	var cut []dataset.Sample
	for _, s := range append(rewarded[:len(rewarded):len(rewarded)], pretraining...) {
		switch {
		case s.Size.X < 1 || s.Size.Y < 1:
		case s.Source.Model == "":
			cut = append(cut, s)
		case p.frame == image.Point{}:
			p.frame, taken = p.sizeOf(s, s.Size), s
		case p.frame != p.sizeOf(s, s.Size):
			a, b := p.frame, p.sizeOf(s, s.Size)
			p.frame = image.Point{}
			return fmt.Errorf("pipeline: the pictures of %s and %s come in %d×%d and in %d×%d "+
				"pixels: a training is on pictures of one size; take those of each size for a "+
				"training of their own", name(taken), name(s), a.X, a.Y, b.X, b.Y)
		}
	}
	if p.frame == (image.Point{}) && len(rewarded) > 0 && p.fits(rewarded[0].Size) &&
		!slices.ContainsFunc(rewarded, func(s dataset.Sample) bool {
			return s.Size != rewarded[0].Size
		}) {
		p.frame = rewarded[0].Size
	}
	size := p.target()
	if size.X != size.Y {
		printf("Training is on pictures of %d×%d pixels, as the model's own are.", size.X, size.Y)
	}
	if said := dataset.Cut(cut, size.X, size.Y); said != "" {
		printf("%s.", said)
	}
	return nil
}

// fits reports whether pictures of a size may be the model's own.
func (p *Pipeline) fits(size image.Point) bool {
	side, factor := p.side()*p.scale(), p.scale()
	return size.X > 0 && size.Y > 0 && size.X%factor == 0 && size.Y%factor == 0 &&
		min(size.X, size.Y) <= side && size.X*size.Y <= 2*side*side
}

// target is the size in pixels that pictures are cut to.
func (p *Pipeline) target() image.Point {
	if p.frame != (image.Point{}) {
		return p.frame
	}
	side := p.side() * p.scale()
	return image.Pt(side, side)
}

// latent is the shape [h,w,C] of the latents of pictures of a size.
func (p *Pipeline) latent(size image.Point) []int {
	return []int{size.Y / p.scale(), size.X / p.scale(), p.VAE.Config.LatentChannels}
}

// sizeOf is the size in pixels that the picture of a sample, of a size, is encoded in.
func (p *Pipeline) sizeOf(s dataset.Sample, size image.Point) image.Point {
	switch {
	case s.Fit != image.Point{}:
		return s.Fit
	case s.Source.Model == "":
		return p.target()
	}
	side, factor := float64(p.side()*p.scale()), p.scale()
	smaller := min(1, side/float64(min(size.X, size.Y)))
	round := func(n int) int {
		return factor * max(1, int(math.Round(float64(n)*smaller/float64(factor))))
	}
	return image.Pt(round(size.X), round(size.Y))
}

// fit is a sample with its picture in the size that it is encoded in.
func (p *Pipeline) fit(s dataset.Sample) (dataset.Sample, error) {
	size := s.Image.Bounds().Size()
	if size.X < 1 || size.Y < 1 {
		return s, errors.New("the picture is empty")
	}
	to := p.sizeOf(s, size)
	if size == to {
		return s, nil
	}
	rgb := picture.FromImage(s.Image)
	if s.Source.Model != "" {
		s.Image = rgb.Resize(to.X, to.Y, picture.Bicubic).Image()
		return s, nil
	}
	if err := picture.Slender(size.X, size.Y); err != nil {
		return s, err
	}
	w, h := to.X, max(to.X*size.Y/size.X, to.Y) // which covers to
	if size.X*to.Y > size.Y*to.X {
		w, h = max(to.Y*size.X/size.Y, to.X), to.Y
	}
	s.Image = rgb.ResizeCrop(w, h, picture.Bicubic, to.X, to.Y).Image()
	return s, nil
}
