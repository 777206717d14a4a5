package diffusion

import (
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/kernels"
)

// A Condition is a dataset.Condition of N samples as nodes of a graph. Parts that are not there are
// nil; a network that reads tokens alone ignores the rest.
type Condition struct {
	Tokens *gorgonia.Node // [N,L,D]
	Pooled *gorgonia.Node // [N,P]
	Sizes  *gorgonia.Node // [N,6]
}

// Input returns a batch's conditions as inputs of g, whose values are read at each run.
func Input(g *gorgonia.ExprGraph, batch dataset.Condition) Condition {
	return Condition{
		Tokens: kernels.Input(g, "tokens", batch.Tokens),
		Pooled: kernels.Input(g, "pooled", batch.Pooled),
		Sizes:  kernels.Input(g, "sizes", batch.Sizes),
	}
}
