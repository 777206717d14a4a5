package kernels

import (
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A Context is what Eval of a Rule uses beside its inputs: the workspace, the workers, the
// precision.
type Context struct {
	workspace []float32
	pool      *cpu.Pool
	precision Precision
	winograd  bool // convolutions that Winograd's algorithm is faster for use it
}

// NewContext returns a Context with this workspace, as a machine of precision p has it, and the
// process's shared workers. It is for callers of Eval without a Machine, such as tests.
func NewContext(workspace []float32, p Precision) *Context {
	return &Context{workspace: workspace, precision: p}
}

// Workspace returns the memory that the rule asked for as a Workspacer. Its contents are undefined.
func (c *Context) Workspace() []float32 { return c.workspace }

// Precision returns the precision of the machine. In a machine of BFloat16 a rule that is a Typer
// gets values that are rounded to bfloat16, even if its Eval gets them as float32.
func (c *Context) Precision() Precision { return c.precision }

// Workers returns how many workers do the parts of a task at once, at most. It is the same for
// Workspacer.Workspace and for Eval. So a rule can ask for memory for each worker.
func (c *Context) Workers() int { return c.pool.Workers() }

// Parallel does each part in [0, parts) of t once, and returns when all are done. It allocates
// nothing itself. But t goes to other goroutines, and so to the heap: a rule keeps its tasks for
// the next time, for example in a sync.Pool. A part does not call Parallel itself. For the same
// results everywhere, the cut into parts must not depend on Workers.
func (c *Context) Parallel(parts int, t Task) { c.pool.Parallel(parts, t) }

// workspace returns how many bytes a rule's workspace has. It is a whole number of float32 values.
func workspace(c *Context, r Rule, in []tensor.Shape) int {
	w, ok := r.(Workspacer)
	if !ok {
		return 0
	}
	return (w.Workspace(c, in) + 3) / 4 * 4
}

// floats returns how many bytes n float32 values take.
func floats(n int) int { return 4 * n }
