package cuda

import (
	"fmt"
	"slices"
)

// An Epilogue is what is done to a product P [M,N] before it is stored as C [M,N]. Each step is
// done to what the one before has left, rounded to the type of C:
//
//	for i := range M {
//		for j := range N {
//			v := P(i,j)
//			v = v + Time(i/Rows, j)
//			v = v + Residual(i,j)
//			Kept(i,j) = v
//			C(i,j) = f(v)
//		}
//	}
//
// f is Function, one of Unary: SiLU, QuickGELU, GELU or ReLU. If it is GEGLU, C is [M,N/2] and has
//
//	C(i,j) = v(i,j) * gelu(v(i,N/2+j))
//
// There is no Time nor Residual then, and N is a multiple of 16. Tensors are of the type of C. A
// step whose tensor has no values is left out, and so is a Function without a name. For float32
// operands C is float32, and for bfloat16 ones it is bfloat16.
type Epilogue struct {
	Time     Tensor // [M/Rows,N]
	Rows     int    // how many rows of P a row of Time is added to
	Residual Tensor // [M,N]
	Kept     Tensor // [M,N]
	Function string
}

// functions are the functions of epilogues, as Function of epilogue.cuh numbers them. SiLU and
// QuickGELU are x·σ(factor·x).
var functions = map[string]struct {
	number int
	factor float64
}{
	"":          {0, 0},
	"SiLU":      {1, 1},
	"QuickGELU": {1, 1.702},
	"GELU":      {2, 0},
	"ReLU":      {3, 0},
	"GEGLU":     {4, 0},
}

// empty reports whether there are no steps.
func (e Epilogue) empty() bool {
	return e.Function == "" && e.Time.Len == 0 && e.Residual.Len == 0
}

// pairs reports whether the result has half the columns of the product.
func (e Epilogue) pairs() bool { return e.Function == "GEGLU" }

// width returns how many columns the result of a product of n has.
func (e Epilogue) width(n int) int {
	if e.pairs() {
		return n / 2
	}
	return n
}

// check panics unless e fits a product of m rows and n columns, whose operands are of type t, with
// the result c. forward says whether the product is that of a layer, as the kernels that have
// functions compute it.
func (e Epilogue) check(kernel string, t Type, m, n int, c Tensor, forward bool) {
	refuse := func(wrong string, args ...any) {
		panic(fmt.Sprintf("cuda: "+kernel+": "+wrong, args...))
	}
	if e.empty() {
		if e.Kept.Len != 0 {
			refuse("there is no function of what is kept")
		}
		return
	}
	mustBe(kernel, t, m*e.width(n), c)
	if _, ok := functions[e.Function]; !ok || !forward && e.Function != "" {
		refuse("it has no function %q", e.Function)
	}
	if e.pairs() && (n%16 != 0 || e.Time.Len+e.Residual.Len > 0) {
		refuse("GEGLU of %d columns, with more than a bias", n)
	}
	if e.Time.Len != 0 {
		if e.Rows < 1 || m%e.Rows != 0 {
			refuse("%d rows in groups of %d", m, e.Rows)
		}
		mustBe(kernel, t, m/e.Rows*n, e.Time)
	}
	for _, x := range []Tensor{e.Residual, e.Kept} {
		if x.Len != 0 {
			mustBe(kernel, t, m*n, x)
		}
	}
}

// reads and writes return what a kernel reads, and what it writes beside its result.
func (e Epilogue) reads() []Tensor { return []Tensor{e.Time, e.Residual} }

func (e Epilogue) writes() []Tensor {
	if e.Kept.Len == 0 {
		return nil
	}
	return []Tensor{e.Kept}
}

// aligned reports whether all tensors begin at multiples of 16.
func (e Epilogue) aligned() bool { return aligned(slices.Concat(e.reads(), e.writes())...) }

// params returns Epilogue of epilogue.cuh as fields of a kernel's parameter, for a product of n
// columns. They are paired where pairs is true.
func (e Epilogue) params(n int, pairs bool) []any {
	f, half := functions[e.Function], 0
	if pairs {
		half = n / 2
	}
	fields := append([]any{orNull(e.Time), orNull(e.Residual), orNull(e.Kept)}, division(e.Rows)...)
	return append(fields, f.number, f.factor, half)
}
