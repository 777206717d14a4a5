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

// A LowRank is what low-rank adaptation adds to a layer: Scale·B(A(x)) (Hu et al. 2022). A maps x
// to a few channels, with the kernel and the stride of the layer. Their number is the rank. B maps
// these to the layer's output at each position. The tensors have the names that peft gives them.
type LowRank struct {
	A Layer `weight:"lora_A"`
	B Layer `weight:"lora_B"`

	Scale float64
}

// A Layer is a Linear or a Conv2D. Low-rank adaptation applies to layers, and is made of layers.
type Layer interface {
	Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node
	// NewLowRank returns zeros that fit the layer, with Scale 0.
	NewLowRank(rank int) *LowRank
	// Attach adds the result of p to that of the layer, in graphs that are built from now on.
	// Detach ends that.
	Attach(p *LowRank)
	Detach(p *LowRank)
	// Attached reports whether the layer has an adapter.
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

// Unadapted returns an error if a layer of the model has a low-rank adapter: a file of the model's
// weights would lack it.
func Unadapted(model any) error {
	for name, l := range Layers(model) {
		if l.Attached() {
			const wrong = "nn: %s has a low-rank adapter, which is not saved with the weights: " +
				"merge or detach it first"
			return fmt.Errorf(wrong, name)
		}
	}
	return nil
}

// Rank returns the number of channels between A and B.
func (p *LowRank) Rank() int { return p.A.weight().Shape()[0] }

// Merge adds Scale·B·A to the layer's weight. A and B are as into.NewLowRank makes them. A
// convolution's weight [Cout,KH,KW,Cin] is in memory a matrix [Cout,KH·KW·Cin], and A's weight is a
// matrix [rank,KH·KW·Cin], so B·A is a product of matrices for both kinds of layers.
func (p *LowRank) Merge(into Layer) {
	a, b, w := p.A.weight().Float32s(), p.B.weight().Float32s(), into.weight().Float32s()
	rank, rows := p.Rank(), into.weight().Shape()[0]
	columns := len(w) / rows
	delta := make([]float32, len(w))
	product := cpu.Product{
		M: rows, N: columns, K: rank,
		A: cpu.Matrix{Data: b, Stride: rank},
		B: cpu.Matrix{Data: a, Stride: columns},
		C: cpu.Matrix{Data: delta, Stride: columns},
	}
	cpu.Gemm(cpu.Shared, &product, make([]float32, product.Workspace(cpu.Shared)))
	for i, d := range delta {
		w[i] = float32(float64(w[i]) + p.Scale*float64(d))
	}
}

// Additions are the low-rank adapters that are attached to a layer. They are no part of its own
// weights.
type Additions struct{ adapters []*LowRank }

// Attach adds the result of p to that of the layer, in graphs that are built from now on.
func (a *Additions) Attach(p *LowRank) { a.adapters = append(a.adapters, p) }

// Detach ends what Attach did.
func (a *Additions) Detach(p *LowRank) {
	a.adapters = slices.DeleteFunc(a.adapters, func(q *LowRank) bool { return p == q })
}

// detachAll detaches everything. It also gives up the memory of the list, which a copy of a may
// share.
func (a *Additions) detachAll() { a.adapters = nil }

// Attached reports whether there is an adapter.
func (a *Additions) Attached() bool { return len(a.adapters) > 0 }

// addTo returns y, the layer's own result for x, plus the results of the adapters.
func (a *Additions) addTo(b *Builder, x, y *gorgonia.Node) *gorgonia.Node {
	for _, p := range a.adapters {
		// Scale multiplies the output of A, which has the fewest channels.
		h := b.Do(kernels.Scale(p.A.Forward(b, x), p.Scale))
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
