package dataset_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
)

// condition has two tokens, and a pooled vector and sizes of three numbers, all from first on.
func condition(first float32) dataset.Condition {
	next := first
	counted := func(shape ...int) *tensor.Dense {
		d := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
		for i := range d.Float32s() {
			d.Float32s()[i] = next
			next++
		}
		return d
	}
	return dataset.Condition{Tokens: counted(2, 2), Pooled: counted(3), Sizes: counted(6)}
}

func TestConditionBatch(t *testing.T) {
	a, b := condition(10), condition(30)
	batch := a.Batch(2)
	require.Equal(t, tensor.Shape{2, 2, 2}, batch.Tokens.Shape())
	require.Equal(t, tensor.Shape{2, 3}, batch.Pooled.Shape())
	require.Equal(t, tensor.Shape{2, 6}, batch.Sizes.Shape())
	require.NoError(t, batch.Fill(a, b))
	require.Equal(t, []float32{10, 11, 12, 13, 30, 31, 32, 33}, batch.Tokens.Float32s())
	require.Equal(t, []float32{14, 15, 16, 34, 35, 36}, batch.Pooled.Float32s())
	sizes := []float32{17, 18, 19, 20, 21, 22, 37, 38, 39, 40, 41, 42}
	require.Equal(t, sizes, batch.Sizes.Float32s())
	for i, c := range []dataset.Condition{a, b} {
		row := batch.Row(i)
		require.NoError(t, row.Fits(c))
		require.Equal(t, c.Tokens.Float32s(), row.Tokens.Float32s())
		require.Equal(t, c.Pooled.Float32s(), row.Pooled.Float32s())
		require.Equal(t, c.Sizes.Float32s(), row.Sizes.Float32s())
	}
	batch.Row(1).Pooled.Float32s()[0] = -1
	require.Equal(t, float32(-1), batch.Pooled.Float32s()[3], "a row is the batch's memory")

	names := slices.Sorted(maps.Keys(maps.Collect(a.Parts())))
	require.Equal(t, []string{"pooled", "sizes", "tokens"}, names)
	tokens := dataset.Condition{Tokens: a.Tokens}
	require.Equal(t, map[string]*tensor.Dense{"tokens": a.Tokens}, maps.Collect(tokens.Parts()))
	require.Nil(t, tokens.Batch(2).Pooled)
	require.Nil(t, tokens.Batch(2).Row(1).Sizes)
	require.False(t, tokens.IsZero())
	require.True(t, dataset.Condition{}.IsZero())
}

func TestConditionsThatDoNotFit(t *testing.T) {
	zeros := func(of tensor.Dtype, shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(of))
	}
	deep := func(c *dataset.Condition) { c.Pooled = zeros(tensor.Float32, 1, 3) }
	for want, change := range map[string]func(c *dataset.Condition){
		"there is no condition": func(c *dataset.Condition) {
			*c = dataset.Condition{}
		},
		"the condition has no pooled, others have (3)": func(c *dataset.Condition) {
			c.Pooled = nil
		},
		"the condition has tokens (3, 2), others have (2, 2)": func(c *dataset.Condition) {
			c.Tokens = zeros(tensor.Float32, 3, 2)
		},
		"the condition has sizes (5), others have (6)": func(c *dataset.Condition) {
			c.Sizes = zeros(tensor.Float32, 5)
		},
		"the condition has pooled float64 (3), not float32 of rank 1": func(c *dataset.Condition) {
			c.Pooled = zeros(tensor.Float64, 3)
		},
		"the condition has pooled float32 (1, 3), not float32 of rank 1": deep,
	} {
		batch, c := condition(0).Batch(2), condition(0)
		change(&c)
		require.EqualError(t, batch.Fill(condition(0), c), "sample 1 of 2: dataset: "+want)
	}
	tokens := dataset.Condition{Tokens: condition(0).Tokens}
	require.EqualError(t, tokens.Batch(1).Fill(condition(0)),
		"sample 0 of 1: dataset: the condition has pooled (3), others have none")
	require.EqualError(t, tokens.Batch(2).Fill(tokens),
		"dataset: 1 conditions for a batch of tokens (2, 2, 2)")
}
