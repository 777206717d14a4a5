package cpu

var conversionGeneric = converter{name: "generic", to: toBF16Generic, from: fromBF16Generic}

func toBF16Generic(dst []uint16, x []float32) {
	for i, v := range x {
		dst[i] = ToBF16(v)
	}
}

func fromBF16Generic(dst []float32, x []uint16) {
	for i, b := range x {
		dst[i] = FromBF16(b)
	}
}
