package cpu

// layerNormGeneric is the definition of each of layerNormBodies.
var layerNormGeneric = layerNormBodies{
	rowWeights:    rowWeightsGeneric,
	normalizeRows: normalizeRowsGeneric,
	rowGradSums:   rowGradSumsGeneric,
	rowInputGrad:  rowInputGradGeneric,
	columnSums:    columnSumsGeneric,
}

func rowWeightsGeneric(x, dz, scale []float32, of rowOf) (first, second float64) {
	for i, v := range x {
		d := float64(dz[i]) * float64(scale[i])
		first += d
		second += d * float64((v-of.mean)*of.rstd)
	}
	return first, second
}

func normalizeRowsGeneric(dst, x []float32, of []rowOf, scale, shift []float32) {
	c := len(scale)
	for n, r := range of {
		for i, v := range x[n*c:][:c] {
			dst[n*c+i] = (v-r.mean)*r.rstd*scale[i] + shift[i]
		}
	}
}

func rowGradSumsGeneric(first, second []float64, x, dz []float32, of []rowOf) {
	clear(first)
	clear(second)
	c := len(first)
	for n, r := range of {
		for i, v := range x[n*c:][:c] {
			d := float64(dz[n*c+i])
			first[i] += d
			second[i] += d * float64((v-r.mean)*r.rstd)
		}
	}
}

func rowInputGradGeneric(dst, x, dz []float32, of []rowOf, scale []float32) {
	c := len(scale)
	for n, r := range of {
		for i, v := range x[n*c:][:c] {
			dst[n*c+i] = dz[n*c+i]*scale[i]*r.rstd + (v-r.mean)*r.slope + r.offset
		}
	}
}

func columnSumsGeneric(sums []float64, x []float32) {
	clear(sums)
	for n := len(sums); len(x) > 0; x = x[n:] {
		addWidened(sums, x[:n])
	}
}

// addWidened is sums[j] += float64(x[j]).
func addWidened(sums []float64, x []float32) {
	x = x[:len(sums)]
	for j := range sums {
		sums[j] += float64(x[j])
	}
}
