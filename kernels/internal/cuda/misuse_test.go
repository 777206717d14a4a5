package cuda_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// TestMisusePanics holds sums, losses, tables, resampling and updates to what they say of lengths.
func TestMisusePanics(t *testing.T) {
	of := func(n int) cuda.Tensor { return cuda.Tensor{Address: 256, Len: n} }
	none := cuda.Tensor{}
	r := cuda.Resampling{N: 1, H: 4, W: 4, OH: 2, OW: 2, C: 1}
	for want, misuse := range map[string]func(q *cuda.Queue){
		"cuda: Sum: operand 0 has 2 values": func(q *cuda.Queue) {
			cuda.Sum(q, of(2), of(3), of(2))
		},
		"cuda: Sum: a workspace of 4 bytes": func(q *cuda.Queue) {
			cuda.Sum(q, of(1), of(3), of(1))
		},
		"cuda: SumMiddle: operand 0 has 6 values": func(q *cuda.Queue) {
			cuda.SumMiddle(q, of(2), of(6), 2, 4, 1, 1, none)
		},
		"4 values are no rows of 3": func(q *cuda.Queue) {
			cuda.L2Normalize(q, of(4), of(4), 3)
		},
		"4 values of 3 samples": func(q *cuda.Queue) {
			cuda.MSE(q, of(1), of(4), of(4), of(3), of(8))
		},
		"5 logits and 2 targets": func(q *cuda.Queue) {
			cuda.SoftmaxCrossEntropy(q, of(1), of(5), of(2), none, of(8))
		},
		"5 values are no rows of 2 for 3 indices": func(q *cuda.Queue) {
			cuda.GatherRows(q, of(6), of(5), of(3), 2, 0)
		},
		"8 values are no rows of 2 for 3 indices": func(q *cuda.Queue) {
			cuda.ScatterRows(q, of(8), of(6), of(3), 2, 2)
		},
		"TimestepEmbedding: 1 dimensions": func(q *cuda.Queue) {
			cuda.TimestepEmbedding(q, of(3), of(3), 1, 0, false)
		},
		"windows of 3 do not fit": func(q *cuda.Queue) {
			cuda.AveragePool(q, of(4), of(16), r, 3)
		},
		"average: operand 0 has 15 values": func(q *cuda.Queue) {
			cuda.AveragePool(q, of(4), of(15), r, 2)
		},
		"AdamW: operand 0 has 7 values": func(q *cuda.Queue) {
			cuda.AdamW(q, of(4), of(4), of(4), of(4), none, of(7), none)
		},
		"SumSquares: operand 0 has 3 values": func(q *cuda.Queue) {
			cuda.SumSquares(q, of(3), of(4))
		},
		"ClipFactor: operand 0 has 3 values": func(q *cuda.Queue) {
			cuda.ClipFactor(q, of(2), of(3), 1)
		},
		"CheckFinite: number 0": func(q *cuda.Queue) {
			cuda.CheckFinite(q, of(1), of(3), 0)
		},
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("the panic is %q", got)
				}
			}()
			misuse(new(cuda.Queue))
		})
	}
}
