package cuda_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// normal returns n values that are random but always the same.
func normal(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func TestElementwise(t *testing.T) {
	const a = -1.75
	for name, k := range map[string]struct {
		queue func(q *cuda.Queue, at []cuda.Tensor)
		want  func(x, y float32) float32
	}{
		"add": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.Add(q, at[0], at[1], at[2]) },
			func(x, y float32) float32 { return x + y },
		},
		"sub": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.SubScale(q, at[0], at[1], at[2], a) },
			func(x, y float32) float32 { return a * (x - y) },
		},
		"mul": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.Mul(q, at[0], at[1], at[2]) },
			func(x, y float32) float32 { return x * y },
		},
		"scale": {
			func(q *cuda.Queue, at []cuda.Tensor) { cuda.Scale(q, at[0], at[1], a) },
			func(x, _ float32) float32 { return a * x },
		},
	} {
		for _, typ := range []cuda.Type{cuda.Float32, cuda.BFloat16} {
			for _, shape := range []struct{ n, offset int }{{1, 0}, {8, 0}, {2111, 0}, {300, 1}} {
				t.Run(fmt.Sprint(name, typ, shape), func(t *testing.T) {
					x, y := normal(2 * shape.n)[:shape.n], normal(2 * shape.n)[shape.n:]
					in1, in2 := cudatest.In(typ, x), cudatest.In(typ, y)
					in2.Offset = shape.offset
					round := func(v float32) float32 { return cudatest.Round(typ, v) }
					got := cudatest.Check(t, k.queue, cudatest.Out(typ, shape.n), in1, in2)[0]
					for i := range got {
						want := round(k.want(round(x[i]), round(y[i])))
						if !(got[i] == want) {
							t.Fatalf("value %d is %v, not %v", i, got[i], want)
						}
					}
				})
			}
		}
	}
}
