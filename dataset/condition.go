package dataset

import (
	"errors"
	"fmt"
	"iter"

	"gorgonia.org/tensor"
)

// A Condition is what a network is told of a sample's prompt: float32 tensors in the shapes below.
// Parts that the network does not read are nil. A network that reads tokens alone ignores the rest.
//
// The same type holds the conditions of N samples. Each part then has N rows: [N,L,D], [N,P] and
// [N,6]. Batch makes such a condition and Fill writes into it.
type Condition struct {
	Tokens *tensor.Dense // [L,D], one vector a token: the text encoder's last hidden state
	Pooled *tensor.Dense // [P], one vector for the whole prompt, as SDXL and SD 3 read it

	// Sizes is [6], in pixels, as SDXL reads it (Podell et al. 2023, §2.2): the height and width of
	// the picture before it was cropped, the top and left of the crop, and the height and width of
	// the picture that is to be made.
	Sizes *tensor.Dense
}

// IsZero reports whether c has no part.
func (c Condition) IsZero() bool { return c == Condition{} }

// Parts yields the parts that are not nil, with their names: "tokens", "pooled", "sizes".
func (c Condition) Parts() iter.Seq2[string, *tensor.Dense] {
	return func(yield func(string, *tensor.Dense) bool) {
		for i, p := range c.parts() {
			if *p != nil && !yield(parts[i].name, *p) {
				return
			}
		}
	}
}

// parts are the parts of a condition in the order of the method parts, with the number of
// dimensions that they have for one sample.
var parts = [...]struct {
	name string
	dims int
}{{"tokens", 2}, {"pooled", 1}, {"sizes", 1}}

func (c *Condition) parts() [len(parts)]**tensor.Dense {
	return [...]**tensor.Dense{&c.Tokens, &c.Pooled, &c.Sizes}
}

// Fits returns nil if samples of the conditions c and like can be in one batch: both have the same
// parts, in the same shapes and in float32. Otherwise its error names a part that c lacks, has too
// many, or has in another shape or type.
func (c Condition) Fits(like Condition) error { return c.fits(like, 0) }

// fits is Fits where the parts of like have so many dimensions more in front.
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

// Batch returns a condition of zeros for n samples, each with the parts and shapes of c.
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

// Fill writes the conditions of samples, in order, into the rows of a condition that Batch made. It
// is an error if there are more or fewer of them than rows, and if one of them does not fit the
// batch. That error names the sample by its row and says what Fits says.
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

// Row returns the condition of sample i, from 0, of a batch. It shares the batch's memory.
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
