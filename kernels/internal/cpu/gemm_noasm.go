//go:build !amd64 || purego

package cpu

// micros are the micro-kernels that this machine has, the fastest one last.
var micros = []*microKernel{&microGeneric}
