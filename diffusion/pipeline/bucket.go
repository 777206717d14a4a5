package pipeline

import (
	"fmt"
	"image"
	"math"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
)

// Bucket has pictures keep their shapes, as far as there are enough of a shape: it sets the Fit of
// samples whose Size is known to one of a few sizes, the buckets, by which Encode then goes
// (aspect ratio bucketing, as of NovelAI 2022). It comes after Frame.
//
// A bucket has no more pixels than the size that Frame has settled, and as many as that allows, of
// sides that are multiples of what the UNet halves sizes by. No side is below half of that size's
// or above twice of it. That size is a bucket too, and so is the model's square. A picture is in
// the bucket whose shape is nearest to its own, the difference being that of the logarithms of
// width over height. Buckets of fewer than least pictures, a training's batch, are given up for the
// next ones. Bucket tells printf what the buckets are, and how much is cut away, unless all
// pictures are in that of the size settled.
//
// Samples of pictures that a model made stay as they are: see Encode.
func (p *Pipeline) Bucket(
	printf func(format string, args ...any), samples []dataset.Sample, least int,
) {
	var pictures []int
	for i, s := range samples {
		if s.Size.X > 0 && s.Size.Y > 0 && s.Source.Model == "" {
			pictures = append(pictures, i)
		}
	}
	buckets := p.buckets()
	sort := func() map[image.Point][]int {
		in := map[image.Point][]int{}
		for _, i := range pictures {
			b := nearest(buckets, samples[i].Size)
			in[b] = append(in[b], i)
		}
		return in
	}
	in := sort()
	for {
		short := slices.IndexFunc(buckets, func(b image.Point) bool {
			return b != p.target() && len(in[b]) < least && len(in[b]) == fewest(buckets[1:], in)
		})
		if short < 0 {
			break
		}
		buckets = slices.Delete(buckets, short, short+1)
		in = sort()
	}
	for b, which := range in {
		for _, i := range which {
			samples[i].Fit = b
		}
	}
	if len(pictures) > 0 && (len(in) > 1 || in[p.target()] == nil) {
		printf("%s.", bucketed(buckets, in, samples))
	}
}

// fewest is how many pictures the bucket with the fewest has.
func fewest(buckets []image.Point, in map[image.Point][]int) int {
	n := math.MaxInt
	for _, b := range buckets {
		n = min(n, len(in[b]))
	}
	return n
}

// bucketed says which pictures are in which bucket.
func bucketed(
	buckets []image.Point, in map[image.Point][]int, samples []dataset.Sample,
) string {
	var parts []string
	n, lost := 0, 0.
	for _, b := range buckets {
		if len(in[b]) == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%d in %d×%d", len(in[b]), b.X, b.Y))
		for _, i := range in[b] {
			x, y := samples[i].Size.X*b.Y, samples[i].Size.Y*b.X
			lost += 1 - float64(min(x, y))/float64(max(x, y))
			n++
		}
	}
	return fmt.Sprintf("Pretraining pictures keep their shapes: %s pixels; %.0f %% of their area "+
		"is cut away", strings.Join(parts, ", "), 100*lost/float64(n))
}

// buckets are the sizes that pictures may be encoded in. The first is the target.
func (p *Pipeline) buckets() []image.Point {
	target, side := p.target(), p.side()*p.scale()
	all := []image.Point{target}
	if square := image.Pt(side, side); square != target {
		all = append(all, square)
	}
	unit := p.scale()
	if p.UNet != nil {
		unit <<= len(p.UNet.Config.BlockOutChannels) - 1
	}
	least, most := min(target.X, target.Y)/2, 2*max(target.X, target.Y)
	for w := unit; w <= most; w += unit {
		h := min(target.X*target.Y/w/unit*unit, most)
		if size := image.Pt(w, h); min(w, h) >= max(least, unit) && !slices.Contains(all, size) {
			all = append(all, size)
		}
	}
	return all
}

// nearest is the bucket whose shape is nearest to that of a picture. Of two the first is.
func nearest(buckets []image.Point, size image.Point) (best image.Point) {
	apart := math.Inf(1)
	shape := func(p image.Point) float64 { return math.Log(float64(p.X) / float64(p.Y)) }
	for _, b := range buckets {
		if d := math.Abs(shape(b) - shape(size)); d < apart {
			best, apart = b, d
		}
	}
	return best
}
