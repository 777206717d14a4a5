package cuda

import "fmt"

// An Epilogue is what is done to a product P [M,N] before it is stored as C. Each step is done to
// what the one before has left, rounded to the type of C:
//
//	for i := range M {
//		for j := range N {
//			v := P(i,j)
//			v = v + Time(i/Rows, j)
//			v = v + Residual(i,j)
//			C(i,j) = v
//		}
//	}
//
// Tensors are of the type of C. A step whose tensor has no values is left out. For float32 operands
// C is float32, and for bfloat16 ones it is bfloat16.
type Epilogue struct {
	Time     Tensor // [M/Rows,N]
	Rows     int    // how many rows of P a row of Time is added to
	Residual Tensor // [M,N]
}

// empty reports whether there are no steps.
func (e Epilogue) empty() bool { return e.Time.Len == 0 && e.Residual.Len == 0 }

// check panics unless e fits a product of m rows and n columns, whose operands are of type t, with
// the result c.
func (e Epilogue) check(kernel string, t Type, m, n int, c Tensor) {
	if e.empty() {
		return
	}
	mustBe(kernel, t, c.Len, c)
	if e.Time.Len != 0 {
		if e.Rows < 1 || m%e.Rows != 0 {
			panic(fmt.Sprintf("cuda: %s: %d rows in groups of %d", kernel, m, e.Rows))
		}
		mustBe(kernel, t, m/e.Rows*n, e.Time)
	}
	if e.Residual.Len != 0 {
		mustBe(kernel, t, m*n, e.Residual)
	}
}

// reads returns what a kernel reads.
func (e Epilogue) reads() []Tensor { return []Tensor{e.Time, e.Residual} }

// aligned reports whether all tensors begin at multiples of 16.
func (e Epilogue) aligned() bool { return aligned(e.reads()...) }

// params returns Epilogue of epilogue.cuh as fields of a kernel's parameter.
func (e Epilogue) params() []any {
	return append([]any{orNull(e.Time), orNull(e.Residual)}, append(division(e.Rows), 0)...)
}
