package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kudos-ml/kudos/kernels/nn"
)

// Hashes name the parts that are there: text_encoder, unet and vae by their weights, as nn.Hash
// gives them, and configs by what the files beside the weights say, the scheduler's among them.
// They are for config.json, of what determines a run.
func (p *Pipeline) Hashes() map[string]string {
	hashes, configs := map[string]string{}, []any{}
	if p.Text != nil {
		hashes["text_encoder"], configs = nn.Hash(p.Text), append(configs, p.Text.Config)
	}
	if p.UNet != nil && p.unread == nil {
		hashes["unet"], configs = nn.Hash(p.UNet), append(configs, p.UNet.Config)
	}
	if p.VAE != nil {
		hashes["vae"], configs = nn.Hash(p.VAE), append(configs, p.VAE.Config)
	}
	if p.Schedule != nil {
		configs = append(configs, p.Schedule.Config)
	}
	text, err := json.Marshal(configs)
	if err != nil { // a number that JSON does not have
		text = fmt.Append(nil, configs)
	}
	hashes["configs"] = fmt.Sprintf("%x", sha256.Sum256(text))
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
