// Package command is what our programs share that no package of the library is the place for.
package command

import (
	"errors"
	"fmt"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// LoadCLIP loads the one that the flag -clip names, or the miniature's without it. It is to be closed.
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

// LoadReward loads the reward that the flag -reward names, on the CLIP that -clip names; free lets that go.
func LoadReward(dir, clipDir string) (model reward.Model, free func() error, err error) {
	encoder, err := LoadCLIP(clipDir)
	if err != nil {
		return nil, nil, err
	}
	if model, err = alignment.Load(dir, encoder); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("-reward: %w", err), encoder.Close())
	}
	return model, encoder.Close, nil
}

// WarnLong says which prompts are longer than a model's text encoder reads.
func WarnLong(progress *report.Progress, p *pipeline.Pipeline, prompts []string) {
	if long := p.TooLong(prompts); len(long) > 0 {
		progress.Printf("The text encoder reads %d tokens of a prompt and leaves out what follows."+
			" Longer prompts: %d, the first is %q.", p.Tokenizer.Length-2, len(long), long[0])
	}
}
