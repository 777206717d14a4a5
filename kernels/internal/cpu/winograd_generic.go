package cpu

// The transforms of Winograd's algorithm F(4×4,3×3) for the points 0, ±a, ±b and ∞, in float64. A
// convolution of one dimension with a filter g of three taps gives, for four results,
//
//	y = Aᵀ·[(G·g) ⊙ (Bᵀ·d)]
//
// where d are the six values that they read (Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308).
// In two dimensions a transform is applied to the columns and then to the rows. a = 5/8 and b = 3/2
// are oneDNN's points. With them the error is less than half of that with 1 and 2.
const (
	pointA, pointB   = 5.0 / 8, 3.0 / 2
	squareA, squareB = pointA * pointA, pointB * pointB

	filter0 = 1 / (squareA * squareB)
	filterA = 1 / (2 * squareA * (squareA - squareB))
	filterB = 1 / (2 * squareB * (squareB - squareA))
)

// winogradB is Bᵀ. Its rows are the products of x − p over all points p but one.
var winogradB = [][]float32{
	{squareA * squareB, 0, -squareA - squareB, 0, 1, 0},
	{0, -pointA * squareB, -squareB, pointA, 1, 0},
	{0, pointA * squareB, -squareB, -pointA, 1, 0},
	{0, -pointB * squareA, -squareA, pointB, 1, 0},
	{0, pointB * squareA, -squareA, -pointB, 1, 0},
	{0, squareA * squareB, 0, -squareA - squareB, 0, 1},
}

// winogradG is G. Its rows are the powers of a point over the product of its distances from the
// others.
var winogradG = [][]float32{
	{filter0, 0, 0},
	{filterA, filterA * pointA, filterA * squareA},
	{filterA, -filterA * pointA, filterA * squareA},
	{filterB, filterB * pointB, filterB * squareB},
	{filterB, -filterB * pointB, filterB * squareB},
	{0, 0, 1},
}

// winogradA is A. Its rows are the powers of a point.
var winogradA = [][]float32{
	{1, 0, 0, 0},
	{1, pointA, squareA, pointA * squareA},
	{1, -pointA, squareA, -pointA * squareA},
	{1, pointB, squareB, pointB * squareB},
	{1, -pointB, squareB, -pointB * squareB},
	{0, 0, 0, 1},
}

// winogradAT and winogradGT are Aᵀ and Gᵀ.
var winogradAT, winogradGT = transposeOf(winogradA), transposeOf(winogradG)

func transposeOf(m [][]float32) [][]float32 {
	t := make([][]float32, len(m[0]))
	for i := range t {
		for _, row := range m {
			t[i] = append(t[i], row[i])
		}
	}
	return t
}

// winogradGeneric is the definition of each of winogradBodies.
var winogradGeneric = winogradBodies{
	window: transformBy(winogradB),
	filter: transformBy(winogradG),
	spread: transformBy(winogradA),
	gather: transformBy(winogradGT),

	windowBF16: transformWidened(winogradB),
	spreadBF16: transformWidened(winogradA),

	result: func(dst, src, bias []float32, dr, dc, sr, sc int) {
		for k, v := range bias {
			transform(winogradAT, dst[k:], src[k:], dr, dc, sr, sc, v)
		}
	},
}

// transformBy is m·src·mᵀ for n channels.
func transformBy(m [][]float32) func(dst, src []float32, dr, dc, sr, sc, n int) {
	return func(dst, src []float32, dr, dc, sr, sc, n int) {
		for k := range n {
			transform(m, dst[k:], src[k:], dr, dc, sr, sc, 0)
		}
	}
}

// transformWidened is transformBy for a src of bfloat16 values.
func transformWidened(
	m [][]float32,
) func(dst []float32, src []uint16, dr, dc, sr, sc, n int) {
	size := len(m[0])
	return func(dst []float32, src []uint16, dr, dc, sr, sc, n int) {
		var square [36]float32
		for k := range n {
			for i := range size {
				for j := range size {
					square[i*size+j] = FromBF16(src[i*sr+j*sc+k])
				}
			}
			transform(m, dst[k:], square[:], dr, dc, size, 1, 0)
		}
	}
}

// transform is m·src·mᵀ + bias for one channel.
func transform(m [][]float32, dst, src []float32, dr, dc, sr, sc int, bias float32) {
	var half [6][6]float32 // m·src
	for i, row := range m {
		for j := range row {
			for k, v := range row {
				half[i][j] += v * src[k*sr+j*sc]
			}
		}
	}
	for i := range m {
		for j, row := range m {
			var s float32
			for k, v := range row {
				s += half[i][k] * v
			}
			dst[i*dr+j*dc] = s + bias
		}
	}
}
