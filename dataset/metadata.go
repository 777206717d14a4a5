package dataset

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/internal/text"
)

// captionColumns are the columns of captions, the first that is there first. text is what diffusers
// reads; the others are what data sets on hubs have in its place.
var captionColumns = []string{"text", "caption", "captions", "prompt", "description"}

// isMetadata says whether a file is read as metadata.
func isMetadata(file string) bool {
	name := strings.ToLower(path.Base(file))
	return name == "metadata.jsonl" || name == "metadata.csv"
}

// metadata returns the metadata files that say what is in the folder, and leaves those of other
// splits than train.
func (t *tree) metadata() (lists []string, err error) {
	byDir, bySplit := map[string]string{}, map[string][]string{}
	for _, file := range t.files {
		if !isMetadata(file) {
			continue
		}
		dir := path.Dir(file)
		if other, twice := byDir[dir]; twice {
			return nil, fmt.Errorf("dataset: %s has %s and %s: one of them says what is in the "+
				"folder", shown(t.path(dir)), path.Base(other), path.Base(file))
		}
		byDir[dir] = file
		bySplit[splitOf(dir)] = append(bySplit[splitOf(dir)], file)
		lists = append(lists, file)
	}
	if len(bySplit["train"]) == 0 {
		return lists, nil
	}
	return slices.DeleteFunc(lists, func(file string) bool {
		split := splitOf(path.Dir(file))
		if split == "" || split == "train" {
			return false
		}
		t.elsewhere = append(t.elsewhere, path.Dir(file))
		t.left.add("file is of another split than train and was not read",
			"files are of other splits than train and were not read", file)
		return true
	}), nil
}

// splits are the words by which Hugging Face's datasets tells splits apart (data_files.py).
var splits = map[string]string{
	"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
	"evaluation": "test", "validation": "validation", "valid": "validation", "dev": "validation",
	"val": "validation",
}

// splitOf is the split that a folder is of by its name or those above it, or "".
func splitOf(dir string) (split string) {
	for _, name := range strings.Split(dir, "/") {
		for _, word := range strings.FieldsFunc(name, func(r rune) bool {
			return strings.ContainsRune("-._ 0123456789", r)
		}) {
			if s := splits[word]; s != "" && split == "" {
				split = s
			}
		}
	}
	return split
}

// listed finds the pictures that metadata files name.
func (t *tree) listed(ctx context.Context, lists []string) error {
	l := listing{tree: t, alike: map[string][]string{}, ids: map[string]bool{}}
	for _, file := range t.files {
		l.alike[folded(file)] = append(l.alike[folded(file)], file)
	}
	var gone []error
	add := func(line int, r row) error {
		err := l.add(line, r)
		if errors.Is(err, fs.ErrNotExist) { // there may be others
			gone = append(gone, &LineError{t.path(l.list), line, err})
			return nil
		}
		return err
	}
	for _, list := range lists {
		l.list, l.column = list, ""
		read := t.jsonRows
		if ending(list) == ".csv" {
			read = t.csvRows
		}
		if err := cmp.Or(ctx.Err(), read(list, add)); err != nil {
			return err
		}
		if l.column == "" {
			return fmt.Errorf("dataset: %s names no picture", shown(t.path(list)))
		}
	}
	if len(gone) > 0 {
		return fmt.Errorf("%w%s", gone[0], more(len(gone)-1))
	}
	t.unnamed("the metadata")
	return nil
}

// A row is what metadata says of a picture: texts, and lists and other values as JSON.
type row map[string]json.RawMessage

// columns are the names of a row's columns, for people.
func (r row) columns() string {
	var all []string
	for name := range r {
		all = append(all, name)
	}
	slices.Sort(all)
	return fewOf(all)
}

// A listing is the rows of metadata files as they are read.
type listing struct {
	*tree
	list   string // the metadata file
	column string // of its captions; "" before its first row
	alike  map[string][]string
	ids    map[string]bool
}

// add finds the picture of a row.
func (l *listing) add(line int, r row) error {
	if l.column == "" {
		if err := l.choose(r); err != nil {
			return err
		}
	}
	name, err := r.text("file_name")
	if err == nil && name == "" {
		err = fmt.Errorf("file_name is missing; there are %s", r.columns())
	}
	if err != nil {
		return err
	}
	captions, err := r.captions(l.column)
	if err != nil {
		return err
	}
	file, err := l.file(name)
	if err != nil {
		return err
	}
	if err := l.odd[file]; err != nil {
		return err
	}
	if slices.Contains(others, ending(file)) {
		l.left.add("file with a caption was not read", "files with captions were not read", file)
		l.used[file] = true
		return nil
	}
	s := Sample{ID: file, File: file}.with(captions)
	if l.ids[file] {
		s.ID = fmt.Sprintf("%s:%d", l.list, line)
	}
	l.ids[s.ID], l.used[file] = true, true
	l.found = append(l.found, found{s, l.path(l.list), line})
	return nil
}

// choose decides, by the first row, which column has the captions.
func (l *listing) choose(r row) error {
	var there []string
	for _, c := range captionColumns {
		if _, ok := r[c]; ok {
			there = append(there, c)
		}
	}
	switch {
	case len(there) == 0:
		return fmt.Errorf("text, the caption, is missing; there are %s", r.columns())
	case there[0] != "text" && len(there) > 1:
		return fmt.Errorf("the captions may be in any of %s: call the right column text",
			fewOf(there))
	case there[0] != "text" || len(there) > 1:
		said := fmt.Sprintf("metadata file has its captions in the column %s, which was read",
			there[0])
		l.left.add(said, strings.Replace(said, "file has its", "files have their", 1), l.list)
	}
	l.column = there[0]
	return nil
}

// file is the file on the disk that a row names.
func (l *listing) file(name string) (string, error) {
	dir := path.Dir(l.list)
	for _, n := range []string{name, strings.ReplaceAll(name, `\`, "/")} {
		file := path.Join(dir, n)
		if path.IsAbs(n) || !filepath.IsLocal(filepath.FromSlash(file)) || file == "." {
			return "", fmt.Errorf("file %q is not a path inside the folder, with forward slashes",
				name)
		}
		alike := l.alike[folded(file)]
		switch {
		case slices.Contains(alike, file):
			return file, nil
		case len(alike) == 1:
			return alike[0], nil
		case len(alike) > 1:
			return "", fmt.Errorf("file %q may be any of %s", name, fewOf(alike))
		}
	}
	// It may be where a dot or a link has the walk pass it over.
	file := path.Join(dir, strings.ReplaceAll(name, `\`, "/"))
	if info, err := os.Stat(l.tree.path(file)); err == nil {
		return file, text.Regular(shown(file), info)
	}
	return "", fmt.Errorf("file %q: %w", name, fs.ErrNotExist)
}

// text is a value that is a text.
func (r row) text(column string) (string, error) {
	value := bytes.TrimSpace(r[column])
	if len(value) == 0 || string(value) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%s is no text but %s", column, shown(fmt.Sprintf("%.40s", value)))
	}
	return s, nil
}

// captions are the captions of a row: a text, or a list of them without those that are empty.
func (r row) captions(column string) (captions []string, err error) {
	missing := fmt.Errorf("%s, the caption, is missing", column)
	if value := bytes.TrimSpace(r[column]); bytes.HasPrefix(value, []byte("[")) {
		if json.Unmarshal(value, &captions) != nil {
			return nil, fmt.Errorf("%s is not a list of texts", column)
		}
	} else if one, err := r.text(column); err != nil {
		return nil, err
	} else {
		captions = []string{one}
	}
	captions = slices.DeleteFunc(captions, blank)
	if len(captions) == 0 {
		return nil, missing
	}
	return captions, nil
}

// jsonRows calls add with the rows of a metadata.jsonl.
func (t *tree) jsonRows(list string, add func(line int, r row) error) error {
	return eachLine(t.path(list), func(line int, said []byte) error {
		r, err := objectOf(said)
		if err == nil {
			err = checkHalves(said)
		}
		if err != nil {
			return err
		}
		return add(line, r)
	})
}

// objectOf is a line that is one JSON object, which has no column twice.
func objectOf(line []byte) (row, error) {
	var r row
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("%w: one object a line is read", badJSON(line, err))
	}
	same := func(a, b string) bool { return a == b }
	if name, found, err := twice(line, same); err != nil || found {
		return nil, cmp.Or(err, fmt.Errorf("%s is there twice", shown(name)))
	}
	return r, nil
}

// csvRows calls add with the rows of a metadata.csv.
func (t *tree) csvRows(list string, add func(line int, r row) error) error {
	name := t.path(list)
	f, err := text.Open(name)
	if err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	defer f.Close()
	in := csv.NewReader(text.NewReader(f))
	columns, err := in.Read()
	if err == io.EOF {
		return nil
	}
	for i, c := range columns {
		columns[i] = strings.TrimSpace(c)
	}
	if err == nil && !slices.Contains(columns, "file_name") {
		err = fmt.Errorf("file_name is missing; there are %s, where columns are parted by commas",
			fewOf(columns))
	}
	for line := 1; err == nil; {
		var cells []string
		if cells, err = in.Read(); err == io.EOF {
			return nil
		}
		if err != nil {
			break
		}
		line, _ = in.FieldPos(0)
		r, cellErr := rowOf(columns, cells)
		if err = cellErr; err == nil {
			err = add(line, r)
		}
		if err != nil {
			return &LineError{name, line, err}
		}
	}
	line := 1
	var bad *csv.ParseError
	var odd *text.Error
	if errors.As(err, &bad) {
		line, err = bad.Line, bad.Err
	} else if errors.As(err, &odd) {
		line, err = odd.Line, odd.Err
	}
	return &LineError{name, line, err}
}

// rowOf is a row of a CSV file. A cell that is a list has to be one of JSON. Columns without a
// name, as spreadsheets leave them and pandas writes its index, say nothing.
func rowOf(columns, cells []string) (row, error) {
	r := row{}
	for i, c := range columns {
		if c == "" {
			continue
		}
		if _, twice := r[c]; twice {
			return nil, fmt.Errorf("two columns are named %q", c)
		}
		value, _ := json.Marshal(cells[i]) // a string always has a JSON form
		var list []string
		cell := strings.TrimSpace(cells[i])
		switch {
		case !slices.Contains(captionColumns, c) || !strings.HasPrefix(cell, "["):
		case json.Unmarshal([]byte(cell), &list) == nil:
			value = []byte(cell)
		case strings.HasPrefix(cell, "['") && strings.HasSuffix(cell, "]"):
			return nil, fmt.Errorf("%s is a list as Python prints it: write it as JSON", c)
		}
		r[c] = value
	}
	return r, nil
}
