package optim_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A keeping is a parameter, and what two machines say of it: one keeps a copy in bfloat16.
type keeping struct {
	w           kernels.Parameter
	keeps, said func() []float32
	last        []float32
}

func newKeeping(t *testing.T) *keeping {
	w := kernels.Parameter{Name: "w", Value: dense([]float32{1, 2, 3, 4, 5, 6}, 2, 3)}
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "x", dense([]float32{1, 1, 1, 0, 1, 0}, 2, 3))
	y, err := kernels.Linear(x, kernels.Param(g, w.Value), nil)
	require.NoError(t, err)
	machine := func(constant bool) (m *kernels.Machine, says func() []float32) {
		m, err := kernels.NewMachine(g, kernels.Config{
			Want: gorgonia.Nodes{y}, Precision: kernels.BFloat16, ConstantParameters: constant,
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		return m, func() []float32 {
			require.NoError(t, m.RunAll())
			return append([]float32(nil), m.Value(y).Float32s()...)
		}
	}
	k := &keeping{w: w}
	constant, keeps := machine(true)
	plain, said := machine(false)
	require.Less(t, constant.Plan().Conversions, plain.Plan().Conversions)
	k.keeps, k.said, k.last = keeps, said, keeps()
	return k
}

// check holds the machine that keeps a copy to the other. The parameter has changed.
func (k *keeping) check(t *testing.T, what string) {
	now := k.keeps()
	require.Equal(t, k.said(), now, what)
	require.NotEqual(t, k.last, now, what)
	k.last = now
}

// Whatever this package does to parameters is seen by a machine that was compiled before and keeps
// copies of them in bfloat16.
func TestConstantParametersAreRefreshed(t *testing.T) {
	k := newKeeping(t)
	w, check := k.w, func(what string) { k.check(t, what) }
	e, err := optim.NewEMA(0.5, w)
	require.NoError(t, err)
	copy(w.Value.Float32s(), []float32{6, 5, 4, 3, 2, 1})
	require.NoError(t, kernels.Refresh(w.Value))
	require.NoError(t, e.Update())
	check("Refresh")
	require.NoError(t, e.Swap())
	check("Swap")
	require.NoError(t, e.Swap())
	check("Swap back")
	require.NoError(t, e.CopyTo([]kernels.Parameter{w}))
	check("CopyTo")

	for what, change := range map[string]func(*optim.Stepper){
		"used up": func(*optim.Stepper) {}, "clipped": func(s *optim.Stepper) { s.Clip = 1 },
		"accumulated": func(s *optim.Stepper) { s.Accumulate = true },
	} {
		b := kernels.Parameter{Name: "b", Value: dense([]float32{1}, 1)}
		by := &failing{descent: newDescent(0, w, b), after: 3}
		s := &optim.Stepper{Parameters: []kernels.Parameter{w, b}, Optimizer: by,
			LR: func(int) float64 { return 1 }}
		change(s)
		loss, err := s.Compile(func(g *gorgonia.ExprGraph) (l optim.Loss, err error) {
			sum := gorgonia.Must(gorgonia.Sum(kernels.Param(g, w.Value)))
			l.Value, err = gorgonia.Add(sum, gorgonia.Must(gorgonia.Sum(kernels.Param(g, b.Value))))
			return l, err
		})
		require.NoError(t, err)
		state, err := s.State()
		require.NoError(t, err)
		for i, p := range state { // a copy
			state[i].Value = p.Value.Clone().(*tensor.Dense)
		}
		_, err = s.Step(loss)
		require.NoError(t, err, what)
		check(what)
		require.NoError(t, s.SetState(state))
		check(what + ", set back")
		_, err = s.Step(loss)
		require.ErrorIs(t, err, errFailing, what)
		k.last = k.keeps()
		require.Equal(t, k.said(), k.last, "%s, failed", what)
		require.NoError(t, s.Close())
	}
}

// What a device changes is seen too.
func TestConstantParametersOfADevice(t *testing.T) {
	d := cudatest.OpenDevice(t)
	k := newKeeping(t)
	s := &optim.Stepper{
		Parameters: []kernels.Parameter{k.w}, LR: func(int) float64 { return 1 },
		Machine: kernels.Config{Device: d},
	}
	loss, err := s.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
		to := kernels.Input(g, "to", dense(make([]float32, 6), 2, 3))
		value, err := kernels.MSE(kernels.Param(g, k.w.Value), to, nil)
		return optim.Loss{Value: value}, err
	})
	require.NoError(t, err)
	defer s.Close()
	for range 2 {
		_, err = s.Step(loss)
		require.NoError(t, err)
		k.check(t, "a step")
	}
}

var errFailing = errors.New("no")

// failing is an optimizer that fails after some updates.
type failing struct {
	*descent
	after int
}

func (f *failing) Update(param, grad *tensor.Dense) error {
	if f.after == 0 {
		return errFailing
	}
	f.after--
	return f.descent.Update(param, grad)
}
