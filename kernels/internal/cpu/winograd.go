package cpu

// Winograd's algorithm F(4×4,3×3) makes tiles of 4×4 results. Each needs 36 multiplications where
// the convolution itself has 144. A pass has three steps:
//
//  1. Transform windows of 6×6 pixels, one a tile: 36 matrices [tiles,In].
//  2. Transform the filters, and multiply: 36 products [tiles,In]·[In,Out].
//  3. Transform each tile's 36 sums back.
//
// The gradient of the input is a convolution of the same kind. That of the weights is the algorithm
// F(3×3,4×4): 36 products [Out,tiles]·[tiles,In].
//
// Pictures may be of bfloat16 values. Everything else is float32 all the same: so a pass has the
// error of float32, until its result is rounded.

// winogradSums is the number of products, one for each value of a transformed window.
const winogradSums = 36

// winogradChannels divides the channels that the passes take.
const winogradChannels = 32

// winogradBodies are transforms between squares of values: for n channels,
//
//	dst[i*dr+j*dc+k] = Σ_{a,b} m[i][a] · m[j][b] · src[a*sr+b*sc+k]
//
// with a matrix m for each. result adds bias, and n is its length.
type winogradBodies struct {
	window func(dst, src []float32, dr, dc, sr, sc, n int)    // Bᵀ, from 6×6 to 6×6
	filter func(dst, src []float32, dr, dc, sr, sc, n int)    // G, from 3×3 to 6×6
	result func(dst, src, bias []float32, dr, dc, sr, sc int) // Aᵀ, from 6×6 to 4×4
	spread func(dst, src []float32, dr, dc, sr, sc, n int)    // A, from 4×4 to 6×6
	gather func(dst, src []float32, dr, dc, sr, sc, n int)    // Gᵀ, from 6×6 to 3×3

	windowBF16, spreadBF16 func(dst []float32, src []uint16, dr, dc, sr, sc, n int)
}

// Winograd reports whether the Winograd passes take c and are faster than the others. It depends on
// the geometry of one picture alone: so results depend neither on the machine nor on how many
// pictures there are.
//
// They take kernels of 3×3, stride 1 and channels in multiples of 32. They are faster where there
// are many tiles for each transform of the weights.
func (c *Conv) Winograd() bool { return c.winogradTakes() && c.tilesOfPicture() >= winogradTiles }

// WinogradBF16 is Winograd for pictures of bfloat16 values. The other passes multiply these twice
// as fast as float32 ones, where the processor has the instruction. So it takes more tiles.
func (c *Conv) WinogradBF16() bool {
	return c.winogradTakes() && c.tilesOfPicture() >= winogradTilesBF16
}

// The least numbers of tiles in a picture.
const (
	winogradTiles     = 16
	winogradTilesBF16 = 64
)

// tilesOfPicture is how many tiles the results of a picture have.
func (c *Conv) tilesOfPicture() int {
	oh, ow := c.OutSize()
	return ceilDiv(oh, 4) * ceilDiv(ow, 4)
}

// winogradTakes reports whether the Winograd passes take c.
func (c *Conv) winogradTakes() bool {
	return c.KH == 3 && c.KW == 3 && c.Stride == 1 &&
		c.In%winogradChannels == 0 && c.Out%winogradChannels == 0 &&
		max(c.Top, c.Bottom, c.Left, c.Right) <= 2
}

// mustWinograd panics unless the Winograd passes take c.
func (c *Conv) mustWinograd(kernel string) {
	if !c.winogradTakes() {
		panic("cpu: " + kernel + ": not a kernel of 3×3, stride 1, channels in multiples of 32")
	}
}

// WinogradForwardWorkspace returns how many values of workspace WinogradForward needs.
func (c *Conv) WinogradForwardWorkspace(pool *Pool) int {
	t := winogradForward{Conv: *c}
	return t.plan(pool)
}

// WinogradForward is Forward by Winograd's algorithm. Its relative error is about 1.5e-6, where
// that of Forward is about 3e-7. It panics on wrong lengths, and if c is no kernel of 3×3 and
// stride 1 with channels in multiples of 32 and padding of at most 2.
func (c *Conv) WinogradForward(pool *Pool, y, x, w, bias, ws []float32) {
	c.must("Conv.WinogradForward", x, w, y)
	c.mustWinograd("Conv.WinogradForward")
	c.mustBias("Conv.WinogradForward", bias)
	mustHold("Conv.WinogradForward", ws, c.WinogradForwardWorkspace(pool))
	winogradForward{Conv: *c, y: y, x: x, w: w, bias: bias}.run(pool, ws)
}

// WinogradForwardBF16 is WinogradForward for x and y of bfloat16 values. y is rounded at the end.
func (c *Conv) WinogradForwardBF16(pool *Pool, y, x []uint16, w, bias, ws []float32) {
	c.mustBF16("Conv.WinogradForwardBF16", len(x), len(w), len(y))
	c.mustWinograd("Conv.WinogradForwardBF16")
	c.mustBias("Conv.WinogradForwardBF16", bias)
	mustHold("Conv.WinogradForwardBF16", ws, c.WinogradForwardWorkspace(pool))
	winogradForward{Conv: *c, yBF16: y, xBF16: x, w: w, bias: bias}.run(pool, ws)
}

// WinogradInputGradWorkspace returns how many values of workspace WinogradInputGrad needs.
func (c *Conv) WinogradInputGradWorkspace(pool *Pool) int {
	t := c.turned()
	return t.WinogradForwardWorkspace(pool)
}

// WinogradInputGrad is InputGrad by Winograd's algorithm, for what WinogradForward takes.
func (c *Conv) WinogradInputGrad(pool *Pool, dx, dy, w, ws []float32) {
	c.must("Conv.WinogradInputGrad", dx, w, dy)
	c.mustWinograd("Conv.WinogradInputGrad")
	mustHold("Conv.WinogradInputGrad", ws, c.WinogradInputGradWorkspace(pool))
	winogradForward{Conv: c.turned(), y: dx, x: dy, w: w, turned: true}.run(pool, ws)
}

// WinogradInputGradBF16 is WinogradInputGrad for dx and dy of bfloat16 values.
func (c *Conv) WinogradInputGradBF16(pool *Pool, dx, dy []uint16, w, ws []float32) {
	c.mustBF16("Conv.WinogradInputGradBF16", len(dx), len(w), len(dy))
	c.mustWinograd("Conv.WinogradInputGradBF16")
	mustHold("Conv.WinogradInputGradBF16", ws, c.WinogradInputGradWorkspace(pool))
	winogradForward{Conv: c.turned(), yBF16: dx, xBF16: dy, w: w, turned: true}.run(pool, ws)
}

// turned is the convolution that takes dy to dx. Its kernel is that of c with the taps in reverse
// order.
func (c *Conv) turned() Conv {
	t := *c
	t.H, t.W = c.OutSize()
	t.In, t.Out = c.Out, c.In
	t.Top, t.Bottom, t.Left, t.Right = 2-c.Top, 2-c.Bottom, 2-c.Left, 2-c.Right
	return t
}

// WinogradWeightGradWorkspace returns how many values of workspace WinogradWeightGrad needs.
func (c *Conv) WinogradWeightGradWorkspace(pool *Pool) int {
	t := winogradWeights{Conv: *c}
	return t.plan(pool)
}

// WinogradWeightGrad is WeightGrad by Winograd's algorithm, for what WinogradForward takes. Its
// relative error is about 7e-7.
func (c *Conv) WinogradWeightGrad(pool *Pool, dw, dy, x, ws []float32) {
	c.must("Conv.WinogradWeightGrad", x, dw, dy)
	c.mustWinograd("Conv.WinogradWeightGrad")
	mustHold("Conv.WinogradWeightGrad", ws, c.WinogradWeightGradWorkspace(pool))
	winogradWeights{Conv: *c, dw: dw, dy: dy, x: x}.run(pool, ws)
}

// WinogradWeightGradBF16 is WinogradWeightGrad for dy and x of bfloat16 values.
func (c *Conv) WinogradWeightGradBF16(pool *Pool, dw []float32, dy, x []uint16, ws []float32) {
	c.mustBF16("Conv.WinogradWeightGradBF16", len(x), len(dw), len(dy))
	c.mustWinograd("Conv.WinogradWeightGradBF16")
	mustHold("Conv.WinogradWeightGradBF16", ws, c.WinogradWeightGradWorkspace(pool))
	winogradWeights{Conv: *c, dw: dw, dyBF16: dy, xBF16: x}.run(pool, ws)
}

// winogradWindows are the windows that tiles of y read.
func (c *Conv) winogradWindows() grid {
	g := c.winogradTilesOf()
	g.h, g.w, g.c = c.H, c.W, c.In
	g.y, g.x, g.rows, g.cols = -c.Top, -c.Left, 6, 6
	return g
}

// winogradTilesOf are the tiles of y.
func (c *Conv) winogradTilesOf() grid {
	oh, ow := c.OutSize()
	return grid{
		gh: ceilDiv(oh, 4), gw: ceilDiv(ow, 4), h: oh, w: ow, c: c.Out,
		step: 4, rows: 4, cols: 4,
	}
}

// window returns the window of position p in images, and how far apart its rows and pixels are. A
// window that is not inside the image is copied to edge.
func window[T any](g *grid, edge, images []T, p int) (src []T, row, pixel int) {
	n, i, j := g.split(p)
	y, x := i*g.step+g.y, j*g.step+g.x
	if y >= 0 && x >= 0 && y+g.rows <= g.h && x+g.cols <= g.w {
		return images[((n*g.h+y)*g.w+x)*g.c:], g.w * g.c, g.c
	}
	copyWindow(g, edge, images, n, i, j, 0, g.rows*g.cols*g.c)
	return edge, g.cols * g.c, g.c
}

// even returns the size of blocks, of at most most, that n falls into evenly.
func even(n, most int) int { return ceilDiv(n, ceilDiv(n, max(most, 1))) }
