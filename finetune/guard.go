package finetune

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// A Guard keeps a reward from being hacked. It is a Trainer that passes on the steps of another,
// measures now and then what the network has become, ends training when that goes wrong, and keeps
// the best network:
//
//	guard := &finetune.Guard{
//		Trainer: tuner, Folder: "runs/1", Every: 50, Judge: judge,
//		Reward: "reward", HeldOut: "judge", Shares: map[string]float64{"diversity": 0.8},
//	}
//	saved := &finetune.Checkpoints{Trainer: guard, Folder: "runs/1"}
//	run := &finetune.Record{Trainer: saved, Folder: "runs/1"}
//
// A reward stands for what people want. Optimized too far, it goes on rising while what they want
// falls (Gao, Schulman and Hilton 2022, Scaling Laws for Reward Model Overoptimization, Fig. 1). So
// another judge, which training does not learn from, scores the same pictures. The two have parted
// when in Patience measurements, one after another, the reward is above what it was where HeldOut
// was highest, and HeldOut is below that by more than Margin. Training ends there, or where a
// metric crosses a limit, without an error: Verdict says why.
//
// It measures the network before the first step and after every Every steps. What comes after the
// last of these is never kept, so Every should divide the steps. A Tuner's network has its moving
// average meanwhile, if there is one, because that is what is saved.
//
// The folder has best/step-000060, the State of the best network and of those that were the best
// when the checkpoints that are there were written: up to three with Checkpoints' defaults.
// UseBest puts it back. Record.Finish calls that, and Record reports the metrics as curves.
type Guard struct {
	Trainer Trainer // is, or wraps, a Resumable
	Folder  string  // of the run, the same as that of Checkpoints
	Every   int     // steps between two measurements; required

	// Judge measures the network as it is after so many steps, such as scores of pictures of fixed
	// prompts and seeds. A metric that is not a finite number, or one that is named here and not
	// measured, is an error. A run that is resumed ends the same only if Judge gives the same for
	// the same network. An error of it ends the loop, and ranging again measures again.
	Judge func(ctx context.Context, step int) (map[string]float64, error)

	// Reward is the metric that training raises, and HeldOut the judge's that it does not see.
	// Without Reward, the two are not compared.
	Reward, HeldOut string
	// Patience is in how many measurements, one after another, the two must be apart. 0 is 3: one
	// alone can be the chance of a few pictures.
	Patience int
	// Margin is by how much HeldOut must have fallen at least, such as its standard error.
	Margin float64

	// Best is the metric whose highest value is kept, the earliest of equal ones. "" is HeldOut.
	Best string
	// Floors and Ceilings are the least and the most that metrics may be. Shares are the least
	// shares of what metrics, which are then above 0, were before the first step. A network beyond
	// a limit is not kept, and training ends there. Before the first step, that is an error.
	Floors, Ceilings, Shares map[string]float64

	measures []Measure
	used     bool // the best network is in place
}

// Unwrap returns the Trainer.
func (g *Guard) Unwrap() Trainer { return g.Trainer }

// Steps trains, and yields what the Trainer yields. A measurement is made before the step that it
// follows is yielded.
func (g *Guard) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if err := g.begin(ctx); err != nil {
			yield(Step{}, err)
			return
		}
		if g.Verdict().Stopped != "" {
			return
		}
		for step, err := range g.Trainer.Steps(ctx) {
			var failure error
			if err == nil && (step.Index+1)%g.Every == 0 {
				failure = g.measure(ctx, step.Index+1)
			}
			// The step is made, measured or not.
			if !yield(step, err) || err != nil {
				return
			}
			if failure != nil {
				yield(Step{}, failure)
				return
			}
			if g.Verdict().Stopped != "" {
				return
			}
		}
	}
}

// begin makes the measurement that is missing: the first, or one that failed.
func (g *Guard) begin(ctx context.Context) error {
	s, err := g.state(ctx)
	if err != nil {
		return err
	}
	if err := g.complete(s.Step); err != nil {
		return err
	}
	if s.Step%g.Every == 0 && len(g.measures) == s.Step/g.Every {
		return g.measure(ctx, s.Step)
	}
	if _, err := os.Stat(g.kept(g.Verdict().Kept)); err != nil {
		return fmt.Errorf("finetune: guard: the best network is not there: %w", err)
	}
	return nil
}

// complete reports measurements that are not those of a run of so many steps. The last of them may
// be missing.
func (g *Guard) complete(steps int) error {
	n := steps/g.Every + 1
	if steps%g.Every == 0 && len(g.measures) == n-1 {
		n--
	}
	for i, m := range g.measures {
		if m.Step != i*g.Every {
			n = -1
		}
	}
	if len(g.measures) != n {
		return fmt.Errorf("finetune: a Guard that measures every %d steps from the first on has "+
			"not been at all of these %d steps", g.Every, steps)
	}
	return nil
}

// check reports fields that make no Guard.
func (g *Guard) check() error {
	switch {
	case g.Trainer == nil || g.Folder == "" || g.Judge == nil:
		return errors.New("finetune: the Guard has no Trainer, no Folder or no Judge")
	case g.Every < 1 || g.Patience < 0 || !(g.Margin >= 0):
		return fmt.Errorf("finetune: the Guard measures every %d steps, with a Patience of %d and "+
			"a Margin of %v", g.Every, g.Patience, g.Margin)
	case g.HeldOut == "" && (g.Best == "" || g.Reward != ""):
		return errors.New("finetune: the Guard has no HeldOut to compare or to keep the best by")
	case g.used:
		return errors.New("finetune: the Guard has put its best network in place: training is over")
	}
	return nil
}

// state is the Trainer's.
func (g *Guard) state(ctx context.Context) (State, error) {
	if err := g.check(); err != nil {
		return State{}, err
	}
	inner, ok := As[Resumable](g.Trainer)
	if !ok {
		return State{}, fmt.Errorf("finetune: %T has no State and Restore to keep the best by",
			g.Trainer)
	}
	return inner.State(ctx)
}

// measure asks the Judge, and keeps the network if it is the best. After an error nothing was
// measured.
func (g *Guard) measure(ctx context.Context, step int) error {
	m, err := g.ask(ctx, step)
	all := append(slices.Clone(g.measures), m)
	if err == nil && g.best(all).Step == step {
		var s State
		if s, err = g.state(ctx); err == nil {
			err = os.MkdirAll(filepath.Join(g.Folder, bestFolder), 0o777)
		}
		if err == nil {
			err = s.write(g.kept(step))
		}
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("finetune: guard: after %d steps: %w", step, err)
	}
	g.measures = all
	return g.prune()
}

// ask has the network judged as it would be saved.
func (g *Guard) ask(ctx context.Context, step int) (m Measure, err error) {
	judge := func() (err error) {
		m.Metrics, err = g.Judge(ctx, step)
		return err
	}
	if t, ok := As[*Tuner](g.Trainer); ok {
		err = t.shown(judge)
	} else {
		err = judge()
	}
	if err != nil {
		return m, err
	}
	m = Measure{step, maps.Clone(m.Metrics)}
	for _, name := range names(m.Metrics) {
		if v := m.Metrics[name]; math.IsNaN(v) || math.IsInf(v, 0) {
			return m, fmt.Errorf("%s is %v", name, v)
		}
	}
	wanted := []string{g.Best, g.Reward, g.HeldOut}
	for _, limits := range []map[string]float64{g.Floors, g.Ceilings, g.Shares} {
		wanted = append(wanted, names(limits)...)
	}
	for _, name := range wanted {
		if _, there := m.Metrics[name]; name != "" && !there {
			return m, fmt.Errorf("there is no metric %q among %q", name, names(m.Metrics))
		}
	}
	if step > 0 {
		return m, nil
	}
	for _, name := range names(g.Shares) {
		if v := m.Metrics[name]; v <= 0 {
			return m, fmt.Errorf("%s is %v, of which there are no shares", name, v)
		}
	}
	if why := g.crossed(m, m); why != "" {
		return m, errors.New(why)
	}
	return m, nil
}
