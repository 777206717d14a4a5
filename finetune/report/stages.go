package report

import (
	"fmt"
	"time"
)

// Stages are a run's stages, with the time that each took.
type Stages struct {
	*Progress
	Seconds map[string]float64 // by the stage's name
}

// NewStages has none yet. Progress is Stderr's.
func NewStages() *Stages { return &Stages{Stderr(), map[string]float64{}} }

// Do is a stage of n parts, of which do says when they are done. An error of it gets the stage's
// name.
func (s *Stages) Do(name string, n int, do func(stage *Stage) error) error {
	stage := s.Stage(name, n)
	err := do(stage)
	s.Seconds[name] = stage.End().Seconds()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Time takes the time of a stage that shows its own progress, until done is called.
func (s *Stages) Time(name string) (done func()) {
	began := time.Now()
	return func() { s.Seconds[name] = time.Since(began).Seconds() }
}
