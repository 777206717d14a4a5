//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// microsBF16 are the micro-kernels for bfloat16 values that this machine has, the fastest one last.
var microsBF16 = availableMicrosBF16()

func availableMicrosBF16() []*microBF16 {
	list := []*microBF16{&microBF16Generic}
	for _, u := range []struct {
		has bool
		microBF16
	}{
		{cpu.X86.HasAVX2 && cpu.X86.HasFMA, microBF16{
			name: "AVX2", mr: 6, nr: 16, tile: tileBF16AVX2, store: storeBF16AVX2,
			storeWhole: storeFloat32AVX2, stream: streamFloat32AVX2,
		}},
		{cpu.X86.HasAVX512F, microBF16{
			name: "AVX-512", mr: 14, nr: 32, tile: tileBF16AVX512, store: storeBF16AVX512,
			storeWhole: storeFloat32AVX512, stream: streamFloat32AVX512,
		}},
		{cpu.X86.HasAVX512F && cpu.X86.HasAVX512BF16, microBF16{
			name: "AVX512_BF16", mr: 14, nr: 32, tile: tileDotAVX512, runs: runsDotAVX512,
			store: storeBF16AVX512, storeWhole: storeFloat32AVX512, stream: streamFloat32AVX512,
		}},
	} {
		if !u.has {
			break
		}
		u.interleave, u.pairColumns, u.copyRows = interleaveAVX2, pairColumnsAVX2, copyRowsAVX2
		list = append(list, &u.microBF16)
	}
	return list
}

// interleaveAVX2 is microBF16.interleave. It leaves an odd last column and an odd last row to Go.
func interleaveAVX2(dst, src []uint16, stride, width, wide, n, k int) {
	j := 0
	if pairs := k / 2; pairs > 0 {
		for _, body := range interleaves {
			if count := (n - j) / body.n; count > 0 {
				end := j + count*body.n
				_, _ = dst[((pairs-1)*width+end)*2-1], src[(2*pairs-1)*stride+end-1]
				body.copy(&dst[2*j], &src[j], 2*stride, 4*width, count, pairs)
				j = end
			}
		}
		if j < wide {
			rest := src[min(j, len(src)):]
			interleaveGeneric(dst[2*j:], rest, stride, width, wide-j, n-j, 2*pairs)
		}
		if k%2 == 0 {
			return
		}
		dst, src = dst[2*pairs*width:], src[2*pairs*stride:]
	}
	interleaveGeneric(dst, src, stride, width, wide, n, 1)
}

// interleaves interleave count·n columns of k pairs of rows. Strides are in bytes.
var interleaves = [...]struct {
	n    int
	copy func(dst, src *uint16, stride, width, count, k int)
}{
	{32, interleave32AVX2}, {16, interleave16AVX2}, {8, interleave8AVX2}, {4, interleave4AVX2},
	{2, interleave2AVX2},
}

// pairColumnsAVX2 is microBF16.pairColumns in blocks of eight columns and eight pairs. The last
// blocks overlap those before. It leaves to Go what has fewer, and an odd last row.
func pairColumnsAVX2(dst, src []uint16, stride, width, n, k int) {
	pairs := k / 2
	if n < 8 || pairs < 8 {
		pairColumnsGeneric(dst, src, stride, width, n, k)
		return
	}
	_, _ = dst[((pairs-1)*width+n)*2-1], src[(n-1)*stride+2*pairs-1]
	for j := 0; j < n; j += 8 {
		j := min(j, n-8)
		pairColumns8AVX2(&dst[2*j], &src[j*stride], 2*stride, 4*width, pairs&^7)
		if pairs&7 > 0 {
			to, from := 2*((pairs-8)*width+j), j*stride+2*(pairs-8)
			pairColumns8AVX2(&dst[to], &src[from], 2*stride, 4*width, 8)
		}
	}
	if n < width {
		for p := range pairs {
			clear(dst[2*(p*width+n) : 2*(p+1)*width])
		}
	}
	if k%2 == 1 {
		pairColumnsGeneric(dst[2*pairs*width:], src[2*pairs:], stride, width, n, 1)
	}
}

// copyRowsAVX2 is microBF16.copyRows in blocks of 16 columns. The last block overlaps the one
// before. It leaves fewer columns to Go.
func copyRowsAVX2(dst, src []uint16, stride, width, n, k int) {
	if n < 16 {
		copyRowsGeneric(dst, src, stride, width, n, k)
		return
	}
	_, _ = dst[(k-1)*width+n-1], src[(k-1)*stride+n-1]
	copyRows16AVX2(&dst[0], &src[0], 2*stride, 2*width, 2*(n-16), k)
}

//go:noescape
func copyRows16AVX2(dst, src *uint16, stride, width, last, k int)

//go:noescape
func tileBF16AVX2(a, b *uint16, c *float32, k, rs, ks int, add bool)

//go:noescape
func tileBF16AVX512(a, b *uint16, c *float32, k, rs, ks int, add bool)

//go:noescape
func tileDotAVX512(a, b *uint16, c *float32, k, rs, ks int, add bool)

//go:noescape
func runsDotAVX512(a, b *uint16, c *float32, zeros *uint16, runs *int, add bool)

//go:noescape
func storeFloat32AVX2(dst, src, bias *float32, ld, rows int)

//go:noescape
func storeFloat32AVX512(dst, src, bias *float32, ld, rows int)

//go:noescape
func streamFloat32AVX2(dst, src, bias *float32, ld, rows int)

//go:noescape
func streamFloat32AVX512(dst, src, bias *float32, ld, rows int)

//go:noescape
func storeBF16AVX2(dst *uint16, src, bias *float32, ld, rows int)

//go:noescape
func storeBF16AVX512(dst *uint16, src, bias *float32, ld, rows int)

//go:noescape
func interleave32AVX2(dst, src *uint16, stride, width, count, k int)

//go:noescape
func interleave16AVX2(dst, src *uint16, stride, width, count, k int)

//go:noescape
func interleave8AVX2(dst, src *uint16, stride, width, count, k int)

//go:noescape
func interleave4AVX2(dst, src *uint16, stride, width, count, k int)

//go:noescape
func interleave2AVX2(dst, src *uint16, stride, width, count, k int)

//go:noescape
func pairColumns8AVX2(dst, src *uint16, stride, width, k int)
