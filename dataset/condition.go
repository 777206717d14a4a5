package dataset

import (
	"errors"
	"fmt"
	"iter"

	"gorgonia.org/tensor"
)

// A Condition is what a network is told of a sample's prompt: float32 tensors in the shapes below.
// Parts that the network does not read are nil; a network that reads tokens alone ignores the rest.
//
// The same type holds the conditions of N samples: each part then has N rows, [N,L,D], [N,P] and
// [N,6]. Batch makes such a condition and Fill writes into it.
type Condition struct {
	Tokens *tensor.Dense // [L,D], one vector a token: the text encoder's last hidden state
	Pooled *tensor.Dense // [P], one vector for all of the prompt, as SDXL and SD 3 read it

	// Sizes [6] are SDXL's, in pixels: height and width of the picture before it was cropped, top
	// and left of the crop, height and width that are aimed at (Podell et al. 2023, §2.2).
	Sizes *tensor.Dense
}

// IsZero reports whether c has no part.
func (c Condition) IsZero() bool { return c == Condition{} }

// Parts yields the parts that are there, by their names: tokens, pooled, sizes.
func (c Condition) Parts() iter.Seq2[string, *tensor.Dense] {
	return func(yield func(string, *tensor.Dense) bool) {
		for i, p := range c.parts() {
			if *p != nil && !yield(parts[i].name, *p) {
				return
			}
		}
	}
}

// parts are a condition's, in the order of Condition.parts, with a sample's number of dimensions.
var parts = [...]struct {
	name string
	dims int
}{{"tokens", 2}, {"pooled", 1}, {"sizes", 1}}

func (c *Condition) parts() [len(parts)]**tensor.Dense {
	return [...]**tensor.Dense{&c.Tokens, &c.Pooled, &c.Sizes}
}

// Fits says by an error, which names the part, why a sample of condition c cannot be in one batch
// with one of condition like.
func (c Condition) Fits(like Condition) error { return c.fits(like, 0) }

// fits is Fits where like has so many dimensions more in front.
func (c Condition) fits(like Condition, more int) error {
	if c.IsZero() && !like.IsZero() {
		return errors.New("dataset: there is no condition")
	}
	others := like.parts()
	for i, p := range c.parts() {
		got, want, name := *p, *others[i], parts[i].name
		switch {
		case got == nil && want == nil:
		case got == nil:
			return fmt.Errorf("dataset: the condition has no %s, others have %v",
				name, want.Shape()[more:])
		case got.Dtype() != tensor.Float32 || got.Dims() != parts[i].dims:
			return fmt.Errorf("dataset: the condition has %s %v %v, not float32 of rank %d",
				name, got.Dtype(), got.Shape(), parts[i].dims)
		case want == nil:
			return fmt.Errorf("dataset: the condition has %s %v, others have none",
				name, got.Shape())
		case !got.Shape().Eq(want.Shape()[more:]):
			return fmt.Errorf("dataset: the condition has %s %v, others have %v",
				name, got.Shape(), want.Shape()[more:])
		}
	}
	return nil
}

// Batch returns zeros with room for n samples' conditions that have the parts and shapes of c.
func (c Condition) Batch(n int) (batch Condition) {
	to := batch.parts()
	for i, p := range c.parts() {
		if *p != nil {
			shape := append(tensor.Shape{n}, (*p).Shape()...)
			*to[i] = tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
		}
	}
	return batch
}

// Fill writes conditions of samples into the rows of a batch that Batch made, in order. It is an
// error, which names the sample by its row and the part, if they are more or fewer than the batch
// has rows, or if one lacks a part, has one too many or one of another shape or type.
func (c Condition) Fill(samples ...Condition) error {
	for name, p := range c.Parts() {
		if p.Shape()[0] != len(samples) {
			return fmt.Errorf("dataset: %d conditions for a batch of %s %v",
				len(samples), name, p.Shape())
		}
	}
	to := c.parts()
	for row, s := range samples {
		if err := s.fits(c, 1); err != nil {
			return fmt.Errorf("sample %d of %d: %w", row, len(samples), err)
		}
		for i, p := range s.parts() {
			if *p != nil {
				copy((*to[i]).Float32s()[row*(*p).Size():], (*p).Float32s())
			}
		}
	}
	return nil
}

// Row returns sample i's condition of a batch. It shares the batch's memory.
func (c Condition) Row(i int) (row Condition) {
	to := row.parts()
	for k, p := range c.parts() {
		if *p != nil {
			shape := (*p).Shape()[1:].Clone()
			size := shape.TotalSize()
			data := (*p).Float32s()[i*size : (i+1)*size]
			*to[k] = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
		}
	}
	return row
}
