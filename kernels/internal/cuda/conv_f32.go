package cuda

// A convF32 is a convolution as a product of float32 matrices, of which one is a matrix of windows:
// see Window of src/conv_f32.cu.
type convF32 struct {
	kernel        string
	rows, cols, k int
	cut           cutF32
}

func convProduct(kernel string, rows, cols, k int) convF32 {
	return convF32{kernel: kernel, rows: rows, cols: cols, k: k, cut: cutFloat32(rows, cols, k)}
}

func (f convF32) workspace() int { return f.cut.workspace(f.rows * f.cols) }

// forward is the product patches(x)·wᵀ.
func (c *Conv) forward() convF32 {
	oh, ow := c.OutSize()
	return convProduct("conv_forward", c.N*oh*ow, c.Out, c.KH*c.KW*c.In)
}

// weightGrad is the product dyᵀ·patches(x).
func (c *Conv) weightGrad() convF32 {
	oh, ow := c.OutSize()
	return convProduct("conv_weight_grad", c.Out, c.KH*c.KW*c.In, c.N*oh*ow)
}

// inputGrad stands for the products that give the gradient of those pixels of x that are Stride
// apart: k is the most taps that one of them contributes through.
func (c *Conv) inputGrad() convF32 {
	k := ceilDiv(c.KH, c.Stride) * ceilDiv(c.KW, c.Stride) * c.Out
	return convProduct("conv_input_grad", c.N*c.H*c.W, c.In, k)
}

// add appends the product of the windows of x with w.
func (f convF32) add(
	q *Queue, c *Conv, to, x, w, bias Tensor, after Epilogue, ws Tensor, rowOfW int,
) {
	oh, ow := c.OutSize()
	parts := f.cut.split(ws, to.Len)
	target := f.cut.target(to, parts)
	e := f.cut.finish(after)
	params := append([]any{to, x, w, orNull(bias), parts}, e.params(f.cols, false)...)
	q.add(f.kernel+f.cut.tile, [3]int{f.cut.tiles(f.rows, f.cols), 1, f.cut.parts},
		f.cut.threads, f.cut.shared(), append(e.writes(), target), append(e.reads(), x, w, bias),
		append(params, uint64(to.Len), f.rows, f.cols, f.k, f.cut.perPart,
			oh, ow, c.H, c.W, c.In, c.Stride, c.Top, c.Left, c.KW,
			vectors(x, c.In), vectors(w, rowOfW), vectors(target, f.cols) && e.aligned())...)
	f.cut.addParts(q, to, parts, bias, after, to.Len, f.cols, false)
}

// product is the product of matrices that c is, if it is plain.
func (c *Conv) product(y, x, w, bias Tensor) Product {
	return Product{
		M: c.N * c.H * c.W, N: c.Out, K: c.In, A: x, B: w, TransB: true, C: y, Bias: bias,
	}
}

// inputGradProduct is that of InputGrad, and weightGradProduct that of WeightGrad.
func (c *Conv) inputGradProduct(dx, w, dy Tensor) Product {
	return Product{M: c.N * c.H * c.W, N: c.In, K: c.Out, A: dy, B: w, C: dx}
}

func (c *Conv) weightGradProduct(dw, x, dy Tensor) Product {
	return Product{M: c.Out, N: c.In, K: c.N * c.H * c.W, A: dy, TransA: true, B: x, C: dw}
}

func (c *Conv) forwardFloat32Workspace() int {
	if c.plain() {
		return gemmFloat32Workspace(c.product(Tensor{}, Tensor{}, Tensor{}, Tensor{}))
	}
	return c.forward().workspace()
}

// forwardFloat32 is Forward of float32 operands.
func (c *Conv) forwardFloat32(q *Queue, y, x, w, bias Tensor, e Epilogue, ws Tensor) {
	if c.plain() {
		p := c.product(y, x, w, bias)
		p.Epilogue = e
		gemmFloat32(q, p, ws)
		return
	}
	f := c.forward()
	f.add(q, c, y, x, w, bias, e, ws, f.k)
}

func (c *Conv) inputGradFloat32Workspace() int {
	if c.plain() {
		return gemmFloat32Workspace(c.inputGradProduct(Tensor{}, Tensor{}, Tensor{}))
	}
	return c.inputGrad().workspace()
}

// inputGradFloat32 is InputGrad of float32 operands.
func (c *Conv) inputGradFloat32(q *Queue, dx, w, dy Tensor, after Epilogue, ws Tensor) {
	if c.plain() {
		p := c.inputGradProduct(dx, w, dy)
		p.Epilogue = after
		gemmFloat32(q, p, ws)
		return
	}
	f := c.inputGrad()
	oh, ow := c.OutSize()
	parts := f.cut.split(ws, dx.Len)
	target := f.cut.target(dx, parts)
	tiles := f.cut.tiles(c.N*ceilDiv(c.H, c.Stride)*ceilDiv(c.W, c.Stride), c.In)
	e := f.cut.finish(after)
	params := append([]any{dx, dy, w, parts}, e.params(f.cols, false)...)
	q.add(f.kernel+f.cut.tile, [3]int{tiles, c.Stride * c.Stride, f.cut.parts},
		f.cut.threads, f.cut.shared(), append(e.writes(), target), append(e.reads(), dy, w),
		append(params, uint64(dx.Len), c.N, c.H, c.W, c.In, c.Out, c.KH, c.KW, oh, ow,
			c.Stride, c.Top, c.Left, f.cut.perPart,
			vectors(dy, c.Out), vectors(w, c.In), vectors(target, c.In) && e.aligned())...)
	f.cut.addParts(q, dx, parts, Tensor{}, after, dx.Len, c.In, false)
}

func (c *Conv) weightGradFloat32Workspace() int {
	if c.plain() {
		return gemmFloat32Workspace(c.weightGradProduct(Tensor{}, Tensor{}, Tensor{}))
	}
	return c.weightGrad().workspace()
}

// weightGradFloat32 is WeightGrad of float32 operands.
func (c *Conv) weightGradFloat32(q *Queue, dw, x, dy, ws Tensor) {
	if c.plain() {
		gemmFloat32(q, c.weightGradProduct(dw, x, dy), ws)
		return
	}
	c.weightGrad().add(q, c, dw, x, dy, Tensor{}, Epilogue{}, ws, c.Out)
}
