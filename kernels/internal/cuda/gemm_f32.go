package cuda

func gemmFloat32Workspace(p Product) int { return 0 }

// gemmFloat32 is Gemm of float32 operands.
func gemmFloat32(q *Queue, p Product, ws Tensor) { panic("cuda: Gemm of float32") }
