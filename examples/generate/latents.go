package main

import (
	"fmt"
	"strings"

	"github.com/kudos-ml/kudos/internal/weights"
)

// A noise is what -latents names: [K+1,B,C,H,W], the start and the draw of each step, for B pictures.
type noise struct {
	shape  []int
	values []float32
}

// readNoise reads a file's only tensor, or that named sampler.NAME.noise for the sampler in use or, for a model's own, generate.noise.
func readNoise(file, sampler string) (n noise, err error) {
	f, err := weights.Open(file)
	if err != nil {
		return n, err
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
		return n, fmt.Errorf("%s has more tensors than one, and none is named sampler.%s.noise or generate.noise", file, sampler)
	}
	if len(shape) != 5 || shape[0] < 1 {
		return n, fmt.Errorf("%s: %s is %v, not [K+1,B,C,H,W]", file, name, shape)
	}
	n.shape = shape
	if n.values, err = f.Floats(name); err != nil {
		return n, err
	}
	for i, v := range n.values {
		if v-v != 0 {
			return n, fmt.Errorf("%s: value %d of %s is %v", file, i, name, v)
		}
	}
	return n, nil
}

// check reports noise that is not for b pictures of latents [h,w,c] and the number of draws.
func (n noise) check(draws, b, h, w, c int) error {
	var wrong []string
	if n.shape[0] < draws {
		wrong = append(wrong, fmt.Sprintf("%d draws, where the sampler makes %d with the start", n.shape[0], draws))
	}
	if n.shape[1] != b {
		wrong = append(wrong, fmt.Sprintf("%d pictures, where %d are asked for", n.shape[1], b))
	}
	if got, want := n.shape[2:], []int{c, h, w}; got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		wrong = append(wrong, fmt.Sprintf("latents %v, where the pictures' are %v", got, want))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("noise [K+1,B,C,H,W] %v is of %s", n.shape, strings.Join(wrong, ", of "))
	}
	return nil
}

// draw is a diffusion.Noise: [H,W,C] of picture row.
func (n noise) draw(row, draw int, dst []float32) {
	channels, area := n.shape[2], n.shape[3]*n.shape[4]
	from := n.values[(draw*n.shape[1]+row)*channels*area:]
	for c := range channels {
		for i := range area {
			dst[i*channels+c] = from[c*area+i]
		}
	}
}
