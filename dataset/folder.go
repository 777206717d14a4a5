package dataset

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folder is the dataset of a folder of captioned pictures. The folder has one of three forms:
//
//   - It has a samples.jsonl, in the format of File.
//   - It has a metadata.jsonl: a line a picture, with file_name and text, as Hugging Face's
//     imagefolder has it (huggingface.co/docs/datasets/image_dataset). What else a line has is
//     passed over.
//   - It has neither. Then every PNG, JPEG or WebP picture in the folder or below it counts, in the
//     order of their names. The caption is in a file of the same name that ends in .txt. Names that
//     begin with a dot are passed over.
//
// A picture's path is relative to the folder and stays inside it. It is the ID of the sample too,
// unless samples.jsonl says another. A picture without a caption is an error. What is wrong in a
// line of a JSONL file is a *LineError. Other errors name the picture or its caption.
type Folder struct {
	Path string
	// Images says that the pictures are to be decoded into Image. Each is when its sample's turn
	// comes. One that cannot be read is then an error.
	Images bool
}

const (
	samplesFile  = "samples.jsonl"
	metadataFile = "metadata.jsonl"
)

// All reads the folder from its beginning.
func (f Folder) All(ctx context.Context) iter.Seq2[Sample, error] {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(f.Path, name))
		return err == nil
	}
	samples, metadata := has(samplesFile), has(metadataFile)
	switch {
	case samples && metadata:
		return func(yield func(Sample, error) bool) {
			yield(Sample{}, fmt.Errorf(
				"dataset: %s has %s and %s: one of them says what is in the folder",
				f.Path, samplesFile, metadataFile))
		}
	case samples:
		path := filepath.Join(f.Path, samplesFile)
		return File{Path: path, Images: f.Images, Check: needsFile}.All(ctx)
	case metadata:
		return f.metadata(ctx)
	}
	return f.captions(ctx)
}

func needsFile(s Sample) error {
	if s.File == "" {
		return errors.New("the line names no file")
	}
	return nil
}

// decode reads a sample's picture, if that is asked for.
func (f Folder) decode(s Sample) (Sample, error) {
	if !f.Images {
		return s, nil
	}
	err := s.readImage(f.Path)
	return s, err
}

// metadata yields the lines of metadata.jsonl.
func (f Folder) metadata(ctx context.Context) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		path := filepath.Join(f.Path, metadataFile)
		file, err := os.Open(path)
		if err != nil {
			yield(Sample{}, fmt.Errorf("dataset: %w", err))
			return
		}
		defer file.Close()
		scan := bufio.NewScanner(file)
		scan.Buffer(nil, maxLine)
		line, named := 0, names{}
		for scan.Scan() {
			line++
			text := bytes.TrimSpace(scan.Bytes())
			if len(text) == 0 {
				continue
			}
			s, err := decodeMetadata(text)
			if err == nil {
				err = named.add(&s, metadataFile, line)
			}
			if err == nil {
				s, err = f.decode(s)
			}
			if err != nil {
				err = &LineError{path, line, err}
			} else {
				err = ctx.Err()
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
		if err := scan.Err(); err != nil {
			yield(Sample{}, &LineError{path, line + 1, unread(err)})
		}
	}
}

func decodeMetadata(text []byte) (Sample, error) {
	var r struct {
		File string `json:"file_name"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Sample{}, fmt.Errorf("bad JSON: %w", err)
	}
	switch {
	case r.File == "":
		return Sample{}, errors.New("file_name is missing")
	case strings.TrimSpace(r.Text) == "":
		return Sample{}, errors.New("text, the caption, is missing")
	}
	return Sample{Prompt: r.Text, File: r.File}, checkFile(r.File)
}

// pictures are the endings of the files that count as pictures.
var pictures = []string{".png", ".jpg", ".jpeg", ".webp"}

// captions yields pictures with their captions in files beside them.
func (f Folder) captions(ctx context.Context) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		found := false
		err := filepath.WalkDir(f.Path, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path != f.Path && strings.HasPrefix(d.Name(), "."):
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			case d.IsDir() || !slices.Contains(pictures, strings.ToLower(filepath.Ext(path))):
				return nil
			}
			found = true
			s, err := f.captioned(path)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			if !yield(s, nil) {
				return fs.SkipAll
			}
			return nil
		})
		switch {
		case err != nil:
			yield(Sample{}, fmt.Errorf("dataset: %w", err))
		case !found:
			yield(Sample{}, fmt.Errorf("dataset: %s holds neither %s nor %s nor pictures (%s)",
				f.Path, samplesFile, metadataFile, strings.Join(pictures, " ")))
		}
	}
}

// captioned returns the sample of a picture: it reads the caption and, if that is asked for, the
// picture.
func (f Folder) captioned(path string) (Sample, error) {
	file, err := filepath.Rel(f.Path, path)
	if err != nil {
		return Sample{}, err
	}
	name := strings.TrimSuffix(path, filepath.Ext(path)) + ".txt"
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Sample{}, fmt.Errorf("%s has no caption: %w", path, err)
	}
	if err != nil {
		return Sample{}, err
	}
	caption := strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff"))
	if caption == "" {
		return Sample{}, fmt.Errorf("%s, the caption of %s, is empty", name, filepath.Base(path))
	}
	name = filepath.ToSlash(file)
	return f.decode(Sample{ID: name, Prompt: caption, File: name})
}
