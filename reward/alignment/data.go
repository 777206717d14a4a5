package alignment

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// dataHash names what is trained on and held out, by a whole number that a float64 holds.
func (s *session) dataHash() float64 {
	h := sha256.New()
	floats := func(of []float32) {
		for _, v := range of {
			_ = binary.Write(h, binary.LittleEndian, math.Float32bits(v)) // a hash takes everything
		}
	}
	for _, part := range [][]example{s.train, s.heldOut} {
		fmt.Fprintln(h, len(part))
		for _, e := range part {
			fmt.Fprintf(h, "%q %t\n", e.prompt, e.good)
			if s.Soft || s.weighted() {
				floats([]float32{float32(e.target), float32(e.weight)})
			}
			floats(e.image)
			for _, text := range e.texts {
				floats(text)
			}
		}
	}
	const bits = 53
	return float64(binary.LittleEndian.Uint64(h.Sum(nil)) >> (64 - bits))
}
