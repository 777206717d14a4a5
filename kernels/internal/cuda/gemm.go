package cuda

import "fmt"

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
// up to rounding, and then what Epilogue says. With Accumulate the product is added to the contents
// of C. A and B are of one type, and C is of that type or float32.
type Product struct {
	M, N, K    int
	A          Tensor // [M,K], or [K,M] if TransA
	B          Tensor // [K,N], or [N,K] if TransB
	TransA     bool
	TransB     bool
	C          Tensor // overlaps nothing else
	Bias       Tensor // float32 [N], or no values for none
	Accumulate bool
	Epilogue   Epilogue // not with Accumulate
}

// Workspace returns how many bytes of workspace Gemm needs for p. It depends on the sizes, on the
// operands' type, and on which of them are transposed.
func (p Product) Workspace() int {
	if p.A.Type == Float32 {
		return gemmFloat32Workspace(p)
	}
	return p.bf16().workspace()
}

// Gemm computes p. ws has at least p.Workspace() bytes, and its address is a multiple of 16. It
// panics on wrong sizes.
func Gemm(q *Queue, p Product, ws Tensor) {
	p.check()
	mustHold("Gemm", ws, p.Workspace())
	if p.A.Type == Float32 {
		gemmFloat32(q, p, ws)
		return
	}
	p.bf16().launch(q, ws)
}

func (p Product) check() {
	if min(p.M, p.N, p.K) < 1 {
		panic(fmt.Sprintf("cuda: Gemm: size %d×%d×%d", p.M, p.N, p.K))
	}
	mustBe("Gemm", p.A.Type, p.M*p.K, p.A)
	mustBe("Gemm", p.A.Type, p.K*p.N, p.B)
	mustBeResult("Gemm", p.A.Type, p.M*p.Epilogue.width(p.N), p.C)
	if p.Bias.Len != 0 {
		mustBe("Gemm", Float32, p.N, p.Bias)
	}
	if p.Accumulate && !p.Epilogue.empty() {
		panic("cuda: Gemm: there is an epilogue to what accumulates")
	}
	p.Epilogue.check("Gemm", p.A.Type, p.M, p.N, p.C, !p.TransA && p.TransB)
}

// mustBeResult panics unless c has n values of type t or Float32.
func mustBeResult(kernel string, t Type, n int, c Tensor) {
	if c.Type != Float32 {
		mustBe(kernel, t, n, c)
	}
	mustBe(kernel, c.Type, n, c)
}

// mustHold panics unless ws has so many bytes, or any if none are needed.
func mustHold(kernel string, ws Tensor, bytes int) {
	if bytes > 0 && (ws.bytes() < bytes || !aligned(ws)) {
		const wrong = "cuda: %s: workspace of %d bytes at %#x, not %d at a multiple of 16"
		panic(fmt.Sprintf(wrong, kernel, ws.bytes(), ws.Address, bytes))
	}
}
