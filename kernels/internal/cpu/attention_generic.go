package cpu

import (
	"math"
	"unsafe"
)

// attentionGeneric is the definition of an attentionBody.
var attentionGeneric = attentionBody{
	name: "generic", queries: 16, lanes: 4,
	columns: []attentionColumns{{4, columns4Generic}},
	passes: attentionPasses{
		weigh:     weighGeneric,
		weighGrad: weighGradGeneric,
		slopes:    slopesGeneric,
		scale:     scaleLanesGeneric,
		transpose: transposeGeneric,
	},
}

func columns4Generic(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool) {
	as := unsafe.Slice(a, (m-1)*rs+(k-1)*ks+1)
	bs4 := unsafe.Slice(b, (k-1)*bs+4)
	cs := unsafe.Slice(c, (m-1)*ldc+4)
	for i := range m {
		var s0, s1, s2, s3 float32
		for p, at := 0, i*rs; p < k; p, at = p+1, at+ks {
			v, b := as[at], bs4[p*bs:][:4]
			s0 += v * b[0]
			s1 += v * b[1]
			s2 += v * b[2]
			s3 += v * b[3]
		}
		row := cs[i*ldc:][:4]
		if add {
			s0, s1, s2, s3 = s0+row[0], s1+row[1], s2+row[2], s3+row[3]
		}
		row[0], row[1], row[2], row[3] = s0, s1, s2, s3
	}
}

// power2Terms are the coefficients of 2^f for |f| ≤ 1/2, from the highest power down. The relative
// error of the polynomial is below 1e-7. It is 1 for 0.
var power2Terms = [6]float32{
	0x1.5bba14p-10, 0x1.3cea88p-7, 0x1.c6b752p-5, 0x1.ebf9bcp-3, 0x1.62e42ap-1, 1,
}

const (
	// leastPower is where 2^t becomes 0.
	leastPower = -127
	// rounding added to a float32 of few digits leaves no digits behind the point. The lowest bits
	// of the sum are those of the integer.
	rounding = 3 << 22
)

// exp2Generic is 2^t for t ≤ 0.
func exp2Generic(t float32) float32 {
	if t != t {
		return t
	}
	t = max(t, leastPower)
	n := t + rounding
	f := t - (n - rounding)
	p := power2Terms[0]
	for _, c := range power2Terms[1:] {
		p = fma(p, f, c)
	}
	return p * math.Float32frombits(math.Float32bits(n)<<23+math.Float32bits(1))
}

// fma is x·y + z, rounded once. The product is exact in float64. Where the sum, rounded to float64,
// may lie half way between two float32 values, what was lost decides.
func fma(x, y, z float32) float32 {
	p, q := float64(x)*float64(y), float64(z)
	s := p + q
	b := math.Float64bits(s)
	if b&0x0fffffff != 0 && math.Abs(s) >= 0x1p-126 || s-s != 0 {
		return float32(s)
	}
	half := s - p
	if lost := (p - (s - half)) + (q - half); lost != 0 && b&1 == 0 { // make the last bit odd
		if (lost > 0) == (s > 0) {
			b++
		} else {
			b--
		}
	}
	return float32(math.Float64frombits(b))
}

func weighGeneric(x scores, s softmaxState, factor []float32) {
	for j := range x.n {
		rise(x, s, factor, j)
		var sum float32
		for i := range x.rows {
			v := &x.data[i*x.stride+j]
			*v = exp2Generic(*v - s.top[j])
			sum += *v
		}
		s.sum[j] = fma(s.sum[j], factor[j], sum)
	}
}

// rise brings the highest score of column j up to date, passing over NaN, and computes the factor.
func rise(x scores, s softmaxState, factor []float32, j int) {
	was := s.top[j]
	for i := range x.rows {
		if v := x.data[i*x.stride+j]; v > s.top[j] {
			s.top[j] = v
		}
	}
	factor[j] = exp2Generic(was - s.top[j])
}

func weighGradGeneric(x, dx scores, s softmaxState, factor []float32) {
	weighGeneric(x, s, factor)
	for j := range x.n {
		var delta float32
		for i := range x.rows {
			delta = fma(x.data[i*x.stride+j], dx.data[i*dx.stride+j], delta)
		}
		s.delta[j] = fma(s.delta[j], factor[j], delta)
	}
}

func slopesGeneric(x, dx scores, factor, delta []float32, root float32) {
	for i := range x.rows {
		p, d := x.data[i*x.stride:][:x.n], dx.data[i*dx.stride:][:x.n]
		for j := range p {
			p[j] *= factor[j]
			d[j] = p[j] * (d[j] - delta[j]) * root
		}
	}
}

func scaleLanesGeneric(x scores, factor []float32) {
	for i := range x.rows {
		row := x.data[i*x.stride:][:x.n]
		for j := range row {
			row[j] *= factor[j]
		}
	}
}

// attentionPairsGeneric is the definition of attentionPairs.
var attentionPairsGeneric = attentionPairs{
	weigh: func(pairs []uint16, x scores, scale float32, s softmaxState, factor []float32) {
		multiplyGeneric(x, scale)
		weighGeneric(x, s, factor)
		pairGeneric(pairs, x)
	},
	weighGrad: func(x, dx scores, scale float32, s softmaxState, factor []float32) {
		multiplyGeneric(x, scale)
		weighGradGeneric(x, dx, s, factor)
	},
	slopes: func(
		pairs, weights, slopes []uint16, x, dx scores, factor, delta []float32, root float32,
	) {
		slopesGeneric(x, dx, factor, delta, root)
		for i := range x.rows {
			toBF16Generic(weights[i*x.stride:], x.data[i*x.stride:][:x.n])
			toBF16Generic(slopes[i*x.stride:], dx.data[i*x.stride:][:x.n])
		}
		pairGeneric(pairs, dx)
	},
}

func multiplyGeneric(x scores, scale float32) {
	for i := range x.rows {
		row := x.data[i*x.stride:][:x.n]
		scaleGeneric(row, row, scale)
	}
}

// pairGeneric rounds x to pairs of rows.
func pairGeneric(pairs []uint16, x scores) {
	for i := range roundUp(x.rows, 2) {
		for j := range x.n {
			to := &pairs[2*(i/2*x.stride+j)+i%2]
			if *to = 0; i < x.rows {
				*to = ToBF16(x.data[i*x.stride+j])
			}
		}
	}
}
