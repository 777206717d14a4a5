package lora

import (
	"fmt"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Mix multiplies what the pairs add by share, 0 to 1, for good: in B, and so in files, too. A model
// with the pairs is then nn.Mix of the one with them and the one without.
func (a *Adapter) Mix(share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("lora: a share of %v is not in [0,1]", share)
	}
	for _, p := range a.pairs {
		b := nn.Parameters(p.B)[0].Value
		if err := kernels.Pull(b); err != nil {
			return fmt.Errorf("lora: %w", err)
		}
		for i, v := range b.Float32s() {
			b.Float32s()[i] = float32(share * float64(v))
		}
		if err := kernels.Refresh(b); err != nil {
			return fmt.Errorf("lora: %w", err)
		}
	}
	return nil
}
