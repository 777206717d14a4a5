package finetune

import (
	"context"

	"github.com/kudos-ml/kudos/kernels"
)

// A State is all that a Trainer needs to go on where another process stopped.
type State struct {
	Step    int                 // steps that are done
	Values  map[string]float64  // numbers, which are exact through JSON
	Tensors []kernels.Parameter // by unique names; they may share the trainer's memory
}

// A Resumable is a Trainer that can be stopped by one process and taken up by another.
type Resumable interface {
	Trainer
	// State is the trainer's now. What it holds is valid until the next step.
	State(ctx context.Context) (State, error)
	// Restore makes the trainer go on behind s. After an error the trainer is as it was.
	Restore(ctx context.Context, s State) error
}
