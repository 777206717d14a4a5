package nn

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// Linear is y = x·Wᵀ + b on the last axis.
type Linear struct {
	Weight *tensor.Dense `weight:"weight"` // [out,in]
	Bias   *tensor.Dense `weight:"bias"`   // [out], or nil

	Additions
}

// NewLinear returns a layer of zeros, with a bias or without.
func NewLinear(in, out int, bias bool) *Linear {
	l := &Linear{Weight: zeros(out, in)}
	if bias {
		l.Bias = zeros(out)
	}
	return l
}

// Forward maps x [...,in] to [...,out].
func (l *Linear) Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	return l.addTo(b, x, b.Do(kernels.Linear(x, b.Param(l.Weight), b.Param(l.Bias))))
}

// Conv2D is a two-dimensional convolution of images, channels last.
type Conv2D struct {
	Weight *tensor.Dense `weight:"weight,conv"` // [Cout,KH,KW,Cin]
	Bias   *tensor.Dense `weight:"bias"`        // [Cout], or nil

	Conv kernels.Conv
	Additions
}

// NewConv2D returns a layer of zeros, with a bias or without. The kernel is kernel×kernel. The
// padding keeps the size of images at stride 1 if kernel is odd.
func NewConv2D(in, out, kernel, stride int, bias bool) *Conv2D {
	pad := kernel / 2
	l := &Conv2D{
		Weight: zeros(out, kernel, kernel, in),
		Conv:   kernels.Conv{Stride: stride, Top: pad, Bottom: pad, Left: pad, Right: pad},
	}
	if bias {
		l.Bias = zeros(out)
	}
	return l
}

// Forward maps x [N,H,W,Cin] to [N,H',W',Cout], with the sizes of kernels.Conv2D.
func (l *Conv2D) Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	return l.addTo(b, x, b.Do(kernels.Conv2D(x, b.Param(l.Weight), b.Param(l.Bias), l.Conv)))
}

// GroupNorm normalizes groups of channels over all positions (Wu and He 2018).
type GroupNorm struct {
	Weight *tensor.Dense `weight:"weight"` // [C]
	Bias   *tensor.Dense `weight:"bias"`   // [C]

	Groups int
	Eps    float64
}

// NewGroupNorm returns a layer of zeros. groups divides channels, and eps is positive.
func NewGroupNorm(channels, groups int, eps float64) *GroupNorm {
	return &GroupNorm{Weight: zeros(channels), Bias: zeros(channels), Groups: groups, Eps: eps}
}

// Forward maps x [N,...,C] to the same shape.
func (l *GroupNorm) Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	return l.forward(b, x, kernels.Identity)
}

// ForwardSiLU is Forward followed by SiLU, in one operation.
func (l *GroupNorm) ForwardSiLU(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	return l.forward(b, x, kernels.SiLUActivation)
}

func (l *GroupNorm) forward(b *Builder, x *gorgonia.Node, act kernels.Activation) *gorgonia.Node {
	return b.Do(kernels.GroupNorm(x, b.Param(l.Weight), b.Param(l.Bias), l.Groups, l.Eps, act))
}

// LayerNorm normalizes the last axis (Ba et al. 2016).
type LayerNorm struct {
	Weight *tensor.Dense `weight:"weight"` // [C]
	Bias   *tensor.Dense `weight:"bias"`   // [C]

	Eps float64
}

// NewLayerNorm returns a layer of zeros. eps is positive.
func NewLayerNorm(channels int, eps float64) *LayerNorm {
	return &LayerNorm{Weight: zeros(channels), Bias: zeros(channels), Eps: eps}
}

// Forward maps x [...,C] to the same shape.
func (l *LayerNorm) Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	return b.Do(kernels.LayerNorm(x, b.Param(l.Weight), b.Param(l.Bias), l.Eps, kernels.Identity))
}

// Embedding looks up rows of a table.
type Embedding struct {
	Weight *tensor.Dense `weight:"weight"` // [V,D]
}

// NewEmbedding returns a table of zeros, [entries,width].
func NewEmbedding(entries, width int) *Embedding { return &Embedding{zeros(entries, width)} }

// Forward maps ids [N,L], whole numbers in 0 to V−1, to [N,L,D].
func (l *Embedding) Forward(b *Builder, ids *gorgonia.Node) *gorgonia.Node {
	return b.Do(kernels.Embedding(b.Param(l.Weight), ids))
}
