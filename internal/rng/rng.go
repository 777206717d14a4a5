// Package rng makes every random draw a pure function of what it is for.
//
// A draw is named by (seed, stream, step, sample):
//
//   - seed is the run's;
//   - stream says what is drawn: "noise", "timestep", "order", …;
//   - step is the step of training or of sampling;
//   - sample is the sample's index in the whole batch.
//
// Nothing else decides a draw. So a run that is resumed sees the same numbers, and so does one that
// splits its batches otherwise, or works on more machines.
package rng

import (
	"hash/fnv"
	"math/rand/v2"
)

// New returns the generator of one draw. The generators of different names are independent of each
// other.
func New(seed uint64, stream string, step, sample uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(stream))
	a := mix(mix(seed) ^ h.Sum64())
	b := mix(mix(a+step) ^ sample)
	return rand.New(rand.NewPCG(a^mix(b), b))
}

// Normal fills dst with standard normal values.
func Normal(dst []float32, seed uint64, stream string, step, sample uint64) {
	r := New(seed, stream, step, sample)
	for i := range dst {
		dst[i] = float32(r.NormFloat64())
	}
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
// Generators, 2014). It is a bijection, and every bit of x has a say in every bit of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
