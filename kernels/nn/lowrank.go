package nn

import (
	"fmt"
	"iter"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A LowRank is what low-rank adaptation (Hu et al. 2022) adds to a layer: Scale·B(A(x)). A maps to a few channels, the rank, with the
// layer's own kernel and stride, B these to the layer's output at each position. Its tensors carry peft's names.
type LowRank struct {
	A Layer `weight:"lora_A"`
	B Layer `weight:"lora_B"`

	Scale float64
}

// A Layer is a Linear or a Conv2D: what low-rank adaptation applies to, and is made of.
type Layer interface {
	Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node
	// NewLowRank returns zeros that fit the layer, with Scale 0.
	NewLowRank(rank int) *LowRank
	// Attach adds p's result to the layer's in graphs that are built from now on, Detach ends that.
	Attach(p *LowRank)
	Detach(p *LowRank)
	Attached() bool

	weight() *tensor.Dense
}

// Layers yields the layers of a model with their names.
func Layers(model any) iter.Seq2[string, Layer] {
	return func(yield func(string, Layer) bool) {
		for name, part := range weights.Parts(model) {
			if l, ok := part.(Layer); ok && !yield(name, l) {
				return
			}
		}
	}
}

// Unadapted returns an error if something is attached to a layer of the model: a file of the model's weights would lack it.
func Unadapted(model any) error {
	for name, l := range Layers(model) {
		if l.Attached() {
			return fmt.Errorf("nn: %s has a low-rank adapter, which is not saved with the weights: merge or detach it first", name)
		}
	}
	return nil
}

// Rank is the number of channels between A and B.
func (p *LowRank) Rank() int { return p.A.weight().Shape()[0] }

// Merge adds Scale·B·A to the layer's weight. That a convolution's weight is [Cout,KH,KW,Cin], and A's [rank,KH,KW,Cin], makes both
// matrices as they are.
func (p *LowRank) Merge(into Layer) {
	a, b, w := p.A.weight().Float32s(), p.B.weight().Float32s(), into.weight().Float32s()
	rank, rows := p.Rank(), into.weight().Shape()[0]
	columns := len(w) / rows
	delta := make([]float32, len(w))
	product := cpu.Product{
		M: rows, N: columns, K: rank,
		A: cpu.Matrix{Data: b, Stride: rank}, B: cpu.Matrix{Data: a, Stride: columns}, C: cpu.Matrix{Data: delta, Stride: columns},
	}
	cpu.Gemm(cpu.Shared, &product, make([]float32, product.Workspace(cpu.Shared)))
	for i, d := range delta {
		w[i] = float32(float64(w[i]) + p.Scale*float64(d))
	}
}

// Additions are the low-rank pairs attached to a layer. They are no part of its own weights.
type Additions struct{ pairs []*LowRank }

// Attach adds p's result to the layer's in graphs that are built from now on.
func (a *Additions) Attach(p *LowRank) { a.pairs = append(a.pairs, p) }

// Detach ends what Attach did.
func (a *Additions) Detach(p *LowRank) {
	a.pairs = slices.DeleteFunc(a.pairs, func(q *LowRank) bool { return p == q })
}

// detachAll leaves nothing of the pairs, not even memory that a copy of a shares.
func (a *Additions) detachAll() { a.pairs = nil }

// Attached reports whether there is a pair.
func (a *Additions) Attached() bool { return len(a.pairs) > 0 }

// addTo returns y, the layer's own result for x, and what the pairs add.
func (a *Additions) addTo(b *Builder, x, y *gorgonia.Node) *gorgonia.Node {
	for _, p := range a.pairs {
		h := b.Do(kernels.Scale(p.A.Forward(b, x), p.Scale)) // here, where there are the fewest channels
		y = b.Add(y, p.B.Forward(b, h))
	}
	return y
}

// NewLowRank returns A [rank,in] and B [out,rank].
func (l *Linear) NewLowRank(rank int) *LowRank {
	s := l.Weight.Shape()
	return &LowRank{A: NewLinear(s[1], rank, false), B: NewLinear(rank, s[0], false)}
}

// NewLowRank returns A [rank,KH,KW,Cin] and B [Cout,1,1,rank].
func (l *Conv2D) NewLowRank(rank int) *LowRank {
	s := l.Weight.Shape()
	return &LowRank{
		A: &Conv2D{Weight: zeros(rank, s[1], s[2], s[3]), Conv: l.Conv},
		B: NewConv2D(rank, s[0], 1, 1, false),
	}
}

func (l *Linear) weight() *tensor.Dense { return l.Weight }
func (l *Conv2D) weight() *tensor.Dense { return l.Weight }
