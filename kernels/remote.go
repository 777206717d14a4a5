package kernels

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A launcher is a Rule that a Device can compute.
type launcher interface {
	// launch queues what computes c.dst from c.in.
	launch(c *call)
}

// A call is one evaluation of a rule on a device.
type call struct {
	*cuda.Queue
	dst operand
	in  []operand

	scratch uint64 // the address of the workspace
	need    int    // the bytes of workspace that launch asked for
}

// An operand is values in a device's memory, with their shape.
type operand struct {
	cuda.Tensor
	Shape tensor.Shape
}

// workspace returns so many bytes of memory, with any contents. A launch calls it at most once.
func (c *call) workspace(bytes int) cuda.Tensor {
	c.need = bytes
	return cuda.Tensor{Address: c.scratch, Len: (bytes + 3) / 4}
}

// A widened is float32 copies of operands, for what has no kernel for bfloat16 ones. They are in
// the workspace.
type widened struct {
	in   []cuda.Tensor
	out  cuda.Tensor // for the result, which is still to be rounded
	rest cuda.Tensor // so much workspace as was asked for
}

// widened queues copies of inputs in float32. It asks for a workspace for them, for a result of out
// values, and for so many bytes more.
func (c *call) widened(bytes int, in []cuda.Tensor, out int) (w widened) {
	floats := func(n int) int { return align(4*n) / 4 }
	all := floats(out)
	for _, t := range in {
		all += floats(t.Len)
	}
	ws := c.workspace(4*all + bytes)
	take := func(n int) cuda.Tensor {
		t := ws.First(n)
		ws = ws.From(floats(n))
		return t
	}
	w.out = take(out)
	for _, t := range in {
		to := take(t.Len)
		cuda.FromBF16s(c.Queue, to, t)
		w.in = append(w.in, to)
	}
	w.rest = ws
	return w
}

// A remote is the part of a Machine that is on a Device.
type remote struct {
	device    Device
	memory    DeviceMemory // the arena, then the inputs, then the workspace
	external  []int        // the number of each value that is an external
	inputs    []int64      // where each external is in memory, or none
	residents []*resident  // of each external that is a parameter, else nil
	halves    []*resident  // those that are read in bfloat16
	rounding  rounding
	workspace int64 // where the workspace begins
	size      int64 // of memory, or of the part of another machine's that is used
	parts     []part
	outputs   []download
	kept      map[*gorgonia.Node]DeviceTensor // what outlives a run
}

// A part of a run is launches that the device has compiled, or a step that the host does.
type part struct {
	run   Runner
	check *download // of the result, if every step is looked at
	host  *hostStep
	last  int // the last step of the part
}

// A hostStep is a step that the host does. What it reads is copied from the device, and its result
// is copied back.
type hostStep struct {
	reads  []download
	result []byte   // of the task; nil if nothing is copied back
	to     location // of the result
}

// A location is a place in a device's memory.
type location struct {
	memory DeviceMemory
	at     int64 // bytes
}

// address returns the location as kernels see it.
func (l location) address() uint64 {
	if l.memory == nil {
		return uint64(l.at) // while the memory is not there yet
	}
	return l.memory.Address() + uint64(l.at)
}

// A download is a copy from the device to the host.
type download struct {
	to   []byte
	from location
}

func (d download) do() error { return d.from.memory.Read(d.to, d.from.at) }

// prepareRemote makes a run of steps on the device. arena is how many bytes the buffers take.
func (m *Machine) prepareRemote(steps []step, buffers []buffer, arena int) (err error) {
	r := &remote{device: m.config.Device, kept: make(map[*gorgonia.Node]DeviceTensor)}
	m.remote = r
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	m.makeTasks(steps)
	if err := m.layOut(arena); err != nil {
		return fmt.Errorf("kernels: a plan of %v: %w", m.plan, err)
	}
	onDevice, workspace := make([]bool, len(steps)), 0
	for t := range steps {
		c := m.call(&steps[t], buffers)
		if onDevice[t] = c != nil; onDevice[t] {
			m.tasks[t].rule.(launcher).launch(c)
			workspace = max(workspace, c.need)
		}
	}
	m.plan.Workspace, r.size = int64(workspace), r.workspace+int64(workspace)
	if s := m.config.Share; s != nil && s.remote != nil && s.remote.size >= r.size {
		r.memory, m.shares = s.remote.memory, true
		m.plan.Arena, m.plan.Workspace, m.plan.Inputs = 0, 0, 0
	} else if r.memory, err = r.device.Alloc(r.size); err != nil {
		return fmt.Errorf("kernels: a plan of %v: %w", m.plan, err)
	}
	last := make([]int, len(m.program.values)) // the buffer of a root at the end
	var q cuda.Queue
	for t := range steps {
		s := &steps[t]
		if s.out != none {
			last[s.value] = s.out
		}
		if onDevice[t] {
			c := m.call(s, buffers)
			c.Queue = &q
			m.tasks[t].rule.(launcher).launch(c)
		}
		if single := m.config.WatchNaN || m.config.Profile; single || !onDevice[t] ||
			t+1 == len(steps) || !onDevice[t+1] {
			if err := m.endPart(&q, t, single, buffers); err != nil {
				return err
			}
		}
		if !onDevice[t] {
			m.prepareHostStep(t, buffers)
		}
	}
	m.plan.Host = m.hostSteps(onDevice)
	for n, i := range m.program.out {
		from := m.locate(i, last[m.program.values[i].root], buffers)
		r.kept[n] = DeviceTensor{Address: from.address(), Len: m.program.values[i].size}
		if !slices.Contains(m.config.Want, n) {
			continue
		}
		host := m.program.onHost(i)
		m.outputs[n] = denseOf(host.Shape, host.Data)
		r.outputs = append(r.outputs, download{bytesOf(host), from})
	}
	return nil
}

// OnDevice returns where the device has the value of a node: one of Config.Want or Config.Keep, or
// a parameter. It is false for other nodes, and on a machine without a Device. The memory is the
// machine's: it is valid until Close, and what Want and Keep have there until the next RunAll.
func (m *Machine) OnDevice(n *gorgonia.Node) (t DeviceTensor, ok bool) {
	if m.remote == nil {
		return t, false
	}
	if t, ok = m.remote.kept[n]; ok {
		return t, true
	}
	i, ok := m.program.index[n]
	if !ok || m.program.values[i].kind != input {
		return t, false
	}
	of := m.remote.residents[m.remote.external[i]]
	if of == nil {
		return t, false
	}
	return of.tensor(), true
}

// endPart compiles what is queued, which ends with step t. If it is a single step, its result is
// copied to the host, to be looked at.
func (m *Machine) endPart(q *cuda.Queue, t int, single bool, buffers []buffer) error {
	if len(q.Launches) == 0 {
		return nil
	}
	run, err := m.remote.device.Compile(public(q.Launches))
	if err != nil {
		return fmt.Errorf("kernels: %v: %w", m.remote.device, err)
	}
	p := part{run: run, last: t}
	if k := &m.tasks[t]; single {
		k.dst = m.program.onHost(k.step.value)
		p.check = &download{bytesOf(k.dst), m.locate(k.step.value, k.step.out, buffers)}
	}
	m.remote.parts = append(m.remote.parts, p)
	q.Launches = nil
	return nil
}

// public returns launches as a Device takes them.
func public(launches []cuda.Launch) []Launch {
	all := make([]Launch, len(launches))
	for i, l := range launches {
		all[i] = Launch(l)
	}
	return all
}

// makeTasks makes a task of every step, without memory.
func (m *Machine) makeTasks(steps []step) {
	m.tasks = make([]task, len(steps))
	m.boxes = make([]gorgonia.Value, len(m.program.values))
	m.outputs = make(map[*gorgonia.Node]*tensor.Dense, len(m.config.Want))
	for t := range steps {
		s, k := &steps[t], &m.tasks[t]
		k.step = s
		if s.value == none {
			k.by, k.value = m.config.Updates[s.update].By, &m.program.values[s.reads[0]]
		} else {
			k.value = &m.program.values[s.value]
			k.rule = k.value.rule
		}
		if m.config.Profile {
			k.kind = m.profile.kind(k)
		}
	}
}

// layOut makes the parameters resident, and puts the other inputs behind the arena.
func (m *Machine) layOut(arena int) error {
	r, p := m.remote, m.program
	end := arena
	r.external = make([]int, len(p.values))
	for i := range p.values {
		v := &p.values[i]
		if v.kind != input && v.kind != constant {
			continue
		}
		r.external[i] = len(m.externals)
		m.externals = append(m.externals, external{value: v})
		at, of := int64(none), (*resident)(nil)
		if p.resident(v.node) {
			d := v.node.Value().(*tensor.Dense)
			var err error
			if of, err = reside(r.device, d); err == nil && v.half {
				if err = of.halve(); err == nil {
					r.halves = append(r.halves, of)
				} else {
					err = errors.Join(err, of.leave())
				}
			}
			if err != nil {
				return fmt.Errorf("%s %v: %w", m.nameOf(v), v.shape, err)
			}
			m.externals[len(m.externals)-1].dense = d
		} else if !v.boxed {
			at = int64(end)
			end += align(v.bytes())
		}
		r.inputs, r.residents = append(r.inputs, at), append(r.residents, of)
	}
	r.workspace = int64(end)
	return nil
}

// locate returns where value i is, whose root is in buffer b, or in none.
func (m *Machine) locate(i, b int, buffers []buffer) location {
	r, v := m.remote, &m.program.values[i]
	offset := int64(v.offset * v.typ.Size())
	if b != none {
		return location{r.memory, int64(buffers[b].offset) + offset}
	}
	e := r.external[v.root]
	switch of := r.residents[e]; {
	case of != nil && m.program.values[v.root].half:
		return location{of.half, offset}
	case of != nil:
		return location{of.memory, offset}
	}
	return location{r.memory, r.inputs[e] + offset}
}

// call returns the evaluation of a step's rule, or nil if only the host can do the step.
func (m *Machine) call(s *step, buffers []buffer) *call {
	if s.value == none {
		return nil
	}
	p := m.program
	if _, ok := p.values[s.value].rule.(launcher); !ok {
		return nil
	}
	at := func(i, b int) operand {
		v := &p.values[i]
		t := cuda.Tensor{Address: m.locate(i, b, buffers).address(), Len: v.size}
		if v.typ == BFloat16 {
			t.Type = cuda.BFloat16
		}
		return operand{t, v.shape}
	}
	c := &call{Queue: new(cuda.Queue), dst: at(s.value, s.out)}
	c.scratch = location{m.remote.memory, m.remote.workspace}.address()
	for k, i := range s.reads {
		c.in = append(c.in, at(i, s.in[k]))
	}
	return c
}

// prepareHostStep gives the task of step t memory of the host.
func (m *Machine) prepareHostStep(t int, buffers []buffer) {
	p, k := m.program, &m.tasks[t]
	s, h := k.step, &hostStep{}
	k.in = make([]Tensor, len(s.reads))
	for i, c := range s.reads {
		v := &p.values[c]
		k.in[i].Shape = v.shape
		if v.boxed {
			continue
		}
		if r := m.remote; !p.values[v.root].runs() && r.residents[r.external[v.root]] == nil {
			e := &m.externals[r.external[v.root]]
			e.uses = append(e.uses, use{&k.in[i], v.offset, v.size})
			continue
		}
		if k.by != nil && i == 0 {
			continue // the parameter, which is the host's too
		}
		k.in[i] = p.onHost(c)
		h.reads = append(h.reads, download{bytesOf(k.in[i]), m.locate(c, s.in[i], buffers)})
	}
	switch {
	case k.by != nil:
		param := k.value.node.Value().(*tensor.Dense)
		h.result, h.to = bytesOfFloats(param.Float32s()), m.locate(s.reads[0], s.in[0], buffers)
		if k.in[1].Data != nil {
			k.grad = denseOf(k.value.shape, k.in[1].Data)
		}
	case s.out != none:
		k.dst = p.onHost(s.value)
		h.result, h.to = bytesOf(k.dst), m.locate(s.value, s.out, buffers)
	}
	if k.by == nil && k.rule == nil {
		k.args = m.arguments(k)
	}
	if k.rule != nil {
		n := p.workspaceOf(&m.context, s.value) / floats(1)
		ws := make([]float32, n+p.widenedBytes(s.value)/floats(1))
		k.ws = ws[:n]
		if p.widens(s.value) {
			k.wide = k.widened(ws[n:])
		} else if p.mixed(s.value) {
			k.typed = k.rule.(TypedEvaler)
		}
	}
	m.remote.parts = append(m.remote.parts, part{host: h, last: t})
}

// onHost returns a tensor for value i in memory of the host.
func (p *program) onHost(i int) Tensor {
	v := &p.values[i]
	t := Tensor{Shape: v.shape, Type: v.typ}
	if v.typ == BFloat16 {
		t.BF16 = make([]BF16, v.size)
	} else {
		t.Data = make([]float32, v.size)
	}
	return t
}

// bytesOf returns the memory of t.
func bytesOf(t Tensor) []byte {
	if t.Type == BFloat16 {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(t.BF16))), 2*len(t.BF16))
	}
	return bytesOfFloats(t.Data)
}

func bytesOfFloats(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// hostSteps names the operations that the host does, for the plan.
func (m *Machine) hostSteps(onDevice []bool) string {
	counts := make(map[string]int)
	for t := range m.tasks {
		if !onDevice[t] {
			counts[kindOf(&m.tasks[t])]++
		}
	}
	var all []string
	for name, n := range counts {
		all = append(all, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// runRemote is RunAll on a device.
func (m *Machine) runRemote() error {
	r := m.remote
	for i := range m.externals {
		e := &m.externals[i]
		if err := m.bind(e); err != nil {
			return err
		}
		if of := r.residents[i]; of != nil && e.dense != of.value {
			return m.rebound(e)
		}
		if r.inputs[i] == none {
			continue
		}
		data, err := m.boundTo(e)
		if err != nil {
			return err
		}
		if err := r.memory.Write(r.inputs[i], bytesOfFloats(data)); err != nil {
			return fmt.Errorf("kernels: input %s: %w", m.nameOf(e.value), err)
		}
	}
	if err := r.rounding.bring(r.device, r.halves); err != nil {
		return fmt.Errorf("kernels: %v: %w", r.device, err)
	}
	for i := range r.parts {
		start := time.Now()
		if err := m.runPart(&r.parts[i]); err != nil {
			return err
		}
		if m.config.Profile {
			o := &m.profile.kinds[m.tasks[r.parts[i].last].kind]
			o.Calls++
			o.Time += time.Since(start)
		}
	}
	for _, o := range r.outputs {
		if err := o.do(); err != nil {
			return fmt.Errorf("kernels: %v: %w", r.device, err)
		}
	}
	return nil
}

// runPart does a part of a run.
func (m *Machine) runPart(p *part) error {
	k := &m.tasks[p.last]
	if p.run != nil {
		if err := p.run.Run(); err != nil {
			return fmt.Errorf("kernels: %s: %w", m.nameOf(k.value), err)
		}
		if p.check == nil {
			return nil
		}
		if err := p.check.do(); err != nil {
			return fmt.Errorf("kernels: %s: %w", m.nameOf(k.value), err)
		}
		if m.config.WatchNaN {
			return m.watch(k)
		}
		return nil
	}
	if k.by != nil {
		if err := Pull(k.value.node.Value().(*tensor.Dense)); err != nil {
			return err
		}
	}
	for _, d := range p.host.reads {
		if err := d.do(); err != nil {
			return fmt.Errorf("kernels: %v: %w", m.remote.device, err)
		}
	}
	if err := m.run(k); err != nil {
		return err
	}
	if p.host.result == nil {
		return nil
	}
	return p.host.to.memory.Write(p.host.to.at, p.host.result)
}

// closeRemote frees what the machine has on the device.
func (m *Machine) closeRemote() error {
	r := m.remote
	var errs []error
	for _, p := range r.parts {
		if p.run != nil {
			errs = append(errs, p.run.Close())
		}
	}
	errs = append(errs, r.rounding.close())
	for _, of := range r.residents {
		if of != nil {
			errs = append(errs, of.leave())
		}
	}
	if r.memory != nil && !m.shares {
		errs = append(errs, r.memory.Free())
	}
	m.remote, m.tasks, m.outputs = nil, nil, nil
	return errors.Join(errs...)
}
