package cuda

import (
	"encoding/binary"
	"fmt"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cuda/primitive"
)

// A Conformance is how a device does what kernels are made of: copies, loads and products of
// matrices, conversions, barriers, functions.
type Conformance struct {
	Seen       string      // where the recorded outputs, which it is compared with, were seen
	Primitives []Primitive // those that the device ran
	Record     []byte      // the device's outputs, in the form in which the recorded ones are
}

// A Primitive is the result of a tiny kernel.
type Primitive struct {
	Name   string
	Values int     // of the result
	Bits   int     // how many of them have other bits than those recorded
	Worst  float64 // the largest error relative to what is allowed; 0 where bits are defined
	Wrong  string  // the first value that is wrong, or the device's error; empty if all are right
}

// Conform runs a tiny kernel for each primitive that kernels are made of, on inputs that are always
// the same. Where bits are defined they must be those recorded. Products of matrices and
// approximate functions are compared with their definition. The first error of the device itself
// ends it, and is that of the last primitive.
func Conform(d kernels.Device) (Conformance, error) {
	recorded, err := primitive.Recorded()
	if err != nil {
		return Conformance{}, fmt.Errorf("cuda: %w", err)
	}
	c := Conformance{Seen: recorded.Seen}
	now := primitive.Record{Seen: d.String()}
	for _, p := range primitive.All() {
		got, err := runPrimitive(d, p)
		if err != nil {
			c.Primitives = append(c.Primitives, Primitive{Name: p.Name, Wrong: err.Error()})
			return c, fmt.Errorf("cuda: primitive %s: %w", p.Name, err)
		}
		want, err := recorded.Words(p.Name)
		if err != nil {
			return c, fmt.Errorf("cuda: %w", err)
		}
		now.Set(p.Name, got)
		r := p.Compare(got, want)
		c.Primitives = append(c.Primitives, Primitive{
			Name: p.Name, Values: r.Values, Bits: r.Bits, Worst: r.Worst, Wrong: r.Wrong,
		})
	}
	c.Record = now.Text()
	return c, nil
}

// runPrimitive returns the words that a primitive gives on a device.
func runPrimitive(d kernels.Device, p primitive.Primitive) (words []uint32, err error) {
	var operands [4]cuda.Tensor
	var memory [4]kernels.DeviceMemory
	for i, contents := range [][]uint32{make([]uint32, p.Out), p.A, p.B, p.C} {
		if len(contents) == 0 {
			continue
		}
		if memory[i], err = d.Alloc(int64(4 * len(contents))); err != nil {
			return nil, err
		}
		defer func() {
			if e := memory[i].Free(); err == nil {
				err = e
			}
		}()
		bytes := make([]byte, 0, 4*len(contents))
		for _, w := range contents {
			if i == 0 {
				w = ^uint32(0) // what a kernel does not write is a NaN
			}
			bytes = binary.LittleEndian.AppendUint32(bytes, w)
		}
		if err := memory[i].Write(0, bytes); err != nil {
			return nil, err
		}
		operands[i] = cuda.Tensor{Address: memory[i].Address(), Len: len(contents)}
	}
	var q cuda.Queue
	p.Run(&q, operands[0], operands[1], operands[2], operands[3])
	launches := make([]kernels.Launch, len(q.Launches))
	for i, l := range q.Launches {
		launches[i] = kernels.Launch(l)
	}
	r, err := d.Compile(launches)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := r.Close(); err == nil {
			err = e
		}
	}()
	if err := r.Run(); err != nil {
		return nil, err
	}
	out := make([]byte, 4*p.Out)
	if err := memory[0].Read(out, 0); err != nil {
		return nil, err
	}
	words = make([]uint32, p.Out)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(out[4*i:])
	}
	return words, nil
}
