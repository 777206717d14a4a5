package cuda

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
		return fmt.Errorf("cuda: convolution with a size below 1: %+v", *c)
	}
	if min(c.Top, c.Bottom, c.Left, c.Right) < 0 {
		return fmt.Errorf("cuda: convolution with negative padding: %+v", *c)
	}
	if c.H+c.Top+c.Bottom < c.KH || c.W+c.Left+c.Right < c.KW {
		return fmt.Errorf("cuda: convolution kernel larger than the padded image: %+v", *c)
	}
	return nil
}

// must panics unless c is a convolution and the tensors are its own. The operands have one type.
// The result, which of them it may be, may be float32.
func (c *Conv) must(kernel string, result int, x, w, y Tensor) {
	if err := c.Check(); err != nil {
		panic(err.Error())
	}
	oh, ow := c.OutSize()
	lens := [3]int{c.N * c.H * c.W * c.In, c.Out * c.KH * c.KW * c.In, c.N * oh * ow * c.Out}
	all := [3]Tensor{x, w, y}
	t := all[(result+1)%3].Type
	for i := range all {
		if i == result {
			mustBeResult(kernel, t, lens[i], all[i])
		} else {
			mustBe(kernel, t, lens[i], all[i])
		}
	}
}

// The operands of a convolution, as must counts them.
const (
	convX = iota
	convW
	convY
)

// ForwardWorkspace returns how many bytes of workspace Forward needs for operands of type t.
func (c *Conv) ForwardWorkspace(t Type) int {
	if t == Float32 {
		return c.forwardFloat32Workspace()
	}
	return c.forwardBF16(Tensor{}, Tensor{}, Tensor{}, Tensor{}, Epilogue{}).workspace()
}

// Forward is
//
//	y[n,i,j,o] = bias[o] + Σ_{a,b,k} x[n, i·Stride+a−Top, j·Stride+b−Left, k] · w[o,a,b,k]
//
// up to rounding, and then what e says of the product of N·OH·OW rows and Out columns, without a
// GEGLU. x is zero outside the image. bias is float32 [Out], or has no values for none. y is of the
// type of x and w, or float32. It panics on wrong lengths.
func (c *Conv) Forward(q *Queue, y, x, w, bias Tensor, e Epilogue, ws Tensor) {
	c.must("Conv.Forward", convY, x, w, y)
	if bias.Len != 0 {
		mustBe("Conv.Forward", Float32, c.Out, bias)
	}
	e.check("Conv.Forward", x.Type, y.Len/c.Out, c.Out, y, !e.pairs())
	mustHold("Conv.Forward", ws, c.ForwardWorkspace(x.Type))
	if x.Type == Float32 {
		c.forwardFloat32(q, y, x, w, bias, e, ws)
		return
	}
	c.forwardBF16(y, x, w, bias, e).launch(q, ws)
}

// InputGradWorkspace returns how many bytes of workspace InputGrad needs for operands of type t.
func (c *Conv) InputGradWorkspace(t Type) int {
	if t == Float32 {
		return c.inputGradFloat32Workspace()
	}
	most := 0
	for _, p := range c.inputGradBF16(Tensor{}, Tensor{}, Tensor{}, Epilogue{}) {
		most = max(most, p.workspace())
	}
	return most
}

// InputGrad is the gradient of Forward by x, given the gradient dy of y:
//
//	dx[n,h,v,k] = Σ dy[n,i,j,o] · w[o,a,b,k]
//
// The sum is over o and over all i, j, a, b with i·Stride+a−Top = h and j·Stride+b−Left = v. Then
// comes what e says of the product of N·H·W rows and In columns, without a Time. dx is of the type
// of w and dy, or float32. It panics on wrong lengths.
func (c *Conv) InputGrad(q *Queue, dx, w, dy Tensor, e Epilogue, ws Tensor) {
	c.must("Conv.InputGrad", convX, dx, w, dy)
	e.check("Conv.InputGrad", w.Type, c.N*c.H*c.W, c.In, dx, false)
	if e.Time.Len != 0 {
		panic("cuda: Conv.InputGrad: its rows are not those of a time embedding")
	}
	mustHold("Conv.InputGrad", ws, c.InputGradWorkspace(w.Type))
	if w.Type == Float32 {
		c.inputGradFloat32(q, dx, w, dy, e, ws)
		return
	}
	for _, p := range c.inputGradBF16(dx, w, dy, e) {
		p.launch(q, ws)
	}
}

// WeightGradWorkspace returns how many bytes of workspace WeightGrad needs for operands of type t.
func (c *Conv) WeightGradWorkspace(t Type) int {
	if t == Float32 {
		return c.weightGradFloat32Workspace()
	}
	return c.weightGradBF16(Tensor{}, Tensor{}, Tensor{}).workspace()
}

// WeightGrad is the gradient of Forward by w, given the gradient dy of y:
//
//	dw[o,a,b,k] = Σ_{n,i,j} dy[n,i,j,o] · x[n, i·Stride+a−Top, j·Stride+b−Left, k]
//
// dw is of the type of x and dy, or float32. It panics on wrong lengths.
func (c *Conv) WeightGrad(q *Queue, dw, x, dy, ws Tensor) {
	c.must("Conv.WeightGrad", convW, x, dw, dy)
	mustHold("Conv.WeightGrad", ws, c.WeightGradWorkspace(x.Type))
	if x.Type == Float32 {
		c.weightGradFloat32(q, dw, x, dy, ws)
		return
	}
	c.weightGradBF16(dw, x, dy).launch(q, ws)
}

// plain reports whether the convolution is a product of matrices as they lie in memory.
func (c *Conv) plain() bool {
	return c.KH == 1 && c.KW == 1 && c.Stride == 1 && c.Top+c.Bottom+c.Left+c.Right == 0
}
