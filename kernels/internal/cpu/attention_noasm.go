//go:build !amd64 || purego

package cpu

// attentionBodies are those that this machine has, the fastest one last.
var attentionBodies = []*attentionBody{&attentionGeneric}
