package diffusion_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/golden"
)

// Samplers are held to diffusers' trajectories on a network of its own.
func TestSamplersGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		network, err := unet.Load(filepath.Join(c.Dir, "unet"))
		require.NoError(t, err)
		condition := c.Tensor(t, "unet.encoder_hidden_states")
		steps, err := strconv.Atoi(c.Data.Metadata["sampler.steps"])
		require.NoError(t, err)
		eta, err := strconv.ParseFloat(c.Data.Metadata["sampler.ddim.eta"], 64)
		require.NoError(t, err)
		for _, name := range []string{
			"ddpm", "ddim", "pndm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras",
		} {
			if !c.Has("sampler." + name + ".trajectory") {
				continue
			}
			sampler, err := diffusion.ParseSampler(name)
			require.NoError(t, err)
			s, o := caseSchedule(t, c, name), diffusion.SampleOptions{Steps: steps}
			if name == "ddim" {
				o.Eta = eta
			}
			draws := c.ChannelsLast(t, "sampler."+name+".noise")
			want := c.ChannelsLast(t, "sampler."+name+".trajectory")
			times := c.Tensor(t, "sampler."+name+".timesteps").Float32s()
			shape := draws.Shape()[1:].Clone()
			batch, one := shape.TotalSize(), shape.TotalSize()/shape[0]
			noise := func(row, draw int, dst []float32) {
				copy(dst, draws.Float32s()[draw*batch+row*one:][:one])
			}
			net, err := diffusion.Compile(network, shape,
				dataset.Condition{Tokens: condition}.Row(0))
			require.NoError(t, err)
			copy(net.Condition.Tokens.Float32s(), condition.Float32s())
			o.Noise = noise
			count := 0
			start := diffusion.Noise(noise).Start(shape...)
			for step, err := range sampler.Sample(t.Context(), net.Predict, s, start, o) {
				require.NoError(t, err)
				require.Equal(t, float64(times[step.Index]), step.Timestep)
				golden.Near(t, fmt.Sprintf("%s, step %d", name, step.Index), step.Latent.Float32s(),
					want.Float32s()[(step.Index+1)*batch:][:batch], 1e-5)
				count++
			}
			require.Equal(t, len(times), count)
			require.NoError(t, net.Close())
		}
	}, "sampler.ddim.trajectory")
}

// caseSchedule is the folder's schedule with the keys that the case gives a sampler.
func caseSchedule(t *testing.T, c golden.Case, sampler string) *diffusion.Schedule {
	s, err := diffusion.LoadSchedule(filepath.Join(c.Dir, "scheduler"))
	require.NoError(t, err)
	if over, ok := c.Data.Metadata["sampler."+sampler+".config"]; ok {
		config := s.Config
		require.NoError(t, json.Unmarshal([]byte(over), &config))
		s, err = diffusion.NewSchedule(config)
		require.NoError(t, err)
	}
	return s
}
