package feedback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/picture"
)

// ReadPicture returns the file of a sample as it was added: not a byte of it differs. A file that
// is another one by now is an error that wraps ErrChanged. An ID that is not in the store, or has
// no file, is one that wraps ErrUnknown. Nothing outside the database's folder is read, wherever
// links lead.
func (s *Store) ReadPicture(ctx context.Context, id string) (data []byte, err error) {
	var name string
	var hash []byte
	var size int64
	err = s.read(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `
			SELECT file, size, sha256 FROM pictures WHERE name = ? AND file <> ''`, id).
			Scan(&name, &size, &hash)
		return known(err, "picture", id)
	})
	if err != nil {
		return nil, err
	}
	data, err = s.readFile(name, size, hash)
	if err != nil {
		return nil, fmt.Errorf("feedback: %s: picture %q: %w", s.config.Path, id, err)
	}
	return data, nil
}

// readFile returns what is in a file of that size and SHA-256.
func (s *Store) readFile(name string, size int64, hash []byte) ([]byte, error) {
	f, now, err := s.openFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if now != size {
		return nil, fmt.Errorf("%s has %d bytes, and had %d: %w", name, now, size, ErrChanged)
	}
	data, err := io.ReadAll(io.LimitReader(f, size+1)) // it may grow
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(data); !bytes.Equal(got[:], hash) {
		return nil, fmt.Errorf("%s has the SHA-256 %s, and had %s: %w", name,
			hex.EncodeToString(got[:]), hex.EncodeToString(hash), ErrChanged)
	}
	return data, nil
}

// maxFile is the largest file that is kept, in bytes: that of a picture of 64 million pixels with
// four bytes each.
const maxFile = 1 << 28

// readAny returns what is in a file.
func (s *Store) readAny(name string) ([]byte, error) {
	f, size, err := s.openFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, size, maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// decodes returns an error if a file's bytes are no picture, whole to its last pixel, of a format
// and a size that package dataset reads. Bytes after the end of the picture are not looked at:
// telephones put videos there. Whoever serves the file has to say which format it is, so that no
// browser guesses at a page or an archive in it.
func decodes(name string, data []byte) error {
	_, err := picture.Decode(bytes.NewReader(data), name)
	return err
}

// openFile opens a file inside the database's folder, and returns its size. A link that leads out
// of the folder is an error, and so is what is no regular file: to open a pipe may take forever.
func (s *Store) openFile(name string) (*os.File, int64, error) {
	root, err := os.OpenRoot(s.folder)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	path := filepath.FromSlash(name)
	info, err := root.Stat(path)
	if _, other := os.Stat(filepath.Join(s.folder, path)); err != nil && other == nil {
		return nil, 0, fmt.Errorf("a link leads out of %s, the database's folder, which raters "+
			"see pictures of: %w", s.folder, err)
	}
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}
