package pipeline

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// keptTogether is the least number of samples in a file of EncodeOptions.Cache. As many are lost
// when a process dies.
const keptTogether = 32

// A keeper is an encoder whose results are kept, those of a group of samples together. They depend
// on the samples, which are told apart by their pictures and prompts; on which of them are encoded
// together; on both encoders, and how they are used.
type keeper struct {
	*encoder
	kept  store
	maker string // what depends on no sample
}

func (e *encoder) newKeeper() *keeper {
	p := e.p
	return &keeper{e, store(e.o.Cache), fmt.Sprintln("kudos encoded 2", e.p.Machine.Arithmetic(),
		weights.Hash(p.Text), p.Tokenizer.Length, weights.Hash(p.VAE), p.VAE.Config.ScalingFactor,
		p.side(), p.scale(), e.o.Batch, e.o.Sampled, e.o.Seed)}
}

// encode fills in a group of samples, from its file or by encoding them and writing it.
func (k *keeper) encode(ctx context.Context, group []dataset.Sample) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	fresh := k.texts.fresh(group)
	var pictures []int
	for i, s := range group {
		if s.Latent == nil && s.Image != nil {
			pictures = append(pictures, i)
		}
	}
	key := k.key(group, fresh)
	if k.read(key, group, pictures, fresh) {
		k.done += uint64(len(group))
		return nil
	}
	for from := 0; from < len(group); from += k.o.Batch {
		part := group[from:min(from+k.o.Batch, len(group))]
		if err := k.encoder.encode(ctx, part); err != nil {
			return err
		}
	}
	var all []kernels.Parameter
	for n, i := range pictures {
		all = append(all, kernels.Parameter{Name: latentName(n), Value: group[i].Latent})
	}
	for n, prompt := range fresh {
		tokens := k.texts.known[prompt].Tokens
		all = append(all, kernels.Parameter{Name: tokensName(n), Value: tokens})
	}
	if len(all) == 0 {
		return nil
	}
	return k.kept.write(key, all)
}

func latentName(n int) string { return fmt.Sprintf("latent.%04d", n) }
func tokensName(n int) string { return fmt.Sprintf("tokens.%04d", n) }

// key names a group by all that what is made of it depends on.
func (k *keeper) key(group []dataset.Sample, fresh []string) string {
	h := sha256.New()
	fmt.Fprint(h, k.maker)
	if k.o.Sampled {
		fmt.Fprintln(h, k.done)
	}
	for _, s := range group {
		for _, prompt := range s.Captions() {
			fmt.Fprintf(h, "%q %v\n", prompt, k.p.Tokenizer.Encode(prompt))
		}
		switch {
		case s.Latent != nil:
			fmt.Fprintln(h, "latent")
		case s.Image != nil:
			rgb := picture.FromImage(s.Image)
			fmt.Fprintln(h, "picture", rgb.W, rgb.H)
			h.Write(rgb.Pix)
		}
	}
	fmt.Fprintf(h, "%q", fresh)
	return string(h.Sum(nil))
}

// read fills in a group from its file, and says whether there is one as it was written.
func (k *keeper) read(key string, group []dataset.Sample, pictures []int, fresh []string) bool {
	tensors := k.kept.read(key, len(pictures)+len(fresh))
	if tensors == nil {
		return false
	}
	for n, i := range pictures {
		group[i].Latent = tensors[latentName(n)]
	}
	for n, prompt := range fresh {
		k.texts.known[prompt] = dataset.Condition{Tokens: tensors[tokensName(n)]}
	}
	k.texts.fill(group)
	return true
}

// fresh are the prompts of samples that are not encoded yet, each once.
func (t *texts) fresh(samples []dataset.Sample) (fresh []string) {
	seen := map[string]bool{}
	for _, prompt := range captions(samples) {
		if _, ok := t.known[prompt]; !ok && !seen[prompt] {
			seen[prompt], fresh = true, append(fresh, prompt)
		}
	}
	return fresh
}
