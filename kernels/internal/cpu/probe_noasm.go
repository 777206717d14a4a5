//go:build !amd64 || purego

package cpu

import "runtime"

// Without assembly there is no peak of arithmetic to measure.
var multiplyAddLanes, dotProductLanes = 0, 0

func multiplyAdds(int) {}

func dotProducts(int) {}

func readAll(x []float32) { readSink.Store(int64(readAllGeneric(x))) }

// Processor says which kind of processor this is.
func Processor() string { return runtime.GOARCH }
