package cuda

// AttentionFloat32Workspace returns how many bytes of workspace AttentionFloat32 needs.
func AttentionFloat32Workspace(s AttentionShape) int {
	panic("cuda: AttentionFloat32Workspace: not yet")
}

// AttentionGradFloat32Workspace returns how many bytes of workspace AttentionGradFloat32 needs.
func AttentionGradFloat32Workspace(s AttentionShape) int {
	panic("cuda: AttentionGradFloat32Workspace: not yet")
}

// AttentionFloat32 is Attention for float32 operands.
func AttentionFloat32(q *Queue, s AttentionShape, out, lse, q_, k, v, mask, ws Tensor) {
	panic("cuda: AttentionFloat32: not yet")
}

// AttentionGradFloat32 is AttentionGrad for float32 operands.
func AttentionGradFloat32(q *Queue, s AttentionShape, dq, dk, dv, q_, k, v, mask, dout, ws Tensor) {
	panic("cuda: AttentionGradFloat32: not yet")
}
