package cpu

import "fmt"

// A MatrixBF16 is a [Matrix] of bfloat16 values.
type MatrixBF16 struct {
	Data       []uint16
	Stride     int // values from one row of memory to the next; at least the length of a row
	Transposed bool
}

// A ProductBF16 is C[M,N] = A[M,K]·B[K,N] + bias of bfloat16 values:
//
//	for i := range M {
//		for j := range N {
//			s := 0
//			for k := 0; k < K; k += 2 {
//				s = dotBF16(s, {A(i,k), A(i,k+1)}, {B(k,j), B(k+1,j)})
//			}
//			C(i,j) = s + Bias[j]
//		}
//	}
//
// in float32, with zeros behind an odd K. The result has these bits with every body, unless it is
// NaN. It is rounded to CBF16, or, if it is Whole, it goes to C.
type ProductBF16 struct {
	M, N, K int
	A, B    MatrixBF16
	Whole   bool
	C       []float32 // the result, row after row; or CBF16
	CBF16   []uint16
	Bias    []float32 // [N], or nil for none
}

// Workspace returns how many values of workspace GemmBF16 needs for p. It does not depend on the
// memory of the matrices. It grows with the workers of pool.
func (p *ProductBF16) Workspace(pool *Pool) int {
	q := p.product()
	return halfMicro.workspace(pool, &q)
}

// GemmBF16 computes p. ws has at least p.Workspace(pool) values, with any contents. It panics on
// wrong sizes.
func GemmBF16(pool *Pool, p *ProductBF16, ws []float32) {
	p.check()
	mustHold("GemmBF16", ws, p.Workspace(pool))
	q := p.product()
	halfMicro.multiply(pool, &q, ws)
}

// product is p for the blocked algorithm.
func (p *ProductBF16) product() productBF16 {
	return productBF16{
		m: p.M, n: p.N, k: p.K, a: factorBF16{matrix: p.A}, b: factorBF16{matrix: p.B},
		to: resultBF16{isWhole: p.Whole, whole: p.C, half: p.CBF16, ld: p.N, bias: p.Bias},
	}
}

func (p *ProductBF16) check() {
	if p.M < 0 || p.N < 0 || p.K < 0 {
		panic(fmt.Sprintf("cpu: GemmBF16: negative size %d×%d×%d", p.M, p.N, p.K))
	}
	p.A.check("A", p.M, p.K)
	p.B.check("B", p.K, p.N)
	whole, rounded := 0, p.M*p.N
	if p.Whole {
		whole, rounded = rounded, whole
	}
	if len(p.C) != whole || len(p.CBF16) != rounded {
		const wrong = "cpu: GemmBF16: C has %d values and CBF16 %d for %d×%d, whole: %t"
		panic(fmt.Sprintf(wrong, len(p.C), len(p.CBF16), p.M, p.N, p.Whole))
	}
	if p.Bias != nil && len(p.Bias) != p.N {
		panic(fmt.Sprintf("cpu: GemmBF16: bias has %d values, not %d", len(p.Bias), p.N))
	}
}

func (m *MatrixBF16) check(name string, rows, columns int) {
	if m.Transposed {
		rows, columns = columns, rows
	}
	if rows == 0 || columns == 0 {
		return
	}
	if m.Stride < columns || len(m.Data) < (rows-1)*m.Stride+columns {
		const wrong = "cpu: GemmBF16: %s has %d values at stride %d, too few for %d rows of %d"
		panic(fmt.Sprintf(wrong, name, len(m.Data), m.Stride, rows, columns))
	}
}
