//go:build !amd64 || purego

package cpu

var vectors = []vector{portable}
