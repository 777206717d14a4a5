package kernels

import "gorgonia.org/tensor"

// A Context is what a Rule is evaluated in: what Eval uses beside its inputs.
type Context struct {
	scratch []float32
}

// NewContext returns a context with this scratch memory, for who calls Eval without a Machine, as tests do.
func NewContext(scratch []float32) *Context { return &Context{scratch: scratch} }

// Scratch returns the scratch memory that the rule asked for as a Workspacer. Its contents are undefined.
func (c *Context) Scratch() []float32 { return c.scratch }

// workspace returns how many bytes of scratch memory a rule wants: whole float32 values.
func workspace(c *Context, r Rule, in []tensor.Shape) int {
	w, ok := r.(Workspacer)
	if !ok {
		return 0
	}
	return (w.Workspace(c, in) + 3) / 4 * 4
}

// floats is how many bytes n float32 values are.
func floats(n int) int { return 4 * n }
