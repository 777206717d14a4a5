//go:build !amd64 || purego

package cpu

// updaters are those that this machine has, the fastest one last.
var updaters = []*updater{&updaterGeneric}
