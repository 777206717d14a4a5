//go:build !purego

package cpu

func multiplyAddsAVX2(n int)

func multiplyAddsAVX512(n int)
