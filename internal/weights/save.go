package weights

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"

	"github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"

	"github.com/kudos-ml/kudos/internal/file"
)

// A DType is how a file stores numbers.
type DType = safetensors.DType

// The types of weights; the first two are written.
const (
	Float32  = safetensors.F32
	Float16  = safetensors.F16
	BFloat16 = safetensors.BF16
)

// Save writes a model's parameters to a file.
func Save(name string, model any, d DType, metadata map[string]string) error {
	return Write(name, Parameters(model), d, metadata)
}

// Write writes parameters to a file, whole or not at all. A value that float16 cannot hold is an error.
func Write(name string, parameters []Parameter, d DType, metadata map[string]string) error {
	err := file.Write(name, func(w io.Writer) error { return Encode(w, parameters, d, metadata) })
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return nil
}

// Encode writes parameters as a file has them.
func Encode(w io.Writer, parameters []Parameter, d DType, metadata map[string]string) error {
	views := make(map[string]view, len(parameters))
	for _, p := range parameters {
		if _, twice := views[p.Name]; twice {
			return fmt.Errorf("two tensors are named %s", p.Name)
		}
		v, err := newView(p, d)
		if err != nil {
			return err
		}
		views[p.Name] = v
	}
	return safetensors.SerializeToWriter(views, metadata, w)
}

// A view is a parameter as safetensors writes it. Its bytes are made when they are asked for.
type view struct {
	p Parameter
	d DType
}

func newView(p Parameter, d DType) (view, error) {
	if d != Float32 && d != Float16 {
		return view{}, fmt.Errorf("%s is not written", d)
	}
	for i, v := range p.Value.Float32s() {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) || d == Float16 && float16.Fromfloat32(v).IsInf(0) {
			return view{}, fmt.Errorf("tensor %s is %v at element %d, which %s does not hold", p.Name, v, i, d)
		}
	}
	return view{p, d}, nil
}

func (v view) DType() DType { return v.d }

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
	out := make([]byte, 0, v.DataLen())
	for _, x := range values {
		if v.d == Float16 {
			out = binary.LittleEndian.AppendUint16(out, float16.Fromfloat32(x).Bits())
		} else {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
		}
	}
	return out
}

// Hash names a model's parameters: the SHA-256 of their names, shapes and float32 values, in hexadecimal.
func Hash(model any) string {
	h := sha256.New()
	var b []byte
	for _, p := range Parameters(model) {
		fmt.Fprintf(h, "%s %v\n", p.Name, p.Value.Shape())
		b = b[:0]
		for _, x := range p.Value.Float32s() {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}
