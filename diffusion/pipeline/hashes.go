package pipeline

import (
	"context"
	"time"

	"github.com/kudos-ml/kudos/kernels/nn"
)

// Hashes name the weights of the parts that are there: text_encoder, unet and vae, as nn.Hash gives
// them. They are for config.json, of what determines a run.
func (p *Pipeline) Hashes() map[string]string {
	hashes := map[string]string{}
	if p.Text != nil {
		hashes["text_encoder"] = nn.Hash(p.Text)
	}
	if p.UNet != nil && p.unread == nil {
		hashes["unet"] = nn.Hash(p.UNet)
	}
	if p.VAE != nil {
		hashes["vae"] = nn.Hash(p.VAE)
	}
	return hashes
}

// Pace is how long a picture of a request takes on this machine: it makes one batch, of the first
// prompts, and keeps nothing of it.
func (p *Pipeline) Pace(ctx context.Context, r Request) (time.Duration, error) {
	r, err := p.Settle(r)
	if err != nil {
		return 0, err
	}
	r.Cache, r.Skip = "", 0
	r.Prompts = r.Prompts[:min(len(r.Prompts), (r.Batch+r.PerPrompt-1)/r.PerPrompt)]
	began, n := time.Now(), 0
	for _, err := range p.Generate(r).All(ctx) {
		if err != nil {
			return 0, err
		}
		if n++; n == r.Batch {
			break
		}
	}
	return time.Since(began) / time.Duration(max(1, n)), nil
}
