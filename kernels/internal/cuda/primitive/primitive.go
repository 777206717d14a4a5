// Package primitive has what kernels are made of, one tiny kernel each: the kernels of
// src/primitive.cu with operands that are always the same, and what they give.
//
// Kernels are tested in an emulation, which was written by reading NVIDIA's manuals. If one was
// misread, kernel and emulation agree, and a device does something else. So outputs are recorded in
// recorded.json, which says where they were seen. Tests hold the emulation to it, and a device is
// compared with it. What a device gave takes the place of what the emulation did.
//
// # Two kinds
//
// Most results are defined to the last bit, by PTX or by IEEE 754. They must have the bits that are
// recorded. A NaN equals any other, where its bits are not defined.
//
// Others are defined up to an error: products of matrices, in which order and rounding are the
// device's, and approximate functions. They are compared with a definition in float64. How many
// have other bits than those recorded is only told.
package primitive

import (
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A Kind is what a result is an array of.
type Kind string

const (
	// Bits are words that must be equal in every bit.
	Bits Kind = "bits"
	// Float32 are values of 4 bytes.
	Float32 Kind = "float32"
	// Float64 are values of 8 bytes.
	Float64 Kind = "float64"
)

// words returns how many words a value takes.
func (k Kind) words() int {
	if k == Float64 {
		return 2
	}
	return 1
}

// A Primitive is a kernel with its operands.
type Primitive struct {
	cuda.Primitive
	A, B, C []uint32 // the operands
	Out     int      // words of the result
	Kind    Kind     // of the result

	// Bounds returns what the result is up to an error. It is nil if bits are defined.
	Bounds func() []Bound
}

// A Bound is a value of a result, and how far from it the value may be. Where Off is infinite, any
// value will do.
type Bound struct{ Value, Off float64 }

// allows returns the error of a value relative to the bound, which is at most 1 if it is allowed.
func (b Bound) allows(x float64) float64 {
	switch {
	case math.IsInf(b.Off, 1), math.IsNaN(b.Value) && math.IsNaN(x), b.Value == x:
		return 0
	case math.IsInf(b.Value, 0), math.IsNaN(b.Value), b.Off == 0:
		return math.Inf(1)
	}
	e := math.Abs(x-b.Value) / b.Off
	if math.IsNaN(e) {
		return math.Inf(1)
	}
	return e
}

// A Difference is how a result compares.
type Difference struct {
	Values int     // how many there are
	Bits   int     // how many have other bits than those recorded
	Worst  float64 // the largest error, relative to what is allowed; 0 where bits are defined
	Wrong  string  // the first value that is wrong; empty if all are right
}

// Compare compares a result with what is recorded, and with the bounds if there are any.
func (p Primitive) Compare(got, recorded []uint32) Difference {
	d := Difference{Values: p.Out / p.Kind.words()}
	if len(got) != p.Out || len(recorded) != p.Out {
		d.Wrong = fmt.Sprintf("%d words, %d are recorded, and there must be %d",
			len(got), len(recorded), p.Out)
		return d
	}
	var bounds []Bound
	if p.Bounds != nil {
		bounds = p.Bounds()
	}
	for i := range d.Values {
		same := p.same(got, recorded, i)
		if !same {
			d.Bits++
		}
		wrong := !same
		if bounds != nil {
			e := bounds[i].allows(p.value(got, i))
			wrong = !(e <= 1)
			d.Worst = max(d.Worst, e)
		}
		if wrong && d.Wrong == "" {
			d.Wrong = fmt.Sprintf("value %d is %s, recorded is %s", i, p.show(got, i),
				p.show(recorded, i))
			if bounds != nil {
				d.Wrong += fmt.Sprintf(", and it must be %v±%.3g", bounds[i].Value, bounds[i].Off)
			}
		}
	}
	return d
}

// same reports whether value i is the same in two results.
func (p Primitive) same(x, y []uint32, i int) bool {
	if p.Kind == Bits {
		return x[i] == y[i]
	}
	v, w := p.value(x, i), p.value(y, i)
	return v == w && math.Signbit(v) == math.Signbit(w) || math.IsNaN(v) && math.IsNaN(w)
}

// value returns value i of a result.
func (p Primitive) value(x []uint32, i int) float64 {
	switch p.Kind {
	case Float32:
		return float64(math.Float32frombits(x[i]))
	case Float64:
		return math.Float64frombits(uint64(x[2*i]) | uint64(x[2*i+1])<<32)
	}
	return float64(x[i])
}

func (p Primitive) show(x []uint32, i int) string {
	switch p.Kind {
	case Float32:
		return fmt.Sprintf("%v (%08x)", p.value(x, i), x[i])
	case Float64:
		return fmt.Sprintf("%v (%08x%08x)", p.value(x, i), x[2*i+1], x[2*i])
	}
	return fmt.Sprintf("%08x", x[i])
}

// A Record is what primitives gave somewhere.
type Record struct {
	Seen    string            `json:"seen"`    // on which device, or "emulation"
	Outputs map[string]string `json:"outputs"` // by name, the words in hexadecimal
}

// Recorded returns what recorded.json has.
func Recorded() (Record, error) {
	var r Record
	if err := json.Unmarshal(recorded, &r); err != nil {
		return r, fmt.Errorf("primitive: recorded.json: %w", err)
	}
	return r, nil
}

//go:embed recorded.json
var recorded []byte

// Words returns the words of an output.
func (r Record) Words(name string) ([]uint32, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(r.Outputs[name], " ", ""))
	if err != nil || len(b)%4 != 0 {
		return nil, fmt.Errorf("primitive: recorded.json: %s is no list of words: %v", name, err)
	}
	words := make([]uint32, len(b)/4)
	for i := range words {
		words[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return words, nil
}

// Set sets an output.
func (r *Record) Set(name string, words []uint32) {
	if r.Outputs == nil {
		r.Outputs = make(map[string]string)
	}
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, "%08x", w)
	}
	r.Outputs[name] = b.String()
}

// Text returns the record as recorded.json has it.
func (r Record) Text() []byte {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		panic(err) // it has strings alone
	}
	return append(b, '\n')
}
