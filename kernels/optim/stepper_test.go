package optim_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

func dense(values []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
}

// descent is an optimizer of one's own: p ← p − LR·(g + Momentum·v), where v is the sum of
// earlier gradients.
type descent struct {
	LR, Momentum float64
	names        map[*tensor.Dense]string
	past         map[*tensor.Dense]*tensor.Dense
}

func newDescent(momentum float64, ps ...kernels.Parameter) *descent {
	d := &descent{
		Momentum: momentum,
		names:    map[*tensor.Dense]string{},
		past:     map[*tensor.Dense]*tensor.Dense{},
	}
	for _, p := range ps {
		d.names[p.Value] = p.Name
		d.past[p.Value] = dense(make([]float32, p.Value.Size()), p.Value.Shape()...)
	}
	return d
}

func (d *descent) SetLR(lr float64) { d.LR = lr }

func (d *descent) Update(param, grad *tensor.Dense) error {
	p, v := param.Float32s(), d.past[param].Float32s()
	for i, g := range grad.Float32s() {
		p[i] -= float32(d.LR) * (g + float32(d.Momentum)*v[i])
		v[i] += g
	}
	return nil
}

func (d *descent) State() (all []kernels.Parameter) {
	for p, name := range d.names {
		all = append(all, kernels.Parameter{Name: name, Value: d.past[p]})
	}
	return all
}

func (d *descent) SetState(from []kernels.Parameter) error {
	for p, name := range d.names {
		for _, f := range from {
			if f.Name == name {
				copy(d.past[p].Float32s(), f.Value.Float32s())
			}
		}
	}
	return nil
}

// A line is y = a·x + b. It is fitted to points (x, y) by the mean of weighted squares over all of
// total points.
type line struct {
	params  []kernels.Parameter
	x, y, w *tensor.Dense
	total   int
}

func newLine(n int) *line {
	l := &line{total: n}
	l.params = []kernels.Parameter{
		{Name: "a", Value: dense([]float32{0.5}, 1, 1)},
		{Name: "b", Value: dense([]float32{-0.25}, 1)},
	}
	return l
}

// loss is Σ w·(a·x + b − y)² / total over n points, with a part that is the sum of a·x + b.
func (l *line) loss(n int) func(g *gorgonia.ExprGraph) (optim.Loss, error) {
	l.x, l.y = dense(make([]float32, n), n, 1), dense(make([]float32, n), n, 1)
	l.w = dense(make([]float32, n), n)
	return func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		a, b := kernels.Param(g, l.params[0].Value), kernels.Param(g, l.params[1].Value)
		said, err := kernels.Linear(kernels.Input(g, "x", l.x), a, b)
		if err != nil {
			return loss, err
		}
		weight, err := kernels.Scale(kernels.Input(g, "w", l.w), 1/float64(l.total))
		if err != nil {
			return loss, err
		}
		if loss.Value, err = kernels.MSE(said, kernels.Input(g, "y", l.y), weight); err != nil {
			return loss, err
		}
		sum, err := kernels.Sum(said)
		loss.Parts = []optim.Part{{Name: "said", Value: sum}}
		return loss, err
	}
}

// points are deterministic and not on a line.
func (l *line) fill(from, n, step int) {
	for i := range n {
		k := float64(from + i + 10*step)
		l.x.Float32s()[i] = float32(math.Sin(1.3 * k))
		l.y.Float32s()[i] = float32(2*math.Sin(1.3*k) + 1 + 0.3*math.Cos(5*k))
		l.w.Float32s()[i] = float32(0.5 + math.Abs(math.Sin(k)))
	}
}

// byHand is the loss, what is said and the gradients in float64.
func (l *line) byHand(a, b float64) (loss, said, da, db float64) {
	for i, x := range l.x.Float32s() {
		x, y := float64(x), float64(l.y.Float32s()[i])
		w := float64(l.w.Float32s()[i]) / float64(l.total)
		e := a*x + b - y
		loss, said, da, db = loss+w*e*e, said+a*x+b, da+2*w*e*x, db+2*w*e
	}
	return loss, said, da, db
}

func (l *line) values() []float64 {
	a, b := l.params[0].Value.Float32s()[0], l.params[1].Value.Float32s()[0]
	return []float64{float64(a), float64(b)}
}

// Three steps by hand, of an optimizer of one's own with a learning rate that changes. The
// gradients are used up as they appear, clipped, or kept for more than one micro-batch.
func TestStepperByHand(t *testing.T) {
	for name, change := range map[string]func(*optim.Stepper){
		"used up":     func(*optim.Stepper) {},
		"clipped":     func(s *optim.Stepper) { s.Clip = 0.5 },
		"not clipped": func(s *optim.Stepper) { s.Clip = 100 },
		"accumulated": func(s *optim.Stepper) { s.Accumulate = true },
		"both":        func(s *optim.Stepper) { s.Accumulate, s.Clip = true, 0.5 },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(7)
			rate := func(step int) float64 { return 0.1 / float64(1+step) }
			s := &optim.Stepper{
				Parameters: l.params, Optimizer: newDescent(0.5, l.params...), LR: rate,
			}
			change(s)
			loss, err := s.Compile(l.loss(7))
			require.NoError(t, err)
			defer s.Close()
			p := l.values()
			var past [2]float64
			for step := range 3 {
				l.fill(0, 7, step)
				wantLoss, said, da, db := l.byHand(p[0], p[1])
				r, err := s.Step(loss)
				require.NoError(t, err)
				norm := math.Hypot(da, db)
				require.Equal(t, step, r.Step)
				require.InEpsilon(t, wantLoss, r.Loss, 1e-6)
				require.InEpsilon(t, said, r.Parts["said"], 1e-5)
				require.InEpsilon(t, norm, r.GradNorm, 1e-6)
				require.Equal(t, rate(step), r.LR)
				scale := 1.0
				if s.Clip > 0 {
					scale = min(1, s.Clip/(norm+1e-6))
				}
				if s.Clip == 0.5 {
					require.Less(t, scale, 1.0, "nothing is clipped")
				}
				for i, g := range []float64{da * scale, db * scale} {
					p[i] -= rate(step) * (g + 0.5*past[i])
					past[i] += g
				}
				require.InDeltaSlice(t, p, l.values(), 1e-6)
			}
			require.Equal(t, 3, s.Steps())
		})
	}
}

// The gradients of micro-batches of 4, 2 and 1 points are those of all 7, up to rounding, clipped
// or not. So are the loss, its parts and the norm.
func TestMicroBatchesAreTheBatch(t *testing.T) {
	for _, clip := range []float64{0, 0.5} {
		train := func(sizes ...int) (values []float64, results []optim.Result) {
			l := newLine(7)
			s := &optim.Stepper{
				Parameters: l.params,
				LR:         func(int) float64 { return 0.05 },
				Clip:       clip,
				Accumulate: len(sizes) > 1,
			}
			defer s.Close()
			type part struct {
				loss    *optim.Compiled
				x, y, w *tensor.Dense
			}
			parts := map[int]part{}
			for _, n := range sizes {
				loss, err := s.Compile(l.loss(n))
				require.NoError(t, err)
				parts[n] = part{loss, l.x, l.y, l.w}
			}
			for step := range 5 {
				var batch []optim.Micro
				from := 0
				for _, n := range sizes {
					k, at := parts[n], from
					batch = append(batch, optim.Micro{Loss: k.loss, Fill: func() error {
						l.x, l.y, l.w = k.x, k.y, k.w
						l.fill(at, n, step)
						return nil
					}})
					from += n
				}
				r, err := s.StepAll(batch...)
				require.NoError(t, err)
				results = append(results, r)
			}
			return l.values(), results
		}
		whole, all := train(7)
		parts, some := train(4, 2, 1)
		require.InDeltaSlice(t, whole, parts, 1e-6)
		for i := range all {
			require.InEpsilon(t, all[i].Loss, some[i].Loss, 1e-6)
			require.InEpsilon(t, all[i].GradNorm, some[i].GradNorm, 1e-6)
			require.InEpsilon(t, all[i].Parts["said"], some[i].Parts["said"], 1e-5)
		}
	}
}

// copiesOf returns parameters with the same names and values.
func copiesOf(all []kernels.Parameter) (copies []kernels.Parameter) {
	for _, p := range all {
		value := p.Value.Clone().(*tensor.Dense)
		copies = append(copies, kernels.Parameter{Name: p.Name, Value: value})
	}
	return copies
}

// Training that is resumed from its state goes on with the same bits. The state has names.
func TestStepperState(t *testing.T) {
	for _, clip := range []float64{0, 0.5} {
		start := func() (*line, *optim.Stepper, *optim.Compiled) {
			l := newLine(7)
			rate := func(step int) float64 { return 0.1 / float64(1+step) }
			s := &optim.Stepper{Parameters: l.params, LR: rate, Clip: clip}
			loss, err := s.Compile(l.loss(7))
			require.NoError(t, err)
			return l, s, loss
		}
		run := func(l *line, s *optim.Stepper, loss *optim.Compiled, until int) {
			for s.Steps() < until {
				l.fill(0, 7, s.Steps())
				_, err := s.Step(loss)
				require.NoError(t, err)
			}
		}
		l, s, loss := start()
		run(l, s, loss, 3)
		state, err := s.State()
		require.NoError(t, err)
		copies, names := copiesOf(state), map[string]bool{}
		for _, p := range state {
			names[p.Name] = true
		}
		for _, name := range []string{
			"step", "parameter.a", "optimizer.a.exp_avg", "optimizer.b.step",
		} {
			require.True(t, names[name], name)
		}
		run(l, s, loss, 6)

		again, other, otherLoss := start()
		before := again.values()
		require.ErrorContains(t, other.SetState(copies[1:]), "step is missing")
		more := kernels.Parameter{Name: "more", Value: copies[0].Value}
		err = other.SetState(append(slices.Clone(copies), more))
		require.ErrorContains(t, err, "more is unknown")
		require.Equal(t, before, again.values(), "nothing has changed")
		require.NoError(t, other.SetState(copies))
		require.Equal(t, 3, other.Steps())
		run(again, other, otherLoss, 6)
		require.Equal(t, l.values(), again.values())
	}
}

// huge is an Optimizer that must not be asked.
type huge struct{ t *testing.T }

func (h huge) Update(_, _ *tensor.Dense) error {
	h.t.Error("a parameter was stepped")
	return nil
}

// An error names the value that is not finite. No parameter changes if gradients are kept, or if it
// is the loss that is not finite.
func TestNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for name, change := range map[string]func(*optim.Stepper){
		"used up":     func(*optim.Stepper) {},
		"clipped":     func(s *optim.Stepper) { s.Clip = 1 },
		"accumulated": func(s *optim.Stepper) { s.Accumulate = true },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(7)
			s := &optim.Stepper{Parameters: l.params, Optimizer: huge{t}}
			change(s)
			loss, err := s.Compile(l.loss(7))
			require.NoError(t, err)
			defer s.Close()
			before := l.values()
			for _, v := range []float32{nan, inf} {
				l.fill(0, 7, 0)
				l.y.Float32s()[3] = v
				_, err = s.Step(loss)
				var e *optim.NotFiniteError
				require.ErrorAs(t, err, &e)
				require.Equal(t, "loss", e.What)
				require.False(t, e.Torn)
				require.Equal(t, before, l.values())
			}
			s.Optimizer = &descent{LR: 0.1, past: newDescent(0, l.params...).past}
			l.fill(0, 7, 0)
			_, err = s.Step(loss)
			require.NoError(t, err, "the next batch may be right")
			require.NotEqual(t, before, l.values())
		})
	}
}

// The gradient of a root at 0 is infinite, and the loss is not. The error names the parameter. If
// gradients are used up, other parameters may have been stepped by then. Then no step is made
// before the state is restored.
func TestTorn(t *testing.T) {
	first := kernels.Parameter{Name: "first", Value: dense([]float32{3}, 1)}
	second := kernels.Parameter{Name: "second", Value: dense([]float32{4}, 1)}
	build := func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		// (first² + √second): the gradient by first comes after, or before, that by second.
		x, y := kernels.Param(g, first.Value), kernels.Param(g, second.Value)
		a, err := kernels.Mul(x, x)
		if err != nil {
			return loss, err
		}
		b, err := gorgonia.Sqrt(y)
		if err != nil {
			return loss, err
		}
		sum, err := kernels.Add(a, b)
		if err != nil {
			return loss, err
		}
		loss.Value, err = kernels.Sum(sum)
		return loss, err
	}
	for _, order := range [][]kernels.Parameter{{first, second}, {second, first}} {
		for _, clip := range []float64{0, 1} {
			t.Run(fmt.Sprint(order[0].Name, clip), func(t *testing.T) {
				first.Value.Float32s()[0], second.Value.Float32s()[0] = 3, 4
				s := &optim.Stepper{
					Parameters: order,
					Optimizer:  newDescent(0, order...),
					LR:         func(int) float64 { return 0.1 },
					Clip:       clip,
				}
				loss, err := s.Compile(build)
				require.NoError(t, err)
				defer s.Close()
				state, err := s.State()
				require.NoError(t, err)
				copies := copiesOf(state)
				second.Value.Float32s()[0] = 0
				_, err = s.Step(loss)
				var e *optim.NotFiniteError
				require.ErrorAs(t, err, &e)
				require.Equal(t, "gradient of second", e.What)
				require.Equal(t, float32(0), second.Value.Float32s()[0])
				changed := first.Value.Float32s()[0] != 3
				require.Equal(t, changed, e.Torn)
				if clip > 0 {
					require.False(t, changed, "gradients were kept")
				}
				if changed {
					_, err = s.Step(loss)
					require.ErrorIs(t, err, optim.ErrTorn)
					_, err = s.State()
					require.ErrorIs(t, err, optim.ErrTorn)
				}
				require.NoError(t, s.SetState(copies))
				require.Equal(t, []float32{3}, first.Value.Float32s())
				require.Equal(t, []float32{4}, second.Value.Float32s())
				_, err = s.Step(loss)
				require.NoError(t, err)
				// By hand: 3 − 0.1·6 and 4 − 0.1·(1/4), or their clipped gradients.
				norm := math.Hypot(6, 0.25)
				scale := 1.0
				if clip > 0 {
					scale = clip / (norm + 1e-6)
				}
				require.InDelta(t, 3-0.1*6*scale, first.Value.Float32s()[0], 1e-6)
				require.InDelta(t, 4-0.1*0.25*scale, second.Value.Float32s()[0], 1e-6)
			})
		}
	}
}

func TestWhatCannotBeStepped(t *testing.T) {
	l := newLine(2)
	empty := &optim.Stepper{}
	_, err := empty.Compile(l.loss(2))
	require.EqualError(t, err, "optim: the Stepper has no parameters")
	names := []kernels.Parameter{l.params[0], {Name: "a", Value: l.params[1].Value}}
	twice := &optim.Stepper{Parameters: names, Optimizer: huge{t}}
	_, err = twice.Compile(l.loss(2))
	require.ErrorContains(t, err, `name "a" is empty or not unique`)
	one := func(int) float64 { return 1 }
	rate := &optim.Stepper{Parameters: l.params, Optimizer: huge{t}, LR: one}
	_, err = rate.Compile(l.loss(2))
	require.ErrorContains(t, err, "no method SetLR")
	c := kernels.Parameter{Name: "c", Value: dense([]float32{1}, 1)}
	more := &optim.Stepper{Parameters: append(l.params[:2:2], c)}
	_, err = more.Compile(l.loss(2))
	require.EqualError(t, err, "optim: the loss does not depend on parameter c")

	s := &optim.Stepper{Parameters: l.params, Optimizer: huge{t}}
	loss, err := s.Compile(l.loss(2))
	require.NoError(t, err)
	defer s.Close()
	_, err = s.State()
	require.ErrorContains(t, err, "has no State")
	_, err = s.StepAll()
	require.ErrorContains(t, err, "without a batch")
	_, err = s.StepAll(optim.Micro{Loss: loss}, optim.Micro{Loss: loss})
	require.ErrorContains(t, err, "2 micro-batches needs Accumulate")
	other := &optim.Stepper{Parameters: l.params}
	_, err = other.Step(loss)
	require.ErrorContains(t, err, "not compiled")
	broken := errors.New("no data")
	_, err = s.StepAll(optim.Micro{Loss: loss, Fill: func() error { return broken }})
	require.ErrorIs(t, err, broken)

	bad := &optim.Stepper{Parameters: l.params, LR: func(int) float64 { return math.NaN() }}
	loss, err = bad.Compile(l.loss(2))
	require.NoError(t, err)
	defer bad.Close()
	_, err = bad.Step(loss)
	require.ErrorContains(t, err, "learning rate is NaN")
}

// The plan has all memory that steps take: the two moments of AdamW and, with Accumulate, the sums
// of gradients.
func TestStepperPlan(t *testing.T) {
	l := newLine(7)
	for _, accumulate := range []bool{false, true} {
		s := &optim.Stepper{Parameters: l.params, Accumulate: accumulate}
		loss, err := s.Compile(l.loss(7))
		require.NoError(t, err)
		plan := loss.Plan()
		require.Equal(t, int64(8), plan.Weights)
		require.Equal(t, int64(16), plan.Optimizer)
		if accumulate {
			require.Equal(t, int64(8), plan.Other)
		} else {
			require.Zero(t, plan.Other)
		}
		require.NoError(t, s.Close())
	}
}
