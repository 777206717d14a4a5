package finetune

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A Network is a denoising network that can be tuned. One that has a method Tunable() error can say
// by it why it cannot.
type Network interface {
	diffusion.Denoiser
	// Trainable lists the parameters to tune.
	Trainable() []kernels.Parameter
}

// A Tuner tunes a network by Eq. 2. It is a Trainer, and Resumable.
type Tuner struct {
	Network  Network
	Schedule *diffusion.Schedule // the levels that the network was trained on, and what it says

	// Own are the model's own samples: latents, conditions and rewards. Pretrain are latents and
	// conditions of the pretraining distribution. Nil is none, which is β = 0. Both are held in
	// memory. Own latents are of one shape. Those of Pretrain may differ in height and width: the
	// pretraining samples of a step are then of one shape. See Batch.
	Own, Pretrain dataset.Dataset
	// OwnBatch and PretrainBatch are the samples of each in a step. 0 is 32 of a dataset that is
	// there. The paper has 256 of each.
	OwnBatch, PretrainBatch int
	// Choose decides which of its own samples a step sees. Nil is Passes: all alike.
	Choose Choice
	// Accumulate is in how many parts a step's batch is computed, one after another. The step is
	// the whole batch's, to rounding. More parts take less memory for activations, and that of all
	// gradients beside it. 0 is 1.
	Accumulate int

	// Terms are the loss's. Nil is Eq. 2: RewardWeighted, and Pretraining with β = 1 where Pretrain
	// is there.
	Terms []Term
	// Reference is a network that is not tuned, for terms that ask what it says (Batch.Reference).
	Reference diffusion.Denoiser

	Updates int // steps in all; required
	// LR is the learning rate of each step. Nil is the Optimizer's own. Without an Optimizer, nil
	// is 1e-5 throughout, the value of ImageReward's re-run of this objective.
	LR func(step int) float64
	// Optimizer steps the parameters. Nil is AdamW with PyTorch's defaults.
	Optimizer optim.Optimizer
	// Clip is the largest L2 norm of all gradients together. Longer ones are scaled down. 0 does
	// not clip. Without Clip and Accumulate, gradients are used up during the backward pass and
	// never are in memory all at once.
	Clip float64
	// EMA is the decay, in [0,1), of an exponential moving average of the parameters. 0 keeps none.
	// See UseAverage. With EMAWarmUp the decay in update n is at most (1+n)/(10+n), as in
	// diffusers. Without it, it is an error if the average would at the end be more than half what
	// the parameters were before training, as one of 200 updates with 0.9999 is.
	EMA       float64
	EMAWarmUp bool
	// MinSNR is γ of Prediction.MinSNR, which weighs levels. Hang et al. 2023 have 5. 0 weighs all
	// alike.
	MinSNR float64
	// OwnLevels and PretrainLevels are the distributions of levels at which the samples of each
	// dataset are disturbed. Nil is From(0) of the Schedule's Process, all levels as the process
	// has them. With From(300), say, its own samples are disturbed much. Whether a picture is what
	// its prompt asks for is decided there. Where there is little noise, the model's own pictures
	// would teach it no more than their flaws, and what is there is left to the pretraining term.
	OwnLevels, PretrainLevels diffusion.Levels
	// Dropout is the share, in [0,1], of samples whose condition is replaced by Unconditional, one
	// sample's, so that guidance keeps working.
	Dropout       float64
	Unconditional dataset.Condition

	// Seed decides all draws: which samples a step sees, their levels and noise. Training that goes
	// on in rounds has another Round in each, or it would see the same draws again.
	Seed  uint64
	Round int
	// Machine is how the loss is computed: in which precision, in how much memory for activations,
	// by which workers, on which device. Want, Keep, Updates and Parameters are the Tuner's. On a
	// Device AdamW and the moving average are there too.
	Machine kernels.Config

	run    *run // of the first call of Prepare on
	closed bool
}

// Prepare reads the data, compiles the loss with its gradients and returns the memory that training
// will take, without training. Steps does it where it was not done. Optimizer, moving average and
// sums of gradients take their memory at the first step only, and so does the graph's where the
// system gives memory out when it is first written to, as Linux does. So a plan that is too large
// costs next to nothing to look at. Where Machine.ActivationBytes cannot be met, the error wraps a
// *kernels.ActivationError.
func (t *Tuner) Prepare(ctx context.Context) (kernels.Plan, error) {
	if t.closed {
		return kernels.Plan{}, errClosed
	}
	if t.run == nil {
		r, err := t.start(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return kernels.Plan{}, err
		}
		t.run = r
	}
	return t.Plan(), nil
}

// errClosed is what a Tuner says after Close.
var errClosed = errors.New("finetune: the Tuner is closed, and does not train any more: " +
	"make another one, of the same network to go on with it")

// Steps trains from the step that the last call ended at to the last one. After Close that is an
// error.
func (t *Tuner) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if _, err := t.Prepare(ctx); err != nil {
			yield(Step{}, err)
			return
		}
		// A device's new values go to the network. Where that fails, State, Close and what saves
		// the network try again.
		defer func() { _ = kernels.Pull(tensors(t.run.stepper.Parameters)...) }()
		for t.run.stepper.Steps() < t.Updates {
			if err := context.Cause(ctx); err != nil {
				yield(Step{}, err)
				return
			}
			step, err := t.run.once()
			if !yield(step, err) || err != nil {
				return
			}
		}
	}
}

// Plan is the memory that training takes, known after Prepare. Its Other is the data, the moving
// average and sums of gradients. With Clip and without Accumulate the gradients are in its Outputs.
// Memory says it part by part.
func (t *Tuner) Plan() kernels.Plan {
	if t.run == nil {
		return kernels.Plan{}
	}
	return t.run.plan()
}

// UseAverage puts the moving average of the parameters in their place. Calling it again puts them
// back.
func (t *Tuner) UseAverage() error {
	if t.run == nil || t.run.average == nil {
		return errors.New("finetune: there is no average: EMA is 0 or nothing was trained")
	}
	if err := t.run.average.Swap(); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	return nil
}

// shown calls do while the host's parameters are those that would be saved now: the moving average,
// if there is one.
func (t *Tuner) shown(do func() error) (err error) {
	if t.run == nil || t.run.average == nil {
		if err := kernels.Pull(tensors(t.Network.Trainable())...); err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
		return do()
	}
	if err := t.UseAverage(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.UseAverage()) }()
	return do()
}

// tensors returns the tensors of parameters.
func tensors(of []kernels.Parameter) []*tensor.Dense {
	all := make([]*tensor.Dense, len(of))
	for i, p := range of {
		all[i] = p.Value
	}
	return all
}

const averageName = "average."

// State is what a checkpoint needs: the parameters, the optimizer's state, the moving average.
func (t *Tuner) State(ctx context.Context) (State, error) {
	if _, err := t.Prepare(ctx); err != nil {
		return State{}, err
	}
	tensors, err := t.run.stepper.State()
	if err == nil {
		err = t.run.beginAverage()
	}
	if err != nil {
		return State{}, fmt.Errorf("finetune: %w", err)
	}
	s := State{Step: t.run.stepper.Steps(), Tensors: tensors}
	if t.run.average != nil {
		average, err := t.run.average.State()
		if err != nil {
			return State{}, fmt.Errorf("finetune: %w", err)
		}
		for _, p := range average {
			p.Name = averageName + p.Name
			s.Tensors = append(s.Tensors, p)
		}
	}
	return s, nil
}

// Restore goes on behind a State of a Tuner with the same network, optimizer and average.
func (t *Tuner) Restore(ctx context.Context, s State) error {
	if _, err := t.Prepare(ctx); err != nil {
		return err
	}
	if err := t.run.beginAverage(); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	var stepper, average []kernels.Parameter
	for _, p := range s.Tensors {
		if name, ok := strings.CutPrefix(p.Name, averageName); ok {
			average = append(average, kernels.Parameter{Name: name, Value: p.Value})
		} else {
			stepper = append(stepper, p)
		}
	}
	if (t.run.average == nil) != (average == nil) {
		return fmt.Errorf("finetune: EMA is %v, and the state has %d tensors of a moving average",
			t.EMA, len(average))
	}
	if t.run.average != nil {
		was, err := t.run.average.State()
		if err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
		was = clone(was)
		if err := t.run.average.SetState(average); err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
		if err := t.run.stepper.SetState(stepper); err != nil {
			return fmt.Errorf("finetune: %w", errors.Join(err, t.run.average.SetState(was)))
		}
		return nil
	}
	if err := t.run.stepper.SetState(stepper); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	return nil
}

// clone copies tensors.
func clone(of []kernels.Parameter) []kernels.Parameter {
	out := slices.Clone(of)
	for i := range out {
		out[i].Value = out[i].Value.Clone().(*tensor.Dense)
	}
	return out
}

// Close frees the memory of training. The network's parameters stay, and State, Steps and Fit are
// errors from then on. A Tuner that nobody closes is freed by the garbage collector some time after
// nothing refers to it any more, unless it is on a Device.
func (t *Tuner) Close() error {
	t.closed = true
	if t.run == nil {
		return nil
	}
	err := t.run.stepper.Close()
	if t.run.average != nil {
		err = errors.Join(err, t.run.average.Close())
	}
	return err
}

// A run is a Tuner in action.
type run struct {
	*Tuner
	own, pretrain *pool
	params        []kernels.Parameter
	stepper       *optim.Stepper
	average       *optim.EMA
	parts         map[shape][]*part // of a step's batch, by the shape of its pretraining latents
}

func (t *Tuner) start(ctx context.Context) (*run, error) {
	r := &run{Tuner: t}
	if err := t.check(); err != nil {
		return nil, err
	}
	if err := r.collect(ctx); err != nil {
		return nil, err
	}
	if err := r.compile(); err != nil {
		return nil, err
	}
	return r, nil
}

// collect reads the data.
func (r *run) collect(ctx context.Context) (err error) {
	var like *dataset.Sample
	if r.Own != nil {
		choice := r.Choose
		if choice == nil {
			choice = Passes{}
		}
		if r.own, err = newPool(ctx, "model", r.Own, true, choice, r.seed(), nil); err != nil {
			return err
		}
		like = &r.own.samples[0]
	}
	if r.Pretrain != nil {
		choice := Passes{"pretraining"}
		r.pretrain, err = newPool(ctx, "pretraining", r.Pretrain, false, choice, r.seed(), like)
		if err != nil {
			return err
		}
	}
	if r.Dropout > 0 {
		if err := r.Unconditional.Fits(r.like().Condition); err != nil {
			return fmt.Errorf("finetune: Unconditional: %w", err)
		}
	}
	return nil
}

// like is a sample as all are.
func (r *run) like() dataset.Sample {
	if r.own != nil {
		return r.own.samples[0]
	}
	return r.pretrain.samples[0]
}

// compile makes the loss. What does not work leaves nothing.
func (r *run) compile() error {
	if n, ok := r.Network.(interface{ Tunable() error }); ok {
		if err := n.Tunable(); err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
	}
	if r.params = r.Network.Trainable(); len(r.params) == 0 {
		return errors.New("finetune: the Network has no parameters to train")
	}
	r.stepper = &optim.Stepper{
		Parameters: r.params, Optimizer: r.Optimizer, LR: r.LR, Clip: r.Clip,
		Accumulate: r.Accumulate > 1, Machine: r.Machine,
	}
	if r.Optimizer == nil && r.LR == nil {
		r.stepper.LR = func(int) float64 { return 1e-5 }
	}
	if err := r.divide(); err != nil {
		return errors.Join(err, r.stepper.Close())
	}
	return nil
}

// seed is that of the round.
func (t *Tuner) seed() uint64 {
	if t.Round == 0 {
		return t.Seed
	}
	return rng.New(t.Seed, "round", uint64(t.Round), 0).Uint64()
}

// plan is the machine's, and what it does not know of. The data are on the host.
func (r *run) plan() kernels.Plan {
	var plan kernels.Plan
	var others []kernels.Plan // of parts of other sizes, which share the largest's activations
	seen := map[*part]bool{}
	for _, parts := range r.parts {
		for _, p := range parts {
			if seen[p] {
				continue
			}
			seen[p] = true
			one := p.loss.Plan()
			if one.Arena > plan.Arena {
				plan, one = one, plan
			}
			others = append(others, one)
		}
	}
	for _, one := range others {
		plan.Arena += one.Arena
		plan.Workspace += one.Workspace
		plan.Inputs += one.Inputs
	}
	if r.EMA > 0 {
		for _, p := range r.params {
			plan.Other += 4 * int64(p.Value.Size())
		}
	}
	if r.Machine.Device != nil {
		return plan
	}
	for p := range seen {
		plan.Other += p.bytes()
	}
	data := map[*tensor.Dense]bool{}
	for _, d := range r.Unconditional.Parts() {
		data[d] = true
		plan.Other += 4 * int64(d.Size())
	}
	for _, p := range []*pool{r.own, r.pretrain} {
		plan.Other += p.bytes(data)
	}
	return plan
}

func (t *Tuner) check() error {
	switch {
	case t.Network == nil:
		return errors.New("finetune: the Tuner has no Network")
	case t.Schedule == nil:
		return errors.New("finetune: the Tuner has no Schedule")
	case t.Schedule.Process == nil || t.Schedule.Prediction == diffusion.Prediction{}:
		return errors.New("finetune: the Schedule has no Process or no Prediction")
	case t.Own == nil && t.Pretrain == nil:
		return errors.New("finetune: the Tuner has no data")
	case slices.Contains(t.Terms, Term(nil)):
		return errors.New("finetune: one of the Terms is nil")
	case t.Updates < 1:
		return fmt.Errorf("finetune: %d updates asked for", t.Updates)
	case t.OwnBatch < 0 || t.PretrainBatch < 0 || t.Accumulate < 0:
		return fmt.Errorf("finetune: batches of %d and %d samples in %d parts",
			t.OwnBatch, t.PretrainBatch, t.Accumulate)
	case t.Dropout > 0 && t.Unconditional.IsZero():
		return errors.New("finetune: Dropout needs Unconditional")
	case !(t.Dropout >= 0 && t.Dropout <= 1):
		return fmt.Errorf("finetune: Dropout is %v, not in [0,1]", t.Dropout)
	case !(t.EMA >= 0 && t.EMA < 1):
		return fmt.Errorf("finetune: EMA is %v, not in [0,1)", t.EMA)
	case !t.EMAWarmUp && math.Pow(t.EMA, float64(t.Updates)) > 0.5:
		return fmt.Errorf("finetune: EMA is %v, so the average of %d updates is %.0f %% what the "+
			"parameters were before them: EMAWarmUp makes it follow", t.EMA, t.Updates,
			100*math.Pow(t.EMA, float64(t.Updates)))
	case !(t.Clip >= 0 && t.MinSNR >= 0):
		return fmt.Errorf("finetune: Clip is %v, MinSNR %v: below zero or not a number",
			t.Clip, t.MinSNR)
	}
	if own, pretrain := t.sizes(); !enoughFor(t.Accumulate, own, pretrain) {
		return fmt.Errorf("finetune: batches of %d and %d samples are not enough for %d parts",
			own, pretrain, t.Accumulate)
	}
	own, pretrain := t.levels()
	all := map[string]diffusion.Levels{"OwnLevels": own, "PretrainLevels": pretrain}
	for name, levels := range all {
		if l := levels(0); !(l.Signal-l.Signal == 0 && l.Noise-l.Noise == 0) {
			return fmt.Errorf("finetune: %s: there is no level of timestep %g", name, l.Timestep)
		}
	}
	return nil
}

// enoughFor says whether batches, of which one that is not there has 0 samples, can be divided.
func enoughFor(parts, own, pretrain int) bool {
	return (own == 0 || own >= parts) && (pretrain == 0 || pretrain >= parts)
}

// sizes returns how many samples of each dataset a step has.
func (t *Tuner) sizes() (own, pretrain int) {
	size := func(d dataset.Dataset, n int) int {
		switch {
		case d == nil:
			return 0
		case n == 0:
			return 32
		}
		return n
	}
	return size(t.Own, t.OwnBatch), size(t.Pretrain, t.PretrainBatch)
}

// levels are the distributions of levels of the two streams.
func (t *Tuner) levels() (own, pretrain diffusion.Levels) {
	own, pretrain = t.OwnLevels, t.PretrainLevels
	all := t.Schedule.Process.From(0)
	if own == nil {
		own = all
	}
	if pretrain == nil {
		pretrain = all
	}
	return own, pretrain
}

// beginAverage makes the moving average, of the parameters as they are.
func (r *run) beginAverage() (err error) {
	if r.EMA > 0 && r.average == nil {
		var average *optim.EMA
		if average, err = optim.NewEMA(r.EMA, r.params...); err != nil {
			return err
		}
		average.WarmUp = r.EMAWarmUp
		if d := r.Machine.Device; d != nil {
			err = average.MoveTo(d)
		}
		if err == nil {
			r.average = average
		}
	}
	return err
}

// once makes one update.
func (r *run) once() (Step, error) {
	began := time.Now()
	draws, err := r.draw(r.stepper.Steps())
	if err != nil {
		return Step{}, fmt.Errorf("finetune: step %d: %w", r.stepper.Steps(), err)
	}
	step, err := r.update(draws)
	step.Time = time.Since(began)
	return step, err
}

// update steps the parameters by the draws.
func (r *run) update(draws []draw) (Step, error) {
	if err := r.beginAverage(); err != nil {
		return Step{}, fmt.Errorf("finetune: %w", err)
	}
	var batch []optim.Micro
	for i, p := range r.parts[shapeOf(draws[len(draws)-1].sample)] {
		fill := func() error { return p.fill(r.ofPart(draws, i)) }
		batch = append(batch, optim.Micro{Loss: p.loss, Fill: fill})
	}
	result, err := r.stepper.StepAll(batch...)
	if err == nil && r.average != nil {
		err = r.average.Update()
	}
	if err != nil {
		return Step{}, fmt.Errorf("finetune: %w", err)
	}
	step := Step{
		Index: result.Step, Of: r.Updates, Loss: result.Loss, Terms: map[string]float64{},
		GradNorm: result.GradNorm, Samples: len(draws),
	}
	if result.LR-result.LR == 0 {
		step.LR = result.LR
	}
	for name, v := range result.Parts {
		if term, ok := strings.CutSuffix(name, termSuffix); ok {
			step.Terms[term] += v
			continue
		}
		if step.Metrics == nil {
			step.Metrics = map[string]float64{}
		}
		step.Metrics[name] += v
	}
	for _, d := range draws {
		step.IDs = append(step.IDs, d.sample.ID)
	}
	return step, nil
}
