//go:build !purego

package cpu

var (
	runsAVX2 = [][2]runsFunc{
		{runs2x16AVX2, runs2x8AVX2}, {runs4x16AVX2, runs4x8AVX2}, {runs6x16AVX2, runs6x8AVX2},
	}
	runsAVX512 = [][2]runsFunc{
		{runs2x32AVX512, runs2x16AVX512}, {runs4x32AVX512, runs4x16AVX512},
		{runs6x32AVX512, runs6x16AVX512}, {runs8x32AVX512, runs8x16AVX512},
	}
)

//go:noescape
func runs6x16AVX2(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs6x8AVX2(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs4x16AVX2(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs4x8AVX2(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs2x16AVX2(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs2x8AVX2(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs8x32AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs8x16AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs6x32AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs6x16AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs4x32AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs4x16AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs2x32AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

//go:noescape
func runs2x16AVX512(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)
