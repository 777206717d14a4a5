package cpu

import "fmt"

// A Conv is the geometry of a two-dimensional convolution, from x [N,H,W,In] with weights w [Out,KH,KW,In] to
// y [N,OH,OW,Out], OH and OW as OutSize says. Padding is with zeros.
type Conv struct {
	N, H, W, In              int
	Out, KH, KW              int
	Stride                   int // at least 1, the same in both directions
	Top, Bottom, Left, Right int // padding
}

// OutSize returns the height and width of the result, floor((H + Top + Bottom − KH)/Stride) + 1 and likewise.
func (c *Conv) OutSize() (oh, ow int) {
	return (c.H+c.Top+c.Bottom-c.KH)/c.Stride + 1, (c.W+c.Left+c.Right-c.KW)/c.Stride + 1
}

// Check returns an error if c is no convolution: a size below 1, negative padding, a kernel larger than the padded image.
func (c *Conv) Check() error {
	for _, n := range []int{c.N, c.H, c.W, c.In, c.Out, c.KH, c.KW, c.Stride} {
		if n < 1 {
			return fmt.Errorf("cpu: convolution with a size below 1: %+v", *c)
		}
	}
	if min(c.Top, c.Bottom, c.Left, c.Right) < 0 {
		return fmt.Errorf("cpu: convolution with negative padding: %+v", *c)
	}
	if c.H+c.Top+c.Bottom < c.KH || c.W+c.Left+c.Right < c.KW {
		return fmt.Errorf("cpu: convolution kernel larger than the padded image: %+v", *c)
	}
	return nil
}

func (c *Conv) must(kernel string, x, w, y []float32) {
	if err := c.Check(); err != nil {
		panic(err.Error())
	}
	oh, ow := c.OutSize()
	if len(x) != c.N*c.H*c.W*c.In || len(w) != c.Out*c.KH*c.KW*c.In || len(y) != c.N*oh*ow*c.Out {
		panic(fmt.Sprintf("cpu: %s: %d values of x, %d of w, %d of y for %+v", kernel, len(x), len(w), len(y), *c))
	}
}

// ForwardWorkspace returns how many values of scratch memory Forward wants.
func (c *Conv) ForwardWorkspace() int { return 0 }

// Forward is
//
//	y[n,i,j,o] = bias[o] + Σ_{a,b,k} x[n, i·Stride+a−Top, j·Stride+b−Left, k] · w[o,a,b,k]
//
// up to rounding, where x is zero outside the image. bias [Out] may be nil.
func (c *Conv) Forward(y, x, w, bias, ws []float32) {
	c.must("Conv.Forward", x, w, y)
	if bias != nil && len(bias) != c.Out {
		panic(fmt.Sprintf("cpu: Conv.Forward: bias has %d values, not %d", len(bias), c.Out))
	}
	mustHold("Conv.Forward", ws, c.ForwardWorkspace())
	c.run(convTask{pass: forwardPass, dst: y, p: x, q: w, bias: bias})
}

// InputGradWorkspace returns how many values of scratch memory InputGrad wants.
func (c *Conv) InputGradWorkspace() int { return 0 }

// InputGrad is the gradient of x, given that of y:
//
//	dx[n,h,v,k] = Σ dy[n,i,j,o] · w[o,a,b,k]   over o and all i, j, a, b with i·Stride+a−Top = h, j·Stride+b−Left = v
func (c *Conv) InputGrad(dx, dy, w, ws []float32) {
	c.must("Conv.InputGrad", dx, w, dy)
	mustHold("Conv.InputGrad", ws, c.InputGradWorkspace())
	c.run(convTask{pass: inputGradPass, dst: dx, p: dy, q: w})
}

// WeightGradWorkspace returns how many values of scratch memory WeightGrad wants.
func (c *Conv) WeightGradWorkspace() int { return 0 }

// WeightGrad is the gradient of w, given that of y:
//
//	dw[o,a,b,k] = Σ_{n,i,j} dy[n,i,j,o] · x[n, i·Stride+a−Top, j·Stride+b−Left, k]
func (c *Conv) WeightGrad(dw, dy, x, ws []float32) {
	c.must("Conv.WeightGrad", x, dw, dy)
	mustHold("Conv.WeightGrad", ws, c.WeightGradWorkspace())
	c.run(convTask{pass: weightGradPass, dst: dw, p: dy, q: x})
}
