package reward

import (
	"fmt"
	"math"

	"github.com/kudos-ml/kudos/dataset"
)

// A Count is what the rewards of samples amount to as weights of Eq. 2.
type Count struct {
	Samples     int
	Zero, Below int     // samples whose reward is 0, and below 0
	Least, Most float64 // rewards
	Mean        float64 // of the rewards
	Weight      float64 // mean of |r|, which stands beside β
}

// mostReward is the largest reward. AdamW squares gradients in float32, which holds 10³⁸.
const mostReward = 1e12

// CountRewards counts the rewards of samples. A reward below 0 pushes away from its sample. It is
// an error if no reward is above 0: nothing would be learned of rewards that are all 0, and if none
// is above 0 training only makes the model worse at what it was shown. What is less than a float32
// holds is 0. A sample without a reward, or with one beyond ±10¹², whose gradients AdamW could not
// square, is an error too.
func CountRewards(samples []dataset.Sample) (Count, error) {
	rewards, err := Raw(samples)
	if err != nil || len(samples) == 0 {
		return Count{}, err
	}
	c := Count{Samples: len(samples)}
	for i, r := range rewards {
		switch {
		case math.Abs(r) > mostReward:
			return Count{}, fmt.Errorf("reward: the reward of %s is %v, more than %v, beyond "+
				"which updates overflow: divide all by the same number", name(samples[i]), r,
				mostReward)
		case float32(r) == 0:
			c.Zero++
		case r < 0:
			c.Below++
		}
		c.Mean += r / float64(len(rewards))
		c.Weight += math.Abs(r) / float64(len(rewards))
	}
	c.Least, c.Most = ends(rewards)
	switch {
	case c.Zero == c.Samples && c.Weight != 0:
		return c, fmt.Errorf("reward: all %d rewards are 0 in float32: multiply all by the same "+
			"number", c.Samples)
	case c.Zero == c.Samples:
		return c, fmt.Errorf("reward: all %d rewards are 0: there is nothing to learn", c.Samples)
	case c.Zero+c.Below == c.Samples:
		return c, fmt.Errorf("reward: no reward of %d is above 0 (%d are 0, %d below): there is "+
			"nothing to come nearer to", c.Samples, c.Zero, c.Below)
	}
	return c, nil
}

// String is such as "64 rewards from -0.2 to 0.9, mean 0.35; 3 are 0; 5 are below 0".
func (c Count) String() string {
	text := fmt.Sprintf("%d rewards from %.3g to %.3g, mean %.3g",
		c.Samples, c.Least, c.Most, c.Mean)
	if c.Zero > 0 {
		text += fmt.Sprintf("; %d are 0 and count for nothing", c.Zero)
	}
	if c.Below > 0 {
		text += fmt.Sprintf("; %d are below 0 and push away from their pictures", c.Below)
	}
	return text
}
