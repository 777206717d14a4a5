package cuda_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// oneOrNone is weights, or none if there are none: a kernel then gets a tensor without values.
func oneOrNone(at cuda.Tensor, n int) cuda.Tensor {
	if n == 0 {
		return cuda.Tensor{}
	}
	return at
}

func TestMSEAndL1(t *testing.T) {
	for _, s := range []struct{ n, weights, offset int }{
		{1, 0, 0}, {33, 0, 1}, {9002, 0, 0}, {60, 3, 0}, {63, 3, 0}, {7, 7, 0}, {9000, 2, 0},
	} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			x, y, w := normal(2 * s.n)[:s.n], normal(2 * s.n)[s.n:], normal(max(1, s.weights))
			in := cudatest.In(cuda.Float32, y)
			in.Offset = s.offset
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.MSE(q, at[0], at[2], at[3], oneOrNone(at[4], s.weights), at[5])
				cuda.L1(q, at[1], at[2], at[3], at[5])
			}, cudatest.Out(cuda.Float32, 1), cudatest.Out(cuda.Float32, 1),
				cudatest.In(cuda.Float32, x), in, cudatest.In(cuda.Float32, w),
				workspace(max(cuda.MSEWorkspace(s.n, s.weights), cuda.L1Workspace(s.n))))
			samples := max(1, s.weights)
			size := s.n / samples
			mse, mseSize, l1 := 0.0, 0.0, 0.0
			for i := range x {
				d := float64(x[i]) - float64(y[i])
				weight := 1.0
				if s.weights > 0 {
					weight = float64(w[i/size])
				}
				mse += weight * d * d / float64(size)
				mseSize += math.Abs(weight) * d * d / float64(size)
				l1 += math.Abs(d) / float64(s.n)
			}
			roundedOnce(t, cuda.Float32, got[0], []float64{mse}, []float64{mseSize})
			roundedOnce(t, cuda.Float32, got[1], []float64{l1}, []float64{l1})
		})
	}
}

// crossEntropy is SoftmaxCrossEntropy in float64, and its gradient for a dout of 1.
func crossEntropy(logits, target []float32, weight func(i int) float64) (sum float64, d []float64) {
	classes := len(logits) / len(target)
	d = make([]float64, len(logits))
	for i, c := range target {
		row := logits[i*classes:][:classes]
		top, all := math.Inf(-1), 0.0
		for _, v := range row {
			top = max(top, float64(v))
		}
		for _, v := range row {
			all += math.Exp(float64(v) - top)
		}
		log := top + math.Log(all)
		sum += weight(i) * (log - float64(row[int(c)]))
		for j, v := range row {
			d[i*classes+j] = weight(i) * math.Exp(float64(v)-log)
		}
		d[i*classes+int(c)] -= weight(i)
	}
	return sum, d
}

func TestSoftmaxCrossEntropy(t *testing.T) {
	for _, s := range []struct {
		rows, classes int
		weighted      bool
		offset        int
	}{{1, 1, false, 0}, {5, 2, true, 1}, {3, 129, false, 0}, {2, 300, true, 0}} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			logits, target := normal(s.rows*s.classes), make([]float32, s.rows)
			for i := range logits {
				logits[i] *= 30 // so that a float32 exponential would overflow without the maximum
			}
			for i := range target {
				target[i] = float32((i*7 + s.classes - 1) % s.classes)
			}
			weights, dout := normal(s.rows), float32(-1.5)
			weight, n := func(int) float64 { return 1 / float64(s.rows) }, 0
			if s.weighted {
				weight, n = func(i int) float64 { return float64(weights[i]) }, s.rows
			}
			in := cudatest.In(cuda.Float32, logits)
			in.Offset = s.offset
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				w := oneOrNone(at[4], n)
				cuda.SoftmaxCrossEntropy(q, at[0], at[2], at[3], w, at[6])
				cuda.SoftmaxCrossEntropyGrad(q, at[1], at[2], at[3], w, at[5])
			}, cudatest.Out(cuda.Float32, 1), cudatest.Out(cuda.Float32, len(logits)), in,
				cudatest.In(cuda.Float32, target), cudatest.In(cuda.Float32, weights),
				cudatest.In(cuda.Float32, []float32{dout}),
				workspace(cuda.SoftmaxCrossEntropyWorkspace(s.rows)))
			want, d := crossEntropy(logits, target, weight)
			sums := make([]float64, len(d))
			for i := range d {
				d[i] *= float64(dout)
				sums[i] = 100
			}
			roundedOnce(t, cuda.Float32, got[0], []float64{want}, []float64{100})
			roundedOnce(t, cuda.Float32, got[1], d, sums)
		})
	}
}

// TestWrongTargets has targets of no class. Rows with other targets keep their gradients.
func TestWrongTargets(t *testing.T) {
	const classes = 3
	nan := float32(math.NaN())
	target := []float32{3, 2, -1, 0.5, nan, 1e30, float32(math.Inf(-1))}
	logits := normal(classes * len(target))
	got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.SoftmaxCrossEntropy(q, at[0], at[2], at[3], cuda.Tensor{}, at[5])
		cuda.SoftmaxCrossEntropyGrad(q, at[1], at[2], at[3], cuda.Tensor{}, at[4])
	}, cudatest.Out(cuda.Float32, 1), cudatest.Out(cuda.Float32, len(logits)),
		cudatest.In(cuda.Float32, logits), cudatest.In(cuda.Float32, target),
		cudatest.In(cuda.Float32, []float32{1}),
		workspace(cuda.SoftmaxCrossEntropyWorkspace(len(target))))
	if got[0][0] == got[0][0] {
		t.Errorf("the loss is %v", got[0][0])
	}
	for i, d := range got[1] {
		if known := i/classes == 1; known != (d == d) {
			t.Errorf("the gradient of row %d is %v", i/classes, d)
		}
	}
}
