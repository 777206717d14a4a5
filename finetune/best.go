package finetune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
)

// bestFolder has the best networks of a run.
const bestFolder = "best"

// kept is the folder of one.
func (g *Guard) kept(step int) string {
	return filepath.Join(g.Folder, bestFolder, fmt.Sprintf(checkpointName, step))
}

// prune removes the networks that neither the best nor a checkpoint needs.
func (g *Guard) prune() error {
	steps, err := checkpoints(g.Folder)
	needed := map[string]bool{g.kept(g.best(g.measures).Step): true}
	for _, step := range steps {
		if n := min(step/g.Every+1, len(g.measures)); n > 0 {
			needed[g.kept(g.best(g.measures[:n]).Step)] = true
		}
	}
	there, failure := os.ReadDir(filepath.Join(g.Folder, bestFolder))
	if errors.Is(failure, fs.ErrNotExist) {
		failure = nil
	}
	for _, e := range there {
		dir := filepath.Join(g.Folder, bestFolder, e.Name())
		if !needed[dir] && strings.HasPrefix(e.Name(), "step-") {
			failure = errors.Join(failure, file.RemoveFolder(dir))
		}
	}
	if err = errors.Join(err, failure); err != nil {
		return fmt.Errorf("finetune: guard: %w", err)
	}
	return nil
}

// guardValue begins the names of a State's values that are a Guard's: "guard 60 reward".
const guardValue = "guard "

// State is the Trainer's, with all measurements. The best network stays in the folder.
func (g *Guard) State(ctx context.Context) (State, error) {
	s, err := g.state(ctx)
	if err != nil {
		return State{}, err
	}
	values := map[string]float64{}
	maps.Copy(values, s.Values)
	for _, m := range g.measures {
		for name, v := range m.Metrics {
			values[fmt.Sprint(guardValue, m.Step, " ", name)] = v
		}
	}
	s.Values = values
	return s, nil
}

// Restore goes on behind a State of a Guard with the same Every, Folder and Judge. Its other
// fields may be others: they judge all measurements anew.
func (g *Guard) Restore(ctx context.Context, s State) error {
	if err := g.check(); err != nil {
		return err
	}
	values, found := map[string]float64{}, map[int]map[string]float64{}
	for name, v := range s.Values {
		rest, ours := strings.CutPrefix(name, guardValue)
		if !ours {
			values[name] = v
			continue
		}
		text, metric, _ := strings.Cut(rest, " ")
		step, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("finetune: guard: the state has a value %q", name)
		}
		if found[step] == nil {
			found[step] = map[string]float64{}
		}
		found[step][metric] = v
	}
	g.measures = nil
	for _, step := range slices.Sorted(maps.Keys(found)) {
		g.measures = append(g.measures, Measure{step, found[step]})
	}
	if err := g.complete(s.Step); err != nil {
		return err
	}
	s.Values = values
	inner, ok := As[Resumable](g.Trainer)
	if !ok {
		return fmt.Errorf("finetune: %T has no Restore", g.Trainer)
	}
	return inner.Restore(ctx, s)
}

// UseBest puts the best network in the place of the last one, with all else of its State, and says
// how many steps it has seen. Unless it is the last one, training cannot go on in this process.
func (g *Guard) UseBest(ctx context.Context) (steps int, err error) {
	s, err := g.state(ctx)
	if err != nil {
		return 0, err
	}
	if len(g.measures) == 0 {
		return 0, errors.New("finetune: the Guard has measured nothing")
	}
	best := g.Verdict().Kept
	if err := g.prune(); err != nil || best == s.Step {
		return best, err
	}
	dir := g.kept(best)
	err = verify(ctx, dir)
	if err == nil {
		inner, _ := As[Resumable](g.Trainer)
		g.used, err = true, restore(ctx, dir, inner)
	}
	if err != nil {
		return 0, fmt.Errorf("finetune: the best network: %w", err)
	}
	return best, nil
}
