package weights

import (
	"encoding/binary"
	"unsafe"

	"github.com/nlpodyssey/safetensors"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// littleEndian reports whether this machine has numbers in memory as files have them.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Views returns the tensors of a file in alphabetical order. Those of float32 are not read: they
// are the memory that the file is mapped to. Nobody may write to them, or look at them after Close.
func (f *File) Views() ([]kernels.Parameter, error) {
	var out []kernels.Parameter
	for _, name := range f.Names() {
		s := f.tensors[name]
		if s.dtype != safetensors.F32 || s.size() == 0 || !littleEndian || !aligned(s.bytes()) {
			t, err := f.Tensor(name)
			if err != nil {
				return nil, err
			}
			out = append(out, kernels.Parameter{Name: name, Value: t})
			continue
		}
		shape := s.shape
		if len(shape) == 0 {
			shape = []int{1}
		}
		values := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(s.bytes()))), s.size())
		t := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
		out = append(out, kernels.Parameter{Name: name, Value: t})
	}
	return out, nil
}

func aligned(b []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%4 == 0 }
