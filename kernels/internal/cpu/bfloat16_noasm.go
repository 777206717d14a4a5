//go:build !amd64 || purego

package cpu

// conversions are those that this machine has, the fastest one last.
var conversions = []converter{conversionGeneric}
