package cpu

type (
	unary  = func(dst, x []float32)
	binary = func(dst, x, y []float32)
)

// A vector is the bodies of one instruction set over contiguous values. Each body runs in the
// calling goroutine alone. vectorGeneric is the definition of every body. The others agree with it
// up to rounding. dst may be x or y itself.
type vector struct {
	name string
	activationBodies
	softmaxBodies
	normBodies
	layerNormBodies
	lossBodies
	winogradBodies
}

// vec is what this machine runs.
var vec = vectors[len(vectors)-1]
