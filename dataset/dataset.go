package dataset

import (
	"context"
	"fmt"
	"image"
	"iter"

	"gorgonia.org/tensor"
)

// A Label is what a rater said of how well a picture follows its prompt.
type Label uint8

// The labels of the paper (Lee et al. 2023, §4.1); the zero value is a picture nobody has judged.
// Skip is a picture that is neither: people could not say, or did not agree.
const (
	Unlabelled Label = iota
	Good
	Bad
	Skip
)

// A Sample is one prompt with what is known about it. Every field but Prompt may be absent; absent
// pointers and slices are nil.
type Sample struct {
	// ID names the sample, and no other of its dataset: what belongs to a sample is found by it,
	// whatever the order. Files and generators give each sample one.
	ID     string
	Prompt string
	// Group is the same for samples that were judged together: a pair, or a set that was ranked.
	Group string

	Label Label
	// Judgements is how many people judged the sample good or bad, and Good the share of them, in
	// [0,1], that said good. Both are 0 where the Label alone is known. A Label beside them does
	// not contradict them: it is Good with Good ≥ ½, Bad with Good ≤ ½, or Skip. See Majority.
	Judgements int
	Good       float64

	Reward *float64 // what a reward model or a rater gave, in [0, 1] for the paper's model

	Image image.Image // the decoded picture
	File  string      // the picture's path, as the file that lists it spells it, slashes forward

	Latent    *tensor.Dense // [H,W,C] float32, the VAE's scaled latent
	Condition Condition     // what the network is told of the prompt

	Source Source
}

// Majority is the label that a share of good judgements amounts to: Good above ½, Bad below, and
// Skip at ½ and for what is no share.
func Majority(good float64) Label {
	switch {
	case good > 0.5 && good <= 1:
		return Good
	case good >= 0 && good < 0.5:
		return Bad
	}
	return Skip
}

// checkJudgements says what is wrong with what people said of a sample.
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

// A Dataset is a sequence of samples. Ranging again starts again and gives the same samples in the
// same order; Keep sees to that where they cost much to make, or are made by what changes. After an
// error the sequence ends.
type Dataset interface {
	All(ctx context.Context) iter.Seq2[Sample, error]
}

// Func adapts a function to Dataset.
type Func func(ctx context.Context) iter.Seq2[Sample, error]

// All calls f.
func (f Func) All(ctx context.Context) iter.Seq2[Sample, error] { return f(ctx) }
