package sampling

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/kudos-ml/kudos/dataset"
)

// ReadPrompts reads a file of prompts: one a line, in UTF-8, blank lines skipped; or, if its name ends in .jsonl, those of samples.
func ReadPrompts(ctx context.Context, name string) ([]string, error) {
	read := readLines
	if filepath.Ext(name) == ".jsonl" {
		read = readSamples
	}
	prompts, err := read(ctx, name)
	if err == nil && len(prompts) == 0 {
		err = fmt.Errorf("%s holds no prompt", name)
	}
	if err != nil {
		return nil, fmt.Errorf("-prompts: %w", err)
	}
	return prompts, nil
}

func readSamples(ctx context.Context, name string) (prompts []string, err error) {
	samples, err := dataset.Collect(ctx, dataset.File{Path: name})
	for _, s := range samples {
		prompts = append(prompts, s.Prompt)
	}
	return prompts, err
}

func readLines(_ context.Context, name string) (prompts []string, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		number++
		switch line = strings.TrimSpace(line); {
		case !utf8.ValidString(line):
			err = errors.New("the line is not UTF-8")
		case strings.ContainsRune(line, 0):
			err = errors.New("the line holds a zero byte, as text in UTF-16 and pictures do")
		case line != "":
			prompts = append(prompts, line)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
	}
	return prompts, nil
}
