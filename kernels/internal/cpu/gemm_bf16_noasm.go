//go:build !amd64 || purego

package cpu

// microsBF16 are the micro-kernels for bfloat16 values that this machine has, the fastest one last.
var microsBF16 = []*microBF16{&microBF16Generic}
