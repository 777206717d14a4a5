package shapes

import "math"

// texture returns how much brighter than its mean the background b, an index of backgrounds, is at
// (x, y). p shifts the pattern.
func texture(b int, x, y float64, p [4]float64) float32 {
	sin := func(a, phase float64) float64 { return math.Sin(a + 2*math.Pi*phase) }
	var v float64
	switch b {
	case 0: // beach: sand grains over long ripples
		v = 4*sin(0.30*y+0.06*x, p[0]) + 5*grain(x, y, p)
	case 1: // snow: soft drifts
		v = 4*sin(0.16*x+0.05*y, p[0])*sin(0.14*y, p[1]) + 1.5*grain(x, y, p)
	case 2: // forest: trunks
		v = 8*sin(0.55*x, p[0]) + 5*sin(0.23*x, p[1]) + 3*sin(0.2*y, p[2])
	case 3: // city: courses of bricks, every second one shifted
		v = bricks(x+16*p[0], y+8*p[1])
	case 4: // sea: waves
		v = 8 * sin(0.62*y+1.1*sin(0.17*x, p[1]), p[0])
	case 5: // desert: dunes
		v = 7*sin(0.20*y+1.6*sin(0.09*x, p[1]), p[0]) + 2*grain(x, y, p)
	case 6: // moon: craters
		v = craters(x+64*p[0], y+64*p[1]) + 2*grain(x, y, p)
	case 7: // lavender: rows of flowers
		v = 6*sin(0.5*(x+y), p[0]) + 4*sin(0.5*(x-y), p[1])
	}
	return float32(v)
}

// grain is noise between −1 and 1 that is always the same at one place, for one p.
func grain(x, y float64, p [4]float64) float64 {
	h := uint64(x)*0x9e3779b97f4a7c15 ^ uint64(y)*0xc2b2ae3d27d4eb4f ^ math.Float64bits(p[3])
	h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
	return float64((h^h>>32)&0xffff)/0x8000 - 1
}

func bricks(x, y float64) float64 {
	row := math.Floor(y / 8)
	x += 8 * math.Mod(row, 2)
	if math.Mod(y, 8) < 1 || math.Mod(x, 16) < 1 {
		return -14
	}
	return 2
}

// craters are dents on a shifted lattice: dark inside, bright at the rim.
func craters(x, y float64) float64 {
	const cell = 22.0
	row := math.Floor(y / cell)
	x += 9 * math.Mod(row*7, 3)
	col := math.Floor(x / cell)
	r := 4.5 + 2*math.Mod(row*3+col*5, 2)
	d := math.Hypot(x-(col+0.5)*cell, y-(row+0.5)*cell) / r
	switch {
	case d < 0.8:
		return -11
	case d < 1.15:
		return 10
	}
	return 1
}
