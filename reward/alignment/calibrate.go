package alignment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/measure"
)

// Temperature is T, by which the score before the sigmoid is divided: a reward is σ(z/T). It is 1
// for a model that is not calibrated.
func (m *Model) Temperature() float64 { return or(m.temperature, 1) }

// Calibrate returns a model whose rewards are probabilities of the label good, as far as labels of
// prompts that it was not trained on can say: it has the weights of m and another temperature, that
// of measure.Temperature (Guo et al. 2017). Rewards keep their order, and their side of ½: where
// they are too sure that is mended, and where they are all too high they stay so. Save writes the
// temperature with the weights. Samples that are not labelled good or bad are passed over; without
// labels it is dataset.ErrNoLabels.
func (m *Model) Calibrate(ctx context.Context, heldOut dataset.Dataset) (*Model, error) {
	predictions, err := m.Predict(ctx, heldOut)
	if err != nil {
		return nil, err
	}
	logits, good := make([]float64, len(predictions)), make([]bool, len(predictions))
	for i, p := range predictions {
		logits[i], good[i] = p.Logit, p.Good
	}
	return m.calibrated(logits, good)
}

// calibrated has the temperature for logits that were not divided by any.
func (m *Model) calibrated(logits []float64, good []bool) (*Model, error) {
	t, err := measure.Temperature(logits, good)
	if err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	return &Model{clip: m.clip, head: m.head, temperature: t}, nil
}

// Calibrated is Model, calibrated on the prompts that training has held out. It is an error before
// the first epoch, and where HeldOut is 0.
func (t *Training) Calibrated() (*Model, error) {
	m := t.Model()
	if m == nil || len(t.session.heldOut) == 0 {
		return nil, errors.New("alignment: the Training holds nothing out to calibrate on, " +
			"or has not begun")
	}
	var logits []float64
	var good []bool
	row := make([]float32, m.head.config.width())
	for _, e := range t.session.heldOut {
		m.head.config.join(row, e.image, e.texts[0])
		logits, good = append(logits, m.head.logit(row)), append(good, e.good)
	}
	return m.calibrated(logits, good)
}

// Presigmoid scores as its Model does, but before the sigmoid: log(r/(1−r)) of the reward r, any
// number. Pictures are in the same order. Among those that the Model is sure of, differences stay
// that the sigmoid makes small. Scores below zero are no weights for training.
type Presigmoid struct{ Model *Model }

var _ reward.Model = Presigmoid{}

// Score returns a number for each sample, which must have a picture.
func (p Presigmoid) Score(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
	return p.Model.logits(ctx, samples)
}

// Hash is another one than the Model's.
func (p Presigmoid) Hash() string {
	sum := sha256.Sum256([]byte("presigmoid " + p.Model.Hash()))
	return hex.EncodeToString(sum[:])
}
