package cpu

import "fmt"

// The passes of a convolution of bfloat16 values. Each is a product as [ProductBF16] defines it: of
// the windows of x and the weights, or of the weights and windows of dy with the last tap first, or
// of dy and the windows of x. What lies outside an image is zero.

// bf16 is a pass for bfloat16 values, given the same pass for float32 ones without memory.
func (p product) bf16(a, b []uint16, to resultBF16) productBF16 {
	factor := func(data []uint16, m Matrix) MatrixBF16 {
		return MatrixBF16{Data: data, Stride: m.Stride, Transposed: m.Transposed}
	}
	to.ld, to.rows = p.ldc, p.rows
	return productBF16{
		m: p.m, n: p.n, k: p.k, to: to,
		a: factorBF16{matrix: factor(a, p.a.matrix), window: p.a.window},
		b: factorBF16{matrix: factor(b, p.b.matrix), window: p.b.window, flip: p.b.flip},
	}
}

func (c *Conv) mustBF16(kernel string, x, w, y int) {
	if err := c.Check(); err != nil {
		panic(err.Error())
	}
	oh, ow := c.OutSize()
	if x != c.N*c.H*c.W*c.In || w != c.Out*c.KH*c.KW*c.In || y != c.N*oh*ow*c.Out {
		const wrong = "cpu: %s: %d values of x, %d of w, %d of y for %+v"
		panic(fmt.Sprintf(wrong, kernel, x, w, y, *c))
	}
}

// ForwardBF16Workspace returns how many values of workspace ForwardBF16 needs. It grows with the
// workers of pool, as the other workspaces do.
func (c *Conv) ForwardBF16Workspace(pool *Pool) int {
	p := c.forward(nil, nil, nil, nil).bf16(nil, nil, resultBF16{})
	return halfMicro.workspace(pool, &p)
}

// ForwardBF16 is Forward for bfloat16 values and a bias of float32 ones. It panics on wrong
// lengths.
func (c *Conv) ForwardBF16(pool *Pool, y, x, w []uint16, bias, ws []float32) {
	c.mustBF16("Conv.ForwardBF16", len(x), len(w), len(y))
	if bias != nil && len(bias) != c.Out {
		panic(fmt.Sprintf("cpu: Conv.ForwardBF16: bias has %d values, not %d", len(bias), c.Out))
	}
	mustHold("Conv.ForwardBF16", ws, c.ForwardBF16Workspace(pool))
	p := c.forward(nil, nil, nil, nil).bf16(x, w, resultBF16{half: y, bias: bias})
	halfMicro.multiply(pool, &p, ws)
}

// InputGradBF16Workspace returns how many values of workspace InputGradBF16 needs.
func (c *Conv) InputGradBF16Workspace(pool *Pool) int {
	most := 0
	for y := range c.Stride {
		for x := range c.Stride {
			p := c.inputGrad(nil, nil, nil, y, x).bf16(nil, nil, resultBF16{})
			most = max(most, halfMicro.workspace(pool, &p))
		}
	}
	return most
}

// InputGradBF16 is InputGrad for bfloat16 values. It panics on wrong lengths.
func (c *Conv) InputGradBF16(pool *Pool, dx, dy, w []uint16, ws []float32) {
	c.mustBF16("Conv.InputGradBF16", len(dx), len(w), len(dy))
	mustHold("Conv.InputGradBF16", ws, c.InputGradBF16Workspace(pool))
	for y := range c.Stride {
		for x := range c.Stride {
			p := c.inputGrad(nil, nil, nil, y, x).bf16(dy, w, resultBF16{half: dx})
			halfMicro.multiply(pool, &p, ws)
		}
	}
}

// WeightGradBF16Workspace returns how many values of workspace WeightGradBF16 needs.
func (c *Conv) WeightGradBF16Workspace(pool *Pool) int {
	p := c.weightGrad(nil, nil, nil).bf16(nil, nil, resultBF16{isWhole: true})
	return halfMicro.workspace(pool, &p)
}

// WeightGradBF16 is WeightGrad for bfloat16 values. The result is float32. It panics on wrong
// lengths.
func (c *Conv) WeightGradBF16(pool *Pool, dw []float32, dy, x []uint16, ws []float32) {
	c.mustBF16("Conv.WeightGradBF16", len(x), len(dw), len(dy))
	mustHold("Conv.WeightGradBF16", ws, c.WeightGradBF16Workspace(pool))
	p := c.weightGrad(nil, nil, nil).bf16(dy, x, resultBF16{isWhole: true, whole: dw})
	halfMicro.multiply(pool, &p, ws)
}
