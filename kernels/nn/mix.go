package nn

import (
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// Mix moves the parameters of model to a point between those of base and its own (Wortsman et al.
// 2022, Robust fine-tuning of zero-shot models):
//
//	θ ← θ_base + share·(θ − θ_base)
//
// A share of 1 leaves model as it is, and 0 makes it base. Each is a model or a
// []kernels.Parameter. It is an error if the share is not in [0,1], or if the two do not have
// parameters of the same names and shapes in the same order. Then nothing has changed.
func Mix(model, base any, share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("nn: a share of %v is not in [0,1]", share)
	}
	own, others := Parameters(model), Parameters(base)
	if len(own) != len(others) {
		return fmt.Errorf("nn: %d parameters are not mixed with %d", len(own), len(others))
	}
	var tensors []*tensor.Dense
	for i, p := range own {
		if q := others[i]; p.Name != q.Name || !p.Value.Shape().Eq(q.Value.Shape()) {
			return fmt.Errorf("nn: parameter %s %v is not mixed with %s %v", p.Name,
				p.Value.Shape(), q.Name, q.Value.Shape())
		}
		tensors = append(tensors, p.Value)
	}
	if err := kernels.Pull(tensors...); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	for i, p := range own {
		x := p.Value.Float32s()
		for k, b := range others[i].Value.Float32s() {
			x[k] = float32(float64(b) + share*(float64(x[k])-float64(b)))
		}
	}
	if err := kernels.Refresh(tensors...); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	return nil
}
