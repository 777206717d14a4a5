package cpu

import "fmt"

// A Matrix is a row-major view of memory. Element (i,j) is Data[i*Stride+j], or Data[j*Stride+i] if
// Transposed.
type Matrix struct {
	Data       []float32
	Stride     int // values from one row of memory to the next; at least the length of a row
	Transposed bool
}

// A Product is C[M,N] = A[M,K]·B[K,N] + bias:
//
//	for i := range M {
//		for j := range N {
//			s := 0
//			for k := range K {
//				s += A(i,k) * B(k,j)
//			}
//			C(i,j) = s + Bias[j]
//		}
//	}
//
// up to rounding. With Accumulate the product is added to the contents of C.
type Product struct {
	M, N, K    int
	A, B, C    Matrix    // C is not transposed and overlaps nothing else
	Bias       []float32 // [N], or nil for none
	Accumulate bool
}

// Workspace returns how many values of workspace Gemm needs for p. It depends on all of p but the
// values in memory, and grows with the workers of pool.
func (p *Product) Workspace(pool *Pool) int {
	q := p.product()
	return micro.workspace(pool, &q)
}

// Gemm computes p. ws has at least p.Workspace(pool) values, with any contents. It panics on wrong
// sizes.
func Gemm(pool *Pool, p *Product, ws []float32) {
	p.check()
	mustHold("Gemm", ws, p.Workspace(pool))
	q := p.product()
	micro.multiply(pool, &q, ws)
}

// product is p for the blocked algorithm.
func (p *Product) product() product {
	return product{
		m: p.M, n: p.N, k: p.K,
		a: lhs{matrix: p.A}, b: rhs{matrix: p.B}, c: p.C.Data, ldc: p.C.Stride,
		bias: p.Bias, accumulate: p.Accumulate,
	}
}

func (p *Product) check() {
	if p.M < 0 || p.N < 0 || p.K < 0 {
		panic(fmt.Sprintf("cpu: Gemm: negative size %d×%d×%d", p.M, p.N, p.K))
	}
	p.A.check("A", p.M, p.K)
	p.B.check("B", p.K, p.N)
	p.C.check("C", p.M, p.N)
	if p.C.Transposed {
		panic("cpu: Gemm: C is transposed")
	}
	if p.Bias != nil && len(p.Bias) != p.N {
		panic(fmt.Sprintf("cpu: Gemm: bias has %d values, not %d", len(p.Bias), p.N))
	}
}

func (m *Matrix) check(name string, rows, columns int) {
	if m.Transposed {
		rows, columns = columns, rows
	}
	if rows == 0 || columns == 0 {
		return
	}
	if m.Stride < columns || len(m.Data) < (rows-1)*m.Stride+columns {
		const wrong = "cpu: Gemm: %s has %d values at stride %d, too few for %d rows of %d"
		panic(fmt.Sprintf(wrong, name, len(m.Data), m.Stride, rows, columns))
	}
}
