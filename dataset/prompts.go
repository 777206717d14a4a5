package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/internal/split"
	"github.com/kudos-ml/kudos/internal/text"
)

// ReadPrompts reads a file of prompts, one a line, and skips blank lines. It is in UTF-8, or in
// UTF-16 with a byte order mark. If the file's name ends in .jsonl, they are those of samples in
// the format of File. A line that is wrong is a *LineError; so is one that is a JSON object where
// the name does not end in .jsonl. A file without any prompt is an error, and so is one whose name
// says that it is a table or a structure: .csv, .tsv, .json, .ndjson, .parquet, .toml, .yaml, .yml,
// .xlsx.
func ReadPrompts(ctx context.Context, name string) ([]string, error) {
	switch ending := strings.ToLower(filepath.Ext(name)); ending {
	case ".jsonl":
		samples, err := Collect(ctx, File{Path: name})
		if err != nil {
			return nil, err
		}
		prompts := make([]string, len(samples))
		for i, s := range samples {
			prompts[i] = s.Prompt
		}
		return notNone(prompts, name)
	case ".csv", ".tsv", ".json", ".ndjson", ".parquet", ".toml", ".yaml", ".yml", ".xlsx":
		return nil, fmt.Errorf("dataset: %s: prompts are not read from %s: write them to a file "+
			"of lines, one a prompt, or to .jsonl", name, ending)
	}
	var prompts []string
	err := eachLine(name, func(_ int, line []byte) error {
		if line[0] == '{' && json.Valid(line) {
			return errors.New("the line is JSON, not a prompt: let the file's name end in .jsonl")
		}
		prompts = append(prompts, string(line))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return notNone(prompts, name)
}

// shows says whether there is something to see of a character: it is no space of whatever width,
// and controls nothing, as what DOS ends files with does.
func shows(r rune) bool { return !unicode.In(r, unicode.Z, unicode.Cc, unicode.Cf) }

// blank says whether nothing shows of a text.
func blank(text string) bool { return !strings.ContainsFunc(text, shows) }

// eachLine calls do with the lines of a text in which something shows, without the spaces around
// them, and with their numbers. Errors of do and of lines that are no text are *LineErrors.
func eachLine(name string, do func(number int, line []byte) error) error {
	f, err := text.Open(name)
	if err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	defer f.Close()
	number := 0
	for line, err := range text.Lines(f, maxLine) {
		number++
		if line = bytes.TrimSpace(line); err == nil && bytes.ContainsFunc(line, shows) {
			err = do(number, line)
		}
		if err != nil {
			return &LineError{name, number, err}
		}
	}
	return nil
}

// ReadCategories reads a file that says which category prompts are of: in each line a category, a
// tab and a prompt, in UTF-8 or, with a byte order mark, UTF-16. Blank lines are skipped. It
// returns what says the category of a prompt, "" if the file does not have the prompt. A line
// without a tab is a *LineError, and so is a second line for a prompt that says another category.
func ReadCategories(name string) (category func(prompt string) string, err error) {
	of := make(map[string]string)
	err = eachLine(name, func(_ int, line []byte) error {
		category, prompt, ok := strings.Cut(string(line), "\t")
		if !ok {
			return errors.New("there is no category, tab and prompt")
		}
		prompt = strings.TrimSpace(prompt)
		if other, twice := of[prompt]; twice && other != category {
			return fmt.Errorf("an earlier line has the prompt in category %q", other)
		}
		of[prompt] = category
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func(prompt string) string { return of[prompt] }, nil
}

func notNone(prompts []string, name string) ([]string, error) {
	if len(prompts) == 0 {
		return nil, fmt.Errorf("dataset: %s holds no prompt", name)
	}
	return prompts, nil
}

// Prompts returns the different prompts of samples, sorted.
func Prompts(samples []Sample) []string {
	prompts := make([]string, len(samples))
	for i, s := range samples {
		prompts[i] = s.Prompt
	}
	slices.Sort(prompts)
	return slices.Compact(prompts)
}

// SplitPrompts holds out all samples of some of the prompts. share, 0 to 1, is the share of the
// prompts that are held out, and seed chooses which. Both results are in the order of samples.
//
// What is learned from the rest can be tested on those held out, as on prompts that were never
// seen. Samples that were held out one by one would have others of the same prompt in training.
//
// At least one prompt is held out. At least two are left, so that training can hold out one of them
// again. Samples of fewer than three prompts are an error.
//
// If samples are labelled, both results have good ones and bad ones, and so they have if the rest
// is split again. For that both kinds must be among the samples of at least three prompts. It is an
// error that counts them if they are not.
func SplitPrompts(
	samples []Sample, share float64, seed uint64,
) (rest, heldOut []Sample, err error) {
	if !(share >= 0 && share <= 1) {
		return nil, nil, fmt.Errorf("dataset: a share of %v of the prompts is not in 0 to 1", share)
	}
	prompts := Prompts(samples)
	n := len(prompts)
	if n < 3 {
		return nil, nil, fmt.Errorf("dataset: there are samples of %d prompts; at least 3 are "+
			"needed: to learn from, to stop early by, to test on", n)
	}
	kinds := kindsOf(samples)
	if of := kinds.Count(prompts); len(kinds) > 0 && min(of[0], of[1]) < 3 {
		return nil, nil, fmt.Errorf("dataset: of %d prompts, %d have pictures labelled good and "+
			"%d have pictures labelled bad; at least 3 must have either: to learn from, to stop "+
			"early by, to test on", n, of[0], of[1])
	}
	r := rng.New(seed, "test prompts", 0, 0)
	r.Shuffle(n, func(i, j int) { prompts[i], prompts[j] = prompts[j], prompts[i] })
	held := map[string]bool{}
	for _, p := range kinds.HoldOut(prompts, min(max(1, int(share*float64(n))), n-2), 2) {
		held[p] = true
	}
	for _, s := range samples {
		if held[s.Prompt] {
			heldOut = append(heldOut, s)
		} else {
			rest = append(rest, s)
		}
	}
	return rest, heldOut, nil
}

// kindsOf is which labels the prompts of samples have.
func kindsOf(samples []Sample) split.Kinds {
	kinds := split.Kinds{}
	for _, s := range samples {
		if s.Label == Good || s.Label == Bad {
			kinds.Add(s.Prompt, s.Label == Good)
		}
	}
	return kinds
}

// OtherPrompts returns a function that takes the wrong prompts for a right one from among those
// given. It returns n different ones in an order that r decides. If there are fewer, it returns all
// but the right one. It never fails.
//
// It stands in for Grammar.Perturb where no grammar has the prompts. (The wrong prompts of Lee et
// al. 2023, §4.2, are variations of the right one, which takes a grammar.)
func OtherPrompts(prompts []string) func(prompt string, n int, r *rand.Rand) ([]string, error) {
	prompts = slices.Clone(prompts)
	slices.Sort(prompts)
	prompts = slices.Compact(prompts)
	return func(prompt string, n int, r *rand.Rand) ([]string, error) {
		var wrong []string
		for _, i := range r.Perm(len(prompts)) {
			if prompts[i] != prompt && len(wrong) < n {
				wrong = append(wrong, prompts[i])
			}
		}
		return wrong, nil
	}
}

// Draw returns n prompts of the grammar: one of each of Categories in turn, again and again. The
// stream names what the prompts are for. Prompt i is a pure function of seed, stream and i. It is
// an error if the grammar has no prompts of a category.
func (g *Grammar) Draw(stream string, seed uint64, n int) ([]string, error) {
	categories := Categories()
	prompts := make([]string, n)
	for i := range prompts {
		category := categories[i%len(categories)]
		claims := g.Claims(category)
		if len(claims) == 0 {
			return nil, fmt.Errorf("dataset: the grammar has no prompts of the category %s",
				category)
		}
		claim := claims[rng.New(seed, stream, 0, uint64(i)).IntN(len(claims))]
		var err error
		if prompts[i], err = g.Render(claim); err != nil {
			return nil, err
		}
	}
	return prompts, nil
}

// Category returns the category of a sample's prompt, and "" if the grammar does not have the
// prompt. It is a key by which samples can be grouped.
func (g *Grammar) Category(s Sample) string {
	claim, err := g.Parse(s.Prompt)
	if err != nil {
		return ""
	}
	return string(claim.Category())
}
