//go:build !amd64 || purego

package cpu

// kernels are the micro-kernels that this machine has, the fastest one last.
var kernels = []*micro{&microGeneric}
