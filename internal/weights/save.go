package weights

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/kernels"
)

// dtypes are the types of the format that parameters are written in.
var dtypes = map[kernels.Precision]safetensors.DType{
	kernels.Float32:  safetensors.F32,
	kernels.BFloat16: safetensors.BF16,
	kernels.Float16:  safetensors.F16,
}

// Save writes a model's parameters to a file, whole or not at all. Values are rounded to the
// nearest one that the precision has. Of two that are equally near it is the one whose last bit is
// 0. A value that is not finite, or is not when it is rounded, is an error.
func Save(name string, model any, as kernels.Precision, metadata map[string]string) error {
	err := file.Write(name, func(w io.Writer) error { return Encode(w, model, as, metadata) })
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return nil
}

// Encode is Save to a writer.
func Encode(w io.Writer, model any, as kernels.Precision, metadata map[string]string) error {
	all := parameters(model)
	views := make(map[string]view, len(all))
	for _, p := range all {
		if _, twice := views[p.Name]; twice {
			return fmt.Errorf("two tensors are named %s", p.Name)
		}
		v, err := newView(p, as)
		if err != nil {
			return err
		}
		views[p.Name] = v
	}
	return safetensors.SerializeToWriter(views, metadata, w)
}

// A view is a parameter as the package safetensors writes it. Its bytes are made when they are
// asked for.
type view struct {
	p parameter
	d safetensors.DType
}

func newView(p parameter, as kernels.Precision) (view, error) {
	d, ok := dtypes[as]
	if !ok {
		return view{}, fmt.Errorf("%s is not written", as)
	}
	for i, v := range p.Value.Float32s() {
		if !holds(as, v) {
			return view{}, fmt.Errorf("tensor %s is %v at element %d, which %s does not hold",
				p.Name, v, i, as)
		}
	}
	return view{p, d}, nil
}

// holds reports whether v is finite, and still is when it is rounded.
func holds(as kernels.Precision, v float32) bool {
	switch as {
	case kernels.Float16:
		v = float16.Fromfloat32(v).Float32()
	case kernels.BFloat16:
		v = kernels.NewBF16(v).Float32()
	}
	return v-v == 0
}

func (v view) DType() safetensors.DType { return v.d }

func (v view) Shape() []uint64 {
	shape := []uint64{}
	for _, d := range v.p.fileShape() {
		shape = append(shape, uint64(d))
	}
	return shape
}

func (v view) DataLen() uint64 { return uint64(len(v.p.Value.Float32s())) * v.d.Size() }

func (v view) Data() []byte {
	values := v.p.Value.Float32s()
	if v.p.layout == conv {
		values = make([]float32, len(values))
		v.p.toFile(values)
	}
	if v.d == safetensors.F32 {
		return bytesOf(values)
	}
	out := make([]byte, 0, v.DataLen())
	for _, x := range values {
		if v.d == safetensors.F16 {
			out = binary.LittleEndian.AppendUint16(out, float16.Fromfloat32(x).Bits())
		} else {
			out = binary.LittleEndian.AppendUint16(out, uint16(kernels.NewBF16(x)))
		}
	}
	return out
}

// bytesOf returns numbers as files have them. Where memory has them in the same form, it returns
// that memory and no copy: a checkpoint is written while there is little memory left.
func bytesOf(values []float32) []byte {
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
	}
	out := make([]byte, 0, 4*len(values))
	for _, x := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}

// Hash names a model by its parameters: it is the SHA-256 of their names, shapes and float32
// values, in hexadecimal.
func Hash(model any) string {
	h := sha256.New()
	for _, p := range Parameters(model) {
		fmt.Fprintf(h, "%s %v\n", p.Name, p.Value.Shape())
		h.Write(bytesOf(p.Value.Float32s()))
	}
	return hex.EncodeToString(h.Sum(nil))
}
