package optim_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// fit trains a line for some steps, in micro-batches of these sizes, from a state if there is one.
// It returns the line's values, what the steps said, and the state.
func fit(
	t *testing.T, machine kernels.Config, by optim.Optimizer, clip float64,
	from []kernels.Parameter, steps int, sizes ...int,
) (values []float64, results []optim.Result, state []kernels.Parameter) {
	t.Helper()
	l := newLine(7)
	if d, ok := by.(*descent); ok {
		*d = *newDescent(0.5, l.params...)
	}
	s := &optim.Stepper{
		Parameters: l.params,
		Optimizer:  by,
		LR:         func(step int) float64 { return 0.05 / float64(1+step) },
		Clip:       clip,
		Accumulate: len(sizes) > 1,
		Machine:    machine,
	}
	if by == nil {
		s.Optimizer = nil
	}
	var batch []optim.Micro
	step, at := 0, 0
	for _, n := range sizes {
		loss, err := s.Compile(l.loss(n))
		require.NoError(t, err)
		x, y, w, from := l.x, l.y, l.w, at
		batch = append(batch, optim.Micro{Loss: loss, Fill: func() error {
			l.x, l.y, l.w = x, y, w
			l.fill(from, n, step)
			return nil
		}})
		at += n
	}
	if from != nil {
		require.NoError(t, s.SetState(from))
	}
	for range steps {
		step = s.Steps()
		r, err := s.StepAll(batch...)
		require.NoError(t, err)
		results = append(results, r)
	}
	state, err := s.State()
	require.NoError(t, err)
	state = copiesOf(state)
	require.NoError(t, s.Close())
	after, err := s.State() // takes no memory of the device
	require.NoError(t, err)
	require.ElementsMatch(t, state, copiesOf(after))
	return l.values(), results, state
}

// On a device a Stepper does what it does on the host: used up, clipped and accumulated, by AdamW,
// which the device steps, and by an optimizer that only the host knows. A state goes from one to
// the other.
func TestStepperOnDevice(t *testing.T) {
	d := cudatest.OpenDevice(t)
	for _, sizes := range [][]int{{7}, {4, 2, 1}} {
		for _, clip := range []float64{0, 0.5} {
			for _, own := range []bool{false, true} {
				t.Run(fmt.Sprint(sizes, clip, own), func(t *testing.T) {
					optimizer := func() optim.Optimizer {
						if own {
							return &descent{}
						}
						return nil
					}
					var host, device kernels.Config
					device.Device = d
					want, all, state := fit(t, host, optimizer(), clip, nil, 5, sizes...)
					got, same, there := fit(t, device, optimizer(), clip, nil, 5, sizes...)
					require.InDeltaSlice(t, want, got, 1e-6)
					for i := range all {
						require.InEpsilon(t, all[i].Loss, same[i].Loss, 1e-6)
						require.InEpsilon(t, all[i].GradNorm, same[i].GradNorm, 1e-6)
						require.InEpsilon(t, all[i].Parts["said"], same[i].Parts["said"], 1e-5)
					}
					require.Len(t, there, len(state))
					for i, p := range there {
						if own { // whose state has no order
							break
						}
						require.Equal(t, state[i].Name, p.Name)
						of := state[i].Value.Float32s()
						require.InDeltaSlice(t, of, p.Value.Float32s(), 1e-6, p.Name)
					}
					want, _, _ = fit(t, host, optimizer(), clip, there, 3, sizes...)
					got, _, _ = fit(t, device, optimizer(), clip, there, 3, sizes...)
					require.InDeltaSlice(t, want, got, 1e-6)
				})
			}
		}
	}
}

// A gradient that is not finite leaves everything on the device as it was, and is named. The next
// batch may be right.
func TestNotFiniteOnDevice(t *testing.T) {
	for _, accumulate := range []bool{false, true} {
		l := newLine(7)
		first := kernels.Parameter{Name: "first", Value: dense([]float32{0}, 1)}
		build := l.loss(7)
		s := &optim.Stepper{
			Parameters: append([]kernels.Parameter{first}, l.params...),
			Accumulate: accumulate,
			Machine:    kernels.Config{Device: cudatest.OpenDevice(t)},
		}
		loss, err := s.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
			loss, err := build(g)
			if err != nil {
				return loss, err
			}
			root, err := gorgonia.Sqrt(kernels.Param(g, first.Value)) // infinitely steep at 0
			if err != nil {
				return loss, err
			}
			sum, err := kernels.Sum(root)
			if err != nil {
				return loss, err
			}
			loss.Value, err = gorgonia.Add(loss.Value, sum)
			return loss, err
		})
		require.NoError(t, err)
		l.fill(0, 7, 0)
		before := l.values()
		_, err = s.Step(loss)
		var e *optim.NotFiniteError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "gradient of first", e.What)
		require.False(t, e.Torn)
		state, err := s.State()
		require.NoError(t, err)
		require.Equal(t, before, l.values())
		for _, p := range state {
			for _, v := range p.Value.Float32s() {
				require.False(t, math.IsNaN(float64(v)), p.Name)
			}
		}
		first.Value.Float32s()[0] = 1
		require.NoError(t, kernels.Refresh(first.Value))
		_, err = s.Step(loss)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NotEqual(t, before, l.values())
		require.Equal(t, 1, s.Steps())
	}
}

// A machine on the host, and what copies a parameter, have the values that a device has changed.
func TestHostFollowsDevice(t *testing.T) {
	l := newLine(7)
	s := &optim.Stepper{
		Parameters: l.params,
		Machine:    kernels.Config{Device: cudatest.OpenDevice(t)},
	}
	loss, err := s.Compile(l.loss(7))
	require.NoError(t, err)
	g := gorgonia.NewGraph()
	twice, err := kernels.Scale(kernels.Param(g, l.params[1].Value), 2)
	require.NoError(t, err)
	host, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{twice}})
	require.NoError(t, err)
	defer host.Close()
	before := l.values()[1]
	for range 2 {
		l.fill(0, 7, 0)
		_, err = s.Step(loss)
		require.NoError(t, err)
		require.Equal(t, before, l.values()[1], "the host's copy is old")
		require.NoError(t, host.RunAll())
		require.NotEqual(t, before, l.values()[1])
		before = l.values()[1]
		require.Equal(t, 2*before, float64(host.Value(twice).Float32s()[0]))
	}
	require.NoError(t, s.Close())
	require.Equal(t, before, l.values()[1])
}

// On a device the average is what it is on the host, wherever it is read, and it follows parameters
// that change there.
func TestEMAOnDevice(t *testing.T) {
	d := cudatest.OpenDevice(t)
	line := func(x ...float32) *tensor.Dense {
		return tensor.New(tensor.WithShape(len(x)), tensor.WithBacking(x))
	}
	p := kernels.Parameter{Name: "p", Value: line(1, 2, -3)}
	at, free, err := kernels.Reside(d, p.Value)
	require.NoError(t, err)
	require.Equal(t, 3, at.Len)
	e, err := optim.NewEMA(0.75, p)
	require.NoError(t, err)
	require.NoError(t, e.MoveTo(d))
	require.ErrorContains(t, e.MoveTo(d), "is on a device already")
	move := func(x ...float32) {
		copy(p.Value.Float32s(), x)
		require.NoError(t, kernels.Refresh(p.Value))
		clear(p.Value.Float32s())
		kernels.Changed(d, p.Value) // so the host's values count for nothing
	}
	average := func() []float32 {
		state, err := e.State()
		require.NoError(t, err)
		return state[1].Value.Float32s()
	}
	move(5, 2, -3)
	require.NoError(t, e.Update()) // 1 + (5−1)/4 = 2
	require.NoError(t, e.Update()) // 2 + 3/4
	require.Equal(t, []float32{2.75, 2, -3}, average())
	distance, err := e.Distance()
	require.NoError(t, err)
	require.Equal(t, 2.25, distance)
	require.NoError(t, e.Swap())
	require.Equal(t, []float32{2.75, 2, -3}, p.Value.Float32s())
	require.NoError(t, e.Update()) // 5 − 2.25/4: Swap has reached the device
	require.Equal(t, []float32{4.4375, 2, -3}, average())

	was, err := e.State()
	require.NoError(t, err)
	was[0].Value.Float32s()[0] = 7
	was[1].Value = line(10, 20, 30)
	require.NoError(t, e.SetState(was))
	move(2, 20, 30)
	require.NoError(t, e.Update())
	require.Equal(t, []float32{8, 20, 30}, average())
	to := kernels.Parameter{Name: "p", Value: line(0, 0, 0)}
	require.NoError(t, e.CopyTo([]kernels.Parameter{to}))
	require.Equal(t, []float32{8, 20, 30}, to.Value.Float32s())
	require.NoError(t, e.Update())
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.Equal(t, []float32{6.5, 20, 30}, average(), "closing has brought it to the host")
	require.NoError(t, e.Update())
	require.Equal(t, float32(5.375), average()[0], "it goes on there")
	require.NoError(t, free())
}

// It is an error on a device too if an average never moves.
func TestEMAOnDeviceSaysThatItDoesNotMove(t *testing.T) {
	for _, moves := range []bool{false, true} {
		d := cudatest.OpenDevice(t)
		x := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{1, 2}))
		e, err := optim.NewEMA(0.9, kernels.Parameter{Name: "p", Value: x})
		require.NoError(t, err)
		require.NoError(t, e.MoveTo(d))
		if moves {
			x.Float32s()[1] = 3
			require.NoError(t, kernels.Refresh(x))
		}
		for range 99 {
			require.NoError(t, e.Update())
		}
		if moves {
			require.NoError(t, e.Update())
		} else {
			require.ErrorContains(t, e.Update(), "has not moved in 100 steps")
		}
		require.NoError(t, e.Close())
	}
}

// In bfloat16 AdamW writes the copies that products read, so that none is made again. Training in
// two batch shapes, of which one has its copies later, does what the host does.
func TestStepperKeepsCopiesInBFloat16(t *testing.T) {
	normal := func(name string, shape ...int) *tensor.Dense {
		n := tensor.Shape(shape).TotalSize()
		x := kerneltest.Normal(n, name)
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	}
	train := func(d kernels.Device, each func(step int)) []float32 {
		w := kernels.Parameter{Name: "w", Value: normal("w", 3, 8)}
		s := &optim.Stepper{
			Parameters: []kernels.Parameter{w}, LR: func(int) float64 { return 0.01 },
			Machine: kernels.Config{Device: d, Precision: kernels.BFloat16},
		}
		var losses []*optim.Compiled
		for _, rows := range []int{4, 7} {
			loss, err := s.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
				x := kernels.Input(g, "x", normal("x", rows, 8))
				y := kernels.Input(g, "y", normal("y", rows, 3))
				said, err := kernels.Linear(x, kernels.Param(g, w.Value), nil)
				if err != nil {
					return optim.Loss{}, err
				}
				loss, err := kernels.MSE(said, y, nil)
				return optim.Loss{Value: loss}, err
			})
			require.NoError(t, err)
			losses = append(losses, loss)
		}
		for step := range 6 {
			_, err := s.Step(losses[step%2])
			require.NoError(t, err)
			each(step)
		}
		require.NoError(t, s.Close())
		return w.Value.Float32s()
	}
	want := train(nil, func(int) {})
	d := cudatest.Count(cudatest.OpenDevice(t))
	inputs := 0
	got := train(d, func(step int) {
		n := d.Runs["to_bf16"]
		if step == 0 {
			inputs = n - 1 // the copy is made once
		}
		require.Equal(t, (step+1)*inputs+1, n)
	})
	require.InDeltaSlice(t, want, got, 1e-6)
}
