package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// AttentionOptions are the choices of Attention.
type AttentionOptions struct {
	Heads   int            // required; it divides the width Heads·D
	Causal  bool           // whether query i sees keys 0 to i only
	KeyMask *gorgonia.Node // [N,Lk]: 1 where a key is seen, 0 where not; nil: all are seen
}

// Attention returns softmax(Q·Kᵀ/√D)·V for each head (Vaswani et al. 2017, eq. 1). q is
// [N,Lq,Heads·D], k and v are [N,Lk,Heads·D], and the result is [N,Lq,Heads·D]. A query that sees
// no key gets zeros. The whole matrix of scores is never stored.
func Attention(q, k, v *gorgonia.Node, o AttentionOptions) (*gorgonia.Node, error) {
	r := attention{Heads: o.Heads, Causal: o.Causal, Masked: o.KeyMask != nil}
	if o.KeyMask != nil {
		return Apply(r, q, k, v, o.KeyMask)
	}
	return Apply(r, q, k, v)
}

// attention is Attention. Its inputs are q, k, v and, if Masked, the mask.
type attention struct {
	Heads          int
	Causal, Masked bool
}

func (r attention) of(_ *Context, q, k tensor.Shape) cpu.AttentionShape {
	return cpu.AttentionShape{
		N: q[0], Heads: r.Heads, Lq: q[1], Lk: k[1], D: q[2] / r.Heads, Causal: r.Causal,
	}
}

func (r attention) Shape(in []tensor.Shape) (tensor.Shape, error) {
	q, k, v := in[0], in[1], in[2]
	if q.Dims() != 3 || k.Dims() != 3 || !k.Eq(v) || q[0] != k[0] || q[2] != k[2] {
		const wrong = "q %v, k %v and v %v are not [N,Lq,C], [N,Lk,C] and [N,Lk,C]"
		return nil, fmt.Errorf(wrong, q, k, v)
	}
	if r.Heads < 1 || q[2]%r.Heads != 0 {
		return nil, fmt.Errorf("a width of %d is not divided by %d heads", q[2], r.Heads)
	}
	if r.Masked && !in[3].Eq(k[:2]) {
		return nil, fmt.Errorf("the mask is %v, not %v", in[3], k[:2])
	}
	return q.Clone(), nil
}

func (r attention) Workspace(c *Context, in []tensor.Shape) int {
	s := r.of(c, in[0], in[1])
	if c.precision == BFloat16 {
		return floats(s.ForwardWorkspaceBF16(c.pool))
	}
	return floats(s.ForwardWorkspace(c.pool))
}

func (r attention) mask(in []Tensor) []float32 {
	if r.Masked {
		return in[3].Data
	}
	return nil
}

func (attention) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return product(p, in, 3)
}

func (r attention) Eval(c *Context, dst Tensor, in []Tensor) {
	q, k, v := in[0], in[1], in[2]
	s, mask := r.of(c, q.Shape, k.Shape), r.mask(in)
	cpu.Attention(c.pool, s, dst.Data, q.Data, k.Data, v.Data, mask, c.Workspace())
}

func (r attention) launch(c *call) {
	s, mask := r.onDevice(c), r.deviceMask(c)
	q, k, v := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor
	if q.Type == cuda.Float32 || cuda.AttentionSupported(s.D) {
		ws := c.workspace(cuda.AttentionWorkspace(s, q.Type))
		cuda.Attention(c.Queue, s, c.dst.Tensor, cuda.Tensor{}, q, k, v, mask, ws)
		return
	}
	w := c.widened(cuda.AttentionWorkspace(s, cuda.Float32), []cuda.Tensor{q, k, v}, c.dst.Len)
	cuda.Attention(c.Queue, s, w.out, cuda.Tensor{}, w.in[0], w.in[1], w.in[2], mask, w.rest)
	cuda.ToBF16s(c.Queue, c.dst.Tensor, w.out)
}

// onDevice is the shape of attention as package cuda has it.
func (r attention) onDevice(c *call) cuda.AttentionShape {
	q, k := c.in[0].Shape, c.in[1].Shape
	return cuda.AttentionShape{
		N: q[0], Heads: r.Heads, Lq: q[1], Lk: k[1], D: q[2] / r.Heads, Causal: r.Causal,
	}
}

// deviceMask returns the mask, or a tensor without values.
func (r attention) deviceMask(c *call) cuda.Tensor {
	if r.Masked {
		return c.in[3].Tensor
	}
	return cuda.Tensor{}
}

func (attention) Differentiable(n int) []bool {
	d := make([]bool, n)
	d[0], d[1], d[2] = true, true, true
	return d
}

func (r attention) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	packed, err := Apply(attentionGrad(r), append(append(gorgonia.Nodes{}, in...), dout)...)
	if err != nil {
		return nil, err
	}
	nodes, err := unpack(packed, nil, in[0].Shape(), in[1].Shape(), in[2].Shape())
	if r.Masked {
		nodes = append(nodes, nil)
	}
	return nodes, err
}

// attentionGrad holds the gradients of attention by q, k and v, one after another in one flat
// result. Its inputs are those of attention and dout.
type attentionGrad attention

func (r attentionGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if dout := in[len(in)-1]; !dout.Eq(in[0]) {
		return nil, fmt.Errorf("dout %v is not %v", dout, in[0])
	}
	return tensor.Shape{in[0].TotalSize() + 2*in[1].TotalSize()}, nil
}

func (r attentionGrad) Workspace(c *Context, in []tensor.Shape) int {
	s := attention(r).of(c, in[0], in[1])
	if c.precision == BFloat16 {
		return floats(s.WorkspaceBF16(c.pool))
	}
	return floats(s.Workspace(c.pool))
}
func (attentionGrad) Differentiable(n int) []bool { return make([]bool, n) }

func (r attentionGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	takes, gives := product(p, in, 3)
	takes[len(in)-1] = p
	return takes, gives
}

func (r attentionGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	q, k, v, dout := in[0], in[1], in[2], in[len(in)-1]
	n, m := len(q.Data), len(k.Data)
	dq, dk, dv := dst.Data[:n], dst.Data[n:n+m], dst.Data[n+m:]
	s, mask := attention(r).of(c, q.Shape, k.Shape), attention(r).mask(in)
	cpu.AttentionGrad(
		c.pool, s, dq, dk, dv, q.Data, k.Data, v.Data, mask, dout.Data, c.Workspace(),
	)
}

func (r attentionGrad) launch(c *call) {
	s, mask := attention(r).onDevice(c), attention(r).deviceMask(c)
	q, k, v, dout := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor, c.in[len(c.in)-1].Tensor
	cut := func(t cuda.Tensor) (dq, dk, dv cuda.Tensor) {
		return t.First(q.Len), t.From(q.Len).First(k.Len), t.From(q.Len + k.Len)
	}
	if q.Type == cuda.Float32 || cuda.AttentionSupported(s.D) {
		dq, dk, dv := cut(c.dst.Tensor)
		ws := c.workspace(cuda.AttentionGradWorkspace(s, q.Type))
		cuda.AttentionGrad(c.Queue, s, dq, dk, dv, q, k, v, mask, dout, ws)
		return
	}
	bytes := cuda.AttentionGradWorkspace(s, cuda.Float32)
	w := c.widened(bytes, []cuda.Tensor{q, k, v, dout}, c.dst.Len)
	dq, dk, dv := cut(w.out)
	cuda.AttentionGrad(
		c.Queue, s, dq, dk, dv, w.in[0], w.in[1], w.in[2], mask, w.in[3], w.rest,
	)
	cuda.ToBF16s(c.Queue, c.dst.Tensor, w.out)
}

func (attentionGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
