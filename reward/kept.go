package reward

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/picture"
)

// Kept is m with the scores kept in a file, so that another process need not ask m again. The file,
// JSON lines, is made with its folder if it is not there. maker names the model, by the hashes of
// its weights for example: what other makers have written is passed over. Scores are kept for the
// samples of a call together, told apart by pictures and prompts, so that what is read is bit for
// bit what m would give even if its rounding depends on what it is asked together. A file that is
// not as it was written is begun anew.
func Kept(m Model, file, maker string) Model {
	return &kept{Model: m, file: file, maker: maker}
}

type kept struct {
	Model
	file, maker string

	mutex sync.Mutex
	known map[string][]float64 // by the key of a call; nil before the first
}

// A keptLine is a line of the file.
type keptLine struct {
	Key    string    `json:"key"`
	Scores []float64 `json:"scores"`
	Sum    string    `json:"sha256"` // of both
}

func (l keptLine) sum() string {
	sum := sha256.Sum256(fmt.Appendln(nil, l.Key, l.Scores))
	return hex.EncodeToString(sum[:])
}

// Score satisfies Model.
func (k *kept) Score(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.known == nil {
		if err := k.read(); err != nil {
			return nil, fmt.Errorf("reward: %w", err)
		}
	}
	line := keptLine{Key: k.key(samples)}
	if scores, ok := k.known[line.Key]; ok && len(scores) == len(samples) {
		return append([]float64(nil), scores...), nil
	}
	scores, err := score(ctx, k.Model, samples)
	if err != nil || len(samples) == 0 {
		return scores, err
	}
	line.Scores = append(line.Scores, scores...)
	line.Sum = line.sum()
	if err := k.write(line); err != nil {
		return nil, fmt.Errorf("reward: scores are not kept: %w", err)
	}
	k.known[line.Key] = line.Scores
	return scores, nil
}

// read reads the file.
func (k *kept) read() error {
	known := map[string][]float64{}
	for line, err := range file.ReadLog[keptLine](k.file) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err == nil && line.Sum != line.sum() {
			err = errors.New("not as it was written")
		}
		if err != nil {
			clear(known)
			if err := file.Remove(k.file); err != nil {
				return err
			}
			break
		}
		known[line.Key] = line.Scores
	}
	k.known = known
	return nil
}

func (k *kept) write(line keptLine) error {
	if err := os.MkdirAll(filepath.Dir(k.file), 0o777); err != nil {
		return err
	}
	log, err := file.OpenLog(k.file)
	if err != nil {
		return err
	}
	return errors.Join(log.Append(line), log.Close())
}

// key names a call by all that its scores depend on.
func (k *kept) key(samples []dataset.Sample) string {
	h := sha256.New()
	fmt.Fprintf(h, "kudos scores 1 %q\n", k.maker)
	for _, s := range samples {
		fmt.Fprintf(h, "%q\n", s.Prompt)
		if s.Image != nil {
			rgb := picture.FromImage(s.Image)
			fmt.Fprintln(h, "picture", rgb.W, rgb.H)
			h.Write(rgb.Pix)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
