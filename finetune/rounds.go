package finetune

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// Rounds generates, scores and tunes, N times: each round tunes on what the round before has made
// of the network.
//
//	rounds := &finetune.Rounds{
//		Tuner: tuner, N: 3, Folder: "runs/1",
//		Data: func(ctx context.Context, round int) (dataset.Dataset, error) {
//			request.Seed = uint64(round)
//			return reward.Scored(model.Generate(request), judge, 8), nil
//		},
//	}
//	saved := &finetune.Checkpoints{Trainer: rounds, Folder: "runs/1"}
//	run := &finetune.Record{Trainer: saved, Folder: "runs/1"}
//
// Its steps go on counting over the rounds, N·Tuner.Updates in all, and so does what Tuner.LR is
// asked. So do the optimizer's state and the moving average, which are one training's. Draws are
// each round's own. What training takes stays in memory while Data's samples are made.
//
// The folder rounds/2 of the second round has its pictures and scores, as dataset.WriteFolder
// writes them while they are made, and in data what it takes to train on them again. A run that is
// taken up reads that, and makes a round again only if it is not there whole. A checkpoint is of
// one round's data and no other's.
type Rounds struct {
	// Tuner is what tunes. Its Updates are those of one round. Own and Round are the Rounds'.
	Tuner  *Tuner
	N      int
	Folder string // of the run; made if it is not there

	// Data gives the samples of a round, from 1: with latents, conditions and rewards, and pictures
	// where there are any. It is ranged over once, when the network has the weights that the rounds
	// before have left it (not their moving average).
	Data func(ctx context.Context, round int) (dataset.Dataset, error)

	round    int     // the one that the Tuner has the data of; 0 before the first
	data     float64 // what names that data
	restored bool    // an earlier process's rounds are there to be read
}

// Unwrap returns the Tuner.
func (r *Rounds) Unwrap() Trainer { return r.Tuner }

// Steps trains from the step that the last call ended at to the last one of the last round.
func (r *Rounds) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if err := r.check(); err != nil {
			yield(Step{}, err)
			return
		}
		for of := r.N * r.Tuner.Updates; r.done() < of; {
			err := context.Cause(ctx)
			if err == nil {
				err = r.enter(ctx, r.done()/r.Tuner.Updates+1)
			}
			if err != nil {
				yield(Step{}, err)
				return
			}
			step, err := r.Tuner.run.once()
			step.Of = of
			if !yield(step, err) || err != nil {
				return
			}
		}
	}
}

func (r *Rounds) check() error {
	switch {
	case r.Tuner == nil || r.Data == nil || r.Folder == "":
		return errors.New("finetune: the Rounds have no Tuner, no Data or no Folder")
	case r.N < 1 || r.Tuner.Updates < 1:
		return fmt.Errorf("finetune: %d rounds of %d updates asked for", r.N, r.Tuner.Updates)
	case r.Tuner.closed:
		return errClosed
	case r.Tuner.Network == nil:
		return errors.New("finetune: the Tuner has no Network")
	}
	return nil
}

// done is how many steps are.
func (r *Rounds) done() int {
	if r.Tuner.run == nil {
		return 0
	}
	return r.Tuner.run.stepper.Steps()
}

// enter makes a round's data the Tuner's. It is read where it was made by an earlier process, of
// the weights that the network has now.
func (r *Rounds) enter(ctx context.Context, round int) error {
	if r.round == round {
		return nil
	}
	hash := weights.Hash(r.Tuner.Network.Trainable())
	if r.restored {
		if d, err := r.read(ctx, round); err == nil && d.Weights == hash {
			return r.take(ctx, round, d)
		}
	}
	if err := r.make(ctx, round, hash); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("finetune: round %d: %w", round, err)
	}
	// What is trained on is what is read, so that a run that is taken up sees the same.
	d, err := r.read(ctx, round)
	if err != nil {
		return fmt.Errorf("finetune: round %d: %w", round, err)
	}
	return r.take(ctx, round, d)
}

// take gives the Tuner a round's data.
func (r *Rounds) take(ctx context.Context, round int, d *roundData) error {
	t := r.Tuner
	t.Own, t.Round = dataset.FromSlice(d.samples), round
	if t.run == nil {
		if _, err := t.Prepare(ctx); err != nil {
			return err
		}
	} else if err := t.run.renew(ctx); err != nil {
		return err
	}
	r.round, r.data = round, d.name
	return nil
}

// renew takes up another Own and another Round.
func (r *run) renew(ctx context.Context) error {
	choice := cmp.Or[Choice](r.Choose, Passes{})
	own, err := newPool(ctx, "model", r.Own, true, choice, r.seed(), &r.own.samples[0])
	if err != nil {
		return err
	}
	r.own = own
	if r.pretrain != nil {
		r.pretrain.picks, err = Passes{"pretraining"}.Among(r.pretrain.samples, r.seed())
	}
	return err
}

// The values of a State that name the round and its data.
const (
	roundValue = "round"
	dataValue  = "round data"
)

// State is the Tuner's, with the round and what names its data. Before the first step it makes the
// first round's data.
func (r *Rounds) State(ctx context.Context) (State, error) {
	if err := r.check(); err != nil {
		return State{}, err
	}
	if r.round == 0 {
		if err := r.enter(ctx, 1); err != nil {
			return State{}, err
		}
	}
	s, err := r.Tuner.State(ctx)
	s.Values = map[string]float64{roundValue: float64(r.round), dataValue: r.data}
	return s, err
}

// Restore goes on behind a State of Rounds with the same Tuner and Folder. It is an error if the
// folder has not the data that the State is of.
func (r *Rounds) Restore(ctx context.Context, s State) error {
	if err := r.check(); err != nil {
		return err
	}
	round := max(0, s.Step-1)/r.Tuner.Updates + 1
	if s.Values[roundValue] != float64(round) {
		return fmt.Errorf("finetune: after %d steps it was round %v, and with %d updates a round "+
			"it is %d", s.Step, s.Values[roundValue], r.Tuner.Updates, round)
	}
	d, err := r.read(ctx, round)
	if err != nil {
		return fmt.Errorf("finetune: round %d: %w", round, err)
	}
	if d.name != s.Values[dataValue] {
		return fmt.Errorf("finetune: %s is not the data that was trained on", r.dataFolder(round))
	}
	if err := r.take(ctx, round, d); err != nil {
		return err
	}
	if err := r.Tuner.Restore(ctx, s); err != nil {
		return err
	}
	r.restored = true
	return nil
}

// folder is a round's, and dataFolder what training reads of it.
func (r *Rounds) folder(round int) string {
	return filepath.Join(r.Folder, "rounds", strconv.Itoa(round))
}

func (r *Rounds) dataFolder(round int) string { return filepath.Join(r.folder(round), "data") }

// A roundData is samples.json: all of a round's samples but their tensors and pictures.
type roundData struct {
	Weights string        `json:"weights"` // hash of the parameters that it was made with
	Tensors entry         `json:"tensors"` // of tensors.safetensors
	Samples []roundSample `json:"samples"`

	name    float64 // 48 bits of the file's SHA-256, and so of all
	samples []dataset.Sample
}

type roundSample struct {
	ID     string  `json:"id,omitempty"`
	Prompt string  `json:"prompt"`
	Group  string  `json:"group,omitempty"`
	Reward float64 `json:"reward"`
	Latent int     `json:"latent"`    // tensors by their numbers; −1: there is none
	Parts  [3]int  `json:"condition"` // tokens, pooled, sizes
}

const (
	roundSamples = "samples.json"
	roundTensors = "tensors.safetensors"
)

// make makes a round's data with the network as it is. Pictures are written as they come.
func (r *Rounds) make(ctx context.Context, round int, hash string) error {
	data, err := r.Data(ctx, round)
	if err != nil {
		return err
	}
	if data == nil {
		return errors.New("no dataset from Data")
	}
	if err := file.RemoveFolder(r.folder(round)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	d := &roundData{Weights: hash}
	var tensors []kernels.Parameter
	numbers := map[*tensor.Dense]int{}
	number := func(t *tensor.Dense) int {
		if t == nil {
			return -1
		}
		n, there := numbers[t]
		if !there {
			n = len(tensors)
			numbers[t] = n
			tensors = append(tensors, kernels.Parameter{Name: strconv.Itoa(n), Value: t})
		}
		return n
	}
	pictures := func(yield func(dataset.Sample, error) bool) {
		for s, err := range data.All(ctx) {
			if err == nil && s.Reward == nil {
				err = fmt.Errorf("sample %d (%s, %q) has no reward", len(d.Samples), s.ID, s.Prompt)
			}
			if err != nil {
				yield(s, err)
				return
			}
			c := s.Condition
			d.Samples = append(d.Samples, roundSample{
				s.ID, s.Prompt, s.Group, *s.Reward, number(s.Latent),
				[3]int{number(c.Tokens), number(c.Pooled), number(c.Sizes)},
			})
			if s.Image != nil && !yield(s, nil) {
				return
			}
		}
	}
	all := dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] { return pictures })
	if _, err := dataset.WriteFolder(ctx, r.folder(round), all); err != nil {
		return err
	}
	if len(d.Samples) == 0 {
		return errors.New("there are no samples")
	}
	return file.WriteFolder(r.dataFolder(round), func(temp string) error {
		name := filepath.Join(temp, roundTensors)
		if err := weights.Save(name, tensors, kernels.Float32, nil); err != nil {
			return err
		}
		if d.Tensors, err = sum(ctx, name); err != nil {
			return err
		}
		return file.WriteJSON(filepath.Join(temp, roundSamples), d)
	})
}

// read reads and verifies a round's data.
func (r *Rounds) read(ctx context.Context, round int) (d *roundData, err error) {
	dir := r.dataFolder(round)
	text, err := os.ReadFile(filepath.Join(dir, roundSamples))
	if err != nil {
		return nil, err
	}
	d = &roundData{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	name := sha256.Sum256(text)
	d.name = float64(binary.BigEndian.Uint64(name[:]) >> 16)
	got, err := sum(ctx, filepath.Join(dir, roundTensors))
	if err != nil {
		return nil, err
	}
	if got != d.Tensors {
		return nil, fmt.Errorf("%s: %s is not what was written", dir, roundTensors)
	}
	f, err := weights.Open(filepath.Join(dir, roundTensors))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	tensors := map[int]*tensor.Dense{-1: nil}
	of := func(n int) *tensor.Dense {
		t, there := tensors[n]
		if !there && err == nil {
			t, err = f.Tensor(strconv.Itoa(n))
			tensors[n] = t
		}
		return t
	}
	for _, s := range d.Samples {
		d.samples = append(d.samples, dataset.Sample{
			ID: s.ID, Prompt: s.Prompt, Group: s.Group, Reward: &s.Reward, Latent: of(s.Latent),
			Condition: dataset.Condition{
				Tokens: of(s.Parts[0]), Pooled: of(s.Parts[1]), Sizes: of(s.Parts[2]),
			},
		})
	}
	return d, err
}
