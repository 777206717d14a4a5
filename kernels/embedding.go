package kernels

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Embedding looks up rows of table [V,D]: ids [N,L] → [N,L,D], or ids of any other shape with D
// added. The ids are whole numbers in 0 to V−1. Other ids make a run panic. The ids have no
// gradient.
func Embedding(table, ids *gorgonia.Node) (*gorgonia.Node, error) {
	return Apply(embedding{}, table, ids)
}

// embedding is Embedding.
type embedding struct{}

func (embedding) Shape(in []tensor.Shape) (tensor.Shape, error) {
	table, ids := in[0], in[1]
	if table.Dims() != 2 || ids.Dims() < 1 {
		return nil, fmt.Errorf("table %v and ids %v are not [V,D] and [...]", table, ids)
	}
	return append(ids.Clone(), table[1]), nil
}

// Types says that ids are float32. bfloat16 does not have every whole number that an id may be.
func (embedding) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{in[0], Float32}, p
}

func (embedding) Eval(c *Context, dst Tensor, in []Tensor) {
	table, ids := in[0], in[1]
	cpu.GatherRows(c.pool, dst.Data, table.Data, ids.Data, table.Shape[1], 0)
}

func (embedding) launch(c *call) {
	table, ids := c.in[0], c.in[1].Tensor
	cuda.GatherRows(c.Queue, c.dst.Tensor, table.Tensor, ids, table.Shape[1], 0)
}

func (embedding) Differentiable(int) []bool { return []bool{true, false} }

func (embedding) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dtable, err := Apply(embeddingGrad{V: in[0].Shape()[0]}, dout, in[1])
	return gorgonia.Nodes{dtable, nil}, err
}

// embeddingGrad adds each row of dy [...,D] to the row of a table [V,D] that ids [...] names.
type embeddingGrad struct{ V int }

func (r embeddingGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	dy, ids := in[0], in[1]
	if d := dy.Dims() - 1; d != ids.Dims() || !slices.Equal(dy[:d], ids) {
		return nil, fmt.Errorf("dy %v and ids %v are not [...,D] and [...]", dy, ids)
	}
	return tensor.Shape{r.V, in[0][in[0].Dims()-1]}, nil
}

// Types says that the gradient of a parameter is float32.
func (embeddingGrad) Types(_ Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{in[0], Float32}, Float32
}

func (embeddingGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.ScatterRows(c.pool, dst.Data, in[0].Data, in[1].Data, dst.Shape[1], 0)
}

func (embeddingGrad) launch(c *call) {
	cuda.ScatterRows(c.Queue, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor, c.dst.Shape[1], 0)
}

func (embeddingGrad) Differentiable(int) []bool { return []bool{true, false} }

func (embeddingGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	ddy, err := Embedding(dout, in[1])
	return gorgonia.Nodes{ddy, nil}, err
}

// GatherRows takes one row of each sample: x [N,L,D], index [N] → [N,D]. The indices are whole
// numbers in 0 to L−1. Other indices make a run panic. The indices have no gradient.
func GatherRows(x, index *gorgonia.Node) (*gorgonia.Node, error) {
	return Apply(gatherRows{}, x, index)
}

// gatherRows is GatherRows.
type gatherRows struct{}

func (gatherRows) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x, index := in[0], in[1]
	if x.Dims() != 3 || !slices.Equal(index, tensor.Shape{x[0]}) {
		return nil, fmt.Errorf("x %v and index %v are not [N,L,D] and [N]", x, index)
	}
	return tensor.Shape{x[0], x[2]}, nil
}

func (gatherRows) Types(_ Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{in[0], Float32}, in[0]
}

func (gatherRows) Eval(c *Context, dst Tensor, in []Tensor) {
	x, index := in[0], in[1]
	cpu.GatherRows(c.pool, dst.Data, x.Data, index.Data, x.Shape[2], x.Shape[1])
}

func (gatherRows) launch(c *call) {
	x, index := c.in[0], c.in[1].Tensor
	cuda.GatherRows(c.Queue, c.dst.Tensor, x.Tensor, index, x.Shape[2], x.Shape[1])
}

func (gatherRows) Differentiable(int) []bool { return []bool{true, false} }

func (gatherRows) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(gatherRowsGrad{L: in[0].Shape()[1]}, dout, in[1])
	return gorgonia.Nodes{dx, nil}, err
}

// gatherRowsGrad writes row n of dy [N,D] to row index[n] of sample n, in zeros [N,L,D].
type gatherRowsGrad struct{ L int }

func (r gatherRowsGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	dy, index := in[0], in[1]
	if dy.Dims() != 2 || !slices.Equal(index, tensor.Shape{dy[0]}) {
		return nil, fmt.Errorf("dy %v and index %v are not [N,D] and [N]", dy, index)
	}
	return tensor.Shape{dy[0], r.L, dy[1]}, nil
}

func (gatherRowsGrad) Types(_ Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{in[0], Float32}, in[0]
}

func (r gatherRowsGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.ScatterRows(c.pool, dst.Data, in[0].Data, in[1].Data, dst.Shape[2], r.L)
}

func (r gatherRowsGrad) launch(c *call) {
	cuda.ScatterRows(c.Queue, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor, c.dst.Shape[2], r.L)
}

func (gatherRowsGrad) Differentiable(int) []bool { return []bool{true, false} }

func (gatherRowsGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	ddy, err := GatherRows(dout, in[1])
	return gorgonia.Nodes{ddy, nil}, err
}

// TimestepEmbedding returns sines and cosines of timesteps t [N], each at dim/2 frequencies:
// [N,dim]. It is get_timestep_embedding of diffusers. Frequency j is
// 10000^(−j/(dim/2 − freqShift)): the frequencies go from 1 down to about 1/10000. Sines come
// first, cosines second, or the other way round with flipSinToCos. If dim is odd, the last value is
// 0. There is no gradient.
func TimestepEmbedding(
	t *gorgonia.Node, dim int, flipSinToCos bool, freqShift float64,
) (*gorgonia.Node, error) {
	return Apply(timestepEmbedding{Dim: dim, Flip: flipSinToCos, Shift: freqShift}, t)
}

// timestepEmbedding is TimestepEmbedding.
type timestepEmbedding struct {
	Dim   int
	Flip  bool
	Shift float64
}

func (r timestepEmbedding) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if in[0].Dims() != 1 {
		return nil, fmt.Errorf("timesteps %v are not [N]", in[0])
	}
	if r.Dim < 2 || !(float64(r.Dim/2)-r.Shift > 0) {
		return nil, fmt.Errorf("%d dimensions with frequencies shifted by %v", r.Dim, r.Shift)
	}
	return tensor.Shape{in[0][0], r.Dim}, nil
}

func (r timestepEmbedding) Eval(_ *Context, dst Tensor, in []Tensor) {
	cpu.TimestepEmbedding(dst.Data, in[0].Data, r.Dim, r.Shift, r.Flip)
}

func (r timestepEmbedding) launch(c *call) {
	cuda.TimestepEmbedding(c.Queue, c.dst.Tensor, c.in[0].Tensor, r.Dim, r.Shift, r.Flip)
}

func (timestepEmbedding) Differentiable(n int) []bool { return make([]bool, n) }

func (timestepEmbedding) Grad(
	gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node,
) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{nil}, nil
}
