package dataset

import (
	"context"
	"image"
	"iter"

	"gorgonia.org/tensor"
)

// A Label is what a rater said of how well a picture follows its prompt.
type Label uint8

// The labels of the paper (Lee et al. 2023, §4.1); the zero value is a picture nobody has judged.
const (
	Unlabelled Label = iota
	Good
	Bad
	Skip
)

// A Sample is one prompt with what is known about it. Every field but Prompt may be absent; absent pointers
// and slices are nil.
type Sample struct {
	ID     string // names the sample in files and reports
	Prompt string
	Label  Label
	Reward *float64 // what a reward model or a rater gave, in [0, 1] for the paper's model

	Image image.Image // the decoded picture
	File  string      // the picture's path, as the file that lists it spells it, slashes forward

	Group string // of samples that were judged together: a pair, a set; empty if there is none

	Latent    *tensor.Dense // [H,W,C] float32, the VAE's scaled latent
	Condition Condition     // what the network is told of the prompt

	Source Source
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

// A Dataset is a sequence of samples. Ranging again starts again and gives the same samples in the same order.
// After an error the sequence ends.
type Dataset interface {
	All(ctx context.Context) iter.Seq2[Sample, error]
}

// Func adapts a function to Dataset.
type Func func(ctx context.Context) iter.Seq2[Sample, error]

// All calls f.
func (f Func) All(ctx context.Context) iter.Seq2[Sample, error] { return f(ctx) }
