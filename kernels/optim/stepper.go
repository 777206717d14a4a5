package optim

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// An Optimizer changes parameters by their gradients, one parameter at a time. AdamW is one. It
// finds what it remembers of a parameter by the parameter's tensor.
//
// An Optimizer may have more methods. SetLR(lr float64) sets the learning rate: a Stepper with LR
// calls it before each step. Bytes() int64 returns its memory, for the plan. The methods of
// Stateful save and restore its state: without them training cannot be resumed.
type Optimizer = kernels.Optimizer

// A Stateful has a state that a checkpoint must hold.
type Stateful interface {
	// State returns tensors under unique names. They may share memory with the state.
	State() []kernels.Parameter
	// SetState copies what State returned, in any order. After an error nothing has changed.
	SetState(from []kernels.Parameter) error
}

// A Stepper is parameters, an optimizer that changes them, and the losses to change them by.
// Trainers are made of it. It differentiates a loss, adds up the gradients of micro-batches,
// measures and clips their norm, refuses values that are not finite, and steps.
//
//	s := &optim.Stepper{Parameters: nn.Parameters(model)}
//	loss, err := s.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) { … })
//	for range steps {
//		fill(inputs) // the tensors that the loss's graph reads
//		result, err := s.Step(loss)
//	}
//
// It is for one goroutine at a time. Close frees its memory. Where that is forgotten, it is freed
// some time after nothing refers to the Stepper any more, but for what is on a Device.
type Stepper struct {
	Parameters []kernels.Parameter // required; of unique names

	// Optimizer steps the parameters. Nil is AdamW with PyTorch's defaults (NewAdamW).
	Optimizer Optimizer
	// LR returns the learning rate of each step. Steps count from 0. Nil leaves the optimizer its
	// own learning rate.
	LR func(step int) float64
	// Clip is the largest norm of all gradients together. Gradients with a larger norm are scaled
	// down as by PyTorch's clip_grad_norm_. 0 does not clip.
	Clip float64
	// Accumulate says that a step may have several micro-batches. Their gradients are added up.
	// Without it and without Clip, gradients are used up during the backward pass: they never are
	// in memory all at once.
	Accumulate bool
	// Machine says how the losses are computed. The Stepper sets Want, Keep, Updates and
	// Parameters. On a Device the gradients stay there, and so do the parameters and the state of
	// AdamW, which is stepped there. The tensors of the parameters have the newest values after
	// State, after Close, and after kernels.Pull. Any other Optimizer is stepped on the host.
	Machine kernels.Config

	step    int
	begun   bool
	sums    []*tensor.Dense // of gradients, with Accumulate; in the order of Parameters
	norms   Clipper
	torn    error
	squared float64 // the squared norm of the gradients that were used up in this step
	losses  []*Compiled
	remote  *remote // what ends steps on a device
	summed  bool    // whether the device's sums have gradients of this step
}

// A Loss is a scalar to minimize, as a node, and other scalars of its graph that a step reports.
type Loss struct {
	Value *gorgonia.Node // the scalar that is differentiated
	Parts []Part         // what a step reports beside it
}

// A Part is a scalar that a step reports: a summand of the loss, or any other scalar of its graph.
type Part struct {
	Name  string
	Value *gorgonia.Node
}

// A Compiled is a loss for one batch shape, ready for steps.
type Compiled struct {
	s       *Stepper
	loss    Loss
	machine *kernels.Machine
	grads   gorgonia.Nodes // those that the machine keeps: with Clip, without Accumulate

	// On a device: what adds gradients to the sums, as the step's first and later, and what steps.
	first, next, end kernels.Runner
	rounded          []*tensor.Dense // parameters whose copies in bfloat16 end writes
}

// A Result is what a step reports.
type Result struct {
	Step     int                // from 0
	Loss     float64            // the sum over the micro-batches
	Parts    map[string]float64 // by name, each the sum over the micro-batches
	GradNorm float64            // Euclidean norm of all gradients together, before clipping
	LR       float64            // NaN where the optimizer has its own
}

// A NotFiniteError says which value of a step is infinite or not a number.
type NotFiniteError struct {
	Step  int
	What  string // "loss", a part's name, or "gradient of " and a parameter's
	Value float64
	// Torn says that some parameters had been stepped before the value was seen, so that all must
	// be restored. Where gradients are kept (Clip, Accumulate) no parameter has changed.
	Torn bool
}

// Error names the step, the value and what has it.
func (e *NotFiniteError) Error() string {
	text := fmt.Sprintf("optim: step %d: the %s is %v", e.Step, e.What, e.Value)
	if e.Torn {
		text += "; other parameters had been stepped: restore them"
	}
	return text
}

// ErrTorn is the error of a Stepper after a step that failed when some parameters had been stepped
// and others had not. SetState restores all of them and ends that.
var ErrTorn = errors.New("optim: an earlier step failed half-way: parameters must be restored")

// Compile differentiates the loss that build makes in an empty graph, and plans how it is computed.
// It may be called for several batch shapes over the same parameters: they share their memory if
// the largest is compiled first. It is an error if the loss is not a scalar, or if it does not
// depend on every parameter. A bound on activations that cannot be met is a
// *kernels.ActivationError.
func (s *Stepper) Compile(build func(g *gorgonia.ExprGraph) (Loss, error)) (*Compiled, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	g := gorgonia.NewGraph()
	loss, err := build(g)
	if err != nil {
		return nil, err
	}
	if loss.Value == nil || !loss.Value.Shape().IsScalar() {
		return nil, errors.New("optim: there is no loss, or it is no scalar")
	}
	nodes, used := make(gorgonia.Nodes, len(s.Parameters)), inputs(loss.Value)
	for i, p := range s.Parameters {
		if nodes[i] = kernels.Param(g, p.Value); !used[nodes[i].ID()] {
			return nil, fmt.Errorf("optim: the loss does not depend on parameter %s", p.Name)
		}
	}
	grads, err := gorgonia.Grad(loss.Value, nodes...)
	if err != nil {
		return nil, fmt.Errorf("optim: gradient: %w", err)
	}
	c := &Compiled{s: s, loss: loss}
	config := s.Machine
	config.Want, config.Updates, config.Parameters = gorgonia.Nodes{loss.Value}, nil, s.Parameters
	for _, p := range loss.Parts {
		config.Want = append(config.Want, p.Value)
	}
	switch {
	case s.remote != nil:
		c.grads = grads
		config.Keep = grads
	case s.Clip > 0 && !s.Accumulate:
		c.grads = grads
		config.Want = append(config.Want, grads...)
	default:
		for i := range nodes {
			u := kernels.Update{Param: nodes[i], Grad: grads[i], By: &taker{c, i}}
			config.Updates = append(config.Updates, u)
		}
	}
	for _, other := range s.losses { // of which one runs at a time
		if config.Share == nil || other.machine.Plan().Arena > config.Share.Plan().Arena {
			config.Share = other.machine
		}
	}
	if c.machine, err = kernels.NewMachine(g, config); err != nil {
		return nil, err
	}
	s.losses = append(s.losses, c)
	// Where Close is forgotten.
	runtime.AddCleanup(s, func(free func()) { free() }, c.machine.Cleanup())
	if s.remote != nil {
		if err := c.compileRemote(nodes); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// compileRemote makes what follows a run on a device.
func (c *Compiled) compileRemote(parameters gorgonia.Nodes) (err error) {
	r, grads := c.s.remote, onDevice(c.machine, c.grads)
	if c.s.Accumulate {
		if c.first, c.next, err = r.collect(grads); err != nil {
			return err
		}
		grads = r.sums
	}
	halves := halvesOnDevice(c.machine, parameters)
	for i, h := range halves {
		if h.Len > 0 {
			c.rounded = append(c.rounded, c.s.Parameters[i].Value)
		}
	}
	c.end, err = r.ending(onDevice(c.machine, parameters), halves, grads)
	return err
}

// begin checks the Stepper and sets the fields that are not given.
func (s *Stepper) begin() error {
	if s.begun {
		return nil
	}
	if len(s.Parameters) == 0 {
		return errors.New("optim: the Stepper has no parameters")
	}
	if !(s.Clip >= 0) {
		return fmt.Errorf("optim: Clip is %v: below zero or not a number", s.Clip)
	}
	if s.Optimizer == nil {
		adam, err := NewAdamW(s.Parameters...)
		if err != nil {
			return err
		}
		s.Optimizer = adam
	}
	if _, ok := s.Optimizer.(interface{ SetLR(float64) }); s.LR != nil && !ok {
		const wrong = "optim: the Stepper has a learning rate and %T no method SetLR"
		return fmt.Errorf(wrong, s.Optimizer)
	}
	names := map[string]bool{}
	for _, p := range s.Parameters {
		if p.Name == "" || names[p.Name] {
			return fmt.Errorf("optim: parameter name %q is empty or not unique", p.Name)
		}
		names[p.Name] = true
	}
	s.begun = true
	return nil
}

// enter makes what ends steps on the device, if there is one.
func (s *Stepper) enter() error {
	adam, ok := s.Optimizer.(*AdamW)
	if !ok || s.Machine.Device == nil || s.remote != nil {
		return nil
	}
	r, err := newRemote(s.Machine.Device, adam, s.Parameters, s.Clip, s.Accumulate)
	if err != nil {
		return fmt.Errorf("optim: AdamW on %v: %w", s.Machine.Device, err)
	}
	s.remote = r
	return nil
}

// inputs returns the nodes that n is computed from.
func inputs(n *gorgonia.Node) map[int64]bool {
	seen, todo := map[int64]bool{}, []int64{n.ID()}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for from := n.Graph().From(id); from.Next(); {
			if next := from.Node().ID(); !seen[next] {
				seen[next], todo = true, append(todo, next)
			}
		}
	}
	return seen
}

// A taker takes the gradient of a parameter as soon as it is there. It steps the parameter, or adds
// the gradient to those of the step's other micro-batches.
type taker struct {
	c *Compiled
	i int
}

// Update satisfies kernels.Optimizer.
func (t *taker) Update(param, grad *tensor.Dense) error {
	s := t.c.s
	if s.sums != nil {
		sum := s.sums[t.i].Float32s()
		cpu.Add(cpu.Shared, sum, sum, grad.Float32s())
		return nil
	}
	if s.squared == 0 { // the first of the step
		if err := t.c.check(); err != nil {
			return err
		}
	}
	norm, err := s.norms.Norm(grad)
	if err != nil {
		return err
	}
	if !finite(norm) {
		what := "gradient of " + s.Parameters[t.i].Name
		return &NotFiniteError{Step: s.step, What: what, Value: norm, Torn: s.torn != nil}
	}
	s.squared += norm * norm
	s.torn = ErrTorn // until all are stepped
	return s.Optimizer.Update(param, grad)
}

// finite reports whether x is a number and not infinite.
func finite(x float64) bool { return x-x == 0 }

// check returns an error if the loss or a part is not finite. The machine has computed them before
// any gradient.
func (c *Compiled) check() error {
	for _, p := range append(slices.Clone(c.loss.Parts), Part{"loss", c.loss.Value}) {
		if v := c.machine.Scalar(p.Value); !finite(v) {
			return &NotFiniteError{Step: c.s.step, What: p.Name, Value: v}
		}
	}
	return nil
}

// Plan returns the memory that steps by this loss take, with that of the optimizer and of the sums
// of gradients. On Machine.Device it is the device's memory.
func (c *Compiled) Plan() kernels.Plan {
	plan := c.machine.Plan()
	if b, ok := c.s.Optimizer.(interface{ Bytes() int64 }); ok {
		plan.Optimizer = b.Bytes()
	}
	switch {
	case c.s.remote != nil:
		plan.Optimizer = c.s.remote.adam.remote.bytes
		plan.Other += c.s.remote.bytes
	case c.s.Accumulate:
		plan.Other += c.s.bytes()
	}
	return plan
}

// bytes returns the memory of all parameters.
func (s *Stepper) bytes() (n int64) {
	for _, p := range s.Parameters {
		n += 4 * int64(p.Value.Size())
	}
	return n
}

// A Micro is a micro-batch, a part of a step's batch.
type Micro struct {
	Loss *Compiled
	Fill func() error // writes the inputs of the loss; nil: they are written already
}

// Step makes a step by one loss. Its inputs are written already. Errors are those of StepAll.
func (s *Stepper) Step(loss *Compiled) (Result, error) { return s.StepAll(Micro{Loss: loss}) }

// StepAll makes one step by the sum of the losses of micro-batches, which run one after another.
// More than one micro-batch needs Accumulate. For the sum to be the loss of the whole batch, each
// loss must divide by the size of the whole batch.
//
// A value that is not finite is a *NotFiniteError. After an error that leaves parameters torn,
// every step returns ErrTorn until SetState restores them.
func (s *Stepper) StepAll(batch ...Micro) (Result, error) {
	switch {
	case s.torn != nil:
		return Result{}, s.torn
	case len(batch) == 0:
		return Result{}, errors.New("optim: a step without a batch")
	case len(batch) > 1 && !s.Accumulate:
		const wrong = "optim: a step of %d micro-batches needs Accumulate"
		return Result{}, fmt.Errorf(wrong, len(batch))
	}
	r := Result{Step: s.step, LR: math.NaN(), Parts: map[string]float64{}}
	if s.LR != nil {
		if r.LR = s.LR(s.step); !finite(r.LR) {
			return Result{}, &NotFiniteError{Step: s.step, What: "learning rate", Value: r.LR}
		}
		s.Optimizer.(interface{ SetLR(float64) }).SetLR(r.LR)
	} else if o, ok := s.Optimizer.(*AdamW); ok {
		r.LR = o.LR
	}
	if s.Accumulate && s.remote == nil {
		s.clearSums()
	}
	s.squared, s.summed = 0, false
	for _, m := range batch {
		if err := s.run(m, &r); err != nil {
			return Result{}, err
		}
	}
	if err := s.finish(batch[0].Loss, &r); err != nil {
		return Result{}, err
	}
	s.torn = nil
	s.step++
	return r, nil
}

// clearSums makes the sums of gradients zero.
func (s *Stepper) clearSums() {
	if s.sums == nil {
		for _, p := range s.Parameters {
			zeros := cpu.Zeros(cpu.Shared, p.Value.Size())
			s.sums = append(s.sums, dense(zeros, p.Value.Shape()...))
		}
		return
	}
	for _, d := range s.sums {
		clear(d.Float32s())
	}
}

// run computes the loss of a micro-batch and takes its gradients.
func (s *Stepper) run(m Micro, r *Result) error {
	if m.Loss == nil || m.Loss.s != s {
		return errors.New("optim: a loss that this Stepper has not compiled")
	}
	if m.Fill != nil {
		if err := m.Fill(); err != nil {
			return fmt.Errorf("optim: step %d: %w", s.step, err)
		}
	}
	failure := m.Loss.machine.RunAll()
	// The loss and its parts are computed before any gradient. They tell more about what is wrong.
	if err := m.Loss.check(); err != nil && s.torn == nil {
		return err
	}
	if failure != nil {
		var e *NotFiniteError
		if errors.As(failure, &e) {
			return e
		}
		return failure
	}
	if s.remote != nil && s.Accumulate {
		collect := m.Loss.next
		if !s.summed {
			collect = m.Loss.first
		}
		if err := collect.Run(); err != nil {
			return err
		}
		s.summed = true
	}
	r.Loss += m.Loss.machine.Scalar(m.Loss.loss.Value)
	for _, p := range m.Loss.loss.Parts {
		r.Parts[p.Name] += m.Loss.machine.Scalar(p.Value)
	}
	return nil
}

// finish steps by the gradients, if they are kept.
func (s *Stepper) finish(c *Compiled, r *Result) (err error) {
	if s.remote != nil {
		return s.finishRemote(c, r)
	}
	grads := s.sums
	for _, g := range c.grads {
		grads = append(grads, c.machine.Value(g))
	}
	if len(grads) == 0 {
		r.GradNorm = math.Sqrt(s.squared)
		return nil
	}
	if r.GradNorm, err = s.norms.Norm(grads...); err != nil {
		return err
	}
	if !finite(r.GradNorm) {
		return s.notFinite(grads)
	}
	defer func() { err = errors.Join(err, kernels.Refresh(values(s.Parameters)...)) }()
	if s.Clip > 0 {
		s.norms.shrink(s.Clip, r.GradNorm, grads)
	}
	for i, p := range s.Parameters {
		s.torn = ErrTorn // until all are stepped
		if err := s.Optimizer.Update(p.Value, grads[i]); err != nil {
			return fmt.Errorf("optim: step %d: parameter %s: %w", s.step, p.Name, err)
		}
	}
	return nil
}

// finishRemote steps by the gradients on a device.
func (s *Stepper) finishRemote(c *Compiled, r *Result) (err error) {
	if r.GradNorm, err = s.remote.finish(c.end); err != nil {
		return err
	}
	if finite(r.GradNorm) {
		kernels.Changed(s.remote.device, values(s.Parameters)...)
		kernels.Rounded(s.remote.device, c.rounded...)
		return nil
	}
	i, norm, err := s.remote.notFinite()
	if err != nil {
		return err
	}
	e := &NotFiniteError{Step: s.step, What: "gradients' norm", Value: r.GradNorm}
	if i >= 0 {
		e.What, e.Value = "gradient of "+s.Parameters[i].Name, norm
	}
	return e
}

// notFinite returns the error that names the gradient that is not finite.
func (s *Stepper) notFinite(grads []*tensor.Dense) error {
	for i, g := range grads {
		norm, err := s.norms.Norm(g)
		if err != nil {
			return err
		}
		if !finite(norm) {
			what := "gradient of " + s.Parameters[i].Name
			return &NotFiniteError{Step: s.step, What: what, Value: norm}
		}
	}
	return &NotFiniteError{Step: s.step, What: "gradients' norm", Value: math.Inf(1)}
}

// Steps returns how many steps have been made.
func (s *Stepper) Steps() int { return s.step }

const (
	stepName      = "step"
	parameterName = "parameter."
	optimizerName = "optimizer."
)

// State returns what a checkpoint needs: "step" [1], the parameters under "parameter." and their
// name, and the optimizer's state under "optimizer." and its name. It is an error if the parameters
// are torn, or if the Optimizer is not Stateful.
func (s *Stepper) State() ([]kernels.Parameter, error) {
	if s.torn != nil {
		return nil, s.torn
	}
	return s.state()
}

func (s *Stepper) state() ([]kernels.Parameter, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	o, ok := s.Optimizer.(Stateful)
	if !ok {
		const wrong = "optim: %T has no State and SetState to save and restore it by"
		return nil, fmt.Errorf(wrong, s.Optimizer)
	}
	if err := s.pull(); err != nil {
		return nil, err
	}
	all := []kernels.Parameter{{Name: stepName, Value: dense([]float32{float32(s.step)}, 1)}}
	for _, p := range s.Parameters {
		all = append(all, kernels.Parameter{Name: parameterName + p.Name, Value: p.Value})
	}
	for _, p := range o.State() {
		all = append(all, kernels.Parameter{Name: optimizerName + p.Name, Value: p.Value})
	}
	return all, nil
}

// pull copies the parameters and the optimizer's state from the device.
func (s *Stepper) pull() error {
	if s.remote == nil {
		return nil
	}
	return errors.Join(kernels.Pull(values(s.Parameters)...), s.remote.adam.pull())
}

// push copies them to the device.
func (s *Stepper) push() error {
	if err := kernels.Refresh(values(s.Parameters)...); err != nil || s.remote == nil {
		return err
	}
	return s.remote.adam.push()
}

// SetState copies what State returned, in any order. One error lists all that is missing, unknown
// or of another shape. After that error nothing has changed.
func (s *Stepper) SetState(from []kernels.Parameter) error {
	state, err := s.state()
	if err != nil {
		return err
	}
	if err := fits(state, from); err != nil {
		return err
	}
	var own, optimizer []kernels.Parameter
	for _, p := range from {
		if name, ok := strings.CutPrefix(p.Name, optimizerName); ok {
			optimizer = append(optimizer, kernels.Parameter{Name: name, Value: p.Value})
		} else {
			own = append(own, p)
		}
	}
	if err := s.Optimizer.(Stateful).SetState(optimizer); err != nil {
		return err
	}
	if err := transfer(state[:1+len(s.Parameters)], own); err != nil {
		return err
	}
	if err := s.push(); err != nil {
		return err
	}
	s.step, s.torn = int(state[0].Value.Float32s()[0]), nil
	return nil
}

// Close frees the memory of the compiled losses. The parameters stay.
func (s *Stepper) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.losses) { // the first one's memory may be others' too
		for _, r := range []kernels.Runner{c.first, c.next, c.end} {
			if r != nil {
				errs = append(errs, r.Close())
			}
		}
		errs = append(errs, c.machine.Close())
	}
	s.losses = nil
	if s.remote != nil {
		errs = append(errs, s.remote.close())
		s.remote = nil
	}
	return errors.Join(errs...)
}
