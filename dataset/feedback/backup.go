package feedback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/file"
)

// Backup writes the database, as it is at one moment, to a file that Open opens. The store can be
// used meanwhile. It is an error that wraps io/fs.ErrExist if the file is there: a backup never
// takes the place of another one. The pictures are not part of it. Their paths are relative to the
// database's folder: to be used, a backup has to be put where they are.
//
// The file is there whole or not at all. While Backup works, a folder named .backup-… beside the
// file holds a copy.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("feedback: %s: backup: %w", s.config.Path, explain(err))
		}
	}()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
		return err
	}
	folder, err := os.MkdirTemp(filepath.Dir(path), ".backup-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.RemoveAll(folder)) }()
	copied := filepath.Join(folder, "copy.db")
	if _, err := s.pool.ExecContext(ctx, `VACUUM INTO ?`, copied); err != nil {
		return err
	}
	return file.Write(path, func(w io.Writer) error {
		from, err := os.Open(copied)
		if err != nil {
			return err
		}
		defer from.Close()
		_, err = io.Copy(w, from)
		return err
	})
}

// Verify returns an error if the file of a sample is not there, or is not the one that was added:
// then the error wraps ErrChanged. It reads all files, and names the first sample that it is so of.
func (s *Store) Verify(ctx context.Context) error {
	for r, err := range s.rows(ctx, noLimit) {
		if err != nil {
			return err
		}
		if r.sample.File == "" {
			continue
		}
		if _, err := s.readFile(r.sample.File, r.size, r.sha256); err != nil {
			return fmt.Errorf("feedback: %s: picture %q: %w", s.config.Path, r.sample.ID, err)
		}
	}
	return nil
}
