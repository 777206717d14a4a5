package finetune

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/kernels"
)

// everywhere has guarded runs die at every change of the disk and be resumed after every step,
// which takes minutes. Without it, few of them do.
var everywhere = flag.Bool("everywhere", false, "let guarded runs die everywhere")

// A walker is a trainer of a few numbers, each of whose steps hangs on all before it.
type walker struct {
	of, done int
	x        *tensor.Dense
	move     func(x []float32)
}

func newWalker(of int) *walker {
	return &walker{of: of, x: dense(2), move: func(x []float32) {
		x[0], x[1] = 0.9*x[0]+1, 0.7*x[1]+x[0]/3
	}}
}

func (w *walker) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		for w.done < w.of {
			if err := context.Cause(ctx); err != nil {
				yield(Step{}, err)
				return
			}
			w.move(w.x.Float32s())
			w.done++
			s := Step{Index: w.done - 1, Of: w.of, Loss: float64(w.x.Float32s()[0]), Time: 1}
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (w *walker) State(context.Context) (State, error) {
	return State{Step: w.done, Tensors: []kernels.Parameter{{Name: "x", Value: w.x}}}, nil
}

func (w *walker) Restore(_ context.Context, s State) error {
	copy(w.x.Float32s(), s.Tensors[0].Value.Float32s())
	w.done = s.Step
	return nil
}

// after is what a walker is after so many steps.
func after(steps int) []float32 {
	w := newWalker(steps)
	for range w.Steps(context.Background()) {
	}
	return w.x.Float32s()
}

// curves are a Judge of known curves, a value for every second step from the first on.
func curves(of map[string][]float64) func(context.Context, int) (map[string]float64, error) {
	return func(_ context.Context, step int) (map[string]float64, error) {
		m := map[string]float64{}
		for name, values := range of {
			m[name] = values[step/2]
		}
		return m, nil
	}
}

// Curves that are known have a stop and a best that one can see.
func TestGuardOfKnownCurves(t *testing.T) {
	rises := []float64{1, 2, 3, 4, 5, 6, 7}
	for name, c := range map[string]struct {
		reward, judge, quality []float64
		set                    func(g *Guard)
		steps, kept            int
		why                    string
	}{
		"they part": {
			rises, []float64{1, 2, 3, 2.5, 2.9, 2.3, 2}, nil, nil, 10, 4,
			"since 4 updates reward has risen from 3 to 6 and judge has fallen from 3 to 2.3",
		},
		"they part at once": {
			rises, []float64{3, 2, 2, 2, 2, 2, 2}, nil, nil, 6, 0,
			"since 0 updates reward has risen from 1 to 4 and judge has fallen from 3 to 2",
		},
		"less patience": {
			rises, []float64{1, 2, 3, 2.5, 4, 5, 6}, nil,
			func(g *Guard) { g.Patience = 1 }, 6, 4, "judge has fallen from 3 to 2.5",
		},
		"more patience": {
			rises, []float64{1, 2, 3, 2, 2, 2, 2}, nil,
			func(g *Guard) { g.Patience = 5 }, 12, 4, "",
		},
		"the judge recovers": {
			rises, []float64{1, 2, 1.5, 1.5, 3, 2, 2}, nil, nil, 12, 8, "",
		},
		"both rise": {rises, rises, nil, nil, 12, 12, ""},
		"both fall": {
			[]float64{1, 2, 3, 2, 2, 1, 1}, []float64{1, 2, 3, 2, 2, 1, 1}, nil, nil, 12, 4, "",
		},
		"one recovers": {
			[]float64{1, 2, 3, 4, 3, 4, 4}, []float64{1, 2, 3, 2, 2, 2, 2}, nil, nil, 12, 4, "",
		},
		"the judge is as high": {
			rises, []float64{1, 2, 3, 3, 3, 3, 3}, nil, nil, 12, 4, "",
		},
		"within the margin": {
			rises, []float64{1, 2, 3, 2.5, 2.5, 2.5, 2.5}, nil,
			func(g *Guard) { g.Margin = 0.5 }, 12, 4, "",
		},
		"beyond the margin": {
			rises, []float64{1, 2, 3, 2.5, 2.4, 2.4, 2.4}, nil,
			func(g *Guard) { g.Margin = 0.5 }, 12, 4, "fallen from 3 to 2.4",
		},
		"not compared": {
			rises, []float64{3, 2, 2, 2, 2, 2, 2}, nil, func(g *Guard) { g.Reward = "" }, 12, 0, "",
		},
		"another best": {
			rises, rises, []float64{5, 6, 9, 8, 9, 2, 1},
			func(g *Guard) { g.Best = "quality" }, 12, 4, "",
		},
		"a floor": {
			rises, []float64{1, 2, 3, 9, 9, 9, 9}, []float64{5, 6, 5, 4.9, 9, 9, 9},
			func(g *Guard) { g.Floors = map[string]float64{"quality": 5} }, 6, 4,
			"quality is 4.9, below 5",
		},
		"a ceiling": {
			rises, []float64{1, 2, 3, 9, 9, 9, 9}, []float64{5, 6, 7, 7.5, 0, 0, 0},
			func(g *Guard) { g.Ceilings = map[string]float64{"quality": 7} }, 6, 4,
			"quality is 7.5, above 7",
		},
		"a share": {
			rises, rises, []float64{4, 9, 2, 2, 1.9, 9, 9},
			func(g *Guard) { g.Shares = map[string]float64{"quality": 0.5} }, 8, 6,
			"quality is 1.9, below 0.5 of the 4 at first",
		},
	} {
		t.Run(name, func(t *testing.T) {
			of := map[string][]float64{"reward": c.reward, "judge": c.judge}
			if c.quality != nil {
				of["quality"] = c.quality
			}
			w := newWalker(12)
			g := &Guard{
				Trainer: w, Folder: t.TempDir(), Every: 2, Judge: curves(of), Reward: "reward",
				HeldOut: "judge",
			}
			if c.set != nil {
				c.set(g)
			}
			require.Len(t, stepsOf(t, g, 0), c.steps)
			v := g.Verdict()
			require.Equal(t, c.kept, v.Kept)
			require.Contains(t, v.Stopped, c.why)
			require.Equal(t, c.why == "", v.Stopped == "")
			require.Len(t, v.Measures, c.steps/2+1)
			for i, m := range v.Measures {
				require.Equal(t, Measure{2 * i, m.Metrics}, m)
				require.Equal(t, c.judge[i], m.Metrics["judge"])
			}
			require.Equal(t, c.steps, w.done, "the trainer was broken out of")
			require.Empty(t, stepsOf(t, g, 0), "it is over")
			require.Equal(t, after(c.steps), w.x.Float32s(), "the last is in place until UseBest")
			kept, err := g.UseBest(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.kept, kept)
			require.Equal(t, after(kept), w.x.Float32s())
			entries, err := os.ReadDir(filepath.Join(g.Folder, "best"))
			require.NoError(t, err)
			require.Len(t, entries, 1, "what nobody needs is removed")
			_, err = g.State(t.Context())
			require.Equal(t, kept < c.steps, err != nil, "a run cannot go on behind its end")
		})
	}
}

// A toy in which a reward can be exploited: what is wanted is (1, 0). The reward sees the first
// number as it is, and likes the second the more the higher it is. Ascent hacks it. The Guard ends
// that soon behind the best that there was, and leaves a reward that is sound alone.
func TestGuardEndsRewardHacking(t *testing.T) {
	wanted := func(x []float32) float64 {
		a, b := float64(x[0]), float64(x[1])
		return -(a-1)*(a-1) - b*b
	}
	run := func(exploitable bool, guarded bool) (g *Guard, w *walker, all []float64) {
		bonus := float32(0)
		if exploitable {
			bonus = 0.5
		}
		w = newWalker(400)
		w.move = func(x []float32) { // ascent of −(a−1)² + bonus·b, or of what is wanted
			x[0] -= 0.04 * (x[0] - 1)
			if exploitable {
				x[1] += 0.02 * bonus
			} else {
				x[1] -= 0.04 * x[1]
			}
		}
		g = &Guard{Trainer: w, Folder: t.TempDir(), Every: 5, Reward: "reward", HeldOut: "judge"}
		if !exploitable {
			g.Every = 40
		}
		if !guarded {
			g.Reward = ""
		}
		g.Judge = func(context.Context, int) (map[string]float64, error) {
			x, judge := w.x.Float32s(), wanted(w.x.Float32s())
			all = append(all, judge)
			reward := judge
			if exploitable {
				reward += float64(x[1])*float64(x[1]) + float64(bonus*x[1])
			}
			return map[string]float64{"reward": reward, "judge": judge}, nil
		}
		stepsOf(t, g, 0)
		return g, w, all
	}
	unguarded, _, all := run(true, false)
	peak := 0
	for i, v := range all {
		if v > all[peak] {
			peak = i
		}
	}
	last := unguarded.Verdict().Measures[80].Metrics
	require.Greater(t, last["reward"], unguarded.Verdict().Measures[peak].Metrics["reward"])
	require.Less(t, last["judge"], all[0], "hacked, it is worse than at first")

	g, w, seen := run(true, true)
	v := g.Verdict()
	require.Equal(t, 5*(peak+3), w.done, "three measurements behind the peak")
	require.Equal(t, all[:peak+4], seen)
	require.Contains(t, v.Stopped, "reward has risen")
	require.Equal(t, 5*peak, v.Kept)
	_, err := g.UseBest(t.Context())
	require.NoError(t, err)
	require.Equal(t, all[peak], wanted(w.x.Float32s()))

	sound, w, _ := run(false, true)
	require.Empty(t, sound.Verdict().Stopped)
	require.Equal(t, 400, w.done)
	_, err = sound.UseBest(t.Context())
	require.NoError(t, err)
	require.InDelta(t, 0, wanted(w.x.Float32s()), 1e-10)
}

// What a Guard cannot judge by ends training with an error that says so. The step before it is not
// lost, and ranging again, or another process, measures again.
func TestGuardErrors(t *testing.T) {
	broken := errors.New("broken")
	rises := []float64{1, 2, 3, 4, 5, 6, 7}
	good := curves(map[string][]float64{"reward": rises, "judge": rises})
	for want, wrong := range map[string]func() (map[string]float64, error){
		"finetune: guard: after 4 steps: broken": func() (map[string]float64, error) {
			return nil, broken
		},
		"finetune: guard: after 4 steps: judge is NaN": func() (map[string]float64, error) {
			return map[string]float64{"reward": 1, "judge": math.NaN()}, nil
		},
		"finetune: guard: after 4 steps: other is -Inf": func() (map[string]float64, error) {
			return map[string]float64{"reward": 1, "judge": 1, "other": math.Inf(-1)}, nil
		},
		`finetune: guard: after 4 steps: there is no metric "judge" among ["reward"]`: func() (
			map[string]float64, error,
		) {
			return map[string]float64{"reward": 1}, nil
		},
	} {
		folder, fails := t.TempDir(), true
		start := func() (*walker, *Guard, *Checkpoints) {
			w := newWalker(12)
			g := &Guard{Trainer: w, Folder: folder, Every: 2, Reward: "reward", HeldOut: "judge"}
			g.Judge = func(ctx context.Context, step int) (map[string]float64, error) {
				if fails && step == 4 {
					return wrong()
				}
				return good(ctx, step)
			}
			return w, g, &Checkpoints{
				Trainer: g, Folder: folder, Every: 5, Resume: true, Progress: io.Discard,
			}
		}
		w, g, saved := start()
		steps, failure := 0, error(nil)
		for _, err := range saved.Steps(t.Context()) {
			if failure = err; err == nil {
				steps++
			}
		}
		require.EqualError(t, failure, want)
		require.Equal(t, []int{4, 4}, []int{steps, w.done})
		require.Len(t, g.Verdict().Measures, 2)
		require.DirExists(t, checkpoint(folder, 4))
		fails = false
		other, again, taken := start()
		require.Len(t, stepsOf(t, taken, 0), 8, "another process")
		require.Len(t, stepsOf(t, saved, 0), 8, "this one")
		require.Equal(t, again.Verdict(), g.Verdict())
		require.Len(t, g.Verdict().Measures, 7)
		require.Equal(t, w.x.Float32s(), other.x.Float32s())
	}

	// Limits that the network is beyond before the first step, and fields that make no Guard.
	for want, set := range map[string]func(g *Guard){
		"after 0 steps: judge is 1, below 2": func(g *Guard) {
			g.Floors = map[string]float64{"judge": 2}
		},
		"after 0 steps: judge is 1, above 0.5": func(g *Guard) {
			g.Ceilings = map[string]float64{"judge": 0.5}
		},
		"judge is 1, below 2 of the 1 at first": func(g *Guard) {
			g.Shares = map[string]float64{"judge": 2}
		},
		"judge is -1, of which there are no shares": func(g *Guard) {
			g.Shares = map[string]float64{"judge": 0.5}
			g.Judge = curves(map[string][]float64{"reward": {1}, "judge": {-1}})
		},
		`no metric "clip" among ["judge" "reward"]`: func(g *Guard) {
			g.Shares = map[string]float64{"clip": 0.5}
		},
		"no Trainer, no Folder or no Judge":    func(g *Guard) { g.Judge = nil },
		"measures every 0 steps":               func(g *Guard) { g.Every = 0 },
		"a Patience of -1":                     func(g *Guard) { g.Patience = -1 },
		"a Margin of NaN":                      func(g *Guard) { g.Margin = math.NaN() },
		"no HeldOut to compare":                func(g *Guard) { g.HeldOut, g.Best = "", "reward" },
		"or to keep the best by":               func(g *Guard) { g.HeldOut, g.Reward = "", "" },
		"has no State and Restore":             func(g *Guard) { g.Trainer = Func(nil) },
		"has not been at all of these 3 steps": func(g *Guard) { g.Trainer.(*walker).done = 3 },
		"not a directory":                      func(g *Guard) { g.Folder = "none" },
	} {
		g := &Guard{
			Trainer: newWalker(12), Folder: t.TempDir(), Every: 2, Reward: "reward",
			HeldOut: "judge", Judge: good,
		}
		set(g)
		if g.Folder == "none" { // a disk that cannot be written to
			g.Folder = filepath.Join(t.TempDir(), "none")
			require.NoError(t, os.WriteFile(g.Folder, nil, 0o600))
		}
		n := 0
		for _, err := range g.Steps(t.Context()) {
			require.ErrorContains(t, err, want)
			n++
		}
		require.Equal(t, 1, n)
		require.Empty(t, g.Verdict().Measures, "nothing was measured")
	}
	_, err := (&Guard{
		Trainer: newWalker(1), Folder: t.TempDir(), Every: 1, Judge: good, HeldOut: "judge",
	}).UseBest(t.Context())
	require.ErrorContains(t, err, "has measured nothing")
}

// A Guard that is told to stop while it measures ends with the context's error.
func TestGuardIsCancelled(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	g := &Guard{Trainer: newWalker(4), Folder: t.TempDir(), Every: 2, HeldOut: "judge"}
	g.Judge = func(ctx context.Context, step int) (map[string]float64, error) {
		if step == 2 {
			cancel(why)
			return nil, errors.New("something about the context")
		}
		return map[string]float64{"judge": 1}, nil
	}
	var errs []error
	for _, err := range g.Steps(ctx) {
		errs = append(errs, err)
	}
	require.Equal(t, []error{nil, nil, why}, errs)
}

// A guarded run that is taken up by another process, after any step, ends with the same bits, the
// same verdict and the same files, whatever it wraps.
func TestGuardIsResumable(t *testing.T) {
	judged := []float64{1, 2, 1, 3, 4, 3, 2, 1, 1}
	for name, start := range map[string]func(t *testing.T, folder string) (
		inner Trainer, bits func() any,
	){
		"walker": func(t *testing.T, _ string) (Trainer, func() any) {
			w := newWalker(16)
			return w, func() any { return slices.Clone(w.x.Float32s()) }
		},
		"tuner": func(t *testing.T, _ string) (Trainer, func() any) {
			l := newLine()
			tuner := tuner(t, l)
			tuner.Updates, tuner.EMA = 16, 0.5
			return tuner, func() any { return l.vector() }
		},
		"rounds": func(t *testing.T, folder string) (Trainer, func() any) {
			l := newLine()
			r := rounds(t, l, folder)
			r.N = 4
			return r, func() any { return l.vector() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := func(folder string) (*Record, *Guard, func() any) {
				inner, bits := start(t, folder)
				g := &Guard{
					Trainer: inner, Folder: folder, Every: 2, Reward: "reward", HeldOut: "judge",
				}
				g.Judge = func(_ context.Context, step int) (map[string]float64, error) {
					seen := 0.0 // of the network, to the last bit
					switch x := bits().(type) {
					case []float32:
						seen = float64(x[0])
					case []float64:
						seen = x[0]
					}
					return map[string]float64{
						"judge": judged[step/2], "reward": float64(step), "weight 1": seen,
					}, nil
				}
				saved := &Checkpoints{
					Trainer: g, Folder: folder, Every: 3, Resume: true, Progress: io.Discard,
				}
				return &Record{Trainer: saved, Folder: folder, Progress: io.Discard}, g, bits
			}
			finish := func(folder string) (Result, Verdict, any, []string) {
				record, g, bits := run(folder)
				var saved any
				result, err := record.Finish(t.Context(), func(string) error {
					saved = bits()
					return nil
				})
				require.NoError(t, err)
				best, err := filepath.Glob(filepath.Join(folder, "best", "*", "*"))
				require.NoError(t, err)
				for i, name := range best {
					text, err := os.ReadFile(name)
					require.NoError(t, err)
					best[i] = strings.TrimPrefix(name, folder) + ": " + string(text)
				}
				return result, g.Verdict(), saved, best
			}
			whole := t.TempDir()
			result, verdict, saved, best := finish(whole)
			require.Equal(t, Result{14, "tuned", 8}, result)
			require.Contains(t, verdict.Stopped, "judge has fallen from 4 to 1")
			require.Equal(t, 8, verdict.Kept)
			require.Len(t, best, 3, "a state, its tensors and their sizes")
			for at := 1; at <= 14; at++ {
				if !*everywhere && !slices.Contains([]int{2, 5, 6, 9, 14}, at) {
					continue
				}
				folder := t.TempDir()
				record, g, _ := run(folder)
				stepsOf(t, record, at)
				if at%2 == 0 { // killed: the last checkpoint is one of Every, if there is any
					require.NoError(t, os.RemoveAll(checkpoint(folder, at)))
				}
				require.Len(t, g.Verdict().Measures, at/2+1)
				r, v, s, b := finish(folder)
				require.Equal(t, result, r, "after %d", at)
				require.Equal(t, verdict, v, "after %d", at)
				require.Equal(t, saved, s, "after %d", at)
				require.Equal(t, best, b, "after %d", at)
			}
			r, v, s, b := finish(whole)
			require.Equal(t, []any{result, verdict, saved, best}, []any{r, v, s, b}, "it is over")
		})
	}
}

// A guarded run that dies at any change of the disk, twice, and is resumed, leaves what one leaves
// that nothing stops.
func TestGuardDeathAnywhere(t *testing.T) {
	errDead := errors.New("dead")
	run := func(folder string) (x []float32, err error) {
		w := newWalker(12)
		guard := &Guard{
			Trainer: w, Folder: folder, Every: 2, Reward: "reward", HeldOut: "judge",
			Judge: curves(map[string][]float64{
				"reward": {1, 2, 3, 4, 5, 6, 7}, "judge": {1, 3, 4, 2, 2, 2, 2},
			}),
		}
		saved := &Checkpoints{
			Trainer: guard, Folder: folder, Every: 3, Resume: true, Progress: io.Discard,
		}
		record := &Record{Trainer: saved, Folder: folder, Progress: io.Discard}
		_, err = record.Finish(context.Background(), func(name string) error {
			return file.WriteJSON(filepath.Join(folder, name+".json"), w.x.Float32s())
		})
		return w.x.Float32s(), err
	}
	left := func(folder string) map[string]string {
		all := map[string]string{}
		require.NoError(t, filepath.WalkDir(folder, func(
			name string, d os.DirEntry, err error,
		) error {
			short, _ := filepath.Rel(folder, name)
			switch {
			case err != nil:
				return err
			case file.IsLeft(d.Name()) && d.IsDir():
				return filepath.SkipDir
			case d.IsDir(), file.IsLeft(d.Name()), strings.HasPrefix(short, "stopped-after-"):
				return nil
			}
			text, err := os.ReadFile(name)
			all[short] = string(text)
			return err
		}))
		return all
	}
	dieAt := func(k int, folder string) (died bool) {
		n := 0
		file.Before = func(string, string) error {
			if n++; n > k {
				return errDead
			}
			return nil
		}
		defer func() { file.Before = nil }()
		_, _ = run(folder)
		return n > k
	}
	whole := t.TempDir()
	want, err := run(whole)
	require.NoError(t, err)
	require.Equal(t, after(4), want)
	files := left(whole)
	require.Contains(t, files, filepath.Join("best", "step-000004", "state.safetensors"))
	moments, next := 0, 17
	if *everywhere {
		next = 1
	}
	for k, died := 0, true; died; k += next {
		folder := t.TempDir()
		died = dieAt(k, folder)
		dieAt(3*k/2, folder)
		got, err := run(folder)
		require.NoError(t, err, "after operation %d", k)
		require.Equal(t, want, got, "after operation %d", k)
		require.Equal(t, files, left(folder), "after operation %d", k)
		moments++
	}
	require.Greater(t, moments, 100/next)
}

// A Tuner's network is judged as it is saved, with its moving average, and trained without.
func TestGuardJudgesTheAverage(t *testing.T) {
	train := func(guarded bool) (*line, *Tuner, [][]float64) {
		l := newLine()
		tuner := tuner(t, l)
		tuner.EMA = 0.5
		var seen [][]float64
		var trainer Trainer = tuner
		if guarded {
			trainer = &Guard{
				Trainer: tuner, Folder: t.TempDir(), Every: 3, Best: "n",
				Judge: func(context.Context, int) (map[string]float64, error) {
					seen = append(seen, l.vector())
					return map[string]float64{"n": float64(len(seen))}, nil
				},
			}
		}
		stepsOf(t, trainer, 0)
		return l, tuner, seen
	}
	plain, tuner, _ := train(false)
	l, _, seen := train(true)
	require.Equal(t, plain.vector(), l.vector(), "judging changes nothing")
	require.Len(t, seen, 3)
	require.Equal(t, newLine().vector(), seen[0])
	require.NotEqual(t, plain.vector(), seen[2])
	require.NoError(t, tuner.UseAverage())
	require.Equal(t, plain.vector(), seen[2])
}

// Another Guard than the one that a run has begun with, or none, is refused, and so is a best
// network that is gone or broken.
func TestGuardRefuses(t *testing.T) {
	folder := t.TempDir()
	rises := []float64{1, 2, 3, 4, 5, 6, 7}
	guard := func(every int) *Guard {
		return &Guard{
			Trainer: newWalker(12), Folder: folder, Every: every, HeldOut: "judge",
			Judge: curves(map[string][]float64{"judge": rises}),
		}
	}
	g := guard(2)
	stepsOf(t, g, 5)
	state, err := g.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]float64{
		"guard 0 judge": 1, "guard 2 judge": 2, "guard 4 judge": 3,
	}, state.Values)
	require.NoError(t, guard(2).Restore(t.Context(), state))
	err = guard(3).Restore(t.Context(), state)
	require.ErrorContains(t, err, "every 3 steps from the first on")
	bare := state
	bare.Values = nil
	require.ErrorContains(t, guard(2).Restore(t.Context(), bare), "has not been at all")
	bare.Values = map[string]float64{"guard x judge": 1}
	require.ErrorContains(t, guard(2).Restore(t.Context(), bare), `a value "guard x judge"`)

	tensors := filepath.Join(folder, "best", "step-000004", tensorsFile)
	text, err := os.ReadFile(tensors)
	require.NoError(t, err)
	text[len(text)-1] ^= 1
	require.NoError(t, os.WriteFile(tensors, text, 0o600))
	_, err = g.UseBest(t.Context())
	require.ErrorContains(t, err, "the best network: state.safetensors is not what was written")
	require.NoError(t, os.RemoveAll(filepath.Dir(tensors)))
	again := guard(2)
	require.NoError(t, again.Restore(t.Context(), state))
	for _, err := range again.Steps(t.Context()) {
		require.ErrorContains(t, err, "the best network is not there")
	}
}

// There must be room for the best networks beside the checkpoints, and a folder that has one holds
// a run.
func TestGuardFolder(t *testing.T) {
	g := &Guard{
		Trainer: newWalker(4), Folder: t.TempDir(), Every: 2, HeldOut: "judge",
		Judge: curves(map[string][]float64{"judge": {1, 2, 3}}),
	}
	s, err := g.State(t.Context())
	require.NoError(t, err)
	defer func(was func(string) (int64, bool)) { free = was }(free)
	start := func(bytes int64) error {
		free = func(string) (int64, bool) { return bytes, true }
		saved := &Checkpoints{Trainer: g, Folder: g.Folder, Progress: io.Discard}
		for _, err := range saved.Steps(t.Context()) {
			return err
		}
		return nil
	}
	require.ErrorContains(t, start(6*s.bytes()-1), "3 checkpoints in "+g.Folder+" need ")
	require.NoError(t, start(6*s.bytes()))

	// In the end it has the best of all, and what was the best at each checkpoint.
	rises := []float64{1, 2, 3, 4, 5, 6, 7}
	g = &Guard{
		Trainer: newWalker(12), Folder: t.TempDir(), Every: 2, HeldOut: "judge",
		Judge: curves(map[string][]float64{"judge": rises}),
	}
	saved := &Checkpoints{Trainer: g, Folder: g.Folder, Every: 3, Progress: io.Discard}
	record := &Record{Trainer: saved, Folder: g.Folder, Progress: io.Discard}
	_, err = record.Finish(t.Context(), func(string) error { return nil })
	require.NoError(t, err)
	best, err := filepath.Glob(filepath.Join(g.Folder, "best", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{g.kept(8), g.kept(12)}, best, "of checkpoints after 9 and 12 steps")

	run := &Run{Folder: t.TempDir()}
	require.NoError(t, os.MkdirAll(filepath.Join(run.Folder, "best", "step-000001"), 0o755))
	kept := filepath.Join(run.Folder, "best", "step-000001", "state.json")
	require.NoError(t, os.WriteFile(kept, []byte("{}"), 0o644))
	_, err = run.Begin()
	require.ErrorAs(t, err, new(*RunExistsError))
}

// The report says that the guard stopped the run, when and why, and has the curves.
func TestGuardIsReported(t *testing.T) {
	run := &Run{Folder: filepath.Join(t.TempDir(), "run"), Progress: io.Discard}
	w := newWalker(12)
	g := &Guard{
		Trainer: w, Folder: run.Folder, Every: 2, Reward: "reward", HeldOut: "judge",
		Judge: curves(map[string][]float64{
			"reward": {1, 2, 3, 4, 5, 6, 7}, "judge": {1, 2, 1.5, 1.25, 1, 1, 1},
			"diversity": {1, 1, 1, 1, 1, 1, 1},
		}),
	}
	release, err := run.Begin()
	require.NoError(t, err)
	var saved []float32
	left, err := run.Finish(t.Context(), g, func(string) error {
		saved = slices.Clone(w.x.Float32s())
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, release())
	require.Equal(t, after(2), saved)
	require.Equal(t, "what the first 2 of 8 updates have made is in "+
		filepath.Join(run.Folder, "tuned"), left)
	text, err := os.ReadFile(filepath.Join(run.Folder, summaryFile))
	require.NoError(t, err)
	var s summary
	require.NoError(t, json.Unmarshal(text, &s))
	require.Equal(t, new(g.Verdict()), s.Guard)
	require.Equal(t, []int{8, 12}, []int{s.Steps, s.Of})
	require.Empty(t, s.Stopped, "which is for errors")
	text, err = os.ReadFile(filepath.Join(run.Folder, pageFile))
	require.NoError(t, err)
	for _, want := range []string{
		"The guard stopped it after 8 updates: since 2 updates reward has risen from 2 to 5 and " +
			"judge has fallen from 2 to 1.",
		"The guard has kept the network after 2 updates, the best by judge.",
		"Guard: diversity",
	} {
		require.Contains(t, string(text), want)
	}
	charts := g.Verdict().charts("reward", "judge")
	require.Len(t, charts, 2)
}
