package sampling

import (
	"fmt"
	"path/filepath"

	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
)

// Load reads a model as pipeline.Load does, or the embedded miniature if name is empty.
func Load(name string) (p *pipeline.Pipeline, err error) {
	if name != "" {
		p, err = pipeline.Load(name)
	} else if p, err = pipeline.LoadFS(tiny.FS()); err == nil {
		p.Name = "tiny"
	}
	if err != nil {
		return nil, fmt.Errorf("-model: %w", err)
	}
	return p, nil
}

// Adapt merges scale times the adapter of a file into a model, and names it after both.
func Adapt(p *pipeline.Pipeline, file string, scale float64) error {
	adapter, err := lora.Load(file, p.UNet, p.Text)
	if err != nil {
		return fmt.Errorf("-lora: %w", err)
	}
	adapter.Scale(scale)
	adapter.Merge()
	p.Name += fmt.Sprintf("+%s*%g", filepath.Base(file), scale)
	return nil
}
