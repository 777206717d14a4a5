package cuda

import (
	"math/bits"
	"testing"
)

// quotient is that of elements.cuh.
func quotient(i, divisor uint64) uint64 {
	if divisor == 0 {
		return i
	}
	hi, _ := bits.Mul64(i, divisor)
	return hi
}

// Multiples of d and what is beside them are where a quotient would be off by one first.
func TestDivisor(t *testing.T) {
	for _, n := range []int{1, 2, 100, 1<<31 + 7, 1 << 40} {
		for _, d := range []int{1, 2, 3, 5, 7, 64, 320, 641, 1<<20 - 1, 1 << 20, 1<<23 + 9} {
			m := divisor(d, n)
			for _, q := range []int{0, 1, 2, n / d / 3, n/d - 1, n / d} {
				for i := q*d - 1; i <= q*d+1; i++ {
					if i < 0 || i >= n {
						continue
					}
					if got := quotient(uint64(i), m); got != uint64(i/d) {
						t.Fatalf("%d/%d is %d for numbers below %d", i, d, got, n)
					}
				}
			}
		}
	}
}
