// Package finetune tunes a denoiser on its own samples, weighted by a reward, with a pretraining regularizer that keeps
// quality: Eq. 2 of Lee et al. 2023, Aligning Text-to-Image Models using Human Feedback,
//
//	L(θ) = E_(x,z)~D_model[ −r(x,z) log p_θ(x|z) ] + β E_(x,z)~D_pretrain[ −log p_θ(x|z) ]
//
// where −log p_θ(x|z) is, for a diffusion model, the squared error of the predicted noise (Ho et al. 2020).
//
// # Parts
//
// A Trainer is a loop of steps; whoever ranges over it owns the body. Tuner is the trainer of this package. It composes
// its loss of Terms: RewardWeighted and Pretraining are Eq. 2's two, and any function of a Batch can join them.
// Record is what watches a run: it takes any Trainer. Checkpoints is what saves a Trainer that is Resumable, so that another
// process can go on with it bit for bit. Rounds generates, scores and tunes again and again: it is
// inside the Checkpoints, and the Tuner inside it.
//
// # A run that stops
//
// Wrappers go one inside the other, and whoever looks for one of them, or for a Resumable, asks As:
//
//	run := &finetune.Run{Folder: folder, Resume: resume, Config: config}
//	release, err := run.Begin() // before anything takes time
//	defer release()
//	err = run.Settle() // when all that determines the run is known
//	saved := &finetune.Checkpoints{Trainer: trainer, Folder: folder, Resume: resume}
//	record := &finetune.Record{Trainer: saved, Folder: folder, Config: config}
//
// Whatever ends the process, what came after the last checkpoint is lost and made again, and in the end the folder holds what
// it would have held, times aside. A checkpoint is the folder checkpoints/step-000123, after 123 steps: state.safetensors and
// state.json, and manifest.json with their sizes and SHA-256, by which they are checked when they are read.
//
// # Determinism
//
// Which samples a step sees, their timesteps and their noise are pure functions of the seed, the step and the sample's
// place in the batch.
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

// A Trainer trains, one step after another. Breaking out of the loop stops it cleanly; ranging again goes on from there.
// After an error the sequence ends; when ctx is cancelled, that error is context.Cause(ctx).
type Trainer interface {
	Steps(ctx context.Context) iter.Seq2[Step, error]
}

// Func adapts a function to Trainer.
type Func func(ctx context.Context) iter.Seq2[Step, error]

// Steps calls f.
func (f Func) Steps(ctx context.Context) iter.Seq2[Step, error] { return f(ctx) }
