package nn

import (
	"fmt"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Save writes a model's parameters to a safetensors file: to one beside it first, which takes its
// place when it is whole and on the disk. Values are rounded to the nearest that the precision has,
// of two that are as near to the even one. It is an error if a value is not finite, or is not when
// it is rounded; if two parameters have one name; and if a layer has a low-rank adapter, which
// the file would lack.
func Save(file string, model any, as kernels.Precision) error {
	if err := Unadapted(model); err != nil {
		return err
	}
	if err := weights.Save(file, model, as, nil); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	return nil
}

// Load reads a model's parameters from a safetensors file, of float32, bfloat16 or float16. The
// file must hold each of them, in its shape, and nothing else. One error lists all that is missing,
// all that the model has no place for, and all that has another shape or a value that is not
// finite; then the model's contents are undefined.
func Load(file string, model any) error {
	f, err := weights.Open(file)
	if err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	defer f.Close()
	if err := weights.Load(model, f, weights.Names{}); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	return nil
}
