package kernels

import (
	"fmt"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A fusible is a product that can be computed together with its epilogue: with operations that read
// its result, before it is stored.
type fusible interface {
	Rule
	TypedEvaler
	// launchWith queues the product of c.in with an epilogue.
	launchWith(c *call, e cuda.Epilogue)
}

// A fused is the rule of a fusion. Its inputs are those of the product, and behind them what else
// each operation of the epilogue reads. The result has the bits that the operations have one by
// one: each of them reads what the one before gives, rounded to bfloat16 if that is its type.
type fused struct {
	product  fusible
	inputs   int          // of product
	shape    tensor.Shape // of its result
	epilogue []operation
	keeps    bool   // whether the result is what the last operation reads, and behind it its result
	blocks   blocks // of rows of the product, if its result is larger than that of the epilogue
}

// An operation is part of an epilogue.
type operation struct {
	rule  Rule
	reads int          // the number of the input that is the result of what comes before
	other int          // the number of the fused rule's input that it reads too, or none
	shape tensor.Shape // of its result
	in    []Tensor     // for its Eval
}

// name is what a profile calls the rule: the names of what is fused, such as "conv2D+add".
func (r *fused) name() string {
	names := []string{nameOfRule(r.product)}
	for _, o := range r.epilogue {
		names = append(names, nameOfRule(o.rule))
	}
	return strings.Join(names, "+")
}

func (r *fused) Shape([]tensor.Shape) (tensor.Shape, error) {
	return nil, fmt.Errorf("%s is no operation of a graph", r.name())
}

func (r *fused) Differentiable(n int) []bool { return make([]bool, n) }

func (r *fused) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

func (r *fused) Workspace(c *Context, in []tensor.Shape) int {
	if r.blocks.rows == 0 {
		return workspace(c, r.product, in[:r.inputs])
	}
	most := 0
	for _, b := range []rowBlock{r.blocks.whole, r.blocks.rest} {
		if b.x.TotalSize() > 0 {
			ws := workspace(c, r.product, append([]tensor.Shape{b.x}, in[1:r.inputs]...))
			most = max(most, ws)
		}
	}
	return align(r.blocks.whole.product.TotalSize()*c.precision.Size()) + most
}

// Eval computes the product, and then does the epilogue in its place. A product that does the
// epilogue of a tile while that is in a cache would come in here.
func (r *fused) Eval(c *Context, dst Tensor, in []Tensor) {
	if r.blocks.rows > 0 {
		r.evalBlocks(c, dst, in)
		return
	}
	n := r.shape.TotalSize()
	x := dst.part(0, n, r.shape)
	evalRule(c, r.product, x, in[:r.inputs])
	for i := range r.epilogue {
		o := &r.epilogue[i]
		to := x
		if r.keeps && i == len(r.epilogue)-1 {
			to = dst.part(n, o.shape.TotalSize(), o.shape)
		}
		if o.other != none {
			o.in[1-o.reads] = in[o.other]
		}
		o.in[o.reads] = x
		evalRule(c, o.rule, to, o.in)
		x = to
	}
}

// EvalTyped is Eval for bfloat16 tensors. Each operation gets what the one before has rounded.
func (r *fused) EvalTyped(c *Context, dst Tensor, in []Tensor) { r.Eval(c, dst, in) }

// blockRows is how many rows of a product are in the workspace at once, at most. Of fewer rows it
// is half of them. Weights are packed for each block anew: for one of so many rows that takes 2 %
// of the time, if they have 320 columns.
const blockRows = 2048

// blocks are the rows of a product, rows at a time.
type blocks struct {
	rows        int
	whole, rest rowBlock // rest is of the rows that are left
}

// A rowBlock is the shapes of some rows of a product's operand, of the product and of the result.
type rowBlock struct{ x, product, result tensor.Shape }

// cut returns the blocks of a product of x, of so many columns. Its epilogue leaves width of them.
func cut(x tensor.Shape, columns, width int) blocks {
	of := func(rows int) rowBlock {
		shape := func(n int) tensor.Shape { return tensor.Shape{rows, n} }
		return rowBlock{shape(x[x.Dims()-1]), shape(columns), shape(width)}
	}
	all := leading(x)
	rows := min((all+1)/2, blockRows)
	return blocks{rows: rows, whole: of(rows), rest: of(all % rows)}
}

// evalBlocks computes rows of the product in the workspace, and of them rows of the result.
func (r *fused) evalBlocks(c *Context, dst Tensor, in []Tensor) {
	ws, x, o := c.workspace, in[0], &r.epilogue[0]
	product := scratchTensor(ws, r.blocks.whole.product, dst.Type)
	c.workspace = ws[align(len(product.Data)*4+len(product.BF16)*2)/floats(1):]
	for from, to, all := 0, 0, len(dst.Data)+len(dst.BF16); to < all; {
		b := &r.blocks.whole
		if all-to < b.result.TotalSize() {
			b = &r.blocks.rest
		}
		in[0] = x.part(from, b.x.TotalSize(), b.x)
		part := product.part(0, b.product.TotalSize(), b.product)
		evalRule(c, r.product, part, in[:r.inputs])
		o.in[0] = part
		evalRule(c, o.rule, dst.part(to, b.result.TotalSize(), b.result), o.in)
		from, to = from+b.x.TotalSize(), to+b.result.TotalSize()
	}
	c.workspace, in[0] = ws, x
}

func (r *fused) launch(c *call) {
	of := *c
	of.in, of.dst.Shape = c.in[:r.inputs], r.shape
	var e cuda.Epilogue
	for _, o := range r.epilogue {
		switch rule := o.rule.(type) {
		case addRepeated:
			t := c.in[o.other]
			e.Time, e.Rows = t.Tensor, leading(r.shape)/t.Shape[0]
		case add, sum:
			e.Residual = c.in[o.other].Tensor
		case unary:
			e.Function = rule.Function
		case geglu:
			e.Function = "GEGLU"
		}
	}
	if r.keeps {
		n := r.shape.TotalSize()
		e.Kept, of.dst.Tensor = c.dst.First(n), c.dst.From(n)
	}
	r.product.launchWith(&of, e)
	c.need = of.need
}

// nameOfRule is the type of a rule, or what a fused one says.
func nameOfRule(r Rule) string {
	if f, ok := r.(*fused); ok {
		return f.name()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", r), "kernels.")
}
