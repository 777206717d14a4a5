package cuda

func (c *Conv) forwardFloat32Workspace() int { return 0 }

// forwardFloat32 is Forward of float32 operands.
func (c *Conv) forwardFloat32(q *Queue, y, x, w, bias, ws Tensor) {
	panic("cuda: Conv.Forward of float32")
}

func (c *Conv) inputGradFloat32Workspace() int { return 0 }

// inputGradFloat32 is InputGrad of float32 operands.
func (c *Conv) inputGradFloat32(q *Queue, dx, w, dy, ws Tensor) {
	panic("cuda: Conv.InputGrad of float32")
}

func (c *Conv) weightGradFloat32Workspace() int { return 0 }

// weightGradFloat32 is WeightGrad of float32 operands.
func (c *Conv) weightGradFloat32(q *Queue, dw, x, dy, ws Tensor) {
	panic("cuda: Conv.WeightGrad of float32")
}
