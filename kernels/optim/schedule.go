package optim

import "math"

// A Schedule returns the factor by which the learning rate of a step is multiplied, from 0 to 1.
// Steps count from 0.
type Schedule func(step int) float64

// Constant rises linearly over the first warmUp steps: step s has the factor (s+1)/(warmUp+1). From
// step warmUp on it is 1.
func Constant(warmUp int) Schedule {
	return func(step int) float64 { return rise(step, warmUp) }
}

// Cosine rises as Constant does. Then it falls along half a cosine, from 1 at step warmUp to 0 at
// step total (Loshchilov, Hutter: SGDR, 2017). From there on it is 0.
func Cosine(warmUp, total int) Schedule {
	return func(step int) float64 {
		if step < warmUp {
			return rise(step, warmUp)
		}
		if step >= total {
			return 0
		}
		return 0.5 * (1 + math.Cos(math.Pi*float64(step-warmUp)/float64(total-warmUp)))
	}
}

func rise(step, warmUp int) float64 {
	return math.Min(1, float64(step+1)/float64(warmUp+1))
}
