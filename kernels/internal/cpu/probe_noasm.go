//go:build !amd64 || purego

package cpu

// multiplyAddLanes is 0: there is no peak to probe.
var multiplyAddLanes = 0

func multiplyAdds(int) {}
