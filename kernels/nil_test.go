package kernels_test

import (
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
)

// A nil input is an error and no panic. It is the result of an operation that failed. Builders of
// graphs rely on that: they go on after an error, and report the first.
func TestNilInputs(t *testing.T) {
	type node = *gorgonia.Node
	x := kernels.Input(gorgonia.NewGraph(), "x", dense([]int{1, 2, 2, 1}, 1, 2, 3, 4))
	for name, op := range map[string]func(x, y node) (node, error){
		"Add": kernels.Add, "Mul": kernels.Mul, "AddTime": kernels.AddTime, "L1": kernels.L1,
		"AddPositions": kernels.AddPositions, "Embedding": kernels.Embedding,
		"GatherRows": kernels.GatherRows,
		"Linear":     func(x, y node) (node, error) { return kernels.Linear(x, y, nil) },
		"Conv2D": func(x, y node) (node, error) {
			return kernels.Conv2D(x, y, nil, kernels.Conv{})
		},
		"Concat":        func(x, y node) (node, error) { return kernels.Concat(x, y) },
		"Concat of one": func(_, y node) (node, error) { return kernels.Concat(y) },
		"MSE":           func(x, y node) (node, error) { return kernels.MSE(x, y, nil) },
		"SoftmaxCrossEntropy": func(x, y node) (node, error) {
			return kernels.SoftmaxCrossEntropy(x, y, nil)
		},
		"Attention": func(x, y node) (node, error) {
			return kernels.Attention(x, y, y, kernels.AttentionOptions{Heads: 1})
		},
		"GroupNorm": func(x, y node) (node, error) {
			return kernels.GroupNorm(x, y, y, 1, 1e-5, kernels.Identity)
		},
		"LayerNorm": func(x, y node) (node, error) {
			return kernels.LayerNorm(x, y, y, 1e-5, kernels.Identity)
		},
	} {
		for _, in := range [][2]node{{nil, nil}, {x, nil}, {nil, x}} {
			if name == "Concat of one" && in[1] != nil {
				continue
			}
			_, err := op(in[0], in[1])
			require.ErrorContains(t, err, "nil", name)
		}
	}
	for name, op := range map[string]func(x node) (node, error){
		"SiLU": kernels.SiLU, "GELU": kernels.GELU, "QuickGELU": kernels.QuickGELU,
		"ReLU": kernels.ReLU, "Sigmoid": kernels.Sigmoid, "Exp": kernels.Exp,
		"GEGLU": kernels.GEGLU, "Sum": kernels.Sum, "L2Normalize": kernels.L2Normalize,
		"UpsampleNearest2x": kernels.UpsampleNearest2x,
		"Scale":             func(x node) (node, error) { return kernels.Scale(x, 2) },
		"Mean":              func(x node) (node, error) { return kernels.Mean(x, 0) },
		"SumAxis":           func(x node) (node, error) { return kernels.SumAxis(x, 0) },
		"Repeat":            func(x node) (node, error) { return kernels.Repeat(x, 0, 2) },
		"UpsampleNearest":   func(x node) (node, error) { return kernels.UpsampleNearest(x, 4, 4) },
		"AveragePool":       func(x node) (node, error) { return kernels.AveragePool(x, 2) },
		"Slice":             func(x node) (node, error) { return kernels.Slice(x, 1, 0, 1) },
		"Reshape":           func(x node) (node, error) { return kernels.Reshape(x, 4) },
		"View":              func(x node) (node, error) { return kernels.View(x, 0, 4) },
		"TimestepEmbedding": func(x node) (node, error) {
			return kernels.TimestepEmbedding(x, 4, true, 0)
		},
		"Split": func(x node) (node, error) {
			parts, err := kernels.Split(x, 1, 1, 1)
			if err != nil {
				return nil, err
			}
			return parts[0], nil
		},
	} {
		_, err := op(nil)
		require.ErrorContains(t, err, "nil", name)
	}
}
