package cpu

import "fmt"

// A Conv is the geometry of a two-dimensional convolution of x [N,H,W,In] with weights w
// [Out,KH,KW,In]. The result y is [N,OH,OW,Out], with OH and OW from OutSize. Padding is with
// zeros.
type Conv struct {
	N, H, W, In              int
	Out, KH, KW              int
	Stride                   int // at least 1, the same in both directions
	Top, Bottom, Left, Right int // padding
}

// OutSize returns the height and width of the result:
//
//	⌊(H + Top + Bottom − KH)/Stride⌋ + 1
//	⌊(W + Left + Right − KW)/Stride⌋ + 1
func (c *Conv) OutSize() (oh, ow int) {
	return (c.H+c.Top+c.Bottom-c.KH)/c.Stride + 1, (c.W+c.Left+c.Right-c.KW)/c.Stride + 1
}

// Check returns an error if c is no convolution: if a size is below 1, padding is negative, or the
// kernel is larger than the padded image.
func (c *Conv) Check() error {
	if min(c.N, c.H, c.W, c.In, c.Out, c.KH, c.KW, c.Stride) < 1 {
		return fmt.Errorf("cpu: convolution with a size below 1: %+v", *c)
	}
	if min(c.Top, c.Bottom, c.Left, c.Right) < 0 {
		return fmt.Errorf("cpu: convolution with negative padding: %+v", *c)
	}
	if c.H+c.Top+c.Bottom < c.KH || c.W+c.Left+c.Right < c.KW {
		return fmt.Errorf("cpu: convolution kernel larger than the padded image: %+v", *c)
	}
	return nil
}

// must panics unless c is a convolution and the lengths are those of its tensors.
func (c *Conv) must(kernel string, x, w, y []float32) {
	if err := c.Check(); err != nil {
		panic(err.Error())
	}
	oh, ow := c.OutSize()
	if len(x) != c.N*c.H*c.W*c.In || len(w) != c.Out*c.KH*c.KW*c.In || len(y) != c.N*oh*ow*c.Out {
		const wrong = "cpu: %s: %d values of x, %d of w, %d of y for %+v"
		panic(fmt.Sprintf(wrong, kernel, len(x), len(w), len(y), *c))
	}
}

// mustBias panics unless bias is nil or has a value for each output channel.
func (c *Conv) mustBias(kernel string, bias []float32) {
	if bias != nil && len(bias) != c.Out {
		panic(fmt.Sprintf("cpu: %s: bias has %d values, not %d", kernel, len(bias), c.Out))
	}
}

// ForwardWorkspace returns how many values of workspace Forward needs. It grows with the workers of
// pool, as the other workspaces do.
func (c *Conv) ForwardWorkspace(pool *Pool) int {
	p := c.forward(nil, nil, nil, nil)
	return micro.workspace(pool, &p)
}

// Forward is
//
//	y[n,i,j,o] = bias[o] + Σ_{a,b,k} x[n, i·Stride+a−Top, j·Stride+b−Left, k] · w[o,a,b,k]
//
// up to rounding. x is zero outside the image. bias is [Out], or nil for none. It panics on wrong
// lengths.
func (c *Conv) Forward(pool *Pool, y, x, w, bias, ws []float32) {
	c.must("Conv.Forward", x, w, y)
	c.mustBias("Conv.Forward", bias)
	mustHold("Conv.Forward", ws, c.ForwardWorkspace(pool))
	p := c.forward(y, x, w, bias)
	micro.multiply(pool, &p, ws)
}

// InputGradWorkspace returns how many values of workspace InputGrad needs.
func (c *Conv) InputGradWorkspace(pool *Pool) int {
	most := 0
	for y := range c.Stride {
		for x := range c.Stride {
			p := c.inputGrad(nil, nil, nil, y, x)
			most = max(most, micro.workspace(pool, &p))
		}
	}
	return most
}

// InputGrad is the gradient of Forward by x, given the gradient dy of y:
//
//	dx[n,h,v,k] = Σ dy[n,i,j,o] · w[o,a,b,k]
//
// The sum is over o and over all i, j, a, b with i·Stride+a−Top = h and j·Stride+b−Left = v. It
// panics on wrong lengths.
func (c *Conv) InputGrad(pool *Pool, dx, dy, w, ws []float32) {
	c.must("Conv.InputGrad", dx, w, dy)
	mustHold("Conv.InputGrad", ws, c.InputGradWorkspace(pool))
	for y := range c.Stride {
		for x := range c.Stride {
			p := c.inputGrad(dx, dy, w, y, x)
			micro.multiply(pool, &p, ws)
		}
	}
}

// WeightGradWorkspace returns how many values of workspace WeightGrad needs.
func (c *Conv) WeightGradWorkspace(pool *Pool) int {
	if t := micro.tapGrad(c, pool.Workers()); t != nil {
		defer tapGrads.put(t)
		return t.workspace(pool.Workers())
	}
	p := c.weightGrad(nil, nil, nil)
	return micro.workspace(pool, &p)
}

// WeightGrad is the gradient of Forward by w, given the gradient dy of y:
//
//	dw[o,a,b,k] = Σ_{n,i,j} dy[n,i,j,o] · x[n, i·Stride+a−Top, j·Stride+b−Left, k]
//
// It panics on wrong lengths.
func (c *Conv) WeightGrad(pool *Pool, dw, dy, x, ws []float32) {
	c.must("Conv.WeightGrad", x, dw, dy)
	mustHold("Conv.WeightGrad", ws, c.WeightGradWorkspace(pool))
	if t := micro.tapGrad(c, pool.Workers()); t != nil {
		t.multiply(pool, dw, dy, x, ws)
		tapGrads.put(t)
		return
	}
	p := c.weightGrad(dw, dy, x)
	micro.multiply(pool, &p, ws)
}

// plain reports whether the convolution is a product of matrices as they lie in memory.
func (c *Conv) plain() bool {
	return c.KH == 1 && c.KW == 1 && c.Stride == 1 && c.Top+c.Bottom+c.Left+c.Right == 0
}

// patches returns the windows of x that the positions of y read.
func (c *Conv) patches() grid {
	oh, ow := c.OutSize()
	return grid{
		on: !c.plain(), gh: oh, gw: ow, h: c.H, w: c.W, c: c.In,
		step: c.Stride, y: -c.Top, x: -c.Left, rows: c.KH, cols: c.KW,
	}
}

// forward is the product patches(x)·wᵀ.
func (c *Conv) forward(y, x, w, bias []float32) product {
	oh, ow := c.OutSize()
	k := c.KH * c.KW * c.In
	return product{
		m: c.N * oh * ow, n: c.Out, k: k,
		a: lhs{matrix: Matrix{Data: x, Stride: c.In}, window: c.patches()},
		b: rhs{matrix: Matrix{Data: w, Stride: k, Transposed: true}},
		c: y, ldc: c.Out, bias: bias,
	}
}

// weightGrad is the product dyᵀ·patches(x).
func (c *Conv) weightGrad(dw, dy, x []float32) product {
	oh, ow := c.OutSize()
	n := c.KH * c.KW * c.In
	return product{
		m: c.Out, n: n, k: c.N * oh * ow,
		a: lhs{matrix: Matrix{Data: dy, Stride: c.Out, Transposed: true}},
		b: rhs{matrix: Matrix{Data: x, Stride: c.In}, window: c.patches()},
		c: dw, ldc: n,
	}
}

// inputGrad is the product that gives the gradient of x's pixels (y + i·Stride, x + j·Stride). Each
// of these pixels reads a window of dy, through those taps (a,b) of the kernel with a ≡ y+Top and b
// ≡ x+Left modulo Stride, the last tap first.
func (c *Conv) inputGrad(dx, dy, w []float32, y, x int) product {
	oh, ow := c.OutSize()
	a, rows, top := taps(c.KH, c.Stride, y+c.Top)
	b, cols, left := taps(c.KW, c.Stride, x+c.Left)
	p := product{
		n: c.In, k: rows * cols * c.Out, c: dx, ldc: c.In,
		a: lhs{matrix: Matrix{Data: dy, Stride: c.Out}},
		b: rhs{matrix: Matrix{Data: w, Stride: c.In}},
	}
	gh, gw := max(0, ceilDiv(c.H-y, c.Stride)), max(0, ceilDiv(c.W-x, c.Stride))
	p.m = c.N * gh * gw
	if c.plain() {
		return p
	}
	p.a.window = grid{
		on: true, gh: gh, gw: gw, h: oh, w: ow, c: c.Out,
		step: 1, y: top, x: left, rows: rows, cols: cols,
	}
	p.b.flip = flip{
		on: true, a: a, b: b, step: c.Stride, cols: cols, o: c.Out, kh: c.KH, kw: c.KW, c: c.In,
	}
	p.rows = grid{
		on: c.Stride > 1, gh: gh, gw: gw, h: c.H, w: c.W, c: c.In, step: c.Stride, y: y, x: x,
	}
	return p
}

// taps finds the taps of a kernel through which one pixel contributes to the result. at is where
// the pixel is, counted from the edge of the padding. The taps are step apart. taps returns the
// last one, how many they are, and the position of the result that the last one leads to.
func taps(kernel, step, at int) (last, n, position int) {
	first := at % step
	if first >= kernel {
		return 0, 0, 0
	}
	n = (kernel-1-first)/step + 1
	last = first + (n-1)*step
	return last, n, (at - last) / step
}
