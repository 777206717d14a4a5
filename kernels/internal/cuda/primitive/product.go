package primitive

import (
	"math"
	"slices"
)

// A product has operands of 16×8 and 8×8 words. A word is two bfloat16 values or a tf32 value.
const (
	productWords = 16 * 8
	factorWords  = 8 * 8
)

// A problem is what operands of a product are made of: whole numbers, whose product is exact, or
// any with exponents from least to most.
type problem struct {
	whole         bool
	least, most   int
	least0, most0 int  // of what is added
	special       bool // some are infinite or NaN
}

var operands = []problem{
	{whole: true},
	{least: -3, most: 3, least0: -3, most0: 3},
	{least: -3, most: 3, least0: 18, most0: 22}, // what is added is much larger
	{least: -20, most: 20, least0: -30, most0: 30},
	{least: 0, most: 0, least0: -24, most0: -20}, // sums that cancel
	{least: -3, most: 3, least0: -3, most0: 3, special: true},
	{least: -140, most: -120, least0: -149, most0: -127}, // subnormal values
}

// product is mma, or mma_tf32.
func product(tf32 bool) Primitive {
	n := len(operands)
	p := Primitive{
		Primitive: at("mma", [3]int{n, 1, 1}, 32, 0), Out: n * productWords, Kind: Float32,
	}
	if tf32 {
		p.Name = "mma_tf32"
	}
	for i, o := range operands {
		seed := 100 * (i + 1)
		a, b, c := o.fill(tf32, seed)
		p.A, p.B, p.C = append(p.A, a...), append(p.B, b...), append(p.C, c...)
	}
	p.Bounds = func() []Bound { return p.products(tf32) }
	return p
}

// fill returns the operands of a problem.
func (o problem) fill(tf32 bool, seed int) (a, b, c []uint32) {
	if o.whole {
		a, b = whole(seed, 2*productWords, 9), whole(seed+1, 2*factorWords, 9)
		return pack(tf32, a), pack(tf32, b), whole(seed+2, productWords, 1000)
	}
	a = pack(tf32, floats(seed, 2*productWords, o.least, o.most))
	if o.least < -126 {
		o.least, o.most = -9, 9 // so that products are there
	}
	b = pack(tf32, floats(seed+1, 2*factorWords, o.least, o.most))
	c = floats(seed+2, productWords, o.least0, o.most0)
	if o.special {
		for row, v := range []uint32{0x7fc00000, 0x7f800000, 0xff800000} {
			a[row*8+row] = v // one or two values of a row
		}
		c[5*8+1], c[6*8+2], c[7*8+3] = 0x7f800000, 0xff800000, 0x7fc00000
	}
	return a, b, c
}

// pack returns half as many words as there are values, which are cut to what words hold: two
// bfloat16 values, or one of tf32. Those of the second half are left out then.
func pack(tf32 bool, values []uint32) []uint32 {
	x := make([]uint32, len(values)/2)
	for i := range x {
		if tf32 {
			x[i] = values[i] &^ 0x1fff
		} else {
			x[i] = values[2*i]>>16 | values[2*i+1]&0xffff0000
		}
	}
	return x
}

// products returns what products are. With terms t, those of the sum and what is added, a value may
// be off by
//
//	2⁻²³ · (n·max|t| + Σ|t|)
//
// for n of them: each may be cut where the largest ends, and sums may be rounded. How subnormal
// values are handled is not specified, so a term that is one, or has one as a factor, may be
// missing. A subnormal result may be 0.
func (p Primitive) products(tf32 bool) []Bound {
	var bounds []Bound
	for problem := range operands {
		a, b := p.A[problem*productWords:], p.B[problem*factorWords:]
		for i := range 16 {
			for j := range 8 {
				c := float64(math.Float32frombits(p.C[problem*productWords+i*8+j]))
				bounds = append(bounds, boundOf(
					terms(tf32, a[i*8:i*8+8], b[j*8:j*8+8]), c, operands[problem].whole))
			}
		}
	}
	return bounds
}

// terms returns the products of two rows of words, and what of them have a subnormal factor.
func terms(tf32 bool, a, b []uint32) (all []term) {
	add := func(x, y uint32) {
		all = append(all, term{
			float64(math.Float32frombits(x)) * float64(math.Float32frombits(y)),
			subnormal(x) || subnormal(y),
		})
	}
	for k := range a {
		if tf32 {
			add(a[k], b[k])
			continue
		}
		add(a[k]<<16, b[k]<<16)
		add(a[k]&0xffff0000, b[k]&0xffff0000)
	}
	return all
}

type term struct {
	value     float64
	subnormal bool
}

func subnormal(b uint32) bool { return b&0x7f800000 == 0 && b&0x7fffff != 0 }

func boundOf(all []term, c float64, whole bool) Bound {
	all = append(slices.Clone(all), term{c, subnormal(math.Float32bits(float32(c)))})
	var b Bound
	largest, sum, missing := 0.0, 0.0, 0.0
	for _, t := range all {
		b.Value += t.value
		largest = max(largest, math.Abs(t.value))
		sum += math.Abs(t.value)
		if t.subnormal || math.Abs(t.value) < 0x1p-126 {
			missing += math.Abs(t.value)
		}
	}
	if whole {
		return b
	}
	b.Off = 0x1p-23*(float64(len(all))*largest+sum) + missing
	if math.Abs(b.Value) < 0x1p-126 || missing > 0 {
		b.Off += 0x1p-126
	}
	return b
}
