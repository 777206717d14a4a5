//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// vectors are those that this machine has, the fastest one last.
var vectors = availableVectors()

func availableVectors() []vector {
	v := []vector{vectorGeneric}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		v = append(v, vector{
			"AVX2", activationAVX2.bodies(), softmaxAVX2.bodies(), normAVX2.bodies(),
			layerNormAVX2.bodies(), lossGeneric, winogradAVX2.bodies(),
		})
	}
	if cpu.X86.HasAVX512F {
		v = append(v, vector{
			"AVX-512", activationAVX512.bodies(), softmaxAVX512.bodies(), normAVX512.bodies(),
			layerNormAVX512.bodies(), lossGeneric, winogradAVX512.bodies(),
		})
	}
	return v
}

// vectorLanes divides every length that the assembly of a vector takes.
const vectorLanes = 16

// wholeLanes is n rounded down to a multiple of vectorLanes.
func wholeLanes(n int) int { return n &^ (vectorLanes - 1) }
