package finetune_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
)

// A counter is a Trainer that does nothing: its loss is 1/(1+step), in two terms.
type counter struct {
	next, of int
	bad      map[int]float64 // losses that are something else
}

func (c *counter) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for c.next < c.of {
			if err := context.Cause(ctx); err != nil {
				yield(finetune.Step{}, err)
				return
			}
			loss := 1 / float64(1+c.next)
			if v, ok := c.bad[c.next]; ok {
				loss = v
			}
			step := finetune.Step{
				Index: c.next, Of: c.of, Loss: loss,
				Terms: map[string]float64{"near": loss / 4, "far": loss * 3 / 4}, LR: 0.1,
				Samples: 2,
			}
			c.next++
			if !yield(step, nil) {
				return
			}
		}
	}
}

// metrics are the steps in metrics.jsonl, every line of which must be whole.
func metrics(t *testing.T, dir string) (steps []int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	require.NoError(t, err)
	if len(text) == 0 {
		return nil
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		var m struct {
			Step  int
			Loss  float64
			Terms map[string]float64
		}
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		require.InDelta(t, m.Loss, m.Terms["near"]+m.Terms["far"], 1e-12)
		steps = append(steps, m.Step)
	}
	return steps
}

type summary struct {
	Steps, Of, Samples int
	First, Last        struct{ Loss float64 }
	Stopped            string
}

func summaryOf(t *testing.T, dir string) (s summary) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	return s
}

func TestRecordWritesARunFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs", "1")
	var shown bytes.Buffer
	run := &finetune.Record{
		Trainer: &counter{of: 1000}, Folder: dir, Name: "a toy", Config: map[string]int{"seed": 7},
		Progress: &shown,
	}
	n := 0
	for step, err := range run.Steps(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, n, step.Index)
		n++
	}
	require.Equal(t, 1000, n)
	require.Len(t, metrics(t, dir), 1000)
	steps, err := finetune.ReadSteps(dir)
	require.NoError(t, err)
	require.Len(t, steps, 1000)
	for step, err := range (&counter{of: 1000}).Steps(t.Context()) {
		require.NoError(t, err)
		step.IDs, step.Time = nil, steps[step.Index].Time
		require.Equal(t, step, steps[step.Index])
	}
	steps, err = finetune.ReadSteps(t.TempDir())
	require.NoError(t, err)
	require.Empty(t, steps)
	s := summaryOf(t, dir)
	require.Equal(t, []int{1000, 1000, 2000}, []int{s.Steps, s.Of, s.Samples})
	first := 0.0
	for i := range 100 {
		first += 1 / float64(1+i) / 100
	}
	require.InDelta(t, first, s.First.Loss, 1e-12)
	require.InDelta(t, 1/950.0, s.Last.Loss, 1e-5)
	require.Contains(t, shown.String(), "a toy: 1000 in ")
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"seed":7}`, string(config))
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	for _, want := range []string{
		"<h1>a toy</h1>", "1000 of 1000 updates", "near", "far", "Learning rate",
	} {
		require.Contains(t, string(page), want)
	}
	require.False(t, strings.Contains(string(page), "Gradients"), "there are no norms")
	require.Less(t, len(page), 100_000, "curves are thinned out")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "nothing half-written")
}

// However a run ends, the folder says so, and a run that goes on adds to it.
func TestRecordOfARunThatStops(t *testing.T) {
	dir := t.TempDir()
	c := &counter{of: 10}
	run := &finetune.Record{Trainer: c, Folder: dir, Progress: io.Discard}
	for step, err := range run.Steps(t.Context()) {
		require.NoError(t, err)
		if step.Index == 3 {
			break
		}
	}
	require.Equal(t, []int{0, 1, 2, 3}, metrics(t, dir))
	require.Equal(t, 4, summaryOf(t, dir).Steps)

	why := errors.New("somebody pulled the plug")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var last error
	for step, err := range run.Steps(ctx) {
		if last = err; step.Index == 5 {
			cancel(why)
		}
	}
	require.ErrorIs(t, last, why)
	require.Equal(t, []int{0, 1, 2, 3, 4, 5}, metrics(t, dir))
	require.Equal(t, why.Error(), summaryOf(t, dir).Stopped)
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), why.Error())

	// Another process, resumed from a checkpoint after step 1: what the first one did behind it is
	// forgotten.
	later := &finetune.Record{
		Trainer: &counter{next: 2, of: 4}, Folder: dir, Progress: io.Discard,
	}
	for _, err := range later.Steps(t.Context()) {
		require.NoError(t, err)
	}
	require.Equal(t, []int{0, 1, 2, 3}, metrics(t, dir))
	require.Empty(t, summaryOf(t, dir).Stopped)

	// And one that starts anew.
	anew := &finetune.Record{Trainer: &counter{of: 2}, Folder: dir, Progress: io.Discard}
	for _, err := range anew.Steps(t.Context()) {
		require.NoError(t, err)
	}
	require.Equal(t, []int{0, 1}, metrics(t, dir))
}

// The first step, which compiles and warms up, can take the longest: progress counts it too.
func TestRecordCountsTheFirstStepsTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		slow := finetune.Func(func(ctx context.Context) iter.Seq2[finetune.Step, error] {
			time.Sleep(time.Minute)
			return (&counter{of: 3}).Steps(ctx)
		})
		var shown bytes.Buffer
		run := &finetune.Record{Trainer: slow, Folder: dir, Progress: &shown}
		for _, err := range run.Steps(t.Context()) {
			require.NoError(t, err)
		}
		require.Contains(t, shown.String(), "training: 1 of 3 in 1m00s, loss 1.0000\n")
	})
}

func TestRecordStopsAtALossThatIsNotFinite(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		dir := t.TempDir()
		var last error
		run := &finetune.Record{
			Trainer: &counter{of: 10, bad: map[int]float64{2: v}}, Folder: dir,
			Progress: io.Discard,
		}
		for _, last = range run.Steps(t.Context()) {
		}
		require.EqualError(t, last, fmt.Sprintf("finetune: step 2: the far term is %v", v))
		require.Equal(t, []int{0, 1}, metrics(t, dir))
		require.Equal(t, last.Error(), summaryOf(t, dir).Stopped)
	}
}

func TestRecordErrors(t *testing.T) {
	fails := func(r *finetune.Record) (last error) {
		for _, last = range r.Steps(t.Context()) {
		}
		return last
	}
	require.ErrorContains(t, fails(&finetune.Record{Folder: t.TempDir()}), "no Trainer")
	require.ErrorContains(t, fails(&finetune.Record{Trainer: &counter{of: 1}}), "no Folder")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.ErrorContains(t, fails(&finetune.Record{Trainer: &counter{of: 1}, Folder: file}), file)

	// A file that cannot be written is named, and ends the run unless it is of the report.
	for _, name := range []string{"config.json", "metrics.jsonl", "report.json", "report.html"} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		c := &counter{of: 5}
		require.ErrorContains(t, fails(&finetune.Record{
			Trainer: c, Folder: dir, Config: 1, Progress: io.Discard,
		}), name)
		require.Equal(t, strings.HasPrefix(name, "report"), c.next == 5)
	}

	// A run that fails before its first step leaves what an earlier one wrote.
	dir := t.TempDir()
	require.NoError(t, fails(&finetune.Record{
		Trainer: &counter{of: 3}, Folder: dir, Config: 1, Progress: io.Discard,
	}))
	broken := errors.New("no data")
	none := finetune.Func(func(context.Context) iter.Seq2[finetune.Step, error] {
		return func(yield func(finetune.Step, error) bool) { yield(finetune.Step{}, broken) }
	})
	require.ErrorIs(t, fails(&finetune.Record{
		Trainer: none, Folder: dir, Config: 2, Progress: io.Discard,
	}), broken)
	require.Equal(t, 3, summaryOf(t, dir).Steps)
}

// Each ranges to the end, or to the first error.
func TestEach(t *testing.T) {
	var seen []int
	see := func(s finetune.Step) { seen = append(seen, s.Index) }
	require.NoError(t, finetune.Each(t.Context(), &counter{of: 3}, see))
	require.Equal(t, []int{0, 1, 2}, seen)
	require.NoError(t, finetune.Each(t.Context(), &counter{of: 3}, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	seen = nil
	require.ErrorIs(t, finetune.Each(ctx, &counter{of: 3}, see), context.Canceled)
	require.Empty(t, seen)
}

func TestTermsChart(t *testing.T) {
	steps := []finetune.Step{
		{Index: 4, Terms: map[string]float64{"reward": 2}},
		{Index: 5, Terms: map[string]float64{"reward": 1, "anchor": 7}},
	}
	chart := finetune.TermsChart("Tuning", steps, "anchor", "none", "reward")
	require.Equal(t, "Tuning", chart.Title)
	require.Equal(t, []report.Series{
		{Name: "anchor term", X: []float64{5}, Y: []float64{7}},
		{Name: "reward term", X: []float64{4, 5}, Y: []float64{2, 1}},
	}, chart.Series)
}
