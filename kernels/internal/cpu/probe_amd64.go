//go:build !purego

package cpu

// multiplyAddLanes is how many values a register has in multiplyAdds.
var multiplyAddLanes = map[*microKernel]int{
	&microGeneric: 8, &microAVX2: 8, &microAVX512: 16,
}[micro]

// multiplyAdds does n rounds of 12 multiply-adds of registers. They wait for nothing but the
// arithmetic units. Their rate is the most that the processor can do.
func multiplyAdds(n int) {
	if micro == &microAVX512 {
		multiplyAddsAVX512(n)
		return
	}
	multiplyAddsAVX2(n)
}

func multiplyAddsAVX2(n int)

func multiplyAddsAVX512(n int)
