package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A store is a folder of results that take time, a file for each key. A key names all that its
// results depend on, so what is read is bit for bit what computing would give.
type store string

const sumKey = "sha256" // of a file's tensors, in its metadata

func (s store) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(string(s), hex.EncodeToString(sum[:])+".safetensors")
}

// write keeps the results of a key.
func (s store) write(key string, results []kernels.Parameter) error {
	if err := os.MkdirAll(string(s), 0o777); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	metadata := map[string]string{sumKey: weights.Hash(results)}
	if err := weights.Save(s.file(key), results, kernels.Float32, metadata); err != nil {
		return fmt.Errorf("pipeline: what was computed is not kept: %w", err)
	}
	return nil
}

// read returns the results of a key, n of them by their names, or nil if there are none as they
// were written. A file that is otherwise is removed.
func (s store) read(key string, n int) map[string]*tensor.Dense {
	name := s.file(key)
	f, err := weights.Open(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			_ = file.Remove(name) // it is replaced in any case
		}
		return nil
	}
	results := map[string]*tensor.Dense{}
	all, err := f.Views()
	sum := ""
	if err == nil {
		sum = weights.Hash(all)
		for _, p := range all {
			results[p.Name] = p.Value.Clone().(*tensor.Dense)
		}
	}
	whole := err == nil && sum == f.Metadata[sumKey] && len(all) == n
	if f.Close() != nil || !whole {
		_ = file.Remove(name) // as above
		return nil
	}
	return results
}

// kept is latents, which reads and keeps its results in the request's Cache.
func (g *generator) kept(
	ctx context.Context, from int, conditions []dataset.Condition,
) (latents []*tensor.Dense, err error) {
	if g.r.Cache == "" {
		return g.latents(ctx, from, conditions)
	}
	if g.maker == "" {
		if g.maker, err = g.makes(ctx); err != nil {
			return nil, err
		}
	}
	key := fmt.Sprint(g.maker, " ", g.r.First+uint64(from), " ", len(conditions))
	for _, c := range conditions {
		key += " " + hashOf(c)
	}
	results := store(g.r.Cache).read(key, len(conditions))
	if results != nil {
		for i := range conditions {
			latents = append(latents, results[latentName(i)])
		}
		return latents, context.Cause(ctx)
	}
	if latents, err = g.latents(ctx, from, conditions); err != nil {
		return nil, err
	}
	var all []kernels.Parameter
	for i, z := range latents {
		all = append(all, kernels.Parameter{Name: latentName(i), Value: z})
	}
	return latents, store(g.r.Cache).write(key, all)
}

// makes names what the latents depend on beside their conditions and the noise that they begin as.
func (g *generator) makes(ctx context.Context) (string, error) {
	p, r := g.p, g.r
	switch {
	case p.UNet == nil:
		return "", fmt.Errorf("pipeline: Request.Cache: only what a UNet makes is kept: of a %T "+
			"nobody knows what it depends on", p.network)
	case r.Noise != nil:
		return "", errors.New("pipeline: Request.Cache: only what comes of seeded noise is kept")
	}
	if err := nn.Unadapted(p.UNet); err != nil {
		return "", fmt.Errorf("pipeline: Request.Cache: %w", err)
	}
	away := "nothing"
	if r.Guidance != 1 {
		negative, err := g.negative(ctx)
		if err != nil {
			return "", err
		}
		away = hashOf(negative)
	}
	configs, err := json.Marshal([]any{p.UNet.Config, p.Schedule.Config})
	if err != nil {
		return "", fmt.Errorf("pipeline: %w", err)
	}
	const name = "kudos generated 1 %s %s %s %v %v %v %q %d %v %v %d %s"
	return fmt.Sprintf(name, p.Machine.Arithmetic(),
		weights.Hash(p.UNet), configs, p.Schedule.Process, p.Schedule.Prediction, g.latent,
		r.Sampler.Name, r.Steps, r.Guidance, r.Eta, r.Seed, away), nil
}

// hashOf names a condition by its values.
func hashOf(c dataset.Condition) string {
	var all []kernels.Parameter
	for name, part := range c.Parts() {
		all = append(all, kernels.Parameter{Name: name, Value: part})
	}
	return weights.Hash(all)
}
