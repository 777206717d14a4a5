package cpu

// vectorGeneric is every body in plain Go.
var vectorGeneric = vector{
	name:             "generic",
	activationBodies: activationGeneric,
	softmaxBodies:    softmaxGeneric,
	normBodies:       normGeneric,
	layerNormBodies:  layerNormGeneric,
	lossBodies:       lossGeneric,
	winogradBodies:   winogradGeneric,
}
