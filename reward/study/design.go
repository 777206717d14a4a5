package study

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/internal/picture"
)

// A Design says what is compared.
type Design struct {
	Study string // its name; a store can have many
	A, B  Side
	// Set is how many pictures of each model a rater sees together. 0 is 4, the paper's.
	Set int
	// Raters is how many people are to answer each question of a pair. 0 is 9, the paper's.
	Raters int
}

// The paper's numbers.
const (
	paperSet    = 4
	paperRaters = 9
)

// A Side is one of the two models with its pictures.
type Side struct {
	// Model is what reports call it. The pictures' IDs in the store begin with it. Raters never
	// see it.
	Model    string
	Pictures dataset.Dataset
	Folder   string // that the pictures' files are in, inside the store's
}

// Made says what Make has made of the pictures.
type Made struct {
	Pairs   int // in the study now
	New     int // of them, since before
	Prompts int // in the study
	// Without are the prompts that have too few pictures on a side, and are not in the study.
	Without []string
}

// Make puts the pictures into the store and makes pairs of them: for each prompt as many as there
// are whole sets of both models, the first pictures first. What is there already stays, so that
// Make can be repeated, and go on with more pictures.
//
// It is an error if the models have one name, if the study compares others, if there is no pair, or
// if two pictures differ in shape, by which raters could know the models.
func Make(ctx context.Context, store *feedback.Store, d Design) (made Made, err error) {
	if d.Set == 0 {
		d.Set = paperSet
	}
	if d.Raters == 0 {
		d.Raters = paperRaters
	}
	if err := d.check(); err != nil {
		return made, err
	}
	var sets [2]map[string][][]string // by prompt
	var order []string                // prompts
	for i, side := range []Side{d.A, d.B} {
		prompts, pictures, err := side.add(ctx, store)
		if err != nil {
			return made, fmt.Errorf("study: %s: %w", side.Model, err)
		}
		for _, p := range prompts {
			if !slices.Contains(order, p) {
				order = append(order, p)
			}
		}
		sets[i] = make(map[string][][]string)
		for prompt, ids := range pictures {
			for len(ids) >= d.Set {
				sets[i][prompt] = append(sets[i][prompt], ids[:d.Set])
				ids = ids[d.Set:]
			}
		}
	}
	there, err := store.Pairs(ctx, d.Study)
	if err != nil {
		return made, fmt.Errorf("study: %w", err)
	}
	known := make(map[string]bool)
	for _, p := range there {
		if p.ModelA != d.A.Model || p.ModelB != d.B.Model {
			return made, fmt.Errorf("study: study %q compares %s with %s, not %s with %s",
				d.Study, p.ModelA, p.ModelB, d.A.Model, d.B.Model)
		}
		known[key(p)] = true
	}
	var pairs []feedback.Pair
	for _, prompt := range order {
		n := min(len(sets[0][prompt]), len(sets[1][prompt]))
		if n == 0 {
			made.Without = append(made.Without, prompt)
			continue
		}
		made.Prompts++
		for i := range n {
			p := feedback.Pair{
				Study: d.Study, ID: rand.Text(), Prompt: prompt, ModelA: d.A.Model,
				ModelB: d.B.Model, A: sets[0][prompt][i], B: sets[1][prompt][i],
			}
			if !known[key(p)] {
				pairs = append(pairs, p)
			}
		}
	}
	made.New, made.Pairs = len(pairs), len(there)+len(pairs)
	if made.Pairs == 0 {
		return made, fmt.Errorf("study: no prompt has %d pictures of %s and as many of %s",
			d.Set, d.A.Model, d.B.Model)
	}
	if err := oneShape(ctx, store, pairs); err != nil {
		return made, err
	}
	err = store.AddPairs(ctx, pairs...)
	if err == nil {
		err = store.SetRaters(ctx, d.Study, d.Raters)
	}
	if err != nil {
		return made, fmt.Errorf("study: %w", err)
	}
	return made, nil
}

func (d Design) check() error {
	switch {
	case d.Study == "":
		return errors.New("study: the study has no name")
	case d.A.Model == "" || d.B.Model == "" || d.A.Model == d.B.Model:
		return fmt.Errorf("study: the models are called %q and %q: two names are needed",
			d.A.Model, d.B.Model)
	case d.Set < 1 || d.Raters < 1:
		return fmt.Errorf("study: sets of %d pictures, %d raters", d.Set, d.Raters)
	}
	return nil
}

// key is the same for pairs of the same pictures.
func key(p feedback.Pair) string {
	return strings.Join(slices.Concat([]string{p.Prompt, ""}, p.A, []string{""}, p.B), "\x00")
}

// add puts the pictures of a side into the store, and returns their IDs there by prompt.
func (s Side) add(
	ctx context.Context, store *feedback.Store,
) (prompts []string, ids map[string][]string, err error) {
	ids = make(map[string][]string)
	named := dataset.Map(s.Pictures,
		func(_ context.Context, sample dataset.Sample) (dataset.Sample, error) {
			sample.ID = path.Join(s.Model, sample.ID)
			if sample.File == "" {
				return sample, fmt.Errorf("sample %q has no picture", sample.ID)
			}
			if ids[sample.Prompt] == nil {
				prompts = append(prompts, sample.Prompt)
			}
			ids[sample.Prompt] = append(ids[sample.Prompt], sample.ID)
			return sample, nil
		})
	_, err = store.Add(ctx, named, s.Folder)
	return prompts, ids, err
}

// oneShape returns an error if two pictures of a pair have different shapes.
func oneShape(ctx context.Context, store *feedback.Store, pairs []feedback.Pair) error {
	for _, pair := range pairs {
		var first string
		var w, h int
		for _, id := range slices.Concat(pair.A, pair.B) {
			data, err := store.ReadPicture(ctx, id)
			if err != nil {
				return fmt.Errorf("study: %w", err)
			}
			img, err := picture.Decode(bytes.NewReader(data), id)
			if err != nil {
				return fmt.Errorf("study: %w", err)
			}
			size := img.Bounds().Size()
			if first == "" {
				first, w, h = id, size.X, size.Y
			}
			if w*size.Y != h*size.X {
				return fmt.Errorf("study: %s has %d×%d pixels, and %s %d×%d: raters would know "+
					"the models by the shapes of their pictures", first, w, h, id, size.X, size.Y)
			}
		}
	}
	return nil
}
