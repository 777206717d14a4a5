package diffusion_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
)

// formula is the network of internal/golden/samplers.py and flow.py.
func formula(x *tensor.Dense, t float64) (*tensor.Dense, error) {
	channels := x.Shape()[len(x.Shape())-1]
	y := tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.Of(tensor.Float32))
	for i, v := range x.Float32s() {
		c := i % channels
		next := x.Float32s()[i-c+(c+1)%channels]
		wave := 0.2 * math.Cos(float64(c)+4*t/1000)
		y.Float32s()[i] = float32(0.8*float64(v) - 0.3*float64(next) + wave)
	}
	return y, nil
}

// Every sampler is held to diffusers' scheduler over timestep spacings, numbers of steps and the
// keys that it knows, on a network that is a formula.
func TestSchedulersGolden(t *testing.T) {
	require.Greater(t, schedulersGolden(t, "testdata/samplers.safetensors"), 100)
}

// FlowEuler is held to FlowMatchEulerDiscreteScheduler, its double shift of the first and last σ
// included.
func TestFlowGolden(t *testing.T) {
	require.Equal(t, 12, schedulersGolden(t, "testdata/flow.safetensors"))
	file, err := weights.Open("testdata/flow.safetensors")
	require.NoError(t, err)
	defer file.Close()
	want, err := file.Tensor("levels")
	require.NoError(t, err)
	// Training in diffusers draws one of 1,000 levels, here any: they are the ends of 1,000 equal
	// shares. Its shift rounds to float32 four times, by 2⁻²⁴ each.
	flow := diffusion.Flow{Steps: 1000, Shift: 3}
	for i, sigma := range want.Float32s() {
		level := flow.From(0)(float64(1000-i) / 1000)
		require.InDelta(t, sigma, level.Noise, 0x1p-22)
		require.InDelta(t, 1-sigma, level.Signal, 0x1p-22)
		require.Equal(t, 1000*level.Noise, level.Timestep)
	}
}

// schedulersGolden runs the cases of a file and returns how many they are.
func schedulersGolden(t *testing.T, name string) (count int) {
	file, err := weights.Open(name)
	require.NoError(t, err)
	defer file.Close()
	values := func(name string) []float32 {
		d, err := file.Tensor(name)
		require.NoError(t, err)
		return d.Float32s()
	}
	draws := values("noise")
	shape := []int{2, 1, 1, 3}
	const size = 2 * 3
	noise := diffusion.Noise(func(row, draw int, dst []float32) {
		copy(dst, draws[draw*size+row*3:][:3])
	})
	for key, text := range file.Metadata {
		name, ok := strings.CutPrefix(key, "case.")
		if !ok {
			continue
		}
		count++
		t.Run(name, func(t *testing.T) {
			var c struct {
				Sampler string
				Steps   int
				Eta     float64
				Config  diffusion.Config
			}
			require.NoError(t, json.Unmarshal([]byte(text), &c))
			if c.Config.ClipSample == nil { // diffusers' default, which is for pixels
				c.Config.ClipSample = new(c.Sampler == "ddim" || c.Sampler == "ddpm")
			}
			s, err := diffusion.NewSchedule(c.Config)
			require.NoError(t, err)
			sampler, err := diffusion.ParseSampler(c.Sampler)
			require.NoError(t, err)
			times, want := values(name+".timesteps"), values(name+".trajectory")
			var got []float32
			o := diffusion.SampleOptions{Steps: c.Steps, Eta: c.Eta, Noise: noise}
			start := noise.Start(shape...)
			for step, err := range sampler.Sample(t.Context(), formula, s, start, o) {
				require.NoError(t, err)
				got = append(got, float32(step.Timestep))
				golden.Near(t, fmt.Sprintf("step %d", step.Index), step.Latent.Float32s(),
					want[(step.Index+1)*size:][:size], 1e-5)
			}
			require.Len(t, got, len(times))
			for i, at := range times {
				if at == float32(math.Trunc(float64(at))) {
					require.Equal(t, at, got[i], "timestep %d", i)
				} else {
					// Karras' levels: NumPy's float32 logarithm is not the same to the last bit on
					// every machine.
					require.InEpsilon(t, at, got[i], 0x1p-22, "timestep %d", i)
				}
			}
		})
	}
	return count
}
