package dataset

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/picture"
)

// WriteFolder writes the samples of d to a folder that Folder reads, and returns how many it wrote:
// samples/ID.png, a picture that carries its Parameters, and then a line of samples.jsonl in the
// format of File. A sample is there as soon as d yields it, its line after its picture; so whatever
// happens, every line has its picture, and what there is can be read. Folders that are missing are
// made. Lines that are there already stay, and what is written comes after them.
//
// A sample without an ID gets one of five digits: its Source.Index where it has a Source, and
// otherwise its place in d, from 0. It is an error if a sample has no picture, if its ID cannot
// be a file's name on every system, or if the folder has a sample of that ID, in whatever case:
// Windows and macOS have a.png and A.png for one file.
func WriteFolder(ctx context.Context, dir string, d Dataset) (n int, err error) {
	fail := func(err error) error { return fmt.Errorf("dataset: %s: %w", dir, err) }
	if err := os.MkdirAll(filepath.Join(dir, "samples"), 0o777); err != nil {
		return 0, fail(err)
	}
	log, err := file.OpenLog(filepath.Join(dir, samplesFile))
	if err != nil {
		return 0, fail(err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	taken := map[string]bool{}
	for s, err := range (File{Path: filepath.Join(dir, samplesFile)}).All(ctx) {
		if err != nil {
			return 0, err
		}
		taken[strings.ToLower(s.ID)] = true
	}
	for s, err := range All(ctx, d) {
		if err != nil {
			return n, err
		}
		switch {
		case s.ID == "" && s.Source != (Source{}):
			s.ID = fmt.Sprintf("%05d", s.Source.Index)
		case s.ID == "":
			s.ID = fmt.Sprintf("%05d", n)
		}
		if taken[strings.ToLower(s.ID)] {
			return n, fail(fmt.Errorf("a second sample has the ID %q: %w", s.ID, fs.ErrExist))
		}
		if err := writeSample(dir, log, s); err != nil {
			return n, fail(fmt.Errorf("sample %q (%s): %w", s.ID, s.Prompt, err))
		}
		taken[strings.ToLower(s.ID)] = true
		n++
	}
	return n, nil
}

// Written returns the samples that WriteFolder has written to a folder, without their pictures, in
// their order. So a run that was stopped knows what is left to do. A line that was being written
// when its process was killed is cut off. In a folder without samples.jsonl there are none.
func Written(ctx context.Context, dir string) ([]Sample, error) {
	name := filepath.Join(dir, samplesFile)
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	log, err := file.OpenLog(name)
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", dir, err)
	}
	return Collect(ctx, File{Path: name})
}

// writeSample writes a sample's picture and its line.
func writeSample(dir string, log *file.Log, s Sample) error {
	if s.Image == nil {
		return errors.New("there is no picture")
	}
	if !filepath.IsLocal(s.ID) {
		return errors.New("the ID cannot be a file's name")
	}
	if err := file.CheckName(s.ID + ".png"); err != nil {
		return fmt.Errorf("its ID names its file: %w", err)
	}
	s.File = "samples/" + s.ID + ".png"
	var line bytes.Buffer
	if err := Encode(&line, s); err != nil {
		return err
	}
	var notes []picture.Text
	if s.Source != (Source{}) {
		notes = append(notes, picture.Text{Key: "parameters", Value: Parameters(s)})
	}
	path := filepath.Join(dir, filepath.FromSlash(s.File))
	if err := picture.WritePNG(path, s.Image, notes...); err != nil {
		return err
	}
	return log.Append(json.RawMessage(line.Bytes()))
}

// samplerNames are what AUTOMATIC1111's web UI calls samplers.
var samplerNames = map[string]string{
	"ddpm": "DDPM", "ddim": "DDIM", "pndm": "PLMS", "euler": "Euler", "euler_a": "Euler a",
	"dpmpp_2m": "DPM++ 2M", "dpmpp_2m_karras": "DPM++ 2M Karras",
}

// Parameters says how a sample was made in the form that AUTOMATIC1111's web UI writes into PNG
// files (create_infotext in its modules/processing.py) and that other programs read: the prompt,
// the negative prompt, and a line of settings. A picture's noise is decided by Seed and Index
// together, so its Seed alone means nothing to other programs.
func Parameters(s Sample) string {
	var b strings.Builder
	b.WriteString(s.Prompt + "\n")
	if s.Source.Negative != "" {
		b.WriteString("Negative prompt: " + s.Source.Negative + "\n")
	}
	fmt.Fprintf(&b, "Steps: %d, Sampler: %s, CFG scale: %g, Seed: %d", s.Source.Steps,
		cmp.Or(samplerNames[s.Source.Sampler], s.Source.Sampler), s.Source.Guidance, s.Source.Seed)
	if s.Image != nil {
		size := s.Image.Bounds().Size()
		fmt.Fprintf(&b, ", Size: %dx%d", size.X, size.Y)
	}
	fmt.Fprintf(&b, ", Model: %s, Index: %d", quoted(s.Source.Model), s.Source.Index)
	if s.Reward != nil {
		fmt.Fprintf(&b, ", Reward: %.4f", *s.Reward)
	}
	b.WriteString(", Version: kudos")
	return b.String()
}

// quoted is a value, as a JSON string if it would not end where it ends.
func quoted(value string) string {
	if !strings.ContainsAny(value, ",:\n") {
		return value
	}
	text, _ := json.Marshal(value) // a string always has a JSON form
	return string(text)
}
