package reward

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

func TestCountRewards(t *testing.T) {
	count := func(rewards ...float64) (Count, error) {
		var samples []dataset.Sample
		for i, r := range rewards {
			samples = append(samples, dataset.Sample{ID: fmt.Sprint(i), Prompt: "x", Reward: &r})
		}
		return CountRewards(samples)
	}
	c, err := count(-1, 0.5, 2, 0, -0.5, 0)
	require.NoError(t, err)
	require.InDelta(t, 1.0/6, c.Mean, 1e-15)
	require.InDelta(t, 4.0/6, c.Weight, 1e-15)
	c.Mean, c.Weight = 0, 0
	require.Equal(t, Count{Samples: 6, Zero: 2, Below: 2, Least: -1, Most: 2}, c)
	require.Equal(t, "6 rewards from -1 to 2, mean 0; 2 are 0 and count for nothing; "+
		"2 are below 0 and push away from their pictures", c.String())
	c, err = count(0.25, 0.75)
	require.NoError(t, err)
	require.Equal(t, "2 rewards from 0.25 to 0.75, mean 0.5", c.String())

	_, err = count(0, 0, 0)
	require.ErrorContains(t, err, "all 3 rewards are 0: there is nothing to learn")
	_, err = count(-1, 0, -2)
	require.ErrorContains(t, err, "no reward of 3 is above 0 (1 are 0, 2 below)")
	_, err = count(0.5, 1e300)
	require.ErrorContains(t, err, `sample "1" (x) is 1e+300, more than 1e+12, beyond which`)
	_, err = count(0.5, -3e38)
	require.ErrorContains(t, err, `sample "1" (x) is -3e+38, more than 1e+12`)
	_, err = count(1e12, 1)
	require.NoError(t, err)
	_, err = count(1e-50, 0, 1e-300)
	require.ErrorContains(t, err, "all 3 rewards are 0 in float32")
	_, err = CountRewards([]dataset.Sample{{ID: "a", Prompt: "x"}})
	require.ErrorContains(t, err, `sample "a" (x) has no reward`)
	none, err := CountRewards(nil)
	require.NoError(t, err)
	require.Zero(t, none)
}
