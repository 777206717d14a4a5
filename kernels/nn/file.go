package nn

import (
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Save writes a model's parameters to a safetensors file. It writes another file beside it first,
// which takes the place of file when it is whole and on the disk.
//
// Values are rounded to the nearest that the precision has, and of two that are equally near to the
// even one. It is an error if a value is not finite, or is not finite once it is rounded, if two
// parameters have one name, or if a layer has a low-rank adapter, which the file would lack.
func Save(file string, model any, as kernels.Precision) error {
	if err := Unadapted(model); err != nil {
		return err
	}
	if err := kernels.Pull(tensors(model)...); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	if err := weights.Save(file, model, as, nil); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	return nil
}

// Load reads a model's parameters from a safetensors file of float32, bfloat16 or float16. The file
// must hold each parameter in its shape, and nothing else. One error lists all parameters that are
// missing, all tensors that the model has no place for, and all that have another shape or a value
// that is not finite. After an error the model's contents are undefined.
func Load(file string, model any) error {
	f, err := weights.Open(file)
	if err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	defer f.Close()
	if err := weights.Load(model, f, weights.Names{}); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	if err := kernels.Refresh(tensors(model)...); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	return nil
}

// tensors returns the values of a model's parameters.
func tensors(model any) (all []*tensor.Dense) {
	for _, p := range weights.Parameters(model) {
		all = append(all, p.Value)
	}
	return all
}
