package primitive

import (
	"math"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// threads is kPrimitiveThreads of primitive.cu, and values is how many values functions get.
const (
	threads = 256
	values  = 96
)

// All returns all primitives, sorted by what they are about.
func All() []Primitive {
	all := []Primitive{
		{
			Primitive: at("launch", [3]int{3, 2, 2}, 8, 0), Out: 3 * 2 * 2 * 8 * 4, Kind: Bits,
		},
		{
			Primitive: at("copy16", one, 64, 2*64*16), A: words(1, 64*4), Out: 2 * 64 * 4,
			Kind: Bits,
		},
		loads("load2", 2), loads("load2t", 2), loads("load4", 4), loads("load4t", 4),
		product(false), product(true),
		{
			Primitive: each("pack"), A: roundings(2), B: backwards(roundings(3)), Out: values,
			Kind: Bits,
		},
		{Primitive: each("widen"), A: roundings(4), Out: values, Kind: Bits},
		{Primitive: at("vector_f32", one, 48, 0), A: words(5, 48*4), Out: 48 * 4, Kind: Bits},
		{
			// NaNs are left out: which one is stored is seen in pack.
			Primitive: at("vector_bf16", one, 48, 0), A: pairs(6, 48*4), Out: 48 * 4, Kind: Bits,
		},
	}
	all = append(all, approximate()...)
	all = append(all, exact()...)
	return append(all, together()...)
}

var one = [3]int{1, 1, 1}

func at(name string, grid [3]int, threads, shared int) cuda.Primitive {
	return cuda.Primitive{Name: name, Grid: grid, Threads: threads, Shared: shared, N: 7}
}

// each is a function of each of values.
func each(name string) cuda.Primitive {
	return cuda.Primitive{Name: name, Grid: one, Threads: threads, N: values}
}

// loads loads n 8×8 matrices. Each value of the 32 rows is another.
func loads(name string, n int) Primitive {
	rows := make([]uint32, 32*4)
	for i := range rows {
		rows[i] = uint32(2*i) | uint32(2*i+1)<<16
	}
	return Primitive{
		Primitive: at(name, one, 32, 32*48), A: rows, Out: 32 * n, Kind: Bits,
	}
}

// A function is one that is computed up to an error, which is relative to its value, and absolute.
type function struct {
	name               string
	of                 func(x float64) float64
	relative, absolute float64
	inputs             []uint32
}

// approximate returns the functions that have an error. Those of PTX take subnormal values for 0.
func approximate() []Primitive {
	const ulp, least = 1.0 / (1 << 23), 0x1p-126
	functions := []function{
		{"power2", math.Exp2, 2 * ulp, least, append(uniform(10, 60, -130, 130), special...)},
		{"log2", math.Log2, 2 * ulp, 2 * ulp, append(floats(11, 60, -126, 127), normal()...)},
		{
			"reciprocal", func(x float64) float64 { return 1 / x }, ulp, least,
			append(floats(12, 60, -120, 120), normal()...),
		},
		{"exp", math.Exp, 2 * ulp, 0x1p-148, append(uniform(13, 60, -104, 89), special...)},
		{"log", math.Log, 2 * ulp, 0, append(floats(14, 60, -140, 127), special...)},
		{"log1p", math.Log1p, 2 * ulp, 0x1p-148, append(floats(15, 60, -30, 10), special...)},
	}
	var all []Primitive
	for _, f := range functions {
		p := Primitive{Primitive: each(f.name), A: filled(f.inputs), Out: values, Kind: Float32}
		p.Bounds = func() []Bound {
			bounds := make([]Bound, values)
			for i, b := range p.A {
				bounds[i] = f.bound(float64(math.Float32frombits(b)))
			}
			return bounds
		}
		all = append(all, p)
	}
	p := Primitive{
		Primitive: each("exp_f64"), A: doubles(16, values, -700, 700), Out: 2 * values,
		Kind: Float64,
	}
	p.Bounds = func() []Bound {
		bounds := make([]Bound, values)
		for i := range bounds {
			y := math.Exp(p.value(p.A, i))
			bounds[i] = Bound{y, 3 * 0x1p-52 * y}
		}
		return bounds
	}
	return append(all, p)
}

// bound returns the float32 that f is for x, up to the error.
func (f function) bound(x float64) Bound {
	y := f.of(x)
	if math.Abs(y) > math.MaxFloat32 {
		y = math.Inf(int(math.Copysign(1, y)))
	}
	return Bound{y, f.relative*math.Abs(y) + f.absolute}
}

// exact returns the functions whose bits are defined.
func exact() []Primitive {
	x, y := filled(special), backwards(filled(floats(20, 64, -140, 127)))
	near, z := floats(22, values, -9, 9), floats(21, values, -9, 9)
	unary := func(name string, a []uint32, k Kind) Primitive {
		return Primitive{Primitive: each(name), A: a, Out: values * k.words(), Kind: k}
	}
	binary := func(name string, a, b []uint32, k Kind) Primitive {
		p := unary(name, a, k)
		p.B = b
		return p
	}
	fma := binary("fma", near, backwards(near), Float32)
	fma.C = z
	d, e := doubles(23, values, -1e3, 1e3), doubles(24, values, -1e-3, 1e6)
	return []Primitive{
		binary("add", x, y, Float32), binary("mul", x, y, Float32), fma,
		binary("div", x, y, Float32), unary("sqrt", x, Float32), binary("max", x, y, Float32),
		unary("abs", x, Float32),
		binary("add_f64", d, e, Float64), binary("mul_f64", d, e, Float64),
		binary("div_f64", d, e, Float64), unary("sqrt_f64", e, Float64),
		unary("floor_f64", d, Float64), unary("abs_f64", d, Float64),
		unary("float_of_f64", d, Float32), unary("f64_of_float", x, Float64),
		unary("float_of_int", words(25, values), Float32),
		unary("float_of_u64", words(26, 2*values), Float32),
		unary("int_of_float", floats(27, values, -2, 30), Bits),
		{
			Primitive: each("high"), A: words(28, 2*values), B: words(29, 2*values),
			Out: 2 * values, Kind: Bits,
		},
	}
}

// together returns what threads do together.
func together() []Primitive {
	const most = 99 << 10 // bytes of shared memory that every device has for a block
	memory := at("shared_memory", one, threads, most)
	memory.N = most / 4
	return []Primitive{
		{Primitive: at("shuffle", one, 32, 0), A: words(40, 32), Out: 5 * 32, Kind: Bits},
		{Primitive: at("shuffle_f64", one, 32, 0), A: words(41, 64), Out: 5 * 64, Kind: Bits},
		{Primitive: at("warp_sum", one, 64, 0), A: floats(42, 64, -9, 9), Out: 64, Kind: Float32},
		{
			Primitive: at("warp_sum_f64", one, 64, 0), A: doubles(43, 64, -1e3, 1e3), Out: 128,
			Kind: Float64,
		},
		{
			Primitive: at("block_sum", one, threads, threads/32*8),
			A:         doubles(44, threads, -1, 1), Out: 2 * threads, Kind: Float64,
		},
		{
			Primitive: at("sync_block", one, threads, threads*4), A: words(46, threads),
			Out: threads, Kind: Bits,
		},
		{
			Primitive: at("sync_warp", one, 64, 64*4), A: words(47, 64), Out: 64, Kind: Bits,
		},
		{Primitive: memory, Out: threads, Kind: Bits},
		{Primitive: at("claim", one, threads, 0), A: words(48, 64), Out: 64, Kind: Bits},
		{
			Primitive: at("add_atomically", one, threads, 0), A: whole(49, threads, 100), Out: 64,
			Kind: Float32,
		},
	}
}
