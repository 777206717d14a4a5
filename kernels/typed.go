package kernels

import (
	"unsafe"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// The evaluations of this file are those on bfloat16 tensors. Products read them as they are.
// Operations that are elementwise widen a block of values at a time. Rules that are not here get
// float32 copies of whole tensors.

// bits is the memory of a bfloat16 tensor.
func (t Tensor) bits() []uint16 { return words(t.BF16) }

// part is n values of t, as a tensor of that shape.
func (t Tensor) part(at, n int, shape tensor.Shape) Tensor {
	p := Tensor{Shape: shape, Type: t.Type}
	if t.Type == Float32 {
		p.Data = t.Data[at : at+n]
	} else {
		p.BF16 = t.BF16[at : at+n]
	}
	return p
}

// scratchTensor is a tensor at the beginning of a workspace.
func scratchTensor(ws []float32, shape tensor.Shape, t Precision) Tensor {
	n := shape.TotalSize()
	if t == Float32 {
		return Tensor{Shape: shape, Data: ws[:n]}
	}
	half := unsafe.Slice((*BF16)(unsafe.Pointer(unsafe.SliceData(ws))), 2*len(ws))
	return Tensor{Shape: shape, Type: t, BF16: half[:n]}
}

// evalRule evaluates a rule whose tensors all have the type of dst.
func evalRule(c *Context, r Rule, dst Tensor, in []Tensor) {
	if dst.Type == Float32 {
		r.Eval(c, dst, in)
		return
	}
	r.(TypedEvaler).EvalTyped(c, dst, in)
}

// halfMatrix is t as a matrix, whose rows are those of its last axis.
func halfMatrix(t Tensor) cpu.MatrixBF16 {
	return cpu.MatrixBF16{Data: t.bits(), Stride: width(t.Shape)}
}

// halfTransposed is the transpose of halfMatrix(t).
func halfTransposed(t Tensor) cpu.MatrixBF16 {
	m := halfMatrix(t)
	m.Transposed = true
	return m
}

// workspaceOf returns how many bytes a product needs, in the precision of the machine. If that is
// bfloat16, the result is rounded to it, or whole.
func workspaceOf(c *Context, p cpu.Product, whole bool) int {
	if c.precision == BFloat16 {
		half := func(m cpu.Matrix) cpu.MatrixBF16 {
			return cpu.MatrixBF16{Stride: m.Stride, Transposed: m.Transposed}
		}
		q := cpu.ProductBF16{M: p.M, N: p.N, K: p.K, A: half(p.A), B: half(p.B), Whole: whole}
		return floats(q.Workspace(c.pool))
	}
	return floats(p.Workspace(c.pool))
}

func (r linear) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	x, w := in[0], in[1]
	p := cpu.ProductBF16{
		M: leading(x.Shape), N: w.Shape[0], K: w.Shape[1],
		A: halfMatrix(x), B: halfTransposed(w), CBF16: dst.bits(),
	}
	if r.Bias {
		p.Bias = in[2].Data
	}
	cpu.GemmBF16(c.pool, &p, c.Workspace())
}

func (linearInputGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	dy, w := in[0], in[1]
	cpu.GemmBF16(c.pool, &cpu.ProductBF16{
		M: leading(dy.Shape), N: w.Shape[1], K: w.Shape[0],
		A: halfMatrix(dy), B: halfMatrix(w), CBF16: dst.bits(),
	}, c.Workspace())
}

func (linearWeightGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	dy, x := in[0], in[1]
	cpu.GemmBF16(c.pool, &cpu.ProductBF16{
		M: dst.Shape[0], N: dst.Shape[1], K: leading(x.Shape),
		A: halfTransposed(dy), B: halfMatrix(x), Whole: true, C: dst.Data,
	}, c.Workspace())
}

func (r conv2D) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	var bias []float32
	if r.Bias {
		bias = in[2].Data
	}
	g := r.geometry(in[0].Shape, in[1].Shape)
	if c.winogradFor(&g) {
		g.WinogradForwardBF16(c.pool, dst.bits(), in[0].bits(), in[1].Data, bias, c.Workspace())
		return
	}
	g.ForwardBF16(c.pool, dst.bits(), in[0].bits(), in[1].bits(), bias, c.Workspace())
}

func (r convInputGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	g := r.Conv.geometry(dst.Shape, in[1].Shape)
	if c.winogradFor(&g) {
		g.WinogradInputGradBF16(c.pool, dst.bits(), in[0].bits(), in[1].Data, c.Workspace())
		return
	}
	g.InputGradBF16(c.pool, dst.bits(), in[0].bits(), in[1].bits(), c.Workspace())
}

func (r convWeightGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	g := r.Conv.geometry(in[1].Shape, dst.Shape)
	if c.winogradFor(&g) {
		g.WinogradWeightGradBF16(c.pool, dst.Data, in[0].bits(), in[1].bits(), c.Workspace())
		return
	}
	g.WeightGradBF16(c.pool, dst.Data, in[0].bits(), in[1].bits(), c.Workspace())
}

func (r attention) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	q, k, v := in[0], in[1], in[2]
	s, mask := r.of(c, q.Shape, k.Shape), r.mask(in)
	ws := c.Workspace()
	cpu.AttentionBF16(c.pool, s, dst.bits(), q.bits(), k.bits(), v.bits(), mask, ws)
}

func (r attentionGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	q, k, v, dout := in[0], in[1], in[2], in[len(in)-1]
	n, m := len(q.BF16), len(k.BF16)
	d := dst.bits()
	s, mask := attention(r).of(c, q.Shape, k.Shape), attention(r).mask(in)
	cpu.AttentionGradBF16(
		c.pool, s, d[:n], d[n:n+m], d[n+m:], q.bits(), k.bits(), v.bits(), mask, dout.bits(),
		c.Workspace(),
	)
}

func (r unary) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.UnaryBF16(c.pool, unaryBodies[r.Function].eval, dst.bits(), in[0].bits())
}

func (r unaryGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.BinaryBF16(c.pool, unaryBodies[r.Function].grad, dst.bits(), in[0].bits(), in[1].bits())
}

func (geglu) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.GEGLUBF16(c.pool, dst.bits(), in[0].bits(), width(dst.Shape))
}

func (gegluGrad) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.GEGLUGradBF16(c.pool, dst.bits(), in[0].bits(), in[1].bits(), width(in[1].Shape))
}

func (add) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.BinaryBF16(c.pool, cpu.Add, dst.bits(), in[0].bits(), in[1].bits())
}

func (sum) EvalTyped(c *Context, dst Tensor, in []Tensor) { add{}.EvalTyped(c, dst, in) }

func (mul) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.BinaryBF16(c.pool, cpu.Mul, dst.bits(), in[0].bits(), in[1].bits())
}

func (sub) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.SubScaleBF16(c.pool, dst.bits(), in[0].bits(), in[1].bits(), 1)
}

func (r scale) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	cpu.ScaleBF16(c.pool, dst.bits(), in[0].bits(), float32(r.By))
}

func (r addRepeated) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	x, y := in[0], in[1]
	before, behind := volume(y.Shape[:r.Lead]), volume(y.Shape[r.Lead:])
	middle := len(x.BF16) / (before * behind)
	cpu.AddMiddleBF16(c.pool, dst.bits(), x.bits(), y.bits(), before, middle, behind)
}

func (r concat) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	rows, behind, _ := around(dst.Shape, r.Axis)
	to, stride := dst.bits(), dst.Shape[r.Axis]*behind
	for _, x := range in {
		n := x.Shape[r.Axis] * behind
		cpu.CopyRowsBF16(c.pool, to, x.bits(), rows, stride, n, n)
		to = to[n:]
	}
}

func (r slice) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	x := in[0]
	rows, behind, _ := around(x.Shape, r.Axis)
	n := (r.End - r.Start) * behind
	from := x.bits()[r.Start*behind:]
	cpu.CopyRowsBF16(c.pool, dst.bits(), from, rows, n, x.Shape[r.Axis]*behind, n)
}
