package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/picture"
)

// Watched is d, and calls done(1), unless done is nil, with each sample that d yields, before it is
// passed on. The Add of a report.Stage is such a function: the bar then shows how far a loop over d
// is.
func Watched(d Dataset, done func(samples int)) Dataset {
	if done == nil {
		return d
	}
	return Map(d, func(_ context.Context, s Sample) (Sample, error) {
		done(1)
		return s, nil
	})
}

// WithoutImages is the dataset of d's samples without their pictures. Samples that are collected
// after their pictures were encoded or scored then leave the pictures' memory free.
func WithoutImages(d Dataset) Dataset {
	return Map(d, func(_ context.Context, s Sample) (Sample, error) {
		s.Image = nil
		return s, nil
	})
}

// HasPicture is a check, such as File.Check and Checked take, that a sample names a picture and
// that there is a file of that name in a folder, which may be one. The picture is not decoded; see
// Look.
func HasPicture(folder string) func(Sample) error {
	return func(s Sample) error {
		if s.File == "" {
			return errors.New("the line names no file")
		}
		info, err := os.Stat(filepath.Join(folder, filepath.FromSlash(s.File)))
		if err != nil {
			return err
		}
		if err := picture.Regular(info); err != nil {
			return fmt.Errorf("%s is %w", s.File, err)
		}
		return nil
	}
}

// Checked is d up to the first sample that a check has an error for, which then is the dataset's.
// A check that is nil has none.
func Checked(d Dataset, check func(Sample) error) Dataset {
	if check == nil {
		return d
	}
	return Map(d, func(_ context.Context, s Sample) (Sample, error) { return s, check(s) })
}
