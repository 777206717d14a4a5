package cpu

// normGeneric is the definition of each of normBodies.
var normGeneric = normBodies{
	moments:   momentsGeneric,
	normalize: normalizeGeneric,
	gradSums:  gradSumsGeneric,
	inputGrad: inputGradGeneric,
}

func momentsGeneric(first, second []float64, x []float32) {
	clear(first)
	clear(second)
	for c := len(first); len(x) > 0; x = x[c:] {
		for i, v := range x[:c] {
			first[i] += float64(v)
			second[i] += float64(v) * float64(v)
		}
	}
}

func normalizeGeneric(dst, x, mean, rstd, scale, shift []float32) {
	for c := len(mean); len(x) > 0; dst, x = dst[c:], x[c:] {
		for i, v := range x[:c] {
			dst[i] = (v-mean[i])*rstd[i]*scale[i] + shift[i]
		}
	}
}

func gradSumsGeneric(first, second []float64, x, dz, mean, rstd []float32) {
	clear(first)
	clear(second)
	for c := len(first); len(x) > 0; x, dz = x[c:], dz[c:] {
		for i, v := range x[:c] {
			first[i] += float64(dz[i])
			second[i] += float64(dz[i]) * float64((v-mean[i])*rstd[i])
		}
	}
}

func inputGradGeneric(dst, x, dz, mean, a, b, d []float32) {
	for c := len(mean); len(x) > 0; dst, x, dz = dst[c:], x[c:], dz[c:] {
		for i, v := range x[:c] {
			dst[i] = dz[i]*a[i] + (v-mean[i])*b[i] + d[i]
		}
	}
}
