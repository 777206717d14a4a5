package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// An argument is an input of a foreign operation, which is one that this package did not make.
type argument struct {
	value *value
	box   int           // of a boxed value
	dense *tensor.Dense // of a value in the arena
}

// arguments prepares the inputs of a foreign operation.
func (m *Machine) arguments(k *task) []argument {
	p := m.program
	args := make([]argument, len(k.step.reads))
	for i, c := range k.step.reads {
		a := argument{value: &p.values[c], box: c}
		if k.step.in[i] != none && !p.values[c].shape.IsScalar() {
			a.dense = denseOf(p.values[c].shape, k.in[i].Data)
		}
		args[i] = a
	}
	return args
}

// foreign runs a foreign operation and copies its result into the arena.
func (m *Machine) foreign(k *task) error {
	in := make([]gorgonia.Value, len(k.args))
	for i := range k.args {
		in[i] = m.argument(k, i)
	}
	v, err := k.value.node.Op().Do(in...)
	if err != nil {
		return err
	}
	if k.value.boxed {
		m.boxes[m.program.index[k.value.node]] = v
		return nil
	}
	return copyValue(k.dst, v)
}

// argument returns the i-th input of a foreign operation as a value of gorgonia's.
func (m *Machine) argument(k *task, i int) gorgonia.Value {
	a := &k.args[i]
	switch external := a.value.kind == input || a.value.kind == constant; {
	case external:
		return a.value.node.Value()
	case a.value.boxed:
		return m.boxes[a.box]
	case a.dense != nil:
		return a.dense
	case a.value.shape.IsScalar():
		return gorgonia.NewF32(k.in[i].Data[0])
	}
	return denseOf(a.value.shape, k.in[i].Data) // a view of an input
}

// copyValue copies the result of a foreign operation to dst.
func copyValue(dst Tensor, v gorgonia.Value) error {
	switch v := v.(type) {
	case *gorgonia.F32:
		if len(dst.Data) == 1 {
			dst.Data[0] = float32(*v)
			return nil
		}
	case *tensor.Dense:
		if v.RequiresIterator() || v.IsMaterializable() {
			v = v.Materialize().(*tensor.Dense)
		}
		if v.Dtype() == tensor.Float32 && v.Size() == len(dst.Data) {
			copy(dst.Data, v.Float32s())
			return nil
		}
	}
	if v == nil {
		return fmt.Errorf("gave no value, not float32 values of shape %v", dst.Shape)
	}
	const wrong = "gave a %T of %v of shape %v, not float32 values of shape %v"
	return fmt.Errorf(wrong, v, v.Dtype(), v.Shape(), dst.Shape)
}
