package cpu

import "math"

// Attention to float32 values computes scores in blocks of some keys and some queries. The keys go
// down and the queries across. So what belongs to a query, such as the highest of its scores,
// belongs to a column, which is a lane of registers.

// attentionKeys is how many keys a block of scores has at most. With 32 queries, such a block has
// 16 KiB.
const attentionKeys = 128

// An attentionBody is how one instruction set computes blocks of scores.
type attentionBody struct {
	name    string
	queries int // columns of a block of scores at most
	lanes   int // divides the number of columns
	columns []attentionColumns
	passes  attentionPasses
}

// attentionColumns is a product of n columns: for i < m and j < n,
//
//	s := Σ_{p<k} a[i*rs+p*ks] · b[p*bs+j]     one multiply-add after another, p ascending
//	if add { s += c[i*ldc+j] }
//	c[i*ldc+j] = s
type attentionColumns struct {
	n       int
	product func(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)
}

// scores is a block of n columns, or other values with a column for each query. There is at least
// one row.
type scores struct {
	data            []float32
	rows, n, stride int
}

// A softmaxState is what is known of the softmax of each query after some of the keys. A score s
// has the weight 2^(s−top).
type softmaxState struct {
	top   []float32 // the highest score, at least lowestTop
	sum   []float32 // of the weights
	delta []float32 // of the weights times the gradient of the probabilities
}

// lowestTop is the highest score of no keys. It is finite. So the weight of a score of −Inf is 0,
// whatever the other scores are.
const lowestTop = -math.MaxFloat32

// reset makes s what is known after no keys.
func (s softmaxState) reset() {
	for j := range s.top {
		s.top[j] = lowestTop
	}
	clear(s.sum)
	clear(s.delta)
}

// invert makes s.delta one over the sums of the weights, or 0 where there is no weight.
func (s softmaxState) invert() {
	for j, sum := range s.sum {
		if s.delta[j] = 1 / sum; sum == 0 {
			s.delta[j] = 0
		}
	}
}

// shares returns one over the sums of the weights and, with P the probabilities, Σ P∘dP. They lie
// in the memory of s.
func (s softmaxState) shares() (factor, delta []float32) {
	for j, sum := range s.sum {
		if sum == 0 { // the query sees no key
			s.delta[j] = 0
			continue
		}
		s.sum[j] = 1 / sum
		s.delta[j] /= sum
	}
	return s.sum, s.delta
}

// attentionPasses are the passes over blocks of scores.
type attentionPasses struct {
	// weigh makes scores x their weights and brings s up to date, for every column. factor is by
	// how much the highest score of x reduces the weights of earlier keys.
	weigh func(x scores, s softmaxState, factor []float32)
	// weighGrad is weigh, with the gradient dx of the probabilities of x.
	weighGrad func(x, dx scores, s softmaxState, factor []float32)
	// slopes is x *= factor, and then dx = x·(dx−delta)·root. factor and delta are of columns.
	slopes func(x, dx scores, factor, delta []float32, root float32)
	// scale is x *= factor, where factor is of columns.
	scale func(x scores, factor []float32)
	// transpose is dst[p*dstStride+j] = src[j*srcStride+p] for j < n and p < k.
	transpose func(dst, src []float32, dstStride, srcStride, n, k int)
}

// attending is what this machine computes attention with.
var attending = attentionBodies[len(attentionBodies)-1]

func (x scores) matrix() Matrix { return Matrix{Data: x.data, Stride: x.stride} }

// transposed is m with rows and columns exchanged.
func transposed(m Matrix) Matrix {
	m.Transposed = !m.Transposed
	return m
}

// multiply is c = a·b, or c += a·b, for m×n values of c that are sums of k ≥ 1. Only a may be
// transposed. If n is no multiple of 8, b has columns up to the next one, and tmp holds m·8 values.
func (u *attentionBody) multiply(m, n, k int, c, a, b Matrix, add bool, tmp []float32) {
	rs, ks := a.Stride, 1
	if a.Transposed {
		rs, ks = 1, a.Stride
	}
	_, _ = a.Data[(m-1)*rs+(k-1)*ks], c.Data[(m-1)*c.Stride+n-1]
	for j := 0; j < n; {
		s := u.widest(n - j)
		_ = b.Data[(k-1)*b.Stride+j+s.n-1]
		if s.n > n-j {
			_ = tmp[m*s.n-1]
			s.product(&a.Data[0], &b.Data[j], &tmp[0], m, k, rs, ks, b.Stride, s.n, false)
			merge(c, tmp, m, j, n, s.n, add)
			return
		}
		s.product(&a.Data[0], &b.Data[j], &c.Data[j], m, k, rs, ks, b.Stride, c.Stride, add)
		j += s.n
	}
}

// merge moves columns [j,n) of m rows, which lie in tmp, into c.
func merge(c Matrix, tmp []float32, m, j, n, stride int, add bool) {
	for i := range m {
		dst, src := c.Data[i*c.Stride:][j:n], tmp[i*stride:][:n-j]
		if !add {
			copy(dst, src)
			continue
		}
		for j, v := range src {
			dst[j] += v
		}
	}
}

// widest returns the columns to begin with where n are left. Those that divide no block of scores
// are for widths that no others fill.
func (u *attentionBody) widest(n int) *attentionColumns {
	last := len(u.columns) - 1
	for i := range last {
		s := &u.columns[i]
		if s.n <= n && (u.queries%s.n == 0 || n%u.queries != 0) {
			return s
		}
	}
	return &u.columns[last]
}
