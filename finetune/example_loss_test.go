package finetune_test

import (
	"context"
	"fmt"
	"log"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// dpo is the loss of Diffusion-DPO (Wallace et al. 2023, Eq. 14) with β = 5, where Pairs chooses
// the samples. Of each pair the first is the better one. With e the network's squared error of a
// sample and e′ its reference's, a pair's loss is
//
//	−log σ(−β·((e − e′ of the better one) − (e − e′ of the worse one)))
//
// which is softplus of what is in the outer brackets, with the other sign. The batch's is the mean.
func dpo(b *finetune.Batch) (*gorgonia.Node, error) {
	const beta = 5
	on := nn.On(b.Noisy) // keeps the first error
	reference := on.Do(b.Errors(on.Do(b.Reference())))
	further := on.Do(kernels.Sub(on.Do(b.Errors(b.Predicted)), reference))
	pairs := on.Reshape(further, b.Own/2, 2)
	better := on.Do(kernels.Slice(pairs, 1, 0, 1))
	worse := on.Do(kernels.Slice(pairs, 1, 1, 2))
	margin := on.Do(kernels.Scale(on.Do(kernels.Sub(better, worse)), beta))
	sum := on.Do(kernels.Sum(on.Do(kernels.Softplus(margin))))
	return on.Result(on.Do(kernels.Scale(sum, 2/float64(b.OwnOf))))
}

// Preferences, as a loss of one's own. It begins at log 2, where the network is its reference, and
// falls as the better sample of each pair becomes likelier than the worse.
func ExampleNewTerm() {
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		log.Fatal(err)
	}
	better, worse := sample("a dog", 1, 1, 1), sample("a dog", 0, -1, 1)
	better.Group, worse.Group = "a dog", "a dog"
	tuner := &finetune.Tuner{
		Network:   network{values([]int{2, 2}, 0, 0, 0, 0)},
		Reference: network{values([]int{2, 2}, 0, 0, 0, 0)},
		Schedule:  schedule,
		Own:       dataset.FromSlice([]dataset.Sample{better, worse}),
		OwnBatch:  64,
		Choose:    finetune.Pairs{},
		Terms:     []finetune.Term{finetune.NewTerm("dpo", dpo)},
		Updates:   201,
		LR:        func(int) float64 { return 0.01 },
	}
	defer tuner.Close()
	for step, err := range tuner.Steps(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if step.Index%100 == 0 {
			fmt.Printf("step %3d: %.2f\n", step.Index, step.Terms["dpo"])
		}
	}
	// Output:
	// step   0: 0.69
	// step 100: 0.34
	// step 200: 0.29
}
