package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/internal/weights"
)

// A StoredNoise is noise that was drawn elsewhere, for example by PyTorch. Its shape is
// [K+1,B,C,H,W]: the start and the draw of each of K steps, for B pictures.
type StoredNoise struct {
	Shape  []int
	values []float32
}

// ReadNoise reads noise from a safetensors file: its only tensor, or the one named
// sampler.NAME.noise, where NAME is sampler, or else generate.noise, which is that of a model's own
// sampler. It is an error if the tensor has not five dimensions, or holds a value that is not
// finite.
func ReadNoise(file, sampler string) (*StoredNoise, error) {
	f, err := weights.Open(file)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	defer f.Close()
	name := "sampler." + sampler + ".noise"
	if names := f.Names(); len(names) == 1 {
		name = names[0]
	}
	shape, ok := f.Shape(name)
	if !ok {
		name = "generate.noise"
		shape, ok = f.Shape(name)
	}
	if !ok {
		return nil, fmt.Errorf("pipeline: %s has more tensors than one, and none is named "+
			"sampler.%s.noise or generate.noise", file, sampler)
	}
	if len(shape) != 5 || shape[0] < 1 {
		return nil, fmt.Errorf("pipeline: %s: %s is %v, not [K+1,B,C,H,W]", file, name, shape)
	}
	n := &StoredNoise{Shape: shape}
	if n.values, err = f.Floats(name); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	for i, v := range n.values {
		if v-v != 0 {
			return nil, fmt.Errorf("pipeline: %s: value %d of %s is %v", file, i, name, v)
		}
	}
	return n, nil
}

// Check returns an error if the noise is not for b pictures of latents [h,w,c], or has fewer draws.
// The start is one of the draws.
func (n *StoredNoise) Check(draws, b, h, w, c int) error {
	var wrong []string
	if n.Shape[0] < draws {
		wrong = append(wrong, fmt.Sprintf("%d draws, where the sampler makes %d with the start",
			n.Shape[0], draws))
	}
	if n.Shape[1] != b {
		wrong = append(wrong, fmt.Sprintf("%d pictures, where %d are asked for", n.Shape[1], b))
	}
	if got, want := n.Shape[2:], []int{c, h, w}; !slices.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("latents %v, where the pictures' are %v", got, want))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("pipeline: noise [K+1,B,C,H,W] %v is of %s", n.Shape,
			strings.Join(wrong, ", of "))
	}
	return nil
}

// Draw is a diffusion.Noise: a draw [H,W,C] for picture row, from 0. It panics where there is none.
func (n *StoredNoise) Draw(row, draw int, dst []float32) {
	channels, area := n.Shape[2], n.Shape[3]*n.Shape[4]
	from := n.values[(draw*n.Shape[1]+row)*channels*area:]
	for c := range channels {
		for i := range area {
			dst[i*channels+c] = from[c*area+i]
		}
	}
}
