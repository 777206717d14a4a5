package alignment

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A CLIP embeds pictures and prompts as features [N,D], one row each, of norm 1. *clip.Encoder is
// one.
type CLIP interface {
	ImageFeatures(ctx context.Context, pictures []image.Image) (*tensor.Dense, error)
	TextFeatures(ctx context.Context, prompts []string) (*tensor.Dense, error)
	Hash() string // names the weights; another hash is another CLIP
}

// Training learns a reward from labels by Eq. 1 of the paper, L_MSE + λ·L_pc. It is a
// finetune.Trainer whose steps are epochs, and Resumable.
type Training struct {
	CLIP    CLIP
	Samples dataset.Dataset // pictures with labels; those not labelled good or bad are passed over
	// Soft says that where people have judged a sample, what they said is learned instead of the
	// label alone: y of Eq. 1 is then Sample.Good, the share of them that said good, or the
	// probability that an aggregation makes of it. A sample without Judgements has its label, 1 or
	// 0, as all have where Soft is false.
	Soft bool
	// Weight, unless nil, is how much a sample's label counts, 0 or more. Only the proportions
	// matter, because weights are divided by their mean. The sample is given without its picture.
	// ByJudgements is one.
	Weight func(dataset.Sample) float64
	// Balance has all labels good count as much as all labels bad, together, however many there are
	// of each: the weights of either kind are multiplied by what makes their sums equal.
	Balance bool
	// Perturb returns n prompts that are wrong where prompt is right (dataset.Grammar.Perturb). nil
	// is dataset.OtherPrompts of the prompts of Samples, of which Prompts is then as many as there
	// are, at most. A Grammar teaches more.
	Perturb func(prompt string, n int, r *rand.Rand) ([]string, error)

	Hidden int // hidden units; 0 is the paper's 1024
	// Lambda is λ of Eq. 1. The paper has 0.5. 0 leaves prompt classification out, and then
	// Perturb, Prompts and Temperature mean nothing.
	Lambda float64
	// Temperature is T of prompt classification. 0 is the paper's 2: nothing can be divided by 0.
	Temperature float64
	// Prompts is N, the number of prompts to tell apart: the true one and its perturbations.
	// 0 is 8, because the paper does not say.
	Prompts    int
	Presigmoid bool // classify prompts by the score before the sigmoid
	// Product lets the perceptron read the elementwise product of the two embeddings as well. The
	// paper's reads only the two side by side, and must learn from the labels alone that it is
	// their agreement which counts.
	Product bool

	LR     float64 // of AdamW; 0 is 5e-4
	Batch  int     // images a step; 0 is 64
	Passes int     // epochs at most; 0 is 60
	// HeldOut is the share of the prompts, at least 0 and less than 1, that training does not see.
	// The loss on their pictures says when to stop and which weights are the best; above 0 it is
	// at least one prompt. 0.15 is usual. With 0 nothing is held out: training makes all Passes,
	// and the last weights are the best.
	HeldOut float64
	// Wait is the number of epochs without a better held-out loss after which training stops. 0 is
	// 8. Where HeldOut is 0 it must be 0, because nothing says which epoch is better.
	Wait int
	Seed uint64
	// Machine is how the loss is computed: in which precision, on which device.
	Machine kernels.Config

	pool    *pool    // of Samples; nil before they are read
	head    *head    // with the best weights so far
	session *session // of the first epoch on
}

// The defaults of Training.Passes and Wait.
const (
	passes = 60
	wait   = 8
)

// An Epoch is one pass over the labels.
type Epoch struct {
	Index, Of      int
	MSE            float64  // L_MSE of the pass
	Classification float64  // L_pc of the pass
	HeldOutMSE     float64  // L_MSE on the held-out prompts; NaN where none is held out
	HeldOut        Accuracy // on the held-out prompts; N is 0 where none is held out
	// Best says that Model has this epoch's weights: their held-out loss is the least so far, or
	// nothing is held out.
	Best bool
}

// Model returns the model with the best weights so far, or nil before the first epoch.
func (t *Training) Model() *Model {
	if t.session == nil || t.session.next == 0 {
		return nil
	}
	return &Model{clip: t.CLIP, head: t.head}
}

// A session is a Training in action.
type session struct {
	Training // defaults filled in
	head     *head
	next     int     // epoch
	best     float64 // the least held-out loss so far
	bestAt   int     // its epoch
	train    []example
	heldOut  []example
	data     float64 // names both

	// What the loss reads. Weights are nil where all labels weigh the same.
	rows, labels, weights, zeros, good *tensor.Dense

	stepper *optim.Stepper
	loss    *optim.Compiled
}

// The parts of the loss, Eq. 1.
const (
	msePart            = "MSE"
	classificationPart = "classification"
)

func (t *Training) start(ctx context.Context) (*session, error) {
	s := &session{Training: *t, best: math.Inf(1)}
	s.Hidden, s.Prompts, s.Batch = or(s.Hidden, 1024), or(s.Prompts, 8), or(s.Batch, 64)
	s.Passes, s.Temperature, s.LR = or(s.Passes, passes), or(s.Temperature, 2), or(s.LR, 5e-4)
	if s.HeldOut != 0 {
		s.Wait = or(s.Wait, wait)
	}
	if s.Lambda == 0 {
		s.Prompts = 1
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	examples, err := s.embed(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.split(examples); err != nil {
		return nil, err
	}
	s.data = s.dataHash()
	c := headConfig{Embedding: len(examples[0].image), Hidden: s.Hidden, Product: s.Product}
	s.head, t.head = newHead(c, s.Seed), newHead(c, s.Seed)
	s.Batch = min(s.Batch, len(s.train))
	return s, s.compile()
}

func (s *session) check() error {
	switch {
	case s.CLIP == nil || s.Samples == nil:
		return errors.New("the Training has no CLIP or no Samples")
	case !(s.Lambda >= 0 && s.Temperature > 0 && s.LR > 0):
		return fmt.Errorf("the Training's Lambda is %v, Temperature %v, LR %v: "+
			"below zero or not a number", s.Lambda, s.Temperature, s.LR)
	case !(s.HeldOut >= 0 && s.HeldOut < 1):
		return fmt.Errorf("the Training's HeldOut is %v, not between 0 and 1", s.HeldOut)
	case s.HeldOut == 0 && s.Wait > 0:
		return fmt.Errorf("the Training's Wait is %d, but its HeldOut is 0: "+
			"nothing says which epoch is better", s.Wait)
	case s.Hidden < 0 || s.Prompts < 0 || s.Batch < 0 || s.Passes < 0 || s.Wait < 0:
		return fmt.Errorf("the Training's Hidden is %d, Prompts %d, Batch %d, Passes %d, Wait %d: "+
			"below zero", s.Hidden, s.Prompts, s.Batch, s.Passes, s.Wait)
	case s.Lambda > 0 && s.Prompts < 2:
		return errors.New("the Training's Prompts is 1: there is nothing to tell the true one from")
	}
	return nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (s *session) compile() error {
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	m, n := s.Batch, s.Prompts
	s.rows, s.labels = zeros(m*n, s.head.config.width()), zeros(m, 1)
	s.zeros, s.good = zeros(m), zeros(m)
	if s.weighted() {
		s.weights = zeros(m)
	}
	s.stepper = &optim.Stepper{
		Parameters: nn.Parameters(s.head),
		LR:         func(int) float64 { return s.LR },
		Machine:    s.Machine,
	}
	var err error
	s.loss, err = s.stepper.Compile(s.eq1)
	return err
}

// eq1 is the loss of a batch, L_MSE + λ·L_pc.
func (s *session) eq1(g *gorgonia.ExprGraph) (optim.Loss, error) {
	b := batch{
		m: s.Batch, n: s.Prompts,
		rows:   kernels.Input(g, "rows", s.rows),
		labels: kernels.Input(g, "labels", s.labels),
		zeros:  kernels.Input(g, "true prompts", s.zeros),
		good:   kernels.Input(g, "good", s.good),
	}
	if s.weights != nil {
		b.weights = kernels.Input(g, "weights", s.weights)
	}
	nb := nn.On(b.rows)
	logits := s.head.logits(nb, b.rows)
	mse := b.mse(nb, logits)
	loss := optim.Loss{Value: mse, Parts: []optim.Part{{Name: msePart, Value: mse}}}
	if s.Lambda != 0 {
		classification := b.classification(nb, logits, s.Temperature, s.Presigmoid)
		loss.Value = nb.Add(mse, nb.Do(kernels.Scale(classification, s.Lambda)))
		loss.Parts = append(loss.Parts, optim.Part{Name: classificationPart, Value: classification})
	}
	return loss, nb.Err()
}

// epoch makes one pass. Images at its end that do not fill a batch are left out of it; every pass
// has another order.
func (s *session) epoch(ctx context.Context, index int) (Epoch, error) {
	e := Epoch{Index: index, Of: s.Passes}
	order := rng.New(s.Seed, "alignment order", uint64(index), 0).Perm(len(s.train))
	batches := len(order) / s.Batch
	for i := range batches {
		if err := context.Cause(ctx); err != nil {
			return e, err
		}
		s.fill(order[i*s.Batch : (i+1)*s.Batch])
		r, err := s.stepper.Step(s.loss)
		if err != nil {
			return e, err
		}
		e.MSE += r.Parts[msePart] / float64(batches)
		e.Classification += r.Parts[classificationPart] / float64(batches)
	}
	for _, p := range s.stepper.Parameters {
		if err := kernels.Pull(p.Value); err != nil {
			return e, err
		}
	}
	err := s.judge(&e)
	return e, err
}

// judge fills in how well the weights do on the held-out prompts.
func (s *session) judge(e *Epoch) error {
	if len(s.heldOut) == 0 {
		e.HeldOutMSE = math.NaN()
		e.HeldOut = Accuracy{Accuracy: math.NaN(), AUC: math.NaN()}
		return nil
	}
	scores, good := make([]float64, len(s.heldOut)), make([]bool, len(s.heldOut))
	row := make([]float32, s.head.config.width())
	for i, x := range s.heldOut {
		s.head.config.join(row, x.image, x.texts[0])
		scores[i], good[i] = s.head.score(row), x.good
		e.HeldOutMSE += x.weight * math.Pow(scores[i]-x.target, 2) / float64(len(scores))
	}
	var err error
	e.HeldOut, err = accuracy(scores, good)
	return err
}

func (s *session) fill(indexes []int) {
	n, width := s.Prompts, s.head.config.width()
	var sum float64 // of the weights in L_pc
	for i, index := range indexes {
		x := s.train[index]
		for j, text := range x.texts {
			at := (i*n + j) * width
			s.head.config.join(s.rows.Float32s()[at:at+width], x.image, text)
		}
		s.labels.Float32s()[i] = float32(x.target)
		if s.weights != nil {
			s.weights.Float32s()[i] = float32(x.weight / float64(len(indexes)))
		}
		sum += x.weight * x.target
	}
	for i, index := range indexes {
		s.good.Float32s()[i] = 0
		if x := s.train[index]; x.weight*x.target > 0 {
			s.good.Float32s()[i] = float32(x.weight*x.target) / float32(sum)
		}
	}
}

func label(good bool) float64 {
	if good {
		return 1
	}
	return 0
}

// Accuracy is how well scores predict labels.
type Accuracy struct {
	N        int     `json:"n"`
	Accuracy float64 `json:"accuracy"` // share of pictures on the right side of 0.5
	// AUC is the probability that a good picture's score is above a bad one's. It is NaN if one
	// kind is missing.
	AUC float64 `json:"auc"`
}

func accuracy(scores []float64, good []bool) (Accuracy, error) {
	a := Accuracy{N: len(scores), AUC: math.NaN()}
	var err error
	if a.Accuracy, err = measure.Accuracy(scores, good, 0.5); err != nil {
		return a, err
	}
	if both(good) {
		a.AUC, err = measure.AUC(scores, good)
	}
	return a, err
}

// both reports whether there are labels of both kinds.
func both(good []bool) bool { return slices.Contains(good, true) && slices.Contains(good, false) }
