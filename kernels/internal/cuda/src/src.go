// Package src holds the sources of the CUDA kernels, for those who compile them where there is no
// checkout: tests compile them for the CPU.
package src

import "embed"

// Files are the sources. emulate.cu is a program, and every other .cu file is a family of kernels.
//
//go:embed *.h *.cuh *.cu
var Files embed.FS
