package dataset

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/file"
)

// A Gallery is samples in memory, pictures and all, and a folder that has them for people and other
// programs: samples.jsonl in the format of File, and samples/, PNG files with nothing but the
// pictures. WriteFolder is for samples that need not stay in memory.
type Gallery struct {
	Folder  string   // made if it is not there
	Every   int      // Fill writes samples.jsonl when so many more are there; 0 is 32
	Samples []Sample // what becomes known of them later, such as labels, Save writes
}

// Fill adds the samples of d. Each gets a File, samples/00000.png and so on, and its picture is
// there from then on; it is in samples.jsonl when Every of them are there, or all. done, unless
// nil, is called for each. What a gallery of the same samples has written in this folder before
// stays.
func (g *Gallery) Fill(ctx context.Context, d Dataset, done func(n int)) error {
	there, err := Written(ctx, g.Folder)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(g.Folder, "samples"), 0o777); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	every, written := g.Every, len(there)
	if every < 1 {
		every = 32
	}
	for s, err := range All(ctx, d) {
		if err != nil {
			return err
		}
		s.File = fmt.Sprintf("samples/%05d.png", len(g.Samples))
		g.Samples = append(g.Samples, s)
		if n := len(g.Samples); n > written {
			if err := g.picture(s); err != nil {
				return err
			}
			if n-written == every {
				if err := g.Save(ctx); err != nil {
					return err
				}
				written = n
			}
		}
		if done != nil {
			done(1)
		}
	}
	if written >= len(g.Samples) {
		return nil
	}
	return g.Save(ctx)
}

// picture writes a sample's picture.
func (g *Gallery) picture(s Sample) error {
	if s.Image == nil {
		return fmt.Errorf("dataset: sample %q (%s) has no picture", s.ID, s.Prompt)
	}
	name := filepath.Join(g.Folder, filepath.FromSlash(s.File))
	encode := func(w io.Writer) error { return png.Encode(w, s.Image) }
	if err := file.Write(name, encode); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	return nil
}

// Save writes samples.jsonl, all of it, even where ctx is cancelled.
func (g *Gallery) Save(ctx context.Context) error {
	name := filepath.Join(g.Folder, samplesFile)
	_, err := Write(context.WithoutCancel(ctx), name, FromSlice(g.Samples))
	return err
}

// Label labels all samples, by a rater of a name, and saves.
func (g *Gallery) Label(
	ctx context.Context, rater string, label func(Sample) (Label, error),
) error {
	if label == nil {
		return errors.New("dataset: there is nothing to label by: label is nil")
	}
	for i, s := range g.Samples {
		l, err := label(s)
		if err != nil {
			return err
		}
		g.Samples[i].Label, g.Samples[i].Source.Rater = l, rater
	}
	return g.Save(ctx)
}
