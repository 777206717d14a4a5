package pipeline

import (
	"fmt"
	"slices"

	"github.com/kudos-ml/kudos/kernels/nn"
)

// Clone returns a pipeline of the same name that shares no memory with p: one whose networks can be
// tuned beside p's. Where only the UNet is to be tuned, and the memory of the others matters, a
// pipeline With a clone of the UNet (nn.Clone) shares them. A low-rank adapter that is attached is
// an error: the copy would lack it. A UNet that has not been read is an *UnreadError, and a network
// that is no UNet a *NetworkError.
func (p *Pipeline) Clone() (*Pipeline, error) {
	if p == nil {
		return nil, errNoPipeline
	}
	if p.unread != nil {
		return nil, &UnreadError{Model: p.Name}
	}
	if p.network != nil {
		return nil, &NetworkError{
			p.network, "copied: clone the pipeline that it was put into, and With its copy",
		}
	}
	c := *p
	var err error
	if c.UNet, err = nn.Clone(p.UNet); err != nil {
		return nil, fmt.Errorf("pipeline: unet: %w", err)
	}
	if c.VAE, err = nn.Clone(p.VAE); err != nil {
		return nil, fmt.Errorf("pipeline: vae: %w", err)
	}
	if c.Text, err = nn.Clone(p.Text); err != nil {
		return nil, fmt.Errorf("pipeline: text_encoder: %w", err)
	}
	if p.Tokenizer != nil {
		c.Tokenizer = new(*p.Tokenizer)
	}
	if p.Schedule != nil {
		c.Schedule = new(*p.Schedule)
	}
	c.Extra, c.Notes = slices.Clone(p.Extra), slices.Clone(p.Notes)
	return &c, nil
}
