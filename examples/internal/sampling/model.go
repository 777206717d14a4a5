package sampling

import (
	"fmt"
	"path/filepath"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/reward/alignment"
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

// LoadCLIP reads a CLIP's folder, or the embedded miniature's if dir is empty.
func LoadCLIP(dir string) (encoder *clip.Encoder, err error) {
	if dir != "" {
		encoder, err = clip.Load(dir)
	} else {
		encoder, err = tiny.CLIP()
	}
	if err != nil {
		return nil, fmt.Errorf("-clip: %w", err)
	}
	return encoder, nil
}

// LoadReward reads a reward that was learned on a CLIP.
func LoadReward(dir string, on alignment.CLIP) (*alignment.Model, error) {
	m, err := alignment.Load(dir, on)
	if err != nil {
		return nil, fmt.Errorf("-reward: %w", err)
	}
	return m, nil
}
