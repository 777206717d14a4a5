package kernels_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A network builds a graph of ours with parameters; the first error sticks.
type network struct {
	g      *gorgonia.ExprGraph
	params []kernels.Parameter
	err    error
}

// param adds a parameter with values of the given scale around mean.
func (b *network) param(mean, scale float64, shape ...int) *gorgonia.Node {
	name := fmt.Sprint("w", len(b.params))
	data := kerneltest.Normal(tensor.Shape(shape).TotalSize(), name)
	for i := range data {
		data[i] = float32(mean + scale*float64(data[i]))
	}
	p := kernels.Parameter{Name: name, Value: dense(shape, data...)}
	b.params = append(b.params, p)
	return kernels.Param(b.g, p.Value)
}

func (b *network) input(name string, shape ...int) *gorgonia.Node {
	data := kerneltest.Normal(tensor.Shape(shape).TotalSize(), name)
	return kernels.Input(b.g, name, dense(shape, data...))
}

func (b *network) check(n *gorgonia.Node, err error) *gorgonia.Node {
	if b.err == nil {
		b.err = err
	}
	if b.err != nil {
		panic(b.err)
	}
	return n
}

func (b *network) conv(x *gorgonia.Node, out, kernel, stride int) *gorgonia.Node {
	in := x.Shape()[3]
	c := kernels.Same(kernel)
	c.Stride = stride
	w := b.param(0, 1/math.Sqrt(float64(in*kernel*kernel)), out, kernel, kernel, in)
	return b.check(kernels.Conv2D(x, w, b.param(0, 0.1, out), c))
}

func (b *network) linear(x *gorgonia.Node, out int) *gorgonia.Node {
	in := x.Shape()[x.Dims()-1]
	w := b.param(0, 1/math.Sqrt(float64(in)), out, in)
	return b.check(kernels.Linear(x, w, b.param(0, 0.1, out)))
}

func (b *network) norm(x *gorgonia.Node, act kernels.Activation) *gorgonia.Node {
	c := x.Shape()[3]
	return b.check(kernels.GroupNorm(x, b.param(1, 0.1, c), b.param(0, 0.1, c), 4, 1e-5, act))
}

// residual is a ResNet block with the time embedding.
func (b *network) residual(x, t *gorgonia.Node, out int) *gorgonia.Node {
	h := b.conv(b.norm(x, kernels.SiLUActivation), out, 3, 1)
	h = b.check(kernels.AddTime(h, b.linear(t, out)))
	h = b.conv(b.norm(h, kernels.SiLUActivation), out, 3, 1)
	if x.Shape()[3] != out {
		x = b.conv(x, out, 1, 1)
	}
	return b.check(kernels.Add(x, h))
}

// attend is cross attention to the condition c.
func (b *network) attend(x, c *gorgonia.Node) *gorgonia.Node {
	s := x.Shape()
	h := b.check(kernels.Reshape(b.norm(x, kernels.Identity), s[0], s[1]*s[2], s[3]))
	q, k, v := b.linear(h, s[3]), b.linear(c, s[3]), b.linear(c, s[3])
	h = b.check(kernels.Attention(q, k, v, kernels.AttentionOptions{Heads: 2}))
	h = b.check(kernels.Reshape(b.linear(h, s[3]), s...))
	return b.check(kernels.Add(x, h))
}

// unet builds a small UNet for n images of side×side, and its loss. levels is how often it halves
// the images.
func unet(n, side, width, levels int) (b *network, loss *gorgonia.Node) {
	b = &network{g: gorgonia.NewGraph()}
	x, noise := b.input("x", n, side, side, 4), b.input("noise", n, side, side, 4)
	c := b.input("c", n, 7, 16)
	t := b.check(kernels.TimestepEmbedding(b.input("t", n), 16, true, 0))
	t = b.check(kernels.SiLU(b.linear(t, 4*width)))
	h := b.conv(x, width, 3, 1)
	skips := gorgonia.Nodes{h}
	for l := range levels {
		h = b.attend(b.residual(h, t, width<<l), c)
		skips = append(skips, h)
		h = b.conv(h, width<<l, 3, 2)
		skips = append(skips, h)
	}
	h = b.residual(b.attend(b.residual(h, t, width<<levels), c), t, width<<levels)
	for l := levels - 1; l >= 0; l-- {
		for range 2 {
			h = b.check(kernels.Concat(h, skips[len(skips)-1]))
			skips = skips[:len(skips)-1]
			h = b.attend(b.residual(h, t, width<<l), c)
			if len(skips)%2 == 0 {
				h = b.conv(b.check(kernels.UpsampleNearest2x(h)), width<<l, 3, 1)
			}
		}
	}
	h = b.conv(b.norm(h, kernels.SiLUActivation), 4, 3, 1)
	return b, b.check(kernels.MSE(h, noise, nil))
}

// gradients returns the gradient nodes of b's parameters.
func (b *network) gradients(t testing.TB, loss *gorgonia.Node) gorgonia.Nodes {
	grads, err := gorgonia.Grad(loss, b.nodes()...)
	require.NoError(t, err)
	return grads
}

// nodes returns the parameters' nodes.
func (b *network) nodes() (nodes gorgonia.Nodes) {
	for _, p := range b.params {
		nodes = append(nodes, kernels.Param(b.g, p.Value))
	}
	return nodes
}

// TestUNetUnderBudgets compares the bits of loss and gradients under several budgets.
func TestUNetUnderBudgets(t *testing.T) {
	b, loss := unet(2, 16, 8, 2)
	want := append(gorgonia.Nodes{loss}, b.gradients(t, loss)...)
	run := func(budget int64) ([][]float32, kernels.Plan) {
		m, err := kernels.NewMachine(b.g, kernels.Config{Want: want, ActivationBytes: budget})
		require.NoError(t, err)
		defer m.Close()
		var values [][]float32
		for range 2 {
			values = nil
			require.NoError(t, m.RunAll())
			for _, n := range want {
				values = append(values, append([]float32(nil), m.Value(n).Float32s()...))
			}
		}
		return values, m.Plan()
	}
	whole, plan := run(0)
	for i, v := range whole {
		require.True(t, finite(v), want[i].Name())
	}
	t.Log(plan)
	for _, percent := range []int64{50, 25} {
		values, p := run(plan.Activations * percent / 100)
		t.Logf("%d %%: %v; activations %d of %d bytes, arena %d, live %d",
			percent, p, p.Activations, plan.Activations, p.Arena, p.Live)
		require.LessOrEqual(t, p.Activations, plan.Activations*percent/100)
		require.Positive(t, p.Recomputed)
		for i := range whole {
			require.Equal(t, whole[i], values[i], want[i].Name())
		}
	}
}

// finite reports whether x has values, of which one is not zero, and all are finite.
func finite(x []float32) bool {
	sum := 0.0
	for _, v := range x {
		sum += math.Abs(float64(v))
	}
	return sum > 0 && !math.IsNaN(sum) && !math.IsInf(sum, 0)
}

// TestTrainingSteps trains with updates during the run, and with a Solver after it. The loss falls.
// Both ways give the same bits without allocating.
func TestTrainingSteps(t *testing.T) {
	train := func(during bool) (first, last float64, params [][]float32) {
		b, loss := unet(2, 8, 4, 1)
		grads := b.gradients(t, loss)
		opt, err := optim.NewAdamW(b.params...)
		require.NoError(t, err)
		opt.LR = 0.003
		c := kernels.Config{Want: gorgonia.Nodes{loss}}
		for i, n := range b.nodes() {
			if during {
				c.Updates = append(c.Updates, kernels.Update{Param: n, Grad: grads[i], By: opt})
			} else {
				c.Want = append(c.Want, grads[i])
			}
		}
		m, err := kernels.NewMachine(b.g, c)
		require.NoError(t, err)
		defer m.Close()
		model, err := m.ValueGrads(b.nodes()...)
		if during {
			require.ErrorContains(t, err, "is not wanted")
			require.Equal(t, opt.Bytes(), m.Plan().Optimizer)
			require.Equal(t, 2*m.Plan().Weights, opt.Bytes())
		} else {
			require.NoError(t, err)
		}
		step := func() {
			require.NoError(t, m.RunAll())
			if !during {
				require.NoError(t, opt.Step(model))
			}
		}
		step()
		first = m.Scalar(loss)
		for range 30 {
			step()
		}
		last = m.Scalar(loss)
		for _, p := range b.params {
			params = append(params, append([]float32(nil), p.Value.Float32s()...))
		}
		require.Zero(t, testing.AllocsPerRun(3, step))
		return first, last, params
	}
	first, last, during := train(true)
	t.Logf("loss %.4f, after 30 steps %.4f", first, last)
	require.Less(t, last, 0.7*first)
	first2, last2, after := train(false)
	require.Equal(t, []float64{first, last}, []float64{first2, last2})
	require.Equal(t, during, after)
}

// TestUNetInBFloat16 trains in a machine of BFloat16, from the same parameters as in one of
// Float32.
//
// A value of bfloat16 is off by up to 2⁻⁸ of itself and by 2⁻⁹ on average, up or down. The
// loss is a mean of hundreds of squares, each computed from some 50 such values. It is off by less
// than one rounding. This holds as long as the parameters take the same way. So 2⁻⁸ bounds the
// distance of a few steps.
func TestUNetInBFloat16(t *testing.T) {
	const steps = 8
	train := func(
		c kernels.Config, percent int64,
	) (losses []float64, params [][]float32, plan kernels.Plan) {
		b, loss := unet(2, 16, 8, 2)
		grads := b.gradients(t, loss)
		opt, err := optim.NewAdamW(b.params...)
		require.NoError(t, err)
		opt.LR = 0.001
		c.Want = gorgonia.Nodes{loss}
		for i, n := range b.nodes() {
			c.Updates = append(c.Updates, kernels.Update{Param: n, Grad: grads[i], By: opt})
		}
		m, err := kernels.NewMachine(b.g, c)
		require.NoError(t, err)
		if percent < 100 {
			require.NoError(t, m.Close())
			c.ActivationBytes = m.Plan().Activations * percent / 100
			m, err = kernels.NewMachine(b.g, c)
			require.NoError(t, err)
			require.LessOrEqual(t, m.Plan().Activations, c.ActivationBytes)
			require.Positive(t, m.Plan().Recomputed)
		}
		defer m.Close()
		for range steps {
			require.NoError(t, m.RunAll())
			losses = append(losses, m.Scalar(loss))
		}
		for _, p := range b.params {
			params = append(params, append([]float32(nil), p.Value.Float32s()...))
		}
		require.Zero(t, testing.AllocsPerRun(3, func() { err = m.RunAll() }))
		require.NoError(t, err)
		return losses, params, m.Plan()
	}
	want, _, whole := train(kernels.Config{}, 100)
	losses, params, plan := train(kernels.Config{Precision: kernels.BFloat16}, 100)
	t.Logf("losses %.5f and %.5f", want, losses)
	t.Log(whole)
	t.Log(plan)
	require.Less(t, losses[steps-1], 0.8*losses[0])
	for i := range want {
		require.InEpsilon(t, want[i], losses[i], 0x1p-8, "step %d", i)
	}
	require.NotEqual(t, want, losses)
	require.Less(t, float64(plan.Activations), 0.6*float64(whole.Activations))
	require.Positive(t, plan.Conversions)

	for _, percent := range []int64{60, 35} {
		again, paramsAgain, p := train(kernels.Config{Precision: kernels.BFloat16}, percent)
		t.Logf("%d %%: %v", percent, p)
		require.Equal(t, losses, again)
		require.Equal(t, params, paramsAgain)
	}
	for _, workers := range []int{1, 3} {
		c := kernels.Config{Precision: kernels.BFloat16, Workers: kernels.NewWorkers(workers)}
		again, paramsAgain, _ := train(c, 100)
		require.Equal(t, losses, again)
		require.Equal(t, params, paramsAgain)
	}
}

// TestGradientsInBFloat16 compares losses and gradients of machines of both precisions, from the
// same parameters. The gradient of every parameter is off by a few roundings of bfloat16, in
// Euclidean norm: each is a sum of products of values that are.
func TestGradientsInBFloat16(t *testing.T) {
	for _, s := range []struct{ n, side, width, levels int }{{2, 16, 8, 2}, {2, 32, 16, 3}} {
		gradients := func(p kernels.Precision) (loss float64, grads [][]float32) {
			b, l := unet(s.n, s.side, s.width, s.levels)
			nodes := b.gradients(t, l)
			c := kernels.Config{Want: append(gorgonia.Nodes{l}, nodes...), Precision: p}
			m, err := kernels.NewMachine(b.g, c)
			require.NoError(t, err)
			defer m.Close()
			require.NoError(t, m.RunAll())
			for _, n := range nodes {
				grads = append(grads, append([]float32(nil), m.Value(n).Float32s()...))
			}
			return m.Scalar(l), grads
		}
		want, exact := gradients(kernels.Float32)
		loss, grads := gradients(kernels.BFloat16)
		var all, apart, worst float64
		var each []float64
		for i, g := range grads {
			var size, d float64
			for j, v := range g {
				e := float64(exact[i][j])
				size += e * e
				d += (float64(v) - e) * (float64(v) - e)
			}
			all, apart = all+size, apart+d
			if size > 1e-12 { // else it is 0 but for rounding, as behind a norm that undoes a bias
				each = append(each, math.Sqrt(d/size))
				worst = max(worst, math.Sqrt(d/size))
			}
		}
		slices.Sort(each)
		total := math.Sqrt(apart / all)
		const off = "%+v: loss off by %.2g, gradients by %.2g, the median %.2g, the worst %.2g"
		t.Logf(off, s, math.Abs(loss-want)/want, total, each[len(each)/2], worst)
		require.InEpsilon(t, want, loss, 0x1p-8)
		require.True(t, total > 0 && total < 0x1p-6, "all gradients are off by %g", total)
		require.True(t, worst < 0x1p-4, "a gradient is off by %g", worst)
	}
}
