package kernels

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Config says what a Machine computes and how.
type Config struct {
	// Want are the nodes whose values are read after a run, such as a loss or gradients. Nodes that
	// neither Want nor Updates need are not computed.
	Want gorgonia.Nodes

	// Keep are nodes whose values stay in the Device's memory after a run: see OnDevice. They are
	// not copied to the host. A machine without a Device takes them for Want.
	Keep gorgonia.Nodes

	// Updates are applied during a run. Each is applied as soon as its gradient is there and
	// nothing reads its parameter any more. Then the gradient's memory is used for something else.
	Updates []Update

	// Parameters give the parameters their names in errors. One that is not in the list is called
	// "a parameter".
	Parameters []Parameter

	// ActivationBytes bounds the memory of the intermediate values that live at once. Results in
	// Want and gradients in Updates do not count. Values that do not fit are dropped and computed
	// again when they are read. A run gives the same bits with any bound. 0 sets no bound. A bound
	// that cannot be met is an ActivationError.
	ActivationBytes int64

	// Precision is Float32 or BFloat16. In BFloat16 products take their operands in bfloat16. Their
	// results, and what is computed from these, are stored in bfloat16. The package comment has the
	// details. Nodes, the values in Want, parameters and their gradients are float32 in any case.
	Precision Precision

	// ConstantParameters says that parameters, but for those in Updates, keep their values from run
	// to run, until Refresh names them, or an Update of another machine changes them. In BFloat16
	// the machine then keeps copies in bfloat16 of those that products read, if Room has room for
	// them. Plan.Weights counts them. Without the copies such parameters are rounded in every run.
	// It means nothing in Float32, and on a Device, which keeps copies in any case.
	ConstantParameters bool

	// Winograd has 3×3 convolutions of large pictures, and their gradients, done by Winograd's
	// algorithm: those of stride 1 with channels in multiples of 32, padding of at most 2, and
	// pictures whose results are at least 16 tiles of 4×4, or 64 tiles in BFloat16. It is two to
	// three times as fast in Float32, and 1.1 to 2 times in BFloat16. The relative error of a
	// convolution is about 1.5e-6, where it was 3e-7. In BFloat16, too, all of it is computed in
	// float32, with weights that are not rounded. It means nothing on a Device: Arithmetic does not
	// name it then.
	Winograd bool

	// WatchNaN makes a run fail at the first operation whose result has a value that is not finite.
	// The error names the operation, and so no operations are fused.
	WatchNaN bool

	// Workers do the work of the machine. Machines that run at the same time share them. nil means
	// the workers of the process, as many as GOMAXPROCS was when it started. Optimizers use those
	// in any case. Results do not depend on the workers.
	Workers *Workers

	// Device computes, in memory of its own. nil means the processor. Operations that it has no
	// kernel for are done by the processor, between copies: Plan.Host names them. Parameters stay
	// in the device's memory from run to run: see Refresh.
	Device Device

	// Share, unless nil, is a machine on the same Device whose memory this one uses too, where that
	// is large enough. Plan.Arena, Plan.Workspace and on a Device Plan.Inputs are then 0. A run of
	// one overwrites the results of the other. The machine that is shared must be closed last.
	Share *Machine

	// Room, unless nil, is asked whether there is room for so many bytes before the processor's
	// memory of that size is taken. Its error is NewMachine's.
	Room func(bytes int64) error

	// Profile makes the machine measure the time that every kind of operation takes.
	Profile bool
}

// Arithmetic names what the results of a machine depend on beside its graph: the precision and the
// device, such as "bfloat16 on NVIDIA H100 80GB HBM3". For one without a Device it is "float32", or
// "bfloat16 with Winograd". Results that are kept in files are named by it.
func (c Config) Arithmetic() string {
	switch {
	case c.Device != nil:
		return fmt.Sprintf("%v on %v", c.Precision, c.Device)
	case c.Winograd:
		return c.Precision.String() + " with Winograd"
	}
	return c.Precision.String()
}

// An Update is a parameter that changes by its gradient.
type Update struct {
	Param *gorgonia.Node // an input bound to a *tensor.Dense
	Grad  *gorgonia.Node // of Param's shape
	By    Optimizer
}

// An Optimizer changes a parameter by its gradient.
type Optimizer interface {
	// Update changes param, which is the same tensor at every step. It must not keep grad.
	Update(param, grad *tensor.Dense) error
}

// A Machine runs a graph, or the wanted part of it. It satisfies gorgonia.VM. NewMachine decides
// once in which order, in which memory and how often everything is computed. Then RunAll can be
// called any number of times. It allocates nothing, except for operations that are not of this
// package.
//
// A run reads its inputs from the values bound to their nodes, without a copy. To change them,
// write into the same tensors, or bind others with gorgonia.Let.
//
// A Machine is for one goroutine at a time. Its memory is outside of Go's heap where the system
// allows it, and is held until Close.
type Machine struct {
	program   *program
	plan      Plan
	arena     *arena
	shares    bool // the arena is another machine's
	context   Context
	workspace []float32
	externals []external
	tasks     []task
	boxes     []gorgonia.Value // values that are not float32, by value
	outputs   map[*gorgonia.Node]*tensor.Dense
	config    Config
	names     map[*tensor.Dense]string // of parameters
	profile   profile
	remote    *remote        // what is on Config.Device
	copies    []*roundedCopy // of constant parameters
}

var _ gorgonia.VM = (*Machine)(nil)

// A task is a step, ready to run.
type task struct {
	step  *step
	value *value
	rule  Rule // nil for a foreign operation or an update
	dst   Tensor
	in    []Tensor
	ws    []float32     // the workspace
	typed TypedEvaler   // rule, if it is evaluated on tensors that are not all float32
	wide  *wide         // else, what stands for tensors that are not float32
	args  []argument    // of a foreign operation
	grad  *tensor.Dense // of an update
	by    Optimizer
	kind  int // in the profile
}

// An external is an input or a constant, with the places that read its memory.
type external struct {
	value *value
	dense *tensor.Dense // bound at the last run
	copy  *roundedCopy  // the value, if it is a copy in bfloat16
	cell  [1]float32    // a scalar's value
	uses  []use
}

// A use is a part of an external's memory that a task reads.
type use struct {
	to           *Tensor
	offset, size int
}

// NewMachine compiles the part of g that c wants. It is an error if a wanted node is not of g or is
// not float32, if an update does not fit its parameter, or if the memory cannot be had. A bound on
// activations that cannot be met is an ActivationError.
func NewMachine(g *gorgonia.ExprGraph, c Config) (*Machine, error) {
	if c.Precision != Float32 && c.Precision != BFloat16 {
		const wrong = "kernels: a machine computes in float32 or bfloat16, not %v"
		return nil, fmt.Errorf(wrong, c.Precision)
	}
	if c.Device == nil {
		c.Want, c.Keep = append(slices.Clone(c.Want), c.Keep...), nil
	}
	kept := append(slices.Clone(c.Want), c.Keep...)
	want := slices.Clone(kept)
	names := make(map[*tensor.Dense]string, len(c.Parameters))
	for _, p := range c.Parameters {
		names[p.Value] = p.Name
	}
	for i, u := range c.Updates {
		if err := u.check(names); err != nil {
			return nil, fmt.Errorf("kernels: update %d: %w", i, err)
		}
		want = append(want, u.Param, u.Grad)
	}
	context := Context{precision: c.Precision, winograd: c.Winograd && c.Device == nil}
	if c.Workers != nil {
		context.pool = c.Workers.pool
	}
	p, err := newResidentProgram(g, want, kept, context, c.resident())
	if err != nil {
		return nil, err
	}
	p.onDevice = c.Device != nil
	m := &Machine{program: p, config: c, names: names, context: context}
	updates := make([]update, len(c.Updates))
	for i, u := range c.Updates {
		updates[i] = update{param: p.index[u.Param], grad: p.as(p.index[u.Grad], Float32)}
	}
	order, steps, buffers, err := m.schedule(updates)
	if err != nil {
		return nil, err
	}
	p = m.program
	length := place(buffers)
	if c.Device != nil {
		m.plan.Arena = int64(length)
		if err := m.prepareRemote(steps, buffers, length); err != nil {
			return nil, err
		}
		return m, nil
	}
	workspace := p.workspace(&m.context, order)
	m.plan.Arena, m.plan.Workspace = int64(length), int64(workspace)
	taken, halves := length+workspace, p.halfBytes()
	if s := c.Share; s != nil && s.arena != nil && len(s.arena.pages) >= taken {
		m.arena, m.shares = s.arena, true
		m.plan.Arena, m.plan.Workspace = 0, 0
		taken = 0
	}
	if taken+halves > 0 {
		if err := c.room(taken + halves); err != nil && halves > 0 {
			c.ConstantParameters = false
			return NewMachine(g, c)
		} else if err != nil {
			return nil, err
		}
	}
	if !m.shares {
		if m.arena, err = newArena(taken); err != nil {
			return nil, err
		}
	}
	m.workspace = values[float32](m.arena.pages, length, workspace/4)
	m.prepare(steps, buffers)
	if err := m.copyParameters(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// halfBytes returns how many bytes the copies of parameters in bfloat16 take.
func (p *program) halfBytes() int {
	n := 0
	for i := range p.values {
		if p.values[i].half {
			n += p.values[i].bytes()
		}
	}
	return n
}

// room asks Room.
func (c *Config) room(bytes int) error {
	if c.Room == nil {
		return nil
	}
	if err := c.Room(int64(bytes)); err != nil {
		return fmt.Errorf("kernels: %w", err)
	}
	return nil
}

// resident returns what says whether an input is a parameter that Device keeps, or, without a
// Device, a constant one.
func (c *Config) resident() func(n *gorgonia.Node) bool {
	updated := make(map[*gorgonia.Node]bool)
	for _, u := range c.Updates {
		updated[u.Param] = true
	}
	return func(n *gorgonia.Node) bool {
		_, dense := n.Value().(*tensor.Dense)
		if c.Device == nil {
			return c.ConstantParameters && dense && isParam(n) && !updated[n]
		}
		return dense && (updated[n] || isParam(n))
	}
}

// schedule fuses what can be, and decides in which order and in which buffers steps are done. Where
// memory is short, no two values are kept in one piece, so that each can be dropped and computed
// again by itself.
func (m *Machine) schedule(
	updates []update,
) (order []int, steps []step, buffers []buffer, err error) {
	c, p, results := &m.config, m.program, m.program.kept(updates)
	unfused, given := p, updates
	plan := func() {
		steps = p.steps(order, updates)
		buffers = p.assign(steps)
		m.program, m.plan = p, p.planOf(steps, buffers, results, c.Updates)
	}
	for _, keeping := range []bool{true, false} {
		if fusing && !c.WatchNaN { // which is to name the operation
			p, updates, results = unfused.fuse(given, keeping)
		}
		order = p.order()
		plan()
		if c.ActivationBytes <= 0 || m.plan.Activations <= c.ActivationBytes {
			return order, steps, buffers, nil
		}
	}
	if order, err = p.withBudget(order, results, int(c.ActivationBytes)); err != nil {
		return nil, nil, nil, err
	}
	plan()
	return order, steps, buffers, nil
}

// kept marks the values that are results of the run: those that are wanted, and the gradients of
// updates.
func (p *program) kept(updates []update) []bool {
	kept := make([]bool, len(p.values))
	for i := range p.values {
		kept[i] = p.values[i].wanted
	}
	for _, u := range updates {
		kept[p.values[u.grad].root] = true
	}
	return kept
}

// workspace returns how many bytes of workspace the steps need. They take turns.
func (p *program) workspace(c *Context, order []int) int {
	bytes := 0
	for _, i := range order {
		if rule := p.values[i].rule; rule != nil {
			bytes = max(bytes, p.workspaceOf(c, i)+p.widenedBytes(i))
		}
	}
	return bytes
}

// workspaceOf returns how many bytes of workspace the rule of i needs. The float32 copies lie
// behind them.
func (p *program) workspaceOf(c *Context, i int) int {
	n := workspace(c, p.values[i].rule, p.shapes(p.values[i].in))
	if p.widens(i) {
		n = align(n)
	}
	return n
}

// update is an Update whose nodes are numbers of values.
type update struct{ param, grad int }

// check returns an error unless u is an input and a gradient that fits it.
func (u Update) check(names map[*tensor.Dense]string) error {
	if u.Param == nil || u.Grad == nil || u.By == nil {
		return errors.New("a parameter, a gradient or an optimizer is missing")
	}
	param, grad := nameOf(u.Param, names), nameOf(u.Grad, names)
	switch {
	case u.Param.Op() != nil:
		return fmt.Errorf("%s is not an input", param)
	case u.Param.Dtype() != tensor.Float32 || u.Grad.Dtype() != tensor.Float32:
		return fmt.Errorf("%s and its gradient %s must be float32", param, grad)
	case !u.Param.Shape().Eq(u.Grad.Shape()):
		const wrong = "%s is %v, its gradient %s is %v"
		return fmt.Errorf(wrong, param, u.Param.Shape(), grad, u.Grad.Shape())
	}
	return nil
}

// nameOf returns what errors call a node: a parameter by its name in names, if it has one.
func nameOf(n *gorgonia.Node, names map[*tensor.Dense]string) string {
	if t, ok := n.Value().(*tensor.Dense); ok && n.IsVar() {
		if name, ok := names[t]; ok {
			return name
		}
	}
	if isParam(n) {
		return "a parameter"
	}
	return n.Name()
}

// nameOf returns what errors call a value: an operation together with the parameters that it reads.
func (m *Machine) nameOf(v *value) string {
	name := nameOf(v.node, m.names)
	if v.kind == input || v.kind == constant {
		return name
	}
	var of []string
	for _, i := range v.in {
		if n := m.program.values[i].node; isParam(n) {
			of = append(of, nameOf(n, m.names))
		}
	}
	if len(of) > 0 {
		name += " of " + strings.Join(of, ", ")
	}
	return fmt.Sprintf("node %d (%s)", v.node.ID(), name)
}

// shapes returns the shapes of values.
func (p *program) shapes(values []int) []tensor.Shape {
	shapes := make([]tensor.Shape, len(values))
	for k, c := range values {
		shapes[k] = p.values[c].shape
	}
	return shapes
}

// prepare makes tasks of steps. A task has everything that a run would otherwise look up or
// allocate.
func (m *Machine) prepare(steps []step, buffers []buffer) {
	p := m.program
	m.boxes = make([]gorgonia.Value, len(p.values))
	m.tasks = make([]task, len(steps))
	where := make([]int, len(p.values)) // the external of a value
	for i := range p.values {
		if v := &p.values[i]; v.kind == input || v.kind == constant {
			where[i] = len(m.externals)
			m.externals = append(m.externals, external{value: v})
		}
	}
	memory := func(c, b int) Tensor {
		v := &p.values[c]
		t := Tensor{Shape: v.shape, Type: v.typ}
		if at := buffers[b].offset + v.offset*v.typ.Size(); v.typ == Float32 {
			t.Data = values[float32](m.arena.pages, at, v.size)
		} else {
			t.BF16 = values[BF16](m.arena.pages, at, v.size)
		}
		return t
	}
	last := make([]int, len(p.values)) // the buffer of a root at the end
	for t := range steps {
		s := &steps[t]
		k := &m.tasks[t]
		k.step = s
		k.in = make([]Tensor, len(s.reads))
		for i, c := range s.reads {
			v := &p.values[c]
			k.in[i].Shape = v.shape
			switch {
			case s.in[i] != none:
				k.in[i] = memory(c, s.in[i])
			case p.values[v.root].runs():
			case !v.boxed:
				e := &m.externals[where[v.root]]
				e.uses = append(e.uses, use{&k.in[i], v.offset, v.size})
			}
		}
		if s.value == none {
			u := m.config.Updates[s.update]
			k.by, k.value = u.By, &p.values[s.reads[0]]
			continue
		}
		k.value = &p.values[s.value]
		k.rule = k.value.rule
		if s.out != none {
			k.dst = memory(s.value, s.out)
			last[s.value] = s.out
		}
		if k.rule == nil {
			k.args = m.arguments(k)
			continue
		}
		n := p.workspaceOf(&m.context, s.value) / floats(1)
		k.ws = m.workspace[:n]
		if p.widens(s.value) {
			k.wide = k.widened(m.workspace[n:])
		} else if p.mixed(s.value) {
			k.typed = k.rule.(TypedEvaler)
		}
	}
	m.outputs = make(map[*gorgonia.Node]*tensor.Dense, len(m.config.Want))
	for _, n := range m.config.Want {
		i := p.out[n]
		m.outputs[n] = denseOf(p.values[i].shape, memory(i, last[p.values[i].root]).Data)
	}
	m.prepareUpdates(memory)
	if m.config.Profile {
		for t := range m.tasks {
			m.tasks[t].kind = m.profile.kind(&m.tasks[t])
		}
	}
}

// prepareUpdates gives updates their gradients as tensors.
func (m *Machine) prepareUpdates(memory func(value, buffer int) Tensor) {
	for t := range m.tasks {
		if k := &m.tasks[t]; k.by != nil && k.step.in[1] != none {
			k.grad = denseOf(k.value.shape, memory(k.step.reads[1], k.step.in[1]).Data)
		}
	}
}

// denseOf returns a tensor that shares data.
func denseOf(s tensor.Shape, data []float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(s...), tensor.WithBacking(data))
}

// RunAll reads the inputs, computes everything and applies the updates. It is an error if an input
// has no value or does not fit, if an update or an operation of gorgonia's fails, or if the machine
// is closed.
func (m *Machine) RunAll() error {
	if m.arena == nil && m.remote == nil {
		return errors.New("kernels: the machine is closed")
	}
	m.context.pool.Enter()
	defer m.context.pool.Leave()
	if m.remote != nil {
		return m.runRemote()
	}
	if err := m.pullInputs(); err != nil {
		return err
	}
	for i := range m.externals {
		if err := m.bind(&m.externals[i]); err != nil {
			return err
		}
	}
	if len(m.copies) > 0 {
		bring(m.context.pool, m.copies)
		roundedCopies.reads.RLock()
		defer roundedCopies.reads.RUnlock()
	}
	for t := range m.tasks {
		k := &m.tasks[t]
		if !m.config.Profile {
			if err := m.run(k); err != nil {
				return err
			}
			continue
		}
		start := time.Now()
		if err := m.run(k); err != nil {
			return err
		}
		o := &m.profile.kinds[k.kind]
		o.Calls++
		o.Time += time.Since(start)
	}
	return nil
}

func (m *Machine) run(k *task) error {
	switch {
	case k.rule != nil:
		m.context.workspace = k.ws
		k.eval(&m.context)
	case k.by != nil:
		if err := m.update(k); err != nil {
			return fmt.Errorf("kernels: update of %s %v: %w", m.nameOf(k.value), k.value.shape, err)
		}
		return nil
	default:
		if err := m.foreign(k); err != nil {
			return fmt.Errorf("kernels: %s: %w", m.nameOf(k.value), err)
		}
	}
	if m.config.WatchNaN {
		return m.watch(k)
	}
	return nil
}

// eval evaluates a task's rule on its tensors, with the method for their types.
func (k *task) eval(c *Context) {
	switch {
	case k.wide != nil:
		k.wide.eval(c, k.rule, k.dst, k.in)
	case k.typed != nil:
		k.typed.EvalTyped(c, k.dst, k.in)
	default:
		k.rule.Eval(c, k.dst, k.in)
	}
}

func (m *Machine) update(k *task) error {
	param := k.value.node.Value().(*tensor.Dense)
	grad := k.grad
	if grad == nil { // an input or a constant is the gradient
		grad = denseOf(k.value.shape, k.in[1].Data)
	}
	defer outdate(param)
	return k.by.Update(param, grad)
}

// watch returns an error if the result has a value that is not finite.
func (m *Machine) watch(k *task) error {
	for i, x := range k.dst.Data {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return m.notFinite(k, i, x)
		}
	}
	for i, b := range k.dst.BF16 {
		if f := float64(b.Float32()); math.IsNaN(f) || math.IsInf(f, 0) {
			return m.notFinite(k, i, b.Float32())
		}
	}
	return nil
}

// notFinite is the error that value i of the result of k, x, is not finite.
func (m *Machine) notFinite(k *task, i int, x float32) error {
	return fmt.Errorf("kernels: %s %v: value %d is %v", m.nameOf(k.value), k.value.shape, i, x)
}

// bind reads the value that the caller bound to an input.
func (m *Machine) bind(e *external) error {
	if e.value.boxed {
		return nil
	}
	if e.copy != nil {
		if e.value.node.Value() != gorgonia.Value(e.copy.value) {
			return m.rebound(e)
		}
		return nil
	}
	if v, ok := e.value.node.Value().(*tensor.Dense); ok && v == e.dense && sameMemory(v, e.uses) {
		return nil
	}
	data, err := m.boundTo(e)
	if err != nil {
		return err
	}
	e.dense, _ = e.value.node.Value().(*tensor.Dense)
	for _, u := range e.uses {
		u.to.Data = data[u.offset : u.offset+u.size : u.offset+u.size]
	}
	return nil
}

// copyParameters gets the copies of constant parameters.
func (m *Machine) copyParameters() error {
	for i := range m.externals {
		e := &m.externals[i]
		if !e.value.half {
			continue
		}
		r, err := copyOf(e.value.node.Value().(*tensor.Dense))
		if err != nil {
			return err
		}
		m.copies, e.copy = append(m.copies, r), r
		for _, u := range e.uses {
			u.to.Type, u.to.BF16 = BFloat16, r.half[u.offset:u.offset+u.size:u.offset+u.size]
		}
	}
	return nil
}

// rebound is the error that a parameter which the machine keeps has been bound to another tensor.
func (m *Machine) rebound(e *external) error {
	const wrong = "kernels: parameter %s was bound to another tensor after NewMachine"
	return fmt.Errorf(wrong, m.nameOf(e.value))
}

// boundTo returns the values that the caller bound to an input.
func (m *Machine) boundTo(e *external) ([]float32, error) {
	wrong := func(what string, args ...any) ([]float32, error) {
		name, shape := m.nameOf(e.value), e.value.shape
		return nil, fmt.Errorf("kernels: input %s %v "+what, append([]any{name, shape}, args...)...)
	}
	var data []float32
	switch v := e.value.node.Value().(type) {
	case nil:
		return wrong("has no value")
	case *gorgonia.F32:
		e.cell[0] = float32(*v)
		data = e.cell[:]
	case *tensor.Dense:
		if v.Dtype() != tensor.Float32 || v.RequiresIterator() {
			return wrong("is bound to a tensor that is %v or not contiguous", v.Dtype())
		}
		data = v.Float32s()
	default:
		return wrong("is bound to a %T, not to float32 values", v)
	}
	if len(data) != e.value.size {
		return wrong("is bound to %d values", len(data))
	}
	return data, nil
}

// sameMemory reports whether the uses still point into v.
func sameMemory(v *tensor.Dense, uses []use) bool {
	if len(uses) == 0 {
		return true
	}
	first, data := uses[0], v.Float32s()
	return unsafe.SliceData(first.to.Data) == unsafe.SliceData(data[first.offset:])
}

// Value returns the value of a wanted node. A scalar has shape (). The memory is the machine's: it
// is valid until the next RunAll or Close. Value returns nil for a node that is not in Config.Want.
func (m *Machine) Value(n *gorgonia.Node) *tensor.Dense { return m.outputs[n] }

// Scalar returns the value of a wanted node that has one value, and NaN for any other node.
func (m *Machine) Scalar(n *gorgonia.Node) float64 {
	v := m.outputs[n]
	if v == nil || v.Size() != 1 {
		return math.NaN()
	}
	return float64(v.Float32s()[0])
}

// Plan returns the memory that the machine, its inputs and its optimizers take, and the number of
// its steps.
func (m *Machine) Plan() Plan { return m.plan }

// Reset does nothing, as a machine is always ready to run. gorgonia.VM asks for it.
func (m *Machine) Reset() {}

// Close frees the machine's memory. Values that were read from it must not be used any more. A
// second Close does nothing.
func (m *Machine) Close() error {
	if m.remote != nil {
		return m.closeRemote()
	}
	if m.arena == nil {
		return nil
	}
	a, err := m.arena, leaveAll(m.copies)
	m.arena, m.workspace, m.tasks, m.outputs, m.copies = nil, nil, nil, nil, nil
	if m.shares {
		return err
	}
	return errors.Join(err, a.free())
}

// Cleanup frees the machine's memory, as Close does, and does not refer to the machine: it is for
// runtime.AddCleanup of what owns the machine and may be forgotten without Close. On a Device it
// does nothing, and it leaves alone the memory of Config.Share.
func (m *Machine) Cleanup() func() {
	a, own, copies := m.arena, !m.shares, m.copies
	return func() {
		if a == nil {
			return
		}
		_ = leaveAll(copies) // nobody is there to be told
		if own {
			_ = a.free()
		}
	}
}

// ValueGrads pairs parameters with their gradients, as any gorgonia.Solver takes them after a run.
// The parameters are inputs of the graph that gorgonia.Grad was called with. It is an error if a
// gradient is not in Config.Want.
func (m *Machine) ValueGrads(params ...*gorgonia.Node) ([]gorgonia.ValueGrad, error) {
	pairs := make([]gorgonia.ValueGrad, len(params))
	for i, p := range params {
		g := m.outputs[p.Deriv()]
		if g == nil {
			return nil, fmt.Errorf("kernels: the gradient of %s is not wanted", nameOf(p, m.names))
		}
		pairs[i] = valueGrad{p, g}
	}
	return pairs, nil
}

// A valueGrad is a parameter with its gradient. It satisfies gorgonia.ValueGrad.
type valueGrad struct {
	param *gorgonia.Node
	grad  *tensor.Dense
}

func (v valueGrad) Name() string                  { return v.param.Name() }
func (v valueGrad) Value() gorgonia.Value         { return v.param.Value() }
func (v valueGrad) Grad() (gorgonia.Value, error) { return v.grad, nil }
