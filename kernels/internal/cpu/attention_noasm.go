//go:build !amd64 || purego

package cpu

// attentionBodies are those that this machine has, the fastest one last.
var attentionBodies = []*attentionBody{&attentionGeneric}

// attentionPairings are the attentionPairs that this machine has, one for each width of a tile.
var attentionPairings = []attentionPairs{attentionPairsGeneric}
