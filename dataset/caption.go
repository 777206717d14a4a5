package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/internal/picture"
)

// mostCaption is the longest caption file that is read, in bytes: a hundred times what a text
// encoder reads, and less than a book.
const mostCaption = 64 << 10

// isCaption says whether a name ends as those of caption files do.
func isCaption(name string) bool { return slices.Contains(captionFiles, ending(name)) }

// captionFiles are the endings of caption files.
var captionFiles = []string{".txt", ".caption"}

// stem is a name without its ending.
func stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// captioned finds pictures with their captions in files beside them.
func (t *tree) captioned(ctx context.Context) error {
	if err := t.wrong(matters); err != nil {
		return err
	}
	byDir, dirs := map[string][]string{}, []string(nil)
	for _, file := range t.files {
		dir := path.Dir(file)
		if byDir[dir] == nil {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], file)
	}
	caption := map[string]string{} // of pictures
	var without, twice []string
	for _, dir := range dirs {
		w, tw := t.match(byDir[dir], caption)
		without, twice = append(without, w...), append(twice, tw...)
	}
	switch {
	case len(twice) > 0:
		return fmt.Errorf("dataset: %s: %s%s", t.root, twice[0], more(len(twice)-1))
	case len(without) > 0:
		return t.missing(without)
	}
	for _, dir := range dirs {
		if repeats.MatchString(path.Base(dir)) && slices.ContainsFunc(byDir[dir], isPicture) {
			t.left.add("folder has a number of repeats in its name, and is read once",
				"folders have numbers of repeats in their names, and are read once", dir)
		}
	}
	var wrong []error
	for _, file := range t.files {
		name, ok := caption[file]
		if !ok {
			continue
		}
		s, err := t.caption(file, name)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		t.found = append(t.found, found{sample: s})
	}
	if len(wrong) > 1 {
		return fmt.Errorf("%w%s", wrong[0], more(len(wrong)-1))
	}
	return errors.Join(wrong...)
}

// repeats are names of folders by which kohya's scripts read pictures several times: 10_dog.
var repeats = regexp.MustCompile(`^[1-9][0-9]*_.`)

// match finds the captions of the pictures of one folder. It returns pictures that have none, and
// what is wrong with those that share one or have two.
func (t *tree) match(files []string, caption map[string]string) (without, twice []string) {
	var images, captions []string
	for _, file := range files {
		switch {
		case isPicture(file):
			images = append(images, file)
		case isCaption(file):
			captions = append(captions, file)
		}
	}
	exact, alike := byStem(captions, strings.Clone), byStem(captions, folded)
	owner := map[string]string{} // of captions
	for _, image := range images {
		of := append(slices.Clone(exact[stem(image)]), exact[image]...)
		if len(of) == 0 {
			of = append(slices.Clone(alike[folded(stem(image))]), alike[folded(image)]...)
		}
		switch {
		case len(of) == 0:
			without = append(without, image)
			continue
		case len(of) > 1:
			twice = append(twice, fmt.Sprintf("%s has %d caption files, %s: keep one, or put its "+
				"captions into one, a line each", shown(image), len(of), fewOf(of)))
			continue
		}
		if other, taken := owner[of[0]]; taken {
			twice = append(twice, fmt.Sprintf("%s and %s share one caption file, %s: name it "+
				"%s.txt if it is of one of them, or remove the other picture", shown(other),
				shown(image), shown(of[0]), shown(path.Base(other))))
			continue
		}
		owner[of[0]], caption[image] = image, of[0]
	}
	t.passedOver(files, captions, owner)
	return without, twice
}

// byStem are names of files by what key makes of their stems.
func byStem(files []string, key func(string) string) map[string][]string {
	all := map[string][]string{}
	for _, file := range files {
		all[key(stem(file))] = append(all[key(stem(file))], file)
	}
	return all
}

// passedOver says what of a folder's files is no picture with a caption.
func (t *tree) passedOver(files, captions []string, owner map[string]string) {
	alike := byStem(captions, folded)
	shared := map[string]bool{} // captions of files that are not read
	for _, file := range files {
		if isPicture(file) || isCaption(file) || !isOther(file) && path.Ext(file) != "" {
			continue
		}
		of := slices.Concat(alike[folded(stem(file))], alike[folded(file)])
		for _, c := range of {
			shared[c] = true
		}
		switch {
		case len(of) > 0:
			t.left.add("file with a caption was not read", "files with captions were not read",
				file)
		case path.Ext(file) != "" || t.looks(file):
			t.left.add("file in a format that is not read", "files in formats that are not read",
				file)
		}
	}
	for _, c := range captions {
		if owner[c] == "" && !shared[c] && !slices.Contains(notCaptions, folded(path.Base(c))) {
			t.left.add(alone, "texts have no picture beside them", c)
		}
	}
}

// looks says whether a file begins as a picture does.
func (t *tree) looks(file string) bool {
	f, err := os.Open(t.path(file))
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 16)
	n, _ := io.ReadFull(f, head)
	return picture.Looks(head[:n])
}

const alone = "text has no picture beside it"

// notCaptions are names of texts that nobody takes for captions.
var notCaptions = []string{"readme.txt", "license.txt", "licence.txt", "requirements.txt"}

// missing is the error of pictures without captions.
func (t *tree) missing(images []string) error {
	first := path.Base(images[0])
	said := fmt.Sprintf("dataset: %s has no caption", shown(t.path(images[0])))
	if n := len(images); n > 1 {
		said = fmt.Sprintf("dataset: %s: %d pictures have no caption: %s", t.root, n, fewOf(images))
	}
	said += fmt.Sprintf("; it would be in %s.txt, %s.caption or %s.txt", shown(stem(first)),
		shown(stem(first)), shown(first))
	there := slices.Clone(t.left.names[alone])
	for _, file := range t.files {
		of := stem(file) == stem(images[0]) || stem(file) == images[0]
		switch ending(file) {
		case ".json", ".jsonl", ".csv", ".tsv", ".toml", ".yaml", ".yml", ".parquet", ".xml":
			of = true
		}
		if of && !isPicture(file) && !isCaption(file) {
			there = append(there, file)
		}
	}
	if len(there) > 0 {
		said += "; not read as captions: " + fewOf(there)
	}
	return errors.New(said)
}

// caption returns the sample of a picture and its caption file.
func (t *tree) caption(file, name string) (Sample, error) {
	s := Sample{ID: file, File: file}
	name = t.path(name)
	info, err := os.Stat(name)
	if err != nil {
		return s, fmt.Errorf("dataset: %w", err)
	}
	if info.Size() > mostCaption {
		return s, fmt.Errorf("dataset: %s, the caption of %s, has more than %d bytes", shown(name),
			shown(path.Base(file)), mostCaption)
	}
	var captions []string
	err = eachLine(name, func(_ int, line []byte) error {
		if line[0] == '{' && json.Valid(line) {
			return errors.New("the line is JSON, not a caption")
		}
		captions = append(captions, string(line))
		return nil
	})
	if err == nil && len(captions) == 0 {
		err = fmt.Errorf("dataset: %s, the caption of %s, is empty", shown(name),
			shown(path.Base(file)))
	}
	if err != nil {
		return s, err
	}
	return s.with(captions), nil
}

// with is the sample with captions: the first is its prompt, the others are alternatives.
func (s Sample) with(captions []string) Sample {
	s.Prompt = captions[0]
	for _, c := range captions[1:] {
		s.Alternatives = append(s.Alternatives, Alternative{Prompt: c})
	}
	return s
}
