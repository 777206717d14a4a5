package cpu

import (
	"fmt"
	"math"
)

// In this package a bfloat16 is a uint16: the upper half of a float32.

// ToBF16 returns x rounded to the nearest bfloat16. Of two that are equally near it is the one
// whose last bit is 0. Values that are too large become infinite. NaN stays NaN.
func ToBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40 // quiet: a NaN of low bits alone would become infinite
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBF16 returns the value of a bfloat16.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// ToBF16s is dst[i] = ToBF16(x[i]). It panics if the lengths differ.
func ToBF16s(pool *Pool, dst []uint16, x []float32) { convert(pool, dst, x, true) }

// FromBF16s is dst[i] = FromBF16(x[i]). It panics if the lengths differ.
func FromBF16s(pool *Pool, dst []float32, x []uint16) { convert(pool, x, dst, false) }

// A convertTask converts blocks of values to half or from it.
type convertTask struct {
	half  []uint16
	whole []float32
	to    bool
}

var convertTasks freeList[convertTask]

func convert(pool *Pool, half []uint16, whole []float32, to bool) {
	if len(half) != len(whole) {
		panic(fmt.Sprintf("cpu: conversion of %d and %d values", len(half), len(whole)))
	}
	t := convertTasks.get()
	*t = convertTask{half: half, whole: whole, to: to}
	pool.Parallel(ceilDiv(len(half), elementBlock), t)
	convertTasks.put(t)
}

func (t *convertTask) Do(_, part int) {
	lo, hi := span(part, elementBlock, len(t.half))
	half, whole := t.half[lo:hi], t.whole[lo:hi]
	if t.to {
		conversion.to(half, whole)
	} else {
		conversion.from(whole, half)
	}
}

// A converter is the bodies of one instruction set for the conversions. The slices of a call have
// one length. conversionGeneric is the definition. The others give the same bits.
type converter struct {
	name string
	to   func(dst []uint16, x []float32) // dst[i] = ToBF16(x[i])
	from func(dst []float32, x []uint16) // dst[i] = FromBF16(x[i])
}

// conversion is what this machine converts with.
var conversion = conversions[len(conversions)-1]
