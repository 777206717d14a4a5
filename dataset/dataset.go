package dataset

import (
	"context"
	"errors"
	"fmt"
	"image"
	"iter"

	"gorgonia.org/tensor"
)

// A Label says how well a picture follows its prompt.
type Label uint8

// The labels of the paper (Lee et al. 2023, §4.1).
const (
	Unlabelled Label = iota // nobody has judged the picture
	Good
	Bad
	Skip // people could not say, or did not agree
)

// A Sample is one prompt with what is known about it. Every field but Prompt may be absent. The
// zero value of a field says that it is.
type Sample struct {
	// ID names the sample, and no other one of its dataset. What belongs to a sample is found by
	// the ID, whatever the order of the samples. Files and generators give each sample an ID.
	ID     string
	Prompt string
	// Group is the same for samples that were judged together: a pair, or a set that was ranked.
	Group string

	Label Label
	// Judgements is how many people judged the sample good or bad. Good is the share of them, 0 to
	// 1, that said good. Both are 0 where the Label alone is known. A Label beside them does not
	// contradict them: it is Good with a share of ½ or more, Bad with one of ½ or less, or Skip.
	// See Majority.
	Judgements int
	Good       float64

	Reward *float64 // from a reward model or a rater; 0 to 1 from the model of the paper

	Image image.Image // the decoded picture
	File  string      // the picture's path as a file lists it, with forward slashes
	Size  image.Point `json:"-"` // of the picture, upright, in pixels, where Look has seen it
	// Fit is the size in pixels that the picture is to be cut to before a model reads it. Zero
	// leaves that to what reads it.
	Fit image.Point `json:"-"`

	Latent    *tensor.Dense // [H,W,C] float32, the VAE's scaled latent
	Condition Condition     // what the network is told of the prompt

	Source Source // where the sample comes from

	// Alternatives are other prompts that describe the picture as well as Prompt does, such as the
	// further lines of its caption. A trainer draws one of all each time. What people or models say
	// of the sample is said of Prompt.
	Alternatives []Alternative
}

// An Alternative is another prompt of a sample, with what the network is told of it.
type Alternative struct {
	Prompt    string
	Condition Condition
}

// Captions returns the prompts of a sample: Prompt, and then those of its alternatives.
func (s Sample) Captions() []string {
	all := []string{s.Prompt}
	for _, a := range s.Alternatives {
		all = append(all, a.Prompt)
	}
	return all
}

// Majority returns the label that a share of good judgements amounts to: Good above ½, Bad below
// it, and Skip at ½. It is Skip as well for a number that is not in 0 to 1.
func Majority(good float64) Label {
	switch {
	case good > 0.5 && good <= 1:
		return Good
	case good >= 0 && good < 0.5:
		return Bad
	}
	return Skip
}

// checkJudgements returns an error if the fields for what people said of a sample contradict each
// other.
func (s Sample) checkJudgements() error {
	switch {
	case s.Judgements < 0:
		return fmt.Errorf("there are %d judgements", s.Judgements)
	case s.Judgements == 0 && s.Good != 0:
		return fmt.Errorf("the share of good judgements is %v of none", s.Good)
	case !(s.Good >= 0 && s.Good <= 1):
		return fmt.Errorf("the share of good judgements is %v, not in [0,1]", s.Good)
	case s.Judgements > 0 && (s.Label == Good && s.Good < 0.5 || s.Label == Bad && s.Good > 0.5):
		return fmt.Errorf("the label is %v, and the share of good judgements %v", s.Label, s.Good)
	}
	return nil
}

// A Source says where a sample comes from, so that anyone can make it again.
type Source struct {
	Model    string  `json:"model,omitempty"`    // the generator: a folder's name or hash
	Sampler  string  `json:"sampler,omitempty"`  // "ddim", …
	Steps    int     `json:"steps,omitempty"`    // sampling steps
	Guidance float64 `json:"guidance,omitempty"` // classifier-free guidance scale
	Negative string  `json:"negative,omitempty"` // negative prompt
	Seed     uint64  `json:"seed,omitempty"`     // run seed
	Index    uint64  `json:"index,omitempty"`    // the sample's index under that seed
	Rater    string  `json:"rater,omitempty"`    // who labelled it
}

// A Dataset is a sequence of samples. Ranging over it again starts again, and gives the same
// samples in the same order. Keep makes one of a sequence whose samples cost much to make, or would
// be others the next time.
type Dataset interface {
	// All yields the samples one after another. Where it cannot go on, or ctx has ended, it yields
	// an error. After an error the sequence ends.
	All(ctx context.Context) iter.Seq2[Sample, error]
}

// All ranges over a dataset. Where there is none, because it or a Func is nil, that is an error.
func All(ctx context.Context, d Dataset) iter.Seq2[Sample, error] {
	if f, ok := d.(Func); d == nil || ok && f == nil {
		return func(yield func(Sample, error) bool) { yield(Sample{}, errNone) }
	}
	return d.All(ctx)
}

var errNone = errors.New("dataset: there is no dataset to range over: it is nil")

// Func adapts a function to Dataset.
type Func func(ctx context.Context) iter.Seq2[Sample, error]

// All calls f.
func (f Func) All(ctx context.Context) iter.Seq2[Sample, error] { return f(ctx) }
