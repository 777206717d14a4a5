package diffusion_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
)

var predictions = []diffusion.Prediction{
	diffusion.Epsilon, diffusion.Velocity, diffusion.Clean, diffusion.FlowVelocity,
}

// With x₀ = 2 and ε = -1, at √ᾱ = 0.6 and √(1-ᾱ) = 0.8, x is 0.4, and v is -0.6 - 1.6.
func TestReadByHand(t *testing.T) {
	level := diffusion.Level{Signal: 0.6, Noise: 0.8}
	for p, said := range map[diffusion.Prediction]float64{
		diffusion.Epsilon: -1, diffusion.Velocity: -2.2, diffusion.Clean: 2,
		diffusion.FlowVelocity: -3,
	} {
		clean, noise, err := p.Read(level)
		require.NoError(t, err)
		require.InDelta(t, 2, clean.Of(0.4, said), 1e-12, p.String())
		require.InDelta(t, -1, noise.Of(0.4, said), 1e-12, p.String())
	}
}

// What every network is trained to say gives x₀ and ε back, on levels that preserve variance, on
// the straight line and on others. Where x is all signal or all noise, only rounding may be divided
// by little.
func TestWhatIsTrainedIsRead(t *testing.T) {
	r := rng.New(1, "levels", 0, 0)
	one := func(v float64) *tensor.Dense {
		return tensor.New(tensor.WithShape(1, 1), tensor.WithBacking([]float32{float32(v)}))
	}
	for range 200 {
		u, x0, eps := r.Float64(), r.NormFloat64(), r.NormFloat64()
		for kind, l := range map[string]diffusion.Level{
			"preserves variance": {Signal: math.Sqrt(u), Noise: math.Sqrt(1 - u)},
			"straight":           {Signal: 1 - u, Noise: u},
			"exploding":          {Signal: 1, Noise: 80 * u},
		} {
			x, said := one(0), one(0)
			levels := []diffusion.Level{l}
			require.NoError(t, diffusion.Disturb(x, one(x0), one(eps), levels))
			for _, p := range predictions {
				require.NoError(t, p.Target(said, one(x0), one(eps), levels))
				clean, noise, err := p.Read(l)
				require.NoError(t, err)
				at := func(by diffusion.Reading) float64 {
					return by.Of(float64(x.Float32s()[0]), float64(said.Float32s()[0]))
				}
				rounding := func(by diffusion.Reading) float64 {
					largest := 1 + math.Abs(x0) + (1+l.Noise)*math.Abs(eps)
					gain := (math.Abs(by.X) + math.Abs(by.Said)) / math.Abs(by.By)
					return 0x1p-23 * largest * (1 + gain)
				}
				require.InDelta(t, x0, at(clean), rounding(clean), "%v, %s, %+v", p, kind, l)
				require.InDelta(t, eps, at(noise), rounding(noise), "%v, %s, %+v", p, kind, l)
			}
		}
	}
}

// Where x and what is said are of one thing alone there is an error, and what is determined is
// right.
func TestReadWhereNothingIsSaid(t *testing.T) {
	noise := diffusion.Level{Noise: 1, Timestep: 999}
	picture := diffusion.Level{Signal: 1, Timestep: 0}
	_, eps, err := diffusion.Epsilon.Read(noise)
	require.ErrorContains(t, err, "there is no signal at timestep 999, and no ε gives x₀")
	require.Equal(t, 3., eps.Of(7, 3))
	clean, _, err := diffusion.Clean.Read(picture)
	require.ErrorContains(t, err, "there is no noise at timestep 0, and no x₀ gives ε")
	require.Equal(t, 3., clean.Of(7, 3))
	for _, p := range []diffusion.Prediction{diffusion.Velocity, diffusion.FlowVelocity} {
		for _, l := range []diffusion.Level{noise, picture} {
			_, _, err := p.Read(l)
			require.NoError(t, err)
		}
	}
	clean, _, err = diffusion.Velocity.Read(noise)
	require.NoError(t, err)
	require.Equal(t, -3., clean.Of(7, 3), "no digit is lost where there is no signal")

	_, _, err = diffusion.FlowVelocity.Read(diffusion.Level{Signal: 1, Noise: -1})
	require.ErrorContains(t, err, "x and flow_prediction are the same")
	_, _, err = diffusion.Epsilon.Read(diffusion.Level{Signal: math.NaN(), Noise: 1})
	require.ErrorContains(t, err, "there is no level")
	_, _, err = diffusion.Prediction{}.Read(picture)
	require.ErrorContains(t, err, "the Prediction is missing")
}

// An error of x̂₀ counts the same whatever the network predicts: min(SNR, γ) times its square.
func TestMinSNRIsOfTheCleanLatent(t *testing.T) {
	const x, wrong, gamma = 0.3, 0.1, 5
	for _, l := range []diffusion.Level{
		{Signal: 0.6, Noise: 0.8}, {Signal: 0.96, Noise: 0.28}, {Signal: 0.9, Noise: 0.1},
	} {
		for _, p := range predictions {
			// What is said so that x̂₀ is x₀, and what is said so that it is wrong: two points
			// of a line.
			said := func(x0 float64) float64 {
				clean, _, err := p.Read(l)
				require.NoError(t, err)
				return (x0*clean.By - clean.X*x) / clean.Said
			}
			d := said(0.2+wrong) - said(0.2)
			require.InEpsilon(t, min(l.SNR(), gamma)*wrong*wrong, p.MinSNR(gamma, l)*d*d, 1e-9,
				"%v at %+v", p, l)
		}
	}
}
