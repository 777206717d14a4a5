package cpu

import "unsafe"

// gemmGeneric is the definition of Gemm.
func gemmGeneric(p *Product) {
	for i := range p.M {
		for j := range p.N {
			var s float32
			for k := range p.K {
				s += p.A.at(i, k) * p.B.at(k, j)
			}
			c := &p.C.Data[i*p.C.Stride+j]
			if p.Accumulate {
				s += *c
			}
			if p.Bias != nil {
				s += p.Bias[j]
			}
			*c = s
		}
	}
}

func (m *Matrix) at(i, j int) float32 {
	if m.Transposed {
		i, j = j, i
	}
	return m.Data[i*m.Stride+j]
}

// microGeneric is the micro-kernel in Go, for a tile of 4×4.
var microGeneric = microKernel{
	name: "generic", mr: 4, nr: 4, tile: tileGeneric, runs: runsGeneric,
	copyMR: copy4Generic, copyNR: copy4Generic, transpose: transposeGeneric,
}

func tileGeneric(a, b, c, bias *float32, k, rs, ks, ldc int, add bool) {
	as := unsafe.Slice(a, 3*rs+max(k-1, 0)*ks+1)
	bs := unsafe.Slice(b, 4*k)
	for i := range 4 {
		s0, s1, s2, s3 := dot4(as[i*rs:], bs, ks)
		finishGeneric(c, bias, i*ldc, [4]float32{s0, s1, s2, s3}, add)
	}
}

// finishGeneric stores the sums of a row of a tile, which begins at c[at].
func finishGeneric(c, bias *float32, at int, s [4]float32, add bool) {
	row := (*[4]float32)(unsafe.Pointer(&unsafe.Slice(c, at+4)[at]))
	for j := range s {
		if add {
			s[j] += row[j]
		}
		if bias != nil {
			s[j] += unsafe.Slice(bias, 4)[j]
		}
	}
	*row = s
}

// dot4 returns the products of a row of A with the four columns of the panel b. The elements of the
// row are ks apart.
func dot4(a, b []float32, ks int) (s0, s1, s2, s3 float32) {
	for p := 0; len(b) >= 4; p += ks {
		v := a[p]
		s0 += v * b[0]
		s1 += v * b[1]
		s2 += v * b[2]
		s3 += v * b[3]
		b = b[4:]
	}
	return
}

// transposeGeneric is the definition of microKernel.transpose.
func transposeGeneric(dst, src []float32, dstStride, srcStride, n, k int) {
	for j := range n {
		for p, v := range src[j*srcStride:][:k] {
			dst[p*dstStride+j] = v
		}
	}
}

// copy4Generic is the definition of microKernel.copyMR and microKernel.copyNR, for runs of 4.
func copy4Generic(dst, src *float32, stride, k int) {
	d, s := unsafe.Slice(dst, 4*k), unsafe.Slice(src, (k-1)*stride+4)
	for p := range k {
		copy(d[4*p:4*p+4], s[p*stride:])
	}
}
