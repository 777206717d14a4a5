//go:build !amd64 || purego

package cpu

// updaters are those that this machine has, the best one last.
var updaters = []*updater{&updaterGeneric}
