package finetune_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A toy is a Trainer that fits a line to points. Its state is tensors and numbers: the learning
// rate hangs on the losses so far.
type toy struct {
	of, next int
	trend    float64 // the mean loss, the latest ones counting most
	step     *optim.Stepper
	loss     *optim.Compiled
	x, y     *tensor.Dense
	fails    map[int]error // steps that do
	torn     error         // what State says then
}

func newToy(t testing.TB, of int) *toy {
	t.Helper()
	dense := func(v []float32, shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	}
	y := &toy{
		of: of, trend: 1, x: dense(make([]float32, 8), 4, 2), y: dense(make([]float32, 4), 4, 1),
	}
	w, b := dense([]float32{0.5, -0.5}, 1, 2), dense([]float32{0.1}, 1)
	adam, err := optim.NewAdamW(
		kernels.Parameter{Name: "w", Value: w}, kernels.Parameter{Name: "b", Value: b},
	)
	require.NoError(t, err)
	y.step = &optim.Stepper{
		Optimizer: adam, LR: func(int) float64 { return 0.1 * y.trend }, Clip: 1,
	}
	y.step.Parameters = []kernels.Parameter{{Name: "w", Value: w}, {Name: "b", Value: b}}
	y.loss, err = y.step.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
		line, err := kernels.Linear(kernels.Input(g, "x", y.x), kernels.Param(g, w),
			kernels.Param(g, b))
		if err != nil {
			return optim.Loss{}, err
		}
		loss, err := kernels.MSE(line, kernels.Input(g, "y", y.y), nil)
		return optim.Loss{Value: loss}, err
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, y.step.Close()) })
	return y
}

func (y *toy) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for y.next < y.of {
			err := errors.Join(context.Cause(ctx), y.fails[y.next])
			var r optim.Result
			if err == nil {
				random := rand.New(rand.NewPCG(1, uint64(y.next)))
				for i := range y.y.Float32s() {
					a, b := random.Float32(), random.Float32()
					y.x.Float32s()[2*i], y.x.Float32s()[2*i+1] = a, b
					y.y.Float32s()[i] = 3*a - b + 0.1*random.Float32()
				}
				r, err = y.step.Step(y.loss)
			}
			if err != nil {
				yield(finetune.Step{}, err)
				return
			}
			y.trend = 0.9*y.trend + 0.1*r.Loss
			s := finetune.Step{
				Index: y.next, Of: y.of, Loss: r.Loss, LR: r.LR, GradNorm: r.GradNorm,
			}
			s.Samples, s.Time = 4, 1
			s.Terms = map[string]float64{"near": r.Loss / 4, "far": r.Loss * 3 / 4}
			y.next++
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (y *toy) State(ctx context.Context) (finetune.State, error) {
	if err := errors.Join(y.torn, context.Cause(ctx)); err != nil {
		return finetune.State{}, err
	}
	tensors, err := y.step.State()
	return finetune.State{
		Step: y.next, Values: map[string]float64{"trend": y.trend}, Tensors: tensors,
	}, err
}

func (y *toy) Restore(ctx context.Context, s finetune.State) error {
	y.next, y.trend = s.Step, s.Values["trend"]
	return y.step.SetState(s.Tensors)
}

// final is what is left of a toy: all bits of its state.
func (y *toy) final(t testing.TB) string {
	s, err := y.State(context.Background())
	require.NoError(t, err)
	text := fmt.Sprintf("%d %x", s.Step, math.Float64bits(s.Values["trend"]))
	for _, p := range s.Tensors {
		text += " " + p.Name
		for _, v := range p.Value.Float32s() {
			text += fmt.Sprintf(" %08x", math.Float32bits(v))
		}
	}
	return text
}

// wrap is a Trainer within a Trainer, as Rounds will be.
type wrap struct{ finetune.Trainer }

func (w wrap) Unwrap() finetune.Trainer { return w.Trainer }

const toySteps = 10

// recorded is what runs are made of.
func recorded(c *finetune.Checkpoints) *finetune.Record {
	return &finetune.Record{
		Trainer: c, Folder: c.Folder, Config: map[string]int{"seed": 1}, Progress: io.Discard,
	}
}

// train runs a toy, recorded and saved, and returns what it left and the error that ended it.
func train(
	t testing.TB, dir string, resume bool, change ...func(*finetune.Checkpoints),
) (y *toy, last error) {
	t.Helper()
	y = newToy(t, toySteps)
	saved := &finetune.Checkpoints{
		Trainer: wrap{y}, Folder: dir, Every: 3, Resume: resume, Progress: io.Discard,
	}
	for _, f := range change {
		f(saved)
	}
	run := recorded(saved)
	for _, last = range run.Steps(t.Context()) {
	}
	return y, last
}

// files are those of a run, without what a dead process leaves.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	visit := func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(name, ".kudos-") || d.Name() == ".lock" {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		all[name] = string(text)
		return err
	}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", visit))
	return all
}

// uninterrupted is what a run leaves that nothing stops.
func uninterrupted(t *testing.T) (state string, all map[string]string) {
	t.Helper()
	dir := t.TempDir()
	y, err := train(t, dir, false)
	require.NoError(t, err)
	all = files(t, dir)
	var names []string
	for _, step := range []string{"step-000009", "step-000010"} {
		for _, name := range []string{"manifest.json", "state.json", "state.safetensors"} {
			names = append(names, "checkpoints/"+step+"/"+name)
		}
	}
	names = append(names, "config.json", "metrics.jsonl", "report.html", "report.json")
	require.Equal(t, names, slices.Sorted(maps.Keys(all)))
	require.Len(t, metrics(t, dir), toySteps)
	require.NoFileExists(t, filepath.Join(dir, ".lock"))
	require.Greater(t, y.step.Parameters[0].Value.Float32s()[0], float32(0.9), "it does not learn")
	return y.final(t), all
}

var errDead = errors.New("dead")

// dieAt lets the k-th change of the disk and all behind it fail while f runs, and says if there was
// one.
func dieAt(k int, f func()) (died bool) {
	n := 0
	file.Before = func(string, string) error {
		if n++; n > k {
			return errDead
		}
		return nil
	}
	defer func() { file.Before = nil }()
	f()
	return n > k
}

// A run that dies at any change of the disk, and is resumed, leaves what one leaves that nothing
// stops.
func TestDeathAnywhere(t *testing.T) {
	state, all := uninterrupted(t)
	moments := 0
	for k, died := 0, true; died; k++ {
		dir := t.TempDir()
		died = dieAt(k, func() { _, _ = train(t, dir, true) })
		dieAt(3*k/2, func() { _, _ = train(t, dir, true) }) // and once more, somewhere
		y, err := train(t, dir, true)
		require.NoError(t, err, "after operation %d", k)
		require.Equal(t, state, y.final(t), "after operation %d", k)
		require.Equal(t, all, files(t, dir), "after operation %d", k)
		moments++
	}
	t.Log(moments, "moments")
	require.Greater(t, moments, 100)
}

const childVariable = "KUDOS_TEST_TOY"

// TestToyChild is the process that TestKill kills: FOLDER|COUNT, where it dies after so many
// changes of the disk, or says how many there were.
func TestToyChild(t *testing.T) {
	dir, count, ok := strings.Cut(os.Getenv(childVariable), "|")
	if !ok {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	most, err := strconv.Atoi(count)
	require.NoError(t, err)
	n := 0
	file.Before = func(string, string) error {
		if n++; n == most {
			require.NoError(t, self.Kill())
			select {}
		}
		return nil
	}
	y, err := train(t, dir, true)
	require.NoError(t, err)
	fmt.Printf("done: %s\nin: %d\n", y.final(t), n)
}

// child runs TestToyChild in a process of its own.
func child(t *testing.T, dir string, most int) string {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestToyChild$", "-test.count=1")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", childVariable, dir, most))
	out, err := c.CombinedOutput()
	if most == 0 {
		require.NoError(t, err, "%s", out)
	} else {
		require.Error(t, err, "%s", out)
		require.NotContains(t, string(out), "FAIL", "it was to be killed")
	}
	return string(out)
}

// A process that is killed at any of twenty moments, and resumed by another, leaves what one leaves
// that nothing stops.
func TestKill(t *testing.T) {
	state, all := uninterrupted(t)
	dir := t.TempDir()
	out := child(t, dir, 0)
	require.Contains(t, out, "done: "+state+"\n")
	require.Equal(t, all, files(t, dir))
	_, after, _ := strings.Cut(out, "in: ")
	count, err := strconv.Atoi(strings.Fields(after)[0])
	require.NoError(t, err)
	const moments = 20
	for i := range moments {
		dir := t.TempDir()
		child(t, dir, 1+i*(count-1)/(moments-1))
		require.Contains(t, child(t, dir, 0), "done: "+state+"\n", "moment %d", i)
		require.Equal(t, all, files(t, dir), "moment %d", i)
		entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
		require.NoError(t, err)
		require.Len(t, entries, 2, "what the dead process left is gone")
	}
}

// A run that is stopped, in each of the ways that there are, has a checkpoint and goes on from it.
func TestStopAndResume(t *testing.T) {
	state, all := uninterrupted(t)
	broken := errors.New("the data is gone")
	type cancel = context.CancelCauseFunc
	for name, stop := range map[string]func(context.Context, cancel, *toy, finetune.Trainer) error{
		"break": func(ctx context.Context, _ cancel, _ *toy, run finetune.Trainer) error {
			for step, err := range run.Steps(ctx) {
				if err != nil || step.Index == 4 {
					return err
				}
			}
			return nil
		},
		"cancelled": func(
			ctx context.Context, stop cancel, _ *toy, run finetune.Trainer,
		) (last error) {
			for step, err := range run.Steps(ctx) {
				if last = err; step.Index == 4 {
					stop(broken)
				}
			}
			require.ErrorIs(t, last, broken)
			return nil
		},
		"an error": func(ctx context.Context, _ cancel, y *toy, run finetune.Trainer) (last error) {
			y.fails = map[int]error{5: broken}
			for _, last = range run.Steps(ctx) {
			}
			require.EqualError(t, last, broken.Error())
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			y := newToy(t, toySteps)
			saved := &finetune.Checkpoints{Trainer: y, Folder: dir, Every: 100}
			run := recorded(saved)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			require.NoError(t, stop(ctx, cancel, y, run))
			require.DirExists(t, filepath.Join(dir, "checkpoints", "step-000005"))

			// The same Trainer goes on; another one, later, finds nothing left to do.
			y.fails = nil
			for _, err := range run.Steps(t.Context()) {
				require.NoError(t, err)
			}
			require.Equal(t, state, y.final(t))
			require.Equal(t, all["metrics.jsonl"], files(t, dir)["metrics.jsonl"])
			require.Equal(t, all["report.json"], files(t, dir)["report.json"])
			file.Before = func(_, name string) error {
				require.NotContains(t, name, "checkpoints", "there is nothing to save")
				return nil
			}
			defer func() { file.Before = nil }()
			other, err := train(t, dir, true)
			require.NoError(t, err)
			require.Equal(t, state, other.final(t))
			file.Before = nil

			// Another one goes on from where it was stopped.
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "checkpoints", "step-000010")))
			var shown bytes.Buffer
			other = newToy(t, toySteps)
			saved = &finetune.Checkpoints{Trainer: other, Folder: dir, Resume: true}
			first := -1
			record := &finetune.Record{Trainer: saved, Folder: dir, Progress: &shown}
			for step, err := range record.Steps(t.Context()) {
				if require.NoError(t, err); first < 0 {
					first = step.Index
				}
			}
			require.Equal(t, 5, first)
			require.Equal(t, state, other.final(t))
			require.Equal(t, all["metrics.jsonl"], files(t, dir)["metrics.jsonl"])
			require.Contains(t, shown.String(), "training: 10, 5 of them earlier, in ")
		})
	}
}

// After a step that left the Trainer torn there is no new checkpoint, and the error says where to
// go on.
func TestNoCheckpointOfATornTrainer(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("not a number")
	y := newToy(t, toySteps)
	y.fails, y.torn = map[int]error{7: broken}, nil
	saved := &finetune.Checkpoints{Trainer: y, Folder: dir, Every: 3}
	var last error
	for step, err := range saved.Steps(t.Context()) {
		if last = err; step.Index == 6 {
			y.torn = optim.ErrTorn
		}
	}
	require.ErrorIs(t, last, broken)
	require.ErrorIs(t, last, optim.ErrTorn)
	require.ErrorContains(t, last, "no checkpoint of 7 steps")
	require.ErrorContains(t, last, "the last is that of 6 steps")
}

// A checkpoint never knows a step that the metrics do not.
func TestNoCheckpointOfAStepThatIsNotRecorded(t *testing.T) {
	dir := t.TempDir()
	y := newToy(t, toySteps)
	saved := &finetune.Checkpoints{Trainer: y, Folder: dir, Every: 100}
	file.Before = func(operation, name string) error {
		if operation == "append" && y.next == 5 {
			return errDead
		}
		return nil
	}
	defer func() { file.Before = nil }()
	var last error
	var shown bytes.Buffer
	saved.Progress = &shown
	for _, last = range recorded(saved).Steps(t.Context()) {
	}
	require.ErrorIs(t, last, errDead)
	require.NoDirExists(t, filepath.Join(dir, "checkpoints"))
	require.Contains(t, shown.String(),
		"no checkpoint of 5 steps: finetune: dead (there is none before it)")
}

// A disk that is full ends the run with an error, keeps what was trained and all earlier
// checkpoints; when there is room, the run goes on.
func TestFullDisk(t *testing.T) {
	state, all := uninterrupted(t)
	dir := t.TempDir()
	y := newToy(t, toySteps)
	saved := &finetune.Checkpoints{Trainer: y, Folder: dir, Every: 3, Progress: io.Discard}
	run := recorded(saved)
	full := errors.New("no space left on device")
	file.Before = func(operation, name string) error {
		if operation == "write" && y.next >= 6 && strings.Contains(name, "checkpoints") {
			return full
		}
		return nil
	}
	defer func() { file.Before = nil }()
	var last error
	for _, last = range run.Steps(t.Context()) {
	}
	require.ErrorIs(t, last, full)
	require.ErrorContains(t, last, "no checkpoint of 6 steps")
	require.ErrorContains(t, last, filepath.Join(dir, "checkpoints", "step-000006"))
	require.ErrorContains(t, last, "the last is that of 3 steps: a run can resume from it")
	require.Equal(t, 6, y.next, "it is still there")
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing half-written")

	for _, last = range run.Steps(t.Context()) {
	}
	require.ErrorIs(t, last, full, "as long as it is full")
	require.Equal(t, 6, y.next)
	file.Before = nil
	for _, err := range run.Steps(t.Context()) {
		require.NoError(t, err)
	}
	require.Equal(t, state, y.final(t))
	require.Equal(t, all, files(t, dir))
}

func TestBrokenCheckpoints(t *testing.T) {
	state, all := uninterrupted(t)
	latest := func(dir, name string) string {
		return filepath.Join(dir, "checkpoints", "step-000010", name)
	}
	flip := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			text, err := os.ReadFile(latest(dir, name))
			require.NoError(t, err)
			text[len(text)/2] ^= 4
			require.NoError(t, os.WriteFile(latest(dir, name), text, 0o644))
		}
	}
	cut := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(latest(dir, name), 30))
		}
	}
	gone := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Remove(latest(dir, name))) }
	}
	for name, harm := range map[string]func(t *testing.T, dir string){
		"a bit of the tensors":  flip("state.safetensors"),
		"a bit of the values":   flip("state.json"),
		"a bit of the manifest": flip("manifest.json"),
		"the tensors' end":      cut("state.safetensors"),
		"the values' end":       cut("state.json"),
		"the manifest's end":    cut("manifest.json"),
		"the tensors":           gone("state.safetensors"),
		"the manifest":          gone("manifest.json"),
		"another's name": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(latest(dir, ""),
				filepath.Join(dir, "checkpoints", "step-000011")))
		},
		"all": func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(latest(dir, "")))
			require.NoError(t, os.Mkdir(latest(dir, ""), 0o755))
		},
		"a file in its place": func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(latest(dir, "")))
			require.NoError(t, os.WriteFile(latest(dir, ""), nil, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := train(t, dir, false)
			require.NoError(t, err)
			harm(t, dir)
			var shown bytes.Buffer
			steps := 0
			y, err := train(t, dir, true, func(c *finetune.Checkpoints) {
				inner := c.Trainer
				c.Progress = &shown
				c.Trainer = wrap{counted{inner.(wrap), &steps}}
			})
			require.NoError(t, err)
			require.Equal(t, 1, steps, "it goes on from 9")
			require.Equal(t, state, y.final(t))
			require.Equal(t, all, files(t, dir), "the broken one is gone")
			require.Regexp(t, `^the checkpoint .*step-00001[01] is broken and left out: `,
				shown.String())
			require.Equal(t, 1, strings.Count(shown.String(), "\n"))

			// If all are broken, nothing begins, and nothing is removed.
			harm(t, dir)
			require.NoError(t, os.Remove(filepath.Join(dir,
				"checkpoints", "step-000009", "state.json")))
			before := files(t, dir)
			y, err = train(t, dir, true)
			require.ErrorContains(t, err,
				"all 2 checkpoints in "+filepath.Join(dir, "checkpoints")+" are broken")
			require.Zero(t, y.next)
			require.Equal(t, before, files(t, dir))
		})
	}
}

// counted counts the steps of a Trainer.
type counted struct {
	wrap
	n *int
}

func (c counted) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for step, err := range c.wrap.Steps(ctx) {
			if err == nil {
				*c.n++
			}
			if !yield(step, err) {
				return
			}
		}
	}
}

func TestKeep(t *testing.T) {
	for keep, want := range map[int][]string{
		0: {"step-000009", "step-000010"}, 1: {"step-000010"},
		3:   {"step-000006", "step-000009", "step-000010"},
		100: {"step-000003", "step-000006", "step-000009", "step-000010"},
	} {
		dir := t.TempDir()
		_, err := train(t, dir, false, func(c *finetune.Checkpoints) { c.Keep = keep })
		require.NoError(t, err)
		entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
		require.NoError(t, err)
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		require.Equal(t, want, got)
	}
}

// A broken checkpoint is none of those that are kept.
func TestKeepAfterABrokenOne(t *testing.T) {
	dir := t.TempDir()
	_, err := train(t, dir, false, func(c *finetune.Checkpoints) { c.Keep = 3 })
	require.NoError(t, err)
	saved := filepath.Join(dir, "checkpoints")
	require.NoError(t, os.RemoveAll(filepath.Join(saved, "step-000010")))
	require.NoError(t, os.Remove(filepath.Join(saved, "step-000009", "manifest.json")))
	run := &finetune.Checkpoints{
		Trainer: newToy(t, toySteps), Folder: dir, Every: 100, Resume: true,
	}
	run.Progress = io.Discard
	for step, err := range run.Steps(t.Context()) {
		require.NoError(t, err)
		require.GreaterOrEqual(t, step.Index, 6)
		require.DirExists(t, filepath.Join(saved, "step-000009"), "before the new one is whole")
	}
	entries, err := os.ReadDir(saved)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, "step-000006", entries[0].Name())
	require.Equal(t, "step-000010", entries[1].Name())
}

// Without Every there is a checkpoint about every ten minutes.
func TestEveryTenMinutes(t *testing.T) {
	dir := t.TempDir()
	y := newToy(t, 100)
	synctest.Test(t, func(t *testing.T) {
		saved := &finetune.Checkpoints{Trainer: y, Folder: dir, Keep: 100}
		for _, err := range saved.Steps(t.Context()) {
			require.NoError(t, err)
			time.Sleep(47 * time.Second) // 13 are more than ten minutes
		}
	})
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	require.NoError(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, strings.TrimPrefix(e.Name(), "step-0000"))
	}
	require.Equal(t, []string{"13", "26", "39", "52", "65", "78", "91", "step-000100"}, got)
}

func TestAFolderThatHoldsARun(t *testing.T) {
	dir := t.TempDir()
	_, err := train(t, dir, false)
	require.NoError(t, err)
	refused := func() {
		t.Helper()
		before := files(t, dir)
		y, err := train(t, dir, false)
		var exists *finetune.RunExistsError
		require.ErrorAs(t, err, &exists)
		require.Equal(t, dir, exists.Folder)
		require.ErrorContains(t, err, dir+" holds a run already: resume it")
		require.Zero(t, y.next)
		require.Equal(t, before, files(t, dir))
		require.NoFileExists(t, filepath.Join(dir, ".lock"))
		_, err = (&finetune.Run{Folder: dir}).Begin()
		require.ErrorAs(t, err, &exists)
	}
	refused()
	require.NoError(t, os.Remove(filepath.Join(dir, "metrics.jsonl")))
	refused()
	_, err = train(t, dir, true)
	require.NoError(t, err, "metrics that are gone hinder nobody")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "checkpoints")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte("{}\n"), 0o644))
	refused()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics.jsonl"), nil, 0o644))
	y, err := train(t, dir, false)
	require.NoError(t, err, "a run that came to nothing hinders nobody")
	require.Equal(t, toySteps, y.next)
}

// Two processes do not write to one folder. The other one is a child that holds it.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command(os.Args[0], "-test.run=^TestHolder$", "-test.count=1")
	c.Env = append(os.Environ(), "KUDOS_TEST_HOLD="+dir)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	said := make([]byte, 5)
	_, err = io.ReadFull(out, said)
	require.NoError(t, err)
	require.Equal(t, "holds", string(said))
	before := files(t, dir)
	for _, resume := range []bool{false, true} {
		y, err := train(t, dir, resume)
		require.ErrorContains(t, err, dir+" is being written to by another process (")
		require.ErrorContains(t, err, fmt.Sprintf("process %d", c.Process.Pid))
		require.Zero(t, y.next)
		_, err = (&finetune.Run{Folder: dir, Resume: resume}).Begin()
		require.ErrorContains(t, err, "another process")
	}
	require.Equal(t, before, files(t, dir))
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	state, all := uninterrupted(t)
	y, err := train(t, dir, true)
	require.NoError(t, err)
	require.Equal(t, state, y.final(t))
	require.Equal(t, all, files(t, dir))
}

// TestHolder is the other process of TestTwoProcesses.
func TestHolder(t *testing.T) {
	dir := os.Getenv("KUDOS_TEST_HOLD")
	if dir == "" {
		return
	}
	saved := &finetune.Checkpoints{Trainer: newToy(t, toySteps), Folder: dir}
	for step := range recorded(saved).Steps(t.Context()) {
		if step.Index == 4 {
			fmt.Print("holds")
			time.Sleep(time.Minute)
		}
	}
}

// A program claims its folder before it has anything to write there, and other Trainers may follow.
func TestClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs", "1")
	release, err := (&finetune.Run{Folder: dir}).Begin()
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, ".lock"))
	_, err = train(t, dir, false)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, ".lock"))
	require.NoError(t, release())
	require.NoFileExists(t, filepath.Join(dir, ".lock"))
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	defer finetune.SetFree(12_000, true)()
	y, err := train(t, dir, false)
	require.ErrorContains(t, err,
		"finetune: 3 checkpoints in "+dir+" need 0.0165 MB more, and 0.012 MB are free")
	require.Zero(t, y.next)
	finetune.SetFree(0, false)
	_, err = train(t, dir, false)
	require.NoError(t, err, "where it is not known, it is tried")
	size := 0
	for name, text := range files(t, dir) {
		if strings.Contains(name, "step-000010") {
			size += len(text)
		}
	}
	require.Less(t, size, 16_500/3, "what is asked for is enough")
	require.Greater(t, size+4096+512, 16_500/3, "and not much more")

	// Checkpoints that are there need no more room.
	finetune.SetFree(12_000, true)
	_, err = train(t, dir, true)
	require.NoError(t, err)
	finetune.SetFree(100, true)
	_, err = train(t, dir, true)
	require.ErrorContains(t, err, "are free")
}

func TestCheckpointsErrors(t *testing.T) {
	fails := func(run finetune.Trainer) (last error) {
		for _, last = range run.Steps(t.Context()) {
		}
		return last
	}
	y := newToy(t, toySteps)
	require.ErrorContains(t, fails(&finetune.Checkpoints{Folder: t.TempDir()}), "no Trainer")
	require.ErrorContains(t, fails(&finetune.Checkpoints{Trainer: y}), "no Folder")
	require.ErrorContains(t, fails(&finetune.Checkpoints{
		Trainer: y, Folder: t.TempDir(), Every: -1,
	}), "Every is -1")
	require.ErrorContains(t, fails(&finetune.Checkpoints{
		Trainer: y, Folder: t.TempDir(), Keep: -1,
	}), "Keep -1")
	err := fails(&finetune.Checkpoints{Trainer: &counter{of: 1}, Folder: t.TempDir()})
	require.ErrorContains(t, err, "*finetune_test.counter has no State")

	y.trend = math.NaN()
	require.ErrorContains(t, fails(&finetune.Checkpoints{Trainer: y, Folder: t.TempDir()}), "NaN")
	for name, s := range map[string]finetune.State{
		"value x is +Inf": {Step: 1, Values: map[string]float64{"x": math.Inf(1)}},
		"two tensors are named a": {Step: 1, Tensors: []kernels.Parameter{
			{Name: "a", Value: y.x}, {Name: "a", Value: y.x}}},
		"says that 5 steps are done": {Step: 5},
	} {
		liar := &states{counter: counter{of: 2}, s: s}
		err = fails(&finetune.Checkpoints{Trainer: liar, Folder: t.TempDir(), Every: 1})
		require.ErrorContains(t, err, name)
	}

	// One that does not fit the Trainer is an error, not a reason for an older one.
	dir := t.TempDir()
	_, err = train(t, dir, false)
	require.NoError(t, err)
	other := &states{counter: counter{of: 2}, restore: errors.New("no parameter is named b")}
	err = fails(&finetune.Checkpoints{Trainer: other, Folder: dir, Resume: true})
	require.ErrorIs(t, err, other.restore)
	require.ErrorContains(t, err, "step-000010")
}

// states is a Trainer that says what it is told, after its first step.
type states struct {
	counter
	s       finetune.State
	restore error
}

func (s *states) State(context.Context) (finetune.State, error) {
	if s.next == 0 {
		return finetune.State{}, nil
	}
	return s.s, nil
}

func (s *states) Restore(context.Context, finetune.State) error { return s.restore }

// A state without tensors, one of big numbers, and names of all kinds come back as they were.
func TestStateIsExact(t *testing.T) {
	values := map[string]float64{
		"tenth": 0.1, "least": math.SmallestNonzeroFloat64, "most": -math.MaxFloat64,
		"whole": 1<<53 - 1, "": math.Copysign(0, -1), "ü \"\n": math.Pi,
	}
	odd := tensor.New(tensor.WithShape(3, 1, 2), tensor.WithBacking(
		[]float32{0, float32(math.Copysign(0, -1)), 1e-45, math.MaxFloat32, -1, 0.1}))
	two := []kernels.Parameter{{Name: "a.b/ü", Value: odd}, {Name: "A", Value: odd}}
	for _, tensors := range [][]kernels.Parameter{nil, two} {
		dir := t.TempDir()
		s := &states{
			counter: counter{of: 1}, s: finetune.State{Step: 1, Values: values, Tensors: tensors},
		}
		for _, err := range (&finetune.Checkpoints{Trainer: s, Folder: dir}).Steps(t.Context()) {
			require.NoError(t, err)
		}
		got := &takes{}
		resumed := &finetune.Checkpoints{Trainer: got, Folder: dir, Resume: true}
		for _, err := range resumed.Steps(t.Context()) {
			require.NoError(t, err)
		}
		require.Equal(t, 1, got.s.Step)
		require.Equal(t, len(values), len(got.s.Values))
		for name, v := range values {
			require.Equal(t, math.Float64bits(v), math.Float64bits(got.s.Values[name]), name)
		}
		require.Equal(t, len(tensors), len(got.s.Tensors))
		for i, name := range []string{"A", "a.b/ü"}[:len(tensors)] {
			require.Equal(t, name, got.s.Tensors[i].Name)
			require.Equal(t, []int{3, 1, 2}, []int(got.s.Tensors[i].Value.Shape()))
		}
		for _, bits := range got.bits {
			for i, v := range odd.Float32s() {
				require.Equal(t, math.Float32bits(v), bits[i])
			}
		}
	}
}

// takes is a Trainer that remembers what it is given.
type takes struct {
	s    finetune.State
	bits [][]uint32
}

func (r *takes) Steps(context.Context) iter.Seq2[finetune.Step, error] {
	return func(func(finetune.Step, error) bool) {}
}

func (r *takes) State(context.Context) (finetune.State, error) {
	return finetune.State{Step: r.s.Step}, nil
}

func (r *takes) Restore(_ context.Context, s finetune.State) error {
	r.s = s
	for _, p := range s.Tensors {
		var bits []uint32
		for _, v := range p.Value.Float32s() {
			bits = append(bits, math.Float32bits(v))
		}
		r.bits = append(r.bits, bits)
	}
	return nil
}

func TestAs(t *testing.T) {
	y := newToy(t, 1)
	saved := &finetune.Checkpoints{Trainer: wrap{y}}
	run := &finetune.Record{Trainer: saved}
	got, ok := finetune.As[finetune.Resumable](run)
	require.True(t, ok)
	require.Same(t, y, got)
	inner, ok := finetune.As[*finetune.Checkpoints](run)
	require.True(t, ok)
	require.Same(t, saved, inner)
	outer, ok := finetune.As[*finetune.Record](run)
	require.True(t, ok)
	require.Same(t, run, outer)
	_, ok = finetune.As[*finetune.Tuner](run)
	require.False(t, ok)
	_, ok = finetune.As[finetune.Resumable](&finetune.Record{})
	require.False(t, ok)
	_, ok = finetune.As[finetune.Trainer](nil)
	require.False(t, ok)
}
