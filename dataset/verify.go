package dataset

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kudos-ml/kudos/internal/picture"
)

// Verify is Written, and sees to it that the pictures are as WriteFolder left them. Each is there,
// can be decoded, and carries the Parameters of its line. Rewards may have come to the lines since
// then. The first picture that is not so is an error. It names the picture and the line, and says
// how to have them made again. A picture that was painted over and kept its Parameters is not
// found.
func Verify(ctx context.Context, dir string) ([]Sample, error) {
	samples, err := Written(ctx, dir)
	if err != nil {
		return nil, err
	}
	for i, s := range samples {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.verify(dir); err != nil {
			list := filepath.Join(dir, samplesFile)
			return nil, fmt.Errorf("dataset: %s:%d: %w; put the picture back, or remove the line "+
				"and all that follow it, so that they are made again", list, i+1, err)
		}
	}
	return samples, nil
}

// verify says what is wrong with the picture that was written for a sample.
func (s Sample) verify(dir string) error {
	if err := HasPicture(dir)(s); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(s.File)))
	if err != nil {
		return err
	}
	if s.Image, err = picture.Decode(bytes.NewReader(data), s.File); err != nil {
		return err
	}
	if s.Source == (Source{}) {
		return nil // it was written without Parameters
	}
	s.Reward = nil
	made := strings.TrimSuffix(Parameters(s), "Version: kudos")
	if !bytes.Contains(data, []byte(made)) {
		return fmt.Errorf("%s is another picture: it was not made as the line says", s.File)
	}
	return nil
}
