package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/kernels"
)

// A stage is a compiled graph of one input.
type stage struct {
	in      *tensor.Dense
	machine *kernels.Machine
	out     gorgonia.Nodes
}

// newStage compiles what build makes of an input of a shape.
func (p *Pipeline) newStage(
	shape []int, build func(in *gorgonia.Node) (gorgonia.Nodes, error),
) (*stage, error) {
	s := &stage{in: tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))}
	g := gorgonia.NewGraph()
	var err error
	if s.out, err = build(kernels.Input(g, "in", s.in)); err != nil {
		return nil, err
	}
	machine := p.Machine
	machine.Want = s.out
	s.machine, err = kernels.NewMachine(g, machine)
	return s, err
}

// run computes the results, which are valid until the next run.
func (s *stage) run() ([]*tensor.Dense, error) {
	if err := s.machine.RunAll(); err != nil {
		return nil, err
	}
	values := make([]*tensor.Dense, len(s.out))
	for i, n := range s.out {
		values[i] = s.machine.Value(n)
	}
	return values, nil
}

// stages are compiled graphs by batch size.
type stages struct {
	build  func(size int) (*stage, error)
	bySize map[int]*stage
}

func (s *stages) of(size int) (*stage, error) {
	if st, ok := s.bySize[size]; ok {
		return st, nil
	}
	st, err := s.build(size)
	if err != nil {
		return nil, err
	}
	if s.bySize == nil {
		s.bySize = map[int]*stage{}
	}
	s.bySize[size] = st
	return st, nil
}

func (s *stages) close() error {
	var errs []error
	for _, st := range s.bySize {
		errs = append(errs, st.machine.Close())
	}
	s.bySize = nil
	return errors.Join(errs...)
}

// texts encodes prompts, each once.
type texts struct {
	p      *Pipeline
	graphs stages
	known  map[string]dataset.Condition
}

func (p *Pipeline) newTexts() *texts {
	t := &texts{p: p, known: map[string]dataset.Condition{}}
	t.graphs.build = func(size int) (*stage, error) {
		batch := []int{size, p.Tokenizer.Length}
		return p.newStage(batch, func(ids *gorgonia.Node) (gorgonia.Nodes, error) {
			hidden, err := p.Text.Hidden(ids)
			return gorgonia.Nodes{hidden}, err
		})
	}
	return t
}

// textBatch is how many prompts are encoded at once: as many as keep every core busy at little
// memory.
const textBatch = 16

// encode returns the conditions of prompts. They are shared and must not be written to.
func (t *texts) encode(ctx context.Context, prompts []string) ([]dataset.Condition, error) {
	var fresh []string
	for _, prompt := range prompts {
		if _, ok := t.known[prompt]; !ok {
			t.known[prompt] = dataset.Condition{}
			fresh = append(fresh, prompt)
		}
	}
	for len(fresh) > 0 {
		if err := context.Cause(ctx); err != nil {
			return nil, fmt.Errorf("pipeline: %w", err)
		}
		n := min(len(fresh), textBatch)
		if err := t.encodeBatch(fresh[:n]); err != nil {
			return nil, err
		}
		fresh = fresh[n:]
	}
	out := make([]dataset.Condition, len(prompts))
	for i, prompt := range prompts {
		out[i] = t.known[prompt]
	}
	return out, nil
}

// captions are all prompts of samples, those of alternatives among them.
func captions(samples []dataset.Sample) (all []string) {
	for _, s := range samples {
		all = append(all, s.Captions()...)
	}
	return all
}

// fill gives samples the conditions of their prompts, which are encoded.
func (t *texts) fill(samples []dataset.Sample) {
	for i := range samples {
		s := &samples[i]
		s.Condition = t.known[s.Prompt]
		s.Alternatives = slices.Clone(s.Alternatives) // others have them too
		for k := range s.Alternatives {
			s.Alternatives[k].Condition = t.known[s.Alternatives[k].Prompt]
		}
	}
}

func (t *texts) encodeBatch(prompts []string) error {
	st, err := t.graphs.of(len(prompts))
	if err != nil {
		return err
	}
	length := t.p.Tokenizer.Length
	for row, prompt := range prompts {
		for i, id := range t.p.Tokenizer.Encode(prompt) {
			st.in.Float32s()[row*length+i] = float32(id)
		}
	}
	values, err := st.run()
	if err != nil {
		return err
	}
	for row, prompt := range prompts {
		t.known[prompt] = dataset.Condition{Tokens: copyRow(values[0], row)}
	}
	return nil
}

// copyRow is row i of [N,...] in memory of its own.
func copyRow(t *tensor.Dense, i int) *tensor.Dense {
	shape := t.Shape()[1:].Clone()
	size := shape.TotalSize()
	row := append([]float32(nil), t.Float32s()[i*size:(i+1)*size]...)
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(row))
}
