package kernels

import (
	"slices"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// On a device attention hands its gradient what it has computed on the way: its result, and for
// each query the logarithm of the sum behind its softmax. Without these the gradient computes the
// scores and the result again.

// scoring is off in tests of what else fusing changes.
var scoring = true

// A scored is attention whose result has these logarithms behind it, [N,Heads,Lq] in float32.
type scored struct{ attention }

// A scoredGrad is attentionGrad of a scored, which is its last input.
type scoredGrad struct{ attentionGrad }

// Eval computes the result and no logarithms: on the host the gradient reads none.
func (r scored) Eval(c *Context, dst Tensor, in []Tensor) {
	n := len(in[0].Data)
	r.attention.Eval(c, Tensor{Shape: in[0].Shape, Data: dst.Data[:n]}, in)
	clear(dst.Data[n:])
}

// EvalTyped does so, too.
func (r scored) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	n := len(in[0].BF16)
	out := Tensor{Shape: in[0].Shape, Type: dst.Type, BF16: dst.BF16[:n]}
	r.attention.EvalTyped(c, out, in)
	clear(dst.BF16[n:])
}

// Eval does without the logarithms.
func (r scoredGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	r.attentionGrad.Eval(c, dst, in[:len(in)-1])
}

// EvalTyped does so, too.
func (r scoredGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	r.attentionGrad.EvalTyped(c, dst, in[:len(in)-1])
}

func (r scored) launch(c *call) {
	s := r.onDevice(c)
	out, lse := parted(c.dst.Tensor, c.in[0].Len)
	ws := c.workspace(cuda.AttentionWorkspace(s, out.Type))
	q, k, v := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor
	cuda.Attention(c.Queue, s, out, lse, q, k, v, r.deviceMask(c), ws)
}

func (r scoredGrad) launch(c *call) {
	of := attention(r.attentionGrad)
	s, n := of.onDevice(c), len(c.in)
	q, k, v, dout := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor, c.in[n-2].Tensor
	out, lse := parted(c.in[n-1].Tensor, q.Len)
	dq, dkv := c.dst.First(q.Len), c.dst.From(q.Len)
	ws := c.workspace(cuda.AttentionGradWorkspace(s, q.Type))
	cuda.AttentionGradFrom(c.Queue, s, dq, dkv.First(k.Len), dkv.From(k.Len), q, k, v,
		of.deviceMask(c), out, lse, dout, ws)
}

// parted is the result of a scored: the first n values, and float32 values in the memory behind.
func parted(t cuda.Tensor, n int) (out, lse cuda.Tensor) {
	out, lse = t.First(n), t.From(n)
	lse.Len = lse.Len * t.Type.Size() / cuda.Float32.Size()
	lse.Type = cuda.Float32
	return out, lse
}

// findScored finds the gradient of attention i, if it is to be a scoredGrad.
func (f *fuser) findScored(i int) {
	v := &f.p.values[i]
	r, ok := v.rule.(attention)
	if !ok || !scoring || !f.p.onDevice || !f.keeping || f.kept[i] || v.bytes()%16 != 0 ||
		v.typ == BFloat16 && !cuda.AttentionSupported(width(v.shape)/r.Heads) {
		return
	}
	for _, e := range f.p.values[f.p.values[v.in[0]].root].readers {
		g := &f.p.values[e]
		of, ok := g.rule.(attentionGrad)
		if ok && of == attentionGrad(r) && slices.Equal(g.in[:len(v.in)], v.in) && g.typ == v.typ {
			f.scores[e], f.scored[i] = i, none
		}
	}
}

// putScored appends attention i, which is v now, as a scored, and its result as a view of that.
func (f *fuser) putScored(i int, v value) {
	of := &f.p.values[i]
	queries := of.shape[0] * of.shape[1] * v.rule.(attention).Heads
	v.rule = scored{v.rule.(attention)}
	v.size += queries * Float32.Size() / v.typ.Size()
	v.shape = tensor.Shape{v.size}
	root := f.to.push(v)
	f.scored[i] = root
	f.at[i] = f.to.push(value{
		node: v.node, kind: computed, rule: view{To: of.shape}, in: []int{root},
		shape: of.shape, size: of.size, typ: of.typ,
	})
}
