package cuda

import "fmt"

// mustFitBF16 panics if the kernels do not count so far. Rows and columns of images take 16 bits,
// with a bit to spare for rows.
func (c *Conv) mustFitBF16() {
	const most = 1 << 30
	oh, ow := c.OutSize()
	if c.H+c.Top+c.Bottom >= 1<<14 || c.W+c.Left+c.Right >= 1<<15 || c.N*c.H*c.W > most ||
		c.N*oh*ow > most || c.Out*c.KH*c.KW > most {
		panic(fmt.Sprintf("cuda: convolution is too large: %+v", *c))
	}
}

// patchesBF16 returns the windows of x that the positions of y read.
func (c *Conv) patchesBF16() gridBF16 {
	oh, ow := c.OutSize()
	return gridBF16{gh: oh, gw: ow, h: c.H, w: c.W, step: c.Stride, y: -c.Top, x: -c.Left}
}

// forwardBF16 is the product patches(x)·wᵀ.
func (c *Conv) forwardBF16(y, x, w, bias Tensor, e Epilogue) productBF16 {
	c.mustFitBF16()
	oh, ow := c.OutSize()
	k := c.KH * c.KW * c.In
	p := productBF16{
		kernel: "conv_forward", m: c.N * oh * ow, n: c.Out, k: k,
		a: x, b: w, rowA: c.In, rowB: k, c: y, bias: bias, epilogue: e,
		windows: c.patchesBF16(), channels: c.In, columns: c.KW,
	}
	if c.plain() {
		p.kernel = "gemm_nt"
	}
	return p
}

// weightGradBF16 is the product dyᵀ·patches(x).
func (c *Conv) weightGradBF16(dw, x, dy Tensor) productBF16 {
	c.mustFitBF16()
	oh, ow := c.OutSize()
	p := productBF16{
		kernel: "conv_weight", m: c.Out, n: c.KH * c.KW * c.In, k: c.N * oh * ow,
		a: dy, b: x, rowA: c.Out, rowB: c.In, c: dw,
		windows: c.patchesBF16(), channels: c.In, columns: c.KW,
	}
	if c.plain() {
		p.kernel = "gemm_tn"
	}
	return p
}

// inputGradBF16 returns the products that together give the gradient of x. Each is for the pixels
// (y + i·Stride, x + j·Stride) of some y and x below Stride. Each of these pixels reads a window of
// dy, through those taps (a,b) of the kernel with a ≡ y+Top and b ≡ x+Left modulo Stride, the last
// tap first.
func (c *Conv) inputGradBF16(dx, w, dy Tensor, e Epilogue) []productBF16 {
	c.mustFitBF16()
	if c.plain() {
		return []productBF16{{
			kernel: "gemm_nn", m: c.N * c.H * c.W, n: c.In, k: c.Out,
			a: dy, b: w, rowA: c.Out, rowB: c.In, c: dx, epilogue: e,
		}}
	}
	oh, ow := c.OutSize()
	var products []productBF16
	for y := range min(c.Stride, c.H) {
		for x := range min(c.Stride, c.W) {
			a, rows, top := tapsBF16(c.KH, c.Stride, y+c.Top)
			b, cols, left := tapsBF16(c.KW, c.Stride, x+c.Left)
			gh, gw := ceilDiv(c.H-y, c.Stride), ceilDiv(c.W-x, c.Stride)
			p := productBF16{
				kernel: "conv_input", m: c.N * gh * gw, n: c.In, k: rows * cols * c.Out,
				a: dy, b: w, rowA: c.Out, rowB: c.In, c: dx, epilogue: e,
				windows:  gridBF16{gh: gh, gw: gw, h: oh, w: ow, step: 1, y: top, x: left},
				channels: c.Out, columns: max(1, cols),
				flip: flipBF16{height: c.KH, width: c.KW, step: c.Stride, y: a, x: b},
			}
			if c.Stride > 1 {
				p.scatter = gridBF16{gh: gh, gw: gw, h: c.H, w: c.W, step: c.Stride, y: y, x: x}
			}
			products = append(products, p)
		}
	}
	return products
}

// tapsBF16 finds the taps of a kernel through which one pixel contributes to the result. at is
// where the pixel is, counted from the edge of the padding. The taps are step apart. It returns the
// last one, how many they are, and the position of the result that the last one leads to.
func tapsBF16(kernel, step, at int) (last, n, position int) {
	first := at % step
	if first >= kernel {
		return 0, 0, 0
	}
	n = (kernel-1-first)/step + 1
	last = first + (n-1)*step
	return last, n, (at - last) / step
}
