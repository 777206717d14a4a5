package optim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A remote is what ends the steps of a Stepper on a device. The gradients stay there. They are
// added up if there are micro-batches, their norm is measured, and AdamW steps by them, scaled so
// that the norm is at most Clip. Where the norm is not finite, AdamW changes nothing. The host gets
// the norm alone.
type remote struct {
	device kernels.Device
	adam   *AdamW
	clip   float64

	memory  kernels.DeviceMemory
	bytes   int64         // of memory
	clipped cuda.Tensor   // the factor of the gradients and their norm
	squares cuda.Tensor   // the partial sums of all squares, as float64
	parts   []cuda.Tensor // of squares, by parameter
	sums    []cuda.Tensor // of gradients, by parameter; with Accumulate
	states  []int         // the number of each parameter's state in adam
}

// newRemote returns what ends steps of the parameters on a device. accumulate says that gradients
// are added up.
func newRemote(
	d kernels.Device, adam *AdamW, parameters []kernels.Parameter, clip float64, accumulate bool,
) (*remote, error) {
	if clip == 0 {
		clip = math.Inf(1)
	}
	r := &remote{device: d, adam: adam, clip: clip}
	for _, p := range parameters {
		i := slices.Index(adam.states, adam.byValue[p.Value])
		if i < 0 {
			return nil, fmt.Errorf("optim: AdamW does not know parameter %s", p.Name)
		}
		r.states = append(r.states, i)
	}
	var l layout
	r.clipped = l.take(2)
	begin := l.bytes
	for _, p := range parameters {
		// Without gaps: squares has to be one array.
		n := cuda.SumSquaresLen(p.Value.Size())
		r.parts = append(r.parts, cuda.Tensor{Address: l.bytes, Len: n})
		l.bytes += 4 * uint64(n)
	}
	r.squares = cuda.Tensor{Address: begin, Len: int(l.bytes-begin) / 4}
	if accumulate {
		for _, p := range parameters {
			r.sums = append(r.sums, l.take(p.Value.Size()))
		}
	}
	var err error
	r.bytes = int64(l.bytes)
	if r.memory, err = d.Alloc(r.bytes); err != nil {
		return nil, err
	}
	base := r.memory.Address()
	r.clipped.Address += base
	r.squares.Address += base
	for i := range r.parts {
		r.parts[i].Address += base
	}
	for i := range r.sums {
		r.sums[i].Address += base
	}
	if err := adam.enter(d); err != nil {
		return nil, errors.Join(err, r.memory.Free())
	}
	return r, nil
}

// A layout cuts memory that is not there yet.
type layout struct{ bytes uint64 }

// take returns memory for n float32 values, by its offset.
func (l *layout) take(n int) cuda.Tensor {
	l.bytes = (l.bytes + 255) / 256 * 256
	t := cuda.Tensor{Address: l.bytes, Len: n}
	l.bytes += 4 * uint64(n)
	return t
}

// compile makes the launches of a queue ready to run.
func (r *remote) compile(q *cuda.Queue) (kernels.Runner, error) { return compileOn(r.device, q) }

// compileOn makes the launches of a queue ready to run on a device.
func compileOn(d kernels.Device, q *cuda.Queue) (kernels.Runner, error) {
	launches := make([]kernels.Launch, len(q.Launches))
	for i, l := range q.Launches {
		launches[i] = kernels.Launch(l)
	}
	return d.Compile(launches)
}

// collect returns what adds gradients to the sums, or, for the first micro-batch of a step, copies
// them there.
func (r *remote) collect(grads []cuda.Tensor) (first, next kernels.Runner, err error) {
	var set, add cuda.Queue
	for i, g := range grads {
		cuda.CopyRows(&set, r.sums[i], g, 1, g.Len, g.Len, g.Len)
		cuda.Add(&add, r.sums[i], r.sums[i], g)
	}
	if first, err = r.compile(&set); err != nil {
		return nil, nil, err
	}
	next, err = r.compile(&add)
	return first, next, err
}

// ending returns what steps the parameters, and their copies in bfloat16, by gradients.
func (r *remote) ending(parameters, halves, grads []cuda.Tensor) (kernels.Runner, error) {
	var q cuda.Queue
	for i, g := range grads {
		cuda.SumSquares(&q, r.parts[i], g)
	}
	cuda.ClipFactor(&q, r.clipped, r.squares, r.clip)
	for i, g := range grads {
		r.adam.launch(&q, r.states[i], parameters[i], halves[i], g, r.clipped.First(1))
	}
	return r.compile(&q)
}

// finish steps by an ending, and returns the norm of the gradients. If it is not finite, nothing
// has changed.
func (r *remote) finish(end kernels.Runner) (norm float64, err error) {
	if err := r.adam.announce(); err != nil {
		return 0, err
	}
	if err := end.Run(); err != nil {
		return 0, err
	}
	var b [8]byte
	if err := r.memory.Read(b[:], int64(r.clipped.Address-r.memory.Address())); err != nil {
		return 0, err
	}
	norm = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4:])))
	if finite(norm) {
		r.adam.commit()
	}
	return norm, nil
}

// notFinite returns the number of the first parameter whose gradient's norm is not finite, and that
// norm, or −1.
func (r *remote) notFinite() (parameter int, norm float64, err error) {
	b := make([]byte, 4*r.squares.Len)
	if err := r.memory.Read(b, int64(r.squares.Address-r.memory.Address())); err != nil {
		return 0, 0, err
	}
	for i, p := range r.parts {
		sum := 0.0
		for range p.Len / 2 {
			sum += math.Float64frombits(binary.LittleEndian.Uint64(b))
			b = b[8:]
		}
		if !finite(sum) {
			return i, math.Sqrt(sum), nil
		}
	}
	return -1, 0, nil
}

// close frees what r has on the device. The optimizer's state goes back to the host.
func (r *remote) close() error {
	return errors.Join(r.adam.leave(), r.memory.Free())
}

// onDevice returns where a machine has the values of nodes.
func onDevice(m *kernels.Machine, nodes gorgonia.Nodes) []cuda.Tensor {
	all := make([]cuda.Tensor, len(nodes))
	for i, n := range nodes {
		t, _ := m.OnDevice(n) // it keeps them
		all[i] = cuda.Tensor{Address: t.Address, Len: t.Len}
	}
	return all
}

// halvesOnDevice are the copies in bfloat16 of parameters of m, where there is one.
func halvesOnDevice(m *kernels.Machine, parameters gorgonia.Nodes) []cuda.Tensor {
	all := make([]cuda.Tensor, len(parameters))
	for i, n := range parameters {
		if t, _ := m.OnDevice(n); t.Half != 0 {
			all[i] = cuda.Tensor{Address: t.Half, Len: t.Len, Type: cuda.BFloat16}
		}
	}
	return all
}

// An adamOnDevice is the state of AdamW in a device's memory.
type adamOnDevice struct {
	device  kernels.Device
	memory  kernels.DeviceMemory
	bytes   int64         // of memory
	scalars []cuda.Tensor // of a step, by parameter
	means   []cuda.Tensor
	squares []cuda.Tensor
	ahead   bool // whether the host's state is old
	written []byte
}

// enter moves the state to a device.
func (a *AdamW) enter(d kernels.Device) error {
	if a.remote != nil {
		return errors.New("optim: an AdamW steps by one Stepper at a time on a device")
	}
	r := &adamOnDevice{device: d}
	var l layout
	for range a.states {
		r.scalars = append(r.scalars, cuda.Tensor{Address: l.bytes, Len: cuda.AdamWStepLen})
		l.bytes += 4 * cuda.AdamWStepLen
	}
	r.written = make([]byte, l.bytes)
	for _, s := range a.states {
		r.means = append(r.means, l.take(s.Value.Size()))
		r.squares = append(r.squares, l.take(s.Value.Size()))
	}
	var err error
	r.bytes = int64(l.bytes)
	if r.memory, err = d.Alloc(r.bytes); err != nil {
		return err
	}
	base := r.memory.Address()
	for i := range a.states {
		r.scalars[i].Address += base
		r.means[i].Address += base
		r.squares[i].Address += base
	}
	a.remote = r
	return a.push()
}

// push copies the state to the device.
func (a *AdamW) push() error {
	for i, s := range a.states {
		mean, square := s.mean, s.square
		if mean == nil { // no step has been made
			mean = make([]float32, s.Value.Size())
			square = mean
		}
		if err := a.remote.write(a.remote.means[i], mean); err != nil {
			return err
		}
		if err := a.remote.write(a.remote.squares[i], square); err != nil {
			return err
		}
	}
	a.remote.ahead = false
	return nil
}

// pull copies the state to the host, if it is newer on the device.
func (a *AdamW) pull() error {
	if a.remote == nil || !a.remote.ahead {
		return nil
	}
	for i, s := range a.states {
		s.begin()
		if err := a.remote.read(s.mean, a.remote.means[i]); err != nil {
			return err
		}
		if err := a.remote.read(s.square, a.remote.squares[i]); err != nil {
			return err
		}
	}
	a.remote.ahead = false
	return nil
}

// leave moves the state to the host and frees the device's memory.
func (a *AdamW) leave() error {
	if a.remote == nil {
		return nil
	}
	err := a.pull()
	err = errors.Join(err, a.remote.memory.Free())
	a.remote = nil
	return err
}

// launch queues a step of parameter i, whose values and gradient are on the device. half is its
// copy in bfloat16, or no values.
func (a *AdamW) launch(q *cuda.Queue, i int, value, half, grad, factor cuda.Tensor) {
	r := a.remote
	cuda.AdamW(q, value, r.means[i], r.squares[i], grad, half, r.scalars[i], factor)
}

// announce writes the numbers of the next step to the device.
func (a *AdamW) announce() error {
	b := a.remote.written[:0]
	for _, s := range a.states {
		for _, v := range a.numbers(s.steps + 1).Values() {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	return a.remote.memory.Write(0, b)
}

// commit counts a step that the device has made.
func (a *AdamW) commit() {
	for _, s := range a.states {
		s.steps++
	}
	a.remote.ahead = true
}

func (r *adamOnDevice) write(t cuda.Tensor, from []float32) error {
	b := make([]byte, 0, 4*len(from))
	for _, v := range from {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return r.memory.Write(int64(t.Address-r.memory.Address()), b)
}

func (r *adamOnDevice) read(to []float32, t cuda.Tensor) error {
	b := make([]byte, 4*len(to))
	if err := r.memory.Read(b, int64(t.Address-r.memory.Address())); err != nil {
		return err
	}
	for i := range to {
		to[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return nil
}

// values returns the tensors of parameters.
func values(parameters []kernels.Parameter) []*tensor.Dense {
	all := make([]*tensor.Dense, len(parameters))
	for i, p := range parameters {
		all[i] = p.Value
	}
	return all
}
