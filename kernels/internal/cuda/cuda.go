// Package cuda says how the CUDA kernels in src are started: for an operation and the shapes of its
// operands the kernel's name, the grid, the shared memory and the parameters. It is plain Go, and
// needs neither a GPU nor a C compiler.
//
// # Contract
//
// Tensors are dense and row-major, with channels last, as in package cpu. A function gets its
// destination before its inputs, as addresses in device memory, and appends what computes it to a
// Queue. Launches run in the order of the queue. A destination is overwritten, unless the
// function's comment says that it accumulates. It overlaps no input, unless the comment says that
// it may. Functions panic on wrong lengths and wrong geometry.
//
// # Files
//
// Each family of kernels is in files of one stem:
//
//	x.go      shapes → launches
//	src/x.cu  the kernels
//
// src/tile.cuh has what kernels need beyond C++, and src/emu.h its emulation. See package cudatest.
package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A Type is how the values of a tensor are stored.
type Type uint8

const (
	// Float32 is IEEE 754's binary32.
	Float32 Type = iota
	// BFloat16 is the upper half of a Float32.
	BFloat16
)

// Size returns how many bytes a value takes.
func (t Type) Size() int {
	if t == BFloat16 {
		return 2
	}
	return 4
}

// suffix is how kernels for values of type t are named.
func (t Type) suffix() string {
	if t == BFloat16 {
		return "_bf16"
	}
	return "_f32"
}

// A Tensor is values in device memory, one after another.
type Tensor struct {
	Address uint64
	Type    Type
	Len     int // values
}

// bytes returns how much memory t takes.
func (t Tensor) bytes() int { return t.Len * t.Type.Size() }

// From returns the values of t behind the first n.
func (t Tensor) From(n int) Tensor {
	if n < 0 || n > t.Len {
		panic(fmt.Sprintf("cuda: value %d of a tensor of %d", n, t.Len))
	}
	return Tensor{Address: t.Address + uint64(n*t.Type.Size()), Type: t.Type, Len: t.Len - n}
}

// First returns the first n values of t.
func (t Tensor) First(n int) Tensor {
	if n < 0 || n > t.Len {
		panic(fmt.Sprintf("cuda: %d values of a tensor of %d", n, t.Len))
	}
	t.Len = n
	return t
}

// A Launch is a kernel with all that it is started with.
type Launch struct {
	Kernel  string
	Grid    [3]int // blocks
	Threads int    // of a block
	Shared  int    // bytes of dynamic shared memory of a block
	Params  []byte // the kernel's parameter, a struct, as it lies in memory
	Touches []Span // the device memory that the kernel may read or write
}

// A Span is a piece of device memory.
type Span = struct {
	Address uint64
	Bytes   int
	Written bool // by the launch; otherwise it is only read
}

// A Queue collects launches.
type Queue struct{ Launches []Launch }

// add appends a launch. params are the fields of the kernel's parameter, in order: see pack.
// Spans of tensors that a field names are given by reads and writes.
func (q *Queue) add(
	kernel string, grid [3]int, threads, shared int, writes, reads []Tensor, params ...any,
) {
	l := Launch{Kernel: kernel, Grid: grid, Threads: threads, Shared: shared, Params: pack(params)}
	for _, t := range writes {
		l.Touches = append(l.Touches, Span{Address: t.Address, Bytes: t.bytes(), Written: true})
	}
	for _, t := range reads {
		if t.Len > 0 {
			l.Touches = append(l.Touches, Span{Address: t.Address, Bytes: t.bytes()})
		}
	}
	q.Launches = append(q.Launches, l)
}

// pack returns fields as a C struct has them: each at a multiple of its size, little-endian, the
// whole of it a multiple of the largest. A Tensor is its address, an int or a bool an int32, a
// float64 a float32. A uint64 stays one.
func pack(fields []any) []byte {
	var b []byte
	largest := 1
	put := func(size int, v uint64) {
		largest = max(largest, size)
		for len(b)%size != 0 {
			b = append(b, 0)
		}
		if size == 8 {
			b = binary.LittleEndian.AppendUint64(b, v)
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
	}
	for _, f := range fields {
		switch f := f.(type) {
		case Tensor:
			put(8, f.Address)
		case uint64:
			put(8, f)
		case int:
			if int(int32(f)) != f {
				panic(fmt.Sprintf("cuda: %d does not fit into 32 bits", f))
			}
			put(4, uint64(uint32(int32(f))))
		case bool:
			put(4, map[bool]uint64{true: 1}[f])
		case float64:
			put(4, uint64(math.Float32bits(float32(f))))
		default:
			panic(fmt.Sprintf("cuda: a kernel has no parameter of type %T", f))
		}
	}
	for len(b)%largest != 0 {
		b = append(b, 0)
	}
	return b
}

// aligned reports whether all addresses are multiples of 16, so that 16 bytes can be moved at once.
func aligned(ts ...Tensor) bool {
	for _, t := range ts {
		if t.Address%16 != 0 {
			return false
		}
	}
	return true
}

// mustBe panics unless every tensor has n values of type t.
func mustBe(kernel string, t Type, n int, ts ...Tensor) {
	for i, x := range ts {
		if x.Len != n || x.Type != t {
			const wrong = "cuda: %s: operand %d has %d values of type %d, not %d of type %d"
			panic(fmt.Sprintf(wrong, kernel, i, x.Len, x.Type, n, t))
		}
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
