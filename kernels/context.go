package kernels

import (
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A Context is what a Rule is evaluated in: what Eval uses beside its inputs.
type Context struct {
	workspace []float32
	pool      *cpu.Pool
	precision Precision
}

// NewContext returns a context with this scratch memory, as a machine of that precision has it, and
// the process's shared workers, for who calls Eval without a Machine, as tests do.
func NewContext(workspace []float32, p Precision) *Context {
	return &Context{workspace: workspace, precision: p}
}

// Scratch returns the scratch memory that the rule asked for as a Workspacer. Its contents are
// undefined.
func (c *Context) Workspace() []float32 { return c.workspace }

// Precision returns the precision of the machine. In one of BFloat16 a rule that is a Typer sees
// values that are rounded to bfloat16 even if its Eval sees them as float32.
func (c *Context) Precision() Precision { return c.precision }

// Workers returns on how many workers the parts of a task are done at once, at most. It is the
// same for Workspace and for Eval, so that a rule can ask for scratch memory for each worker.
func (c *Context) Workers() int { return c.pool.Workers() }

// Parallel does every part in [0, parts) of t once and returns when all are done. It allocates
// nothing; but t goes to other goroutines and so to the heap, hence a rule keeps its tasks for the
// next time, in a sync.Pool say. A part does not call Parallel itself. How the work is cut into
// parts must not depend on Workers if the results are to be the same everywhere.
func (c *Context) Parallel(parts int, t Task) { c.pool.Parallel(parts, t) }

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
