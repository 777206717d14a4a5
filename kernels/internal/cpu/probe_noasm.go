//go:build !amd64 || purego

package cpu

// multiplyAddLanes is 0: without assembly there is no peak to measure.
var multiplyAddLanes = 0

func multiplyAdds(int) {}
