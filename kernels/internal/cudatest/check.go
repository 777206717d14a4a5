package cudatest

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// An Operand is a tensor that launches read or write.
type Operand struct {
	Type   cuda.Type
	Values []float32 // rounded to Type; nil for a result, which begins as NaNs
	Len    int       // of a result
	Offset int       // values between the tensor and an address that is a multiple of 256
}

// In is an operand with values.
func In(t cuda.Type, values []float32) Operand { return Operand{Type: t, Values: values} }

// Out is an operand of n values that begin as NaNs.
func Out(t cuda.Type, n int) Operand { return Operand{Type: t, Len: n} }

// Check queues launches for operands, runs them, and returns what the operands hold then. It does
// so in all builds, in each in several orders. All of them must end with the same bits. Shapes are
// small: the thread sanitizer takes about a second for a million operations.
func Check(
	t testing.TB, queue func(q *cuda.Queue, at []cuda.Tensor), operands ...Operand,
) [][]float32 {
	t.Helper()
	return check(t, Builds, queue, operands)
}

// CheckPlain is Check without the sanitizers, for shapes that are too large for them.
func CheckPlain(
	t testing.TB, queue func(q *cuda.Queue, at []cuda.Tensor), operands ...Operand,
) [][]float32 {
	t.Helper()
	return check(t, []Build{Plain}, queue, operands)
}

func check(
	t testing.TB, builds []Build, queue func(*cuda.Queue, []cuda.Tensor), operands []Operand,
) [][]float32 {
	t.Helper()
	var first [][]float32
	for _, b := range builds {
		d := use(t, b)
		orders := Orders
		if b == Thread {
			orders = Orders[:2] // the sanitizer sees races in any order
		}
		for _, order := range orders {
			d.Order = order
			got := run(d, queue, operands)
			if first == nil {
				first = got
			}
			for i := range got {
				for j := range got[i] {
					if math.Float32bits(got[i][j]) != math.Float32bits(first[i][j]) {
						const wrong = "operand %d, value %d: %v in order %d of the %s build, " +
							"but %v in order 0 of the %s build"
						t.Fatalf(wrong, i, j, got[i][j], order, b, first[i][j], builds[0])
					}
				}
			}
		}
	}
	return first
}

// run runs launches once on fresh memory and returns the operands.
func run(d *Device, queue func(*cuda.Queue, []cuda.Tensor), operands []Operand) [][]float32 {
	d.t.Helper()
	at := make([]cuda.Tensor, len(operands))
	for i, o := range operands {
		n := max(o.Len, len(o.Values))
		size := o.Type.Size()
		base := d.Alloc((o.Offset + n) * size)
		defer d.Free(base)
		at[i] = cuda.Tensor{Address: base + uint64(o.Offset*size), Type: o.Type, Len: n}
		if o.Values != nil {
			d.Write(at[i].Address, Bytes(o.Type, o.Values))
		}
	}
	var q cuda.Queue
	queue(&q, at)
	d.Run(q.Launches)
	values := make([][]float32, len(at))
	for i, x := range at {
		b := make([]byte, x.Len*x.Type.Size())
		d.Read(b, x.Address)
		values[i] = Values(x.Type, b)
	}
	return values
}

// Bytes returns values as they lie in memory, rounded to type t.
func Bytes(t cuda.Type, values []float32) []byte {
	b := make([]byte, 0, len(values)*t.Size())
	for _, v := range values {
		if t == cuda.BFloat16 {
			b = binary.LittleEndian.AppendUint16(b, Narrow(v))
		} else {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	return b
}

// Values returns the values that lie in memory as type t.
func Values(t cuda.Type, b []byte) []float32 {
	values := make([]float32, len(b)/t.Size())
	for i := range values {
		if t == cuda.BFloat16 {
			values[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16)
		} else {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	}
	return values
}

// Narrow returns the bits of the bfloat16 that is nearest to x. Of two it is the even one.
func Narrow(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return 0x7fff
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Round returns x rounded to type t.
func Round(t cuda.Type, x float32) float32 {
	if t == cuda.BFloat16 {
		return math.Float32frombits(uint32(Narrow(x)) << 16)
	}
	return x
}
