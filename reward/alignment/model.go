package alignment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/reward"
)

// A Model scores pictures in [0,1]. It is a reward.Model.
type Model struct {
	clip        CLIP
	head        *head
	temperature float64 // by which logits are divided; 0 is 1
}

var _ reward.Model = (*Model)(nil)

// Score returns a reward in [0,1] for each sample, which must have a picture.
func (m *Model) Score(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
	scores, err := m.logits(ctx, samples)
	for i, z := range scores {
		scores[i] = sigmoid(z)
	}
	return scores, err
}

// logits are what Score has before the sigmoid.
func (m *Model) logits(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
	pairs, err := m.embed(ctx, samples)
	if err != nil {
		return nil, err
	}
	logits := make([]float64, len(samples))
	row := make([]float32, m.head.config.width())
	for i, p := range pairs {
		m.head.config.join(row, p.image, p.text)
		logits[i] = m.head.logit(row) / m.Temperature()
	}
	return logits, nil
}

// A pair is a sample's two embeddings.
type pair struct{ image, text []float32 }

// Hash names the model by its weights, those of its CLIP, and its temperature.
func (m *Model) Hash() string {
	name := m.clip.Hash() + weights.Hash(m.head)
	if t := m.Temperature(); t != 1 {
		name += fmt.Sprint(" temperature ", t)
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

func (m *Model) embed(ctx context.Context, samples []dataset.Sample) ([]pair, error) {
	if len(samples) == 0 {
		return nil, nil
	}
	pictures := make([]image.Image, len(samples))
	for i, s := range samples {
		if s.Image == nil {
			return nil, fmt.Errorf("alignment: sample %s (%q) has no picture", s.ID, s.Prompt)
		}
		pictures[i] = s.Image
	}
	rows, err := m.clip.ImageFeatures(ctx, pictures)
	if err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	features, width := make([][]float32, len(samples)), rows.Shape()[1]
	for i := range features {
		features[i] = rows.Float32s()[i*width : (i+1)*width]
	}
	return m.pairs(ctx, samples, features)
}

// pairs joins pictures' embeddings and those of their prompts.
func (m *Model) pairs(
	ctx context.Context, samples []dataset.Sample, features [][]float32,
) ([]pair, error) {
	if width := len(features[0]); width != m.head.config.Embedding {
		return nil, fmt.Errorf("alignment: CLIP's embeddings are %d wide, the reward's %d",
			width, m.head.config.Embedding)
	}
	texts := map[string][]float32{}
	for _, s := range samples {
		texts[s.Prompt] = nil
	}
	if err := embedTexts(ctx, m.clip, texts); err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	pairs := make([]pair, len(samples))
	for i, s := range samples {
		pairs[i] = pair{features[i], texts[s.Prompt]}
	}
	return pairs, nil
}

// config is the folder's config.json.
type config struct {
	Format string `json:"format"`
	CLIP   string `json:"clip"` // its hash
	headConfig
	Temperature float64 `json:"temperature,omitempty"` // 0: the model is not calibrated
}

const (
	format     = "kudos reward/alignment 1"
	headFile   = "head.safetensors"
	configFile = "config.json"
)

// configKey is the metadata of head.safetensors that has the config.json which belongs to it.
const configKey = "config"

// Save writes a folder: head.safetensors, and then config.json. Each is there whole or as it was
// before. If a process dies between the two, Load knows that they do not belong together.
func (m *Model) Save(dir string) error {
	c := config{format, m.clip.Hash(), m.head.config, m.temperature}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	// As it is read: without spaces, which editors change.
	belongs, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	metadata := map[string]string{configKey: string(belongs)}
	head := filepath.Join(dir, headFile)
	if err := weights.Save(head, m.head, kernels.Float32, metadata); err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	if err := file.WriteBytes(filepath.Join(dir, configFile), append(text, '\n')); err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	return nil
}

// Vacant is an error where Save would replace the config.json of something that is no reward: a run
// of another program, or a model.
func Vacant(dir string) error {
	name := filepath.Join(dir, configFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var c config
	if err == nil && (json.Unmarshal(text, &c) != nil || c.Format != format) {
		err = fmt.Errorf("%s is not that of a reward, which would replace it: choose another "+
			"folder", name)
	}
	if err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	return nil
}

// Load reads a folder that Save wrote. clip must be the one that the reward was learned on; another
// one is a *DifferentCLIPError.
func Load(dir string, clip CLIP) (*Model, error) {
	if clip == nil {
		return nil, errors.New("alignment: there is no CLIP to load the reward with: it is nil")
	}
	name := filepath.Join(dir, configFile)
	data, err := text.ReadFile(name, text.Most)
	if err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("alignment: %s: %w", name, err)
	}
	if c.Format != format {
		return nil, fmt.Errorf("alignment: %s is of format %q, not %q", name, c.Format, format)
	}
	if c.Embedding < 1 || c.Hidden < 1 || c.Embedding > 1<<16 || c.Hidden > 1<<16 {
		return nil, fmt.Errorf("alignment: %s: %d inputs and %d hidden units",
			name, c.Embedding, c.Hidden)
	}
	if !(c.Temperature >= 0) {
		return nil, fmt.Errorf("alignment: %s: the temperature is %v", name, c.Temperature)
	}
	if hash := clip.Hash(); c.CLIP != hash {
		return nil, &DifferentCLIPError{Folder: dir, Learned: c.CLIP, Given: hash}
	}
	h := emptyHead(c.headConfig)
	f, err := weights.Open(filepath.Join(dir, headFile))
	if err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	defer f.Close()
	if err := weights.Load(h, f, weights.Names{}); err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	belongs, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("alignment: %s: %w", name, err)
	}
	if of, known := f.Metadata[configKey]; known && of != string(belongs) {
		return nil, fmt.Errorf("alignment: %s and %s in %s do not belong together: a program died "+
			"between writing the two, or one was changed. Learn the reward again, or with -resume "+
			"go on", headFile, configFile, dir)
	}
	return &Model{clip: clip, head: h, temperature: c.Temperature}, nil
}
