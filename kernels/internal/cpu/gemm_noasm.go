//go:build !amd64 || purego

package cpu

// kernels are the micro-kernels that this machine runs, the best one last.
var kernels = []*micro{&microGeneric}

// kernel is what products are computed with.
var kernel = kernels[len(kernels)-1]
