//go:build !purego

package cpu

import (
	"math"
	"slices"

	"golang.org/x/sys/cpu"
)

// attentionBodies are those that this machine has, the fastest one last.
var attentionBodies = availableAttention()

var (
	attentionAVX2 = attentionBody{
		name: "AVX2", queries: 16, lanes: 8,
		columns: []attentionColumns{{16, columns16AVX2}, {8, columns8AVX2}},
		passes: attentionAssembly{
			weighAVX2, weighGradAVX2, slopesAVX2, scaleLanesAVX2,
		}.passes(),
	}
	attentionAVX512 = attentionBody{
		name: "AVX-512", queries: 32, lanes: 16,
		columns: []attentionColumns{
			{40, columns40AVX512}, {32, columns32AVX512}, {16, columns16AVX512},
			{8, columns8AVX512},
		},
		passes: attentionAssembly{
			weighAVX512, weighGradAVX512, slopesAVX512, scaleLanesAVX512,
		}.passes(),
	}
)

func availableAttention() []*attentionBody {
	list := []*attentionBody{&attentionGeneric}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append(list, &attentionAVX2)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
			list = append(list, &attentionAVX512)
		}
	}
	return slices.Clip(list)
}

// attentionAssembly is the assembly of attentionPasses. n is a positive multiple of a body's lanes,
// and there is at least one row.
type attentionAssembly struct {
	weigh      func(x, top, sum, factor *float32, rows, n, stride int, table *float32)
	weighGrad  func(x, top, sum, factor, dx, delta *float32, rows, n, stride int, table *float32)
	slopes     func(x, dx, factor, delta *float32, rows, n, stride int, root float32)
	scaleLanes func(x, factor *float32, rows, n, stride int)
}

func (a attentionAssembly) passes() attentionPasses {
	table := &attentionTable[0][0]
	return attentionPasses{
		weigh: func(x scores, s softmaxState, factor []float32) {
			x.check(s.top, s.sum, factor)
			a.weigh(&x.data[0], &s.top[0], &s.sum[0], &factor[0], x.rows, x.n, x.stride, table)
		},
		weighGrad: func(x, dx scores, s softmaxState, factor []float32) {
			x.check(s.top, s.sum, factor)
			dx.check(s.delta)
			a.weighGrad(&x.data[0], &s.top[0], &s.sum[0], &factor[0], &dx.data[0], &s.delta[0],
				x.rows, x.n, x.stride, table)
		},
		slopes: func(x, dx scores, factor, delta []float32, root float32) {
			x.check(factor)
			dx.check(delta)
			a.slopes(&x.data[0], &dx.data[0], &factor[0], &delta[0], x.rows, x.n, x.stride, root)
		},
		scale: func(x scores, factor []float32) {
			x.check(factor)
			a.scaleLanes(&x.data[0], &factor[0], x.rows, x.n, x.stride)
		},
		transpose: transposeAVX2,
	}
}

// attentionPairings are the attentionPairs that this machine has, one for each width of a tile.
var attentionPairings = availablePairings()

func availablePairings() []attentionPairs {
	list := []attentionPairs{attentionPairsGeneric}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append(list, pairsAssembly{
			weighPairsAVX2, weighGradScaledAVX2, slopePairsAVX2,
		}.passes())
		if cpu.X86.HasAVX512F {
			list = append(list, pairsAssembly{
				weighPairsAVX512, weighGradScaledAVX512, slopePairsAVX512,
			}.passes())
		}
	}
	return slices.Clip(list)
}

// pairsAssembly is the assembly of attentionPairs. A row of scores fills two registers. n is that
// or half of it, and there is at least one row.
type pairsAssembly struct {
	weigh func(
		x, top, sum, factor *float32, pairs *uint16, rows, n int, table *float32, scale float32,
	)
	weighGrad func(
		x, top, sum, factor, dx, delta *float32, rows, n, stride int, table *float32,
		scale float32,
	)
	slopes func(
		x, dx, factor, delta *float32, pairs, weights, slopes *uint16, rows, n int, root float32,
	)
}

func (a pairsAssembly) passes() attentionPairs {
	table := &attentionTable[0][0]
	return attentionPairs{
		weigh: func(pairs []uint16, x scores, scale float32, s softmaxState, factor []float32) {
			x.check(s.top, s.sum, factor)
			x.checkRounded(pairs)
			a.weigh(&x.data[0], &s.top[0], &s.sum[0], &factor[0], &pairs[0], x.rows, x.n, table,
				scale)
		},
		weighGrad: func(x, dx scores, scale float32, s softmaxState, factor []float32) {
			x.check(s.top, s.sum, factor)
			dx.check(s.delta)
			a.weighGrad(&x.data[0], &s.top[0], &s.sum[0], &factor[0], &dx.data[0], &s.delta[0],
				x.rows, x.n, x.stride, table, scale)
		},
		slopes: func(
			pairs, weights, slopes []uint16, x, dx scores, factor, delta []float32, root float32,
		) {
			x.check(factor)
			dx.check(delta)
			x.checkRounded(pairs, weights, slopes)
			a.slopes(&x.data[0], &dx.data[0], &factor[0], &delta[0], &pairs[0], &weights[0],
				&slopes[0], x.rows, x.n, root)
		},
	}
}

// attentionTable holds the constants that the assembly reads. Each fills a register. The order is
// the one of the generator in _asm.
var attentionTable = func() (table [9][16]float32) {
	rows := append([]float32{leastPower, rounding, math.Float32frombits(math.Float32bits(1))},
		power2Terms[:]...)
	for i, v := range rows {
		for lane := range table[i] {
			table[i][lane] = v
		}
	}
	return table
}()

// check panics unless the memory holds what x says.
func (x scores) check(ofColumns ...[]float32) {
	_ = x.data[(x.rows-1)*x.stride+x.n-1]
	for _, s := range ofColumns {
		_ = s[x.n-1]
	}
}

// checkRounded panics unless pairs and rows hold as many values as x.
func (x scores) checkRounded(pairs []uint16, rows ...[]uint16) {
	_ = pairs[2*((x.rows-1)/2*x.stride+x.n)-1]
	for _, r := range rows {
		_ = r[(x.rows-1)*x.stride+x.n-1]
	}
}

//go:noescape
func columns16AVX2(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)

//go:noescape
func columns8AVX2(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)

//go:noescape
func columns40AVX512(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)

//go:noescape
func columns32AVX512(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)

//go:noescape
func columns16AVX512(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)

//go:noescape
func columns8AVX512(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)

//go:noescape
func weighAVX2(x, top, sum, factor *float32, rows, n, stride int, table *float32)

//go:noescape
func weighAVX512(x, top, sum, factor *float32, rows, n, stride int, table *float32)

//go:noescape
func weighGradAVX2(x, top, sum, factor, dx, delta *float32, rows, n, stride int, table *float32)

//go:noescape
func weighGradAVX512(x, top, sum, factor, dx, delta *float32, rows, n, stride int, table *float32)

//go:noescape
func weighGradScaledAVX2(
	x, top, sum, factor, dx, delta *float32, rows, n, stride int, table *float32, scale float32,
)

//go:noescape
func weighPairsAVX2(
	x, top, sum, factor *float32, pairs *uint16, rows, n int, table *float32, scale float32,
)

//go:noescape
func slopePairsAVX2(
	x, dx, factor, delta *float32, pairs, weights, slopes *uint16, rows, n int, root float32,
)

//go:noescape
func weighGradScaledAVX512(
	x, top, sum, factor, dx, delta *float32, rows, n, stride int, table *float32, scale float32,
)

//go:noescape
func weighPairsAVX512(
	x, top, sum, factor *float32, pairs *uint16, rows, n int, table *float32, scale float32,
)

//go:noescape
func slopePairsAVX512(
	x, dx, factor, delta *float32, pairs, weights, slopes *uint16, rows, n int, root float32,
)

//go:noescape
func slopesAVX2(x, dx, factor, delta *float32, rows, n, stride int, root float32)

//go:noescape
func slopesAVX512(x, dx, factor, delta *float32, rows, n, stride int, root float32)

//go:noescape
func scaleLanesAVX2(x, factor *float32, rows, n, stride int)

//go:noescape
func scaleLanesAVX512(x, factor *float32, rows, n, stride int)
