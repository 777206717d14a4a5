package finetune

import (
	"context"
	"iter"
	"time"
)

// A Step is what one update of the weights did.
type Step struct {
	Index int // from 0
	Of    int // updates in all; 0 if that is not known

	Loss     float64
	Terms    map[string]float64 // the loss's terms by name; they add up to Loss
	Metrics  map[string]float64 // other numbers by name (Batch.Metric); nil if there are none
	LR       float64            // learning rate; 0 if that is not known
	GradNorm float64            // L2 norm of all gradients, before clipping; 0 if that is not known
	Samples  int                // in the batch
	IDs      []string           // of the samples; nil if that is not known
	Time     time.Duration
}

// A Trainer trains, one step after another. Breaking out of the loop stops it cleanly, and ranging
// again goes on from there. After an error the sequence ends. When ctx is cancelled, that error is
// context.Cause(ctx).
type Trainer interface {
	Steps(ctx context.Context) iter.Seq2[Step, error]
}

// Func adapts a function to Trainer.
type Func func(ctx context.Context) iter.Seq2[Step, error]

// Steps calls f.
func (f Func) Steps(ctx context.Context) iter.Seq2[Step, error] { return f(ctx) }
