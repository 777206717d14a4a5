package optim

import (
	"fmt"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

func parameter(name string, values ...float32) kernels.Parameter {
	return kernels.Parameter{Name: name, Value: dense(values, len(values))}
}

// wave returns n values between -1 and 1 that look random.
func wave(n int, seed float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Sin(float64(i+1) * (seed + 1.7)))
	}
	return x
}

// valueGrad is a gorgonia.ValueGrad.
type valueGrad struct{ value, grad gorgonia.Value }

func (v valueGrad) Value() gorgonia.Value         { return v.value }
func (v valueGrad) Grad() (gorgonia.Value, error) { return v.grad, nil }

// TestAdamWByHand follows one parameter for three steps. It has β₁ = 0.5, β₂ = 0.75, ε = 0.5,
// learning rate 0.1 and weight decay 0.5. From p = 2, with gradients 1, −1 and 2:
//
//	t = 1: p·0.95 = 1.9; m = 0.5, v = 0.25; m̂ = 1, √v̂ = 1; p = 1.9 − 0.1·1/1.5
//	t = 2: m = −0.25, v = 0.4375; m̂ = −1/3, v̂ = 1
//	t = 3: m = 0.875, v = 1.328125; m̂ = 1, v̂ = 2.297297…
func TestAdamWByHand(t *testing.T) {
	p := parameter("p", 2)
	a, err := NewAdamW(p)
	require.NoError(t, err)
	a.LR, a.Beta1, a.Beta2, a.Eps, a.WeightDecay = 0.1, 0.5, 0.75, 0.5, 0.5
	p1 := 1.9 - 0.1/1.5
	p2 := 0.95*p1 + 0.1/3/1.5
	p3 := 0.95*p2 - 0.1/(math.Sqrt(1.328125/(1-0.75*0.75*0.75))+0.5)
	for i, want := range []float64{p1, p2, p3} {
		require.NoError(t, a.Update(p.Value, dense([]float32{[]float32{1, -1, 2}[i]}, 1)))
		require.InDelta(t, want, p.Value.Float32s()[0], 2e-7, "step %d", i+1)
	}
}

// definition is AdamW in float64, written as PyTorch's documentation has it.
func definition(p, m, v, g []float64, t int, a *AdamW) {
	for i := range p {
		p[i] -= a.LR * a.WeightDecay * p[i]
		m[i] = a.Beta1*m[i] + (1-a.Beta1)*g[i]
		v[i] = a.Beta2*v[i] + (1-a.Beta2)*g[i]*g[i]
		mHat := m[i] / (1 - math.Pow(a.Beta1, float64(t)))
		vHat := v[i] / (1 - math.Pow(a.Beta2, float64(t)))
		p[i] -= a.LR * mHat / (math.Sqrt(vHat) + a.Eps)
	}
}

func TestAdamWFollowsItsDefinition(t *testing.T) {
	for _, n := range []int{1, 7, 8, 15, 16, 17, 100, 8191, 8193, 40000} {
		p := parameter("p", wave(n, 0.3)...)
		a, err := NewAdamW(p)
		require.NoError(t, err)
		a.LR = 0.01
		want, m := make([]float64, n), make([]float64, n)
		v, g := make([]float64, n), make([]float64, n)
		for i, x := range p.Value.Float32s() {
			want[i] = float64(x)
		}
		for step := 1; step <= 3; step++ {
			grad := wave(n, float64(step))
			for i, x := range grad {
				g[i] = float64(x)
			}
			definition(want, m, v, g, step, a)
			require.NoError(t, a.Update(p.Value, dense(grad, n)))
		}
		for i, x := range p.Value.Float32s() {
			require.InDelta(t, want[i], x, 4e-7, "%d of %d", i, n)
		}
	}
}

// Stepping all at once, one by one, in another order or after a resumption gives the same bits.
func TestAdamWWaysAgree(t *testing.T) {
	sizes := []int{3, 10000, 17}
	grads := func(step int) (out []*tensor.Dense) {
		for i, n := range sizes {
			out = append(out, dense(wave(n, float64(step*3+i)), n))
		}
		return out
	}
	train := func(way string) (out [][]float32) {
		var ps []kernels.Parameter
		for i, n := range sizes {
			ps = append(ps, parameter(fmt.Sprint("p", i), wave(n, float64(i))...))
		}
		known := ps
		if way == "solver of unknown parameters" {
			known = nil
		}
		a, err := NewAdamW(known...)
		require.NoError(t, err)
		for step := range 4 {
			if way == "resumed" && step == 2 {
				state := a.State()
				a, err = NewAdamW(ps...)
				require.NoError(t, err)
				require.NoError(t, a.SetState(state))
			}
			g := grads(step)
			if way == "one by one" || way == "resumed" {
				for _, i := range []int{2, 0, 1} {
					require.NoError(t, a.Update(ps[i].Value, g[i]))
				}
				continue
			}
			var model []gorgonia.ValueGrad
			for i := range ps {
				model = append(model, valueGrad{ps[i].Value, g[i]})
			}
			require.NoError(t, a.Step(model))
		}
		require.Equal(t, int64(2*4*(3+10000+17)), a.Bytes())
		for _, p := range ps {
			out = append(out, p.Value.Float32s())
		}
		return out
	}
	want := train("solver")
	for _, way := range []string{"solver of unknown parameters", "one by one", "resumed"} {
		require.Equal(t, want, train(way), way)
	}
}

func TestAdamWErrors(t *testing.T) {
	p := parameter("p", 1, 2)
	_, err := NewAdamW(p, p)
	require.ErrorContains(t, err, `"p" is empty or not unique`)
	_, err = NewAdamW(p, kernels.Parameter{Name: "q", Value: p.Value})
	require.ErrorContains(t, err, "parameters p and q are the same tensor")
	a, err := NewAdamW(p)
	require.NoError(t, err)
	one := dense([]float32{1}, 1)
	require.ErrorContains(t, a.Update(one, p.Value), "does not know this parameter of shape (1)")
	require.ErrorContains(t, a.Update(p.Value, one), "parameter p has 2 values, its gradient 1")
	err = a.SetState([]kernels.Parameter{
		parameter("p.step", 3), parameter("p.exp_avg", 1, 2, 3), parameter("r", 1),
	})
	require.ErrorContains(t, err, "p.exp_avg_sq is missing")
	require.ErrorContains(t, err, "p.exp_avg is float32 (3)")
	require.ErrorContains(t, err, "r is unknown")
	step := a.State()[0].Value.Float32s()[0]
	require.Equal(t, float32(0), step, "a failed SetState must change nothing")
}

func TestAdamWAllocatesNothing(t *testing.T) {
	p := parameter("p", wave(100000, 1)...)
	grad := dense(wave(100000, 2), 100000)
	a, err := NewAdamW(p)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(10, func() { _ = a.Update(p.Value, grad) }))
}

// The norm of (3, 4) and (12) is 13.
func TestClipByHand(t *testing.T) {
	var c Clipper
	a, b := dense([]float32{3, 4}, 2), dense([]float32{12}, 1)
	norm, err := c.Clip(20, a, b)
	require.NoError(t, err)
	require.Equal(t, 13.0, norm)
	require.Equal(t, []float32{3, 4}, a.Float32s())
	norm, err = c.Clip(6.5, a, b)
	require.NoError(t, err)
	require.Equal(t, 13.0, norm)
	require.InDeltaSlice(t, []float32{1.5, 2}, a.Float32s(), 5e-7)
	require.InDelta(t, 6, b.Float32s()[0], 2e-6)
	norm, err = c.Norm(a, b)
	require.NoError(t, err)
	require.InDelta(t, 6.5*13/(13+1e-6), norm, 1e-6)
	b.Float32s()[0] = float32(math.NaN())
	_, err = c.Clip(1, a, b)
	require.ErrorContains(t, err, "norm is NaN")
	require.InDeltaSlice(t, []float32{1.5, 2}, a.Float32s(), 5e-7)
}

// A gradient that two parameters share counts twice and is scaled once. The norm of (3, 4) twice
// and of (5) is √75.
func TestClipOfSharedGradients(t *testing.T) {
	var c Clipper
	shared, other := dense([]float32{3, 4}, 2), dense([]float32{5}, 1)
	again := dense(shared.Float32s(), 1, 2) // the same memory in another shape
	for range 2 {
		copy(shared.Float32s(), []float32{3, 4})
		other.Float32s()[0] = 5
		norm, err := c.Clip(math.Sqrt(75)/2, shared, other, again)
		require.NoError(t, err)
		require.InDelta(t, math.Sqrt(75), norm, 1e-14)
		require.InDeltaSlice(t, []float32{1.5, 2}, shared.Float32s(), 5e-7)
		require.InDelta(t, 2.5, other.Float32s()[0], 1e-6)
	}
}

// Small gradients beside a large one count: 1e6 + 1e-8 is 1e6 in float32.
func TestNormIsTakenInFloat64(t *testing.T) {
	x := make([]float32, 100001)
	for i := range x {
		x[i] = 1e-4
	}
	x[0] = 1000
	var c Clipper
	norm, err := c.Norm(dense(x, len(x)))
	require.NoError(t, err)
	small := float64(float32(1e-4))
	require.InEpsilon(t, math.Sqrt(1e6+1e5*small*small), norm, 1e-12)
}

func TestEMAByHand(t *testing.T) {
	p := parameter("p", 1, 2)
	e, err := NewEMA(0.75, p)
	require.NoError(t, err)
	copy(p.Value.Float32s(), []float32{5, 2})
	distance, err := e.Distance()
	require.NoError(t, err)
	require.InDelta(t, 4, distance, 0)
	require.NoError(t, e.Update()) // 1 + (5−1)/4 = 2
	require.NoError(t, e.Update()) // 2 + 3/4
	require.NoError(t, e.Swap())
	require.Equal(t, []float32{2.75, 2}, p.Value.Float32s())
	require.NoError(t, e.Swap())
	require.Equal(t, []float32{5, 2}, p.Value.Float32s())
	to := parameter("p", 0, 0)
	require.NoError(t, e.CopyTo([]kernels.Parameter{to}))
	require.Equal(t, []float32{2.75, 2}, to.Value.Float32s())
	require.ErrorContains(t, e.CopyTo([]kernels.Parameter{parameter("q", 0, 0)}), "q is missing")

	again, err := NewEMA(0.75, parameter("p", 0, 0))
	require.NoError(t, err)
	state, err := e.State()
	require.NoError(t, err)
	require.NoError(t, again.SetState(state))
	restored, err := again.State()
	require.NoError(t, err)
	require.Equal(t, state[0].Value.Data(), restored[0].Value.Data())
	require.Equal(t, []float32{2.75, 2}, restored[1].Value.Float32s())
	_, err = NewEMA(1, p)
	require.ErrorContains(t, err, "not in [0, 1)")
}

// Warmed up, the first step keeps 2/11 of the start.
func TestEMAWarmsUp(t *testing.T) {
	p := parameter("p", 0)
	e, err := NewEMA(0.9999, p)
	require.NoError(t, err)
	e.WarmUp = true
	p.Value.Float32s()[0] = 11
	require.NoError(t, e.Update())
	state, err := e.State()
	require.NoError(t, err)
	require.InDelta(t, 9, state[1].Value.Float32s()[0], 1e-6)
}

func TestEMASaysThatItDoesNotMove(t *testing.T) {
	e, err := NewEMA(0.9, parameter("p", 1, 2))
	require.NoError(t, err)
	for range stillness - 1 {
		require.NoError(t, e.Update())
	}
	require.ErrorContains(t, e.Update(), "has not moved in 100 steps")
}

func TestSchedules(t *testing.T) {
	constant, cosine := Constant(3), Cosine(3, 11)
	for step, want := range []float64{0.25, 0.5, 0.75, 1, 1} {
		require.InDelta(t, want, constant(step), 1e-15, "step %d", step)
	}
	for step, want := range map[int]float64{
		0:   0.25,
		2:   0.75,
		3:   1,
		5:   0.5 * (1 + math.Sqrt2/2),
		7:   0.5,
		9:   0.5 * (1 - math.Sqrt2/2),
		11:  0,
		100: 0,
	} {
		require.InDelta(t, want, cosine(step), 1e-15, "step %d", step)
	}
	require.Equal(t, 1.0, Constant(0)(0))
	require.Equal(t, 1.0, Cosine(0, 10)(0))
}
