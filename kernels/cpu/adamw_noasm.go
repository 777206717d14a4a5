package cpu

func adamw(p, m, v, g []float32, s *AdamWStep) { adamwGeneric(p, m, v, g, s) }

func sumSquares(x []float32) float64 { return sumSquaresGeneric(x) }

func blend(dst, x []float32, a float32) { blendGeneric(dst, x, a) }
