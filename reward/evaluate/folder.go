package evaluate

import (
	"context"
	"fmt"
	"path"
	"path/filepath"

	"github.com/kudos-ml/kudos/dataset"
)

// ScoreFolder is Score of the pictures in the folder of an arm's name in dir, as
// dataset.WriteFolder left them there. Their rewards are written to its samples.jsonl. In the arm,
// the paths of pictures are relative to dir. done, unless nil, is called with the number of
// pictures that were read more. If CLIP is a clip.Cache, it is saved.
func (s *Scorer) ScoreFolder(
	ctx context.Context, dir, name string, done func(pictures int),
) (*Arm, error) {
	file := dataset.File{Path: filepath.Join(dir, name, "samples.jsonl"), Images: true}
	pictures := dataset.Dataset(file)
	if done != nil {
		pictures = dataset.Watched(file, done)
	}
	a, err := s.Score(ctx, name, pictures)
	if err == nil && s.Reward != nil {
		_, err = dataset.Write(ctx, file.Path, dataset.FromSlice(a.Samples))
	}
	if cache, ok := s.CLIP.(interface{ Save() error }); ok && err == nil {
		err = cache.Save()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range a.Samples {
		a.Samples[i].File = path.Join(name, a.Samples[i].File)
	}
	return a, nil
}

// BestOfFolder is BestOf by rewards of two arms that ScoreFolder has scored: base, and more of its
// pictures, one in the place of each, then another, and so on. The pictures that were chosen are
// copied to a folder in dir of the arm's name; those that it has already are checked and stay.
func BestOfFolder(ctx context.Context, dir, name string, base, more *Arm) (*Arm, error) {
	draws, places := []*Arm{base}, len(base.Samples)
	for from := 0; from < len(more.Samples); from += places {
		draws = append(draws, more.Slice(from, min(from+places, len(more.Samples))))
	}
	best, _, err := BestOf(name, Reward, draws...)
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, name)
	there, err := dataset.Verify(ctx, to)
	if err != nil {
		return nil, err
	}
	if len(there) > places {
		return nil, fmt.Errorf("evaluate: %s holds %d pictures, not %d", to, len(there), places)
	}
	left := dataset.WithImages(dataset.FromSlice(best.Samples[len(there):]), dir)
	_, err = dataset.WriteFolder(ctx, to, left)
	return best, err
}
