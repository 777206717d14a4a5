package finetune_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log"
	"os"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
)

// descent is a trainer of one's own: gradient descent with momentum on (x − 3)².
type descent struct {
	updates     int
	x, momentum *tensor.Dense // [1]
	done        int           // steps
}

func newDescent() *descent {
	return &descent{updates: 6, x: values([]int{1}, 0), momentum: values([]int{1}, 0)}
}

// Steps begins behind the steps that are done, and ends when it is told to.
func (d *descent) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for d.done < d.updates {
			if err := context.Cause(ctx); err != nil {
				yield(finetune.Step{}, err)
				return
			}
			x, momentum := &d.x.Float32s()[0], &d.momentum.Float32s()[0]
			off := *x - 3
			*momentum = 0.5**momentum + 2*off
			*x -= 0.25 * *momentum
			step := finetune.Step{Index: d.done, Of: d.updates, Loss: float64(off * off), LR: 0.25}
			d.done++
			if !yield(step, nil) {
				return
			}
		}
	}
}

// State is all that the next step depends on.
func (d *descent) State(context.Context) (finetune.State, error) {
	return finetune.State{Step: d.done, Tensors: []kernels.Parameter{
		{Name: "x", Value: d.x}, {Name: "momentum", Value: d.momentum},
	}}, nil
}

// Restore copies it: the tensors that it is given are gone when it returns.
func (d *descent) Restore(_ context.Context, s finetune.State) error {
	own := map[string]*tensor.Dense{"x": d.x, "momentum": d.momentum}
	for _, p := range s.Tensors {
		if own[p.Name] == nil {
			return fmt.Errorf("descent: the state has a tensor %s", p.Name)
		}
		copy(own[p.Name].Float32s(), p.Value.Float32s())
	}
	d.done = s.Step
	return nil
}

// A trainer of one's own, which stops after two steps and is resumed by another process.
func ExampleResumable() {
	folder, err := os.MkdirTemp("", "run")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	train := func(most int) {
		trainer := newDescent()
		saved := &finetune.Checkpoints{Trainer: trainer, Folder: folder, Every: 1, Resume: true}
		record := &finetune.Record{Trainer: saved, Folder: folder, Progress: io.Discard}
		for step, err := range record.Steps(context.Background()) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("step %d of %d: loss %.4f\n", step.Index+1, step.Of, step.Loss)
			if step.Index+1 == most {
				break
			}
		}
	}
	train(2)
	fmt.Println("another process")
	train(6)
	steps, err := finetune.ReadSteps(folder)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(steps), "steps are written down")
	// Output:
	// step 1 of 6: loss 9.0000
	// step 2 of 6: loss 2.2500
	// another process
	// step 3 of 6: loss 0.0000
	// step 4 of 6: loss 0.5625
	// step 5 of 6: loss 0.5625
	// step 6 of 6: loss 0.1406
	// 6 steps are written down
}

// A reward that wants x at 3 is what training raises. A judge would rather have it near 2. It says
// so when the two part, and the best that it saw is kept.
func ExampleGuard() {
	folder, err := os.MkdirTemp("", "run")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	trainer := newDescent()
	guard := &finetune.Guard{
		Trainer: trainer, Folder: folder, Every: 1, Patience: 2,
		Judge: func(context.Context, int) (map[string]float64, error) {
			x := float64(trainer.x.Float32s()[0])
			return map[string]float64{"reward": 9 - (x-3)*(x-3), "judge": 4 - (x-2)*(x-2)}, nil
		},
		Reward: "reward", HeldOut: "judge",
	}
	record := &finetune.Record{Trainer: guard, Folder: folder, Progress: io.Discard}
	result, err := record.Finish(context.Background(), func(name string) error {
		fmt.Println(name, "has x", trainer.x.Float32s()[0])
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range guard.Verdict().Measures {
		fmt.Printf("after %d: reward %.2f, judge %.2f\n", m.Step, m.Metrics["reward"],
			m.Metrics["judge"])
	}
	fmt.Println(guard.Verdict().Stopped)
	fmt.Println("kept", result.Kept, "of", result.Steps)
	// Output:
	// tuned has x 1.5
	// after 0: reward 0.00, judge 0.00
	// after 1: reward 6.75, judge 3.75
	// after 2: reward 9.00, judge 3.00
	// after 3: reward 8.44, judge 0.94
	// since 1 updates reward has risen from 6.75 to 8.438 and judge has fallen from 3.75 to 0.9375
	// kept 1 of 3
}
