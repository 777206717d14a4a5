//go:build !amd64 || purego

package cpu

// vectors are those that this machine has, the fastest one last.
var vectors = []vector{vectorGeneric}
