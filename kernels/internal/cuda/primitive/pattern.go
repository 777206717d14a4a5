package primitive

import "math"

// hash returns the i-th of a sequence of random numbers (splitmix64).
func hash(seed, i int) uint64 {
	x := uint64(seed)<<32 + uint64(i)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// words returns n words with any bits.
func words(seed, n int) []uint32 {
	x := make([]uint32, n)
	for i := range x {
		x[i] = uint32(hash(seed, i))
	}
	return x
}

// floats returns n float32 values with any sign and mantissa, and exponents from least to most.
// Those below −126 are subnormal.
func floats(seed, n, least, most int) []uint32 {
	x := make([]uint32, n)
	for i := range x {
		h := hash(seed, i)
		m := 1 + float64(h>>40)/(1<<24)
		e := least + int(uint32(h)%uint32(most-least+1))
		x[i] = math.Float32bits(float32(math.Copysign(math.Ldexp(m, e), float64(int32(h>>8)))))
	}
	return x
}

// uniform returns n float32 values between two.
func uniform(seed, n int, least, most float64) []uint32 {
	x := make([]uint32, n)
	for i := range x {
		x[i] = math.Float32bits(float32(least + (most-least)*float64(hash(seed, i)>>11)/(1<<53)))
	}
	return x
}

// whole returns n float32 values that are whole numbers, and below most in magnitude.
func whole(seed, n, most int) []uint32 {
	x := make([]uint32, n)
	for i := range x {
		v := int(hash(seed, i)%uint64(2*most-1)) - (most - 1)
		x[i] = math.Float32bits(float32(v))
	}
	return x
}

// doubles returns n float64 values between two, each as two words.
func doubles(seed, n int, least, most float64) []uint32 {
	var x []uint32
	for i := range n {
		b := math.Float64bits(least + (most-least)*float64(hash(seed, i)>>11)/(1<<53))
		x = append(x, uint32(b), uint32(b>>32))
	}
	return x
}

// special are float32 values where functions are special: zeros, subnormal and infinite ones, the
// ends of ranges, NaNs.
var special = []uint32{
	0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff, 0x40000000, 0xc0000000,
	0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000, 0x00800001, 0x7f7fffff,
	0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x3f000000, 0x3effffff, 0x4b000000,
	0x4b7fffff, 0x4effffff, 0x33800000, 0x33ffffff, 0x34000000, 0x40490fdb, 0xc2aeac50, 0x42b17218,
}

// normal returns those of special that are not subnormal.
func normal() (all []uint32) {
	for _, b := range special {
		if b&0x7f800000 != 0 || b&0x7fffff == 0 {
			all = append(all, b)
		}
	}
	return all
}

// roundings returns values whose rounding to bfloat16 is a matter: halfway between two, beside
// that, too large, subnormal, NaNs. Behind these are any.
func roundings(seed int) []uint32 {
	all := []uint32{
		0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x3f817fff, 0x3f818001, 0xbf808000,
		0xbf818000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0xff7f8000, 0x7f800000, 0xff800000,
		0x7f800001, 0xff800001, 0x7fc00000, 0x7fffffff, 0xffffffff, 0x00008000, 0x00018000,
		0x00007fff, 0x00008001, 0x80008000, 0x007f8000, 0x007fffff, 0x807f8000, 0x00000001,
		0x80000001, 0x00000000, 0x80000000, 0x3fffffff,
	}
	return append(all, words(seed, values-len(all))...)
}

// filled returns values that begin with x and go on with any of ordinary size.
func filled(x []uint32) []uint32 {
	return append(append([]uint32{}, x...), floats(9, values-len(x), -9, 9)...)
}

func backwards(x []uint32) []uint32 {
	y := make([]uint32, len(x))
	for i, v := range x {
		y[len(x)-1-i] = v
	}
	return y
}

// pairs returns n words of two bfloat16 values each that are no NaNs.
func pairs(seed, n int) []uint32 {
	x := words(seed, n)
	for i, w := range x {
		for _, half := range []int{0, 16} {
			if w>>half&0x7f80 == 0x7f80 {
				w &^= 0x4000 << half
			}
		}
		x[i] = w
	}
	return x
}
