package finetune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"path/filepath"
	"time"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
)

// A Record watches a run: it is a Trainer that passes on the steps of another and writes down what
// they did.
//
//	run := &finetune.Record{Trainer: tuner, Folder: "runs/1"}
//	for step, err := range run.Steps(ctx) {
//
// The folder has config.json, metrics.jsonl with a line for every step, and report.html with
// report.json, which are written anew now and then and at the end, whatever the end is. A process
// that is killed leaves all of them whole, and no two processes write to one folder. In a folder
// that has an earlier run, a Trainer that starts at step 0 starts anew, and one that starts later
// goes on. Checkpoints inside it are what lets a run go on in another process.
type Record struct {
	Trainer Trainer
	Folder  string // made if it is not there

	Name   string // of the run, in progress and report; "" is "training"
	Config any    // what determines the run, for config.json; nil leaves that file alone
	// Progress shows how far training is. Nil is standard error, with a bar if that is a terminal.
	// Of io.Discard, nothing is shown.
	Progress io.Writer
}

// The files of a run folder.
const (
	configFile  = "config.json"
	metricsFile = "metrics.jsonl"
	pageFile    = "report.html"
	summaryFile = "report.json"
)

// reportEvery is the time between two reports. Writing one takes a few hundredths of a second.
const reportEvery = 15 * time.Second

// Unwrap returns the Trainer.
func (r *Record) Unwrap() Trainer { return r.Trainer }

// Steps trains, and yields what the Trainer yields. A loss that is not finite, or metrics.jsonl
// that cannot be written, ends it with an error. A report that cannot be written meanwhile is said
// on Progress, and training goes on. One that cannot be written at the end is an error, a
// *ReportError. After an error, or where the loop is broken out of, what then cannot be written is
// said on Progress.
func (r *Record) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		w, err := r.watch()
		if err != nil {
			yield(Step{}, err)
			return
		}
		defer func() { w.say(w.release()) }()
		saved, resumes := As[*Checkpoints](r.Trainer)
		if resumes {
			saved.flush = w.sync
			defer func() { saved.flush = nil }()
		}
		for step, err := range r.Trainer.Steps(ctx) {
			if err == nil {
				err = w.see(step)
			}
			if err != nil {
				w.say(w.end(err))
				yield(Step{}, err)
				return
			}
			if !yield(step, nil) {
				w.say(w.end(nil))
				return
			}
		}
		if err == nil && w.log == nil && resumes && saved.start > 0 {
			// An earlier process made all steps, and may not have reported them.
			err = w.takeUp(saved.start)
		}
		if err := errors.Join(err, w.end(nil)); err != nil {
			yield(Step{}, &ReportError{err})
		}
	}
}

// A ReportError says that all steps were made, and then something of the report could not be
// written.
type ReportError struct{ Err error }

// Error says what could not be written.
func (e *ReportError) Error() string { return "the report is not whole: " + e.Err.Error() }

// Unwrap returns Err.
func (e *ReportError) Unwrap() error { return e.Err }

// A metric is a line of metrics.jsonl.
type metric struct {
	Step     int                `json:"step"`
	Of       int                `json:"of,omitempty"`
	Loss     float64            `json:"loss"`
	Terms    map[string]float64 `json:"terms,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	LR       float64            `json:"lr"`
	GradNorm float64            `json:"grad_norm,omitempty"`
	Samples  int                `json:"samples"`
	Seconds  float64            `json:"seconds"`
}

// ReadSteps returns the steps that a Record has written down in a run folder, but for their IDs. In
// a folder without any there are none.
func ReadSteps(folder string) (steps []Step, err error) {
	for m, err := range file.ReadLog[metric](filepath.Join(folder, metricsFile)) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("finetune: %w", err)
		}
		steps = append(steps, Step{
			Index: m.Step, Of: m.Of, Loss: m.Loss, Terms: m.Terms, Metrics: m.Metrics, LR: m.LR,
			GradNorm: m.GradNorm, Samples: m.Samples,
			Time: time.Duration(m.Seconds * float64(time.Second)),
		})
	}
	return steps, nil
}

// A watch is a Record in action. Before the first step it leaves the folder as it is.
type watch struct {
	name     string
	config   any
	guard    *Guard // nil if there is none
	folder   report.Folder
	progress *report.Progress
	stage    *report.Stage // from the beginning on: the first step can take a minute
	release  func() error  // the folder
	ended    bool
	missing  error // why the last step is not in the log

	unreported bool // the last report could not be written, and that was said

	log      *file.Log
	metrics  []metric // those of earlier processes too, if the run goes on from there
	last     time.Time
	reported time.Time
}

func (r *Record) watch() (*watch, error) {
	if r.Trainer == nil || r.Folder == "" {
		return nil, errors.New("finetune: the Record has no Trainer or no Folder")
	}
	release, err := claim(r.Folder, true)
	if err != nil {
		return nil, err
	}
	w := &watch{
		name:     cmp.Or(r.Name, "training"),
		config:   r.Config,
		folder:   report.Folder(r.Folder),
		release:  release,
		progress: report.Stderr(),
		last:     time.Now(),
	}
	w.guard, _ = As[*Guard](r.Trainer)
	if r.Progress != nil {
		w.progress = report.Plain(r.Progress)
	}
	w.stage = w.progress.Stage(w.name, 0)
	return w, nil
}

// open begins to write, when the run's first step is there.
func (w *watch) open(first Step) error {
	if w.config != nil {
		if err := w.folder.JSON(configFile, w.config); err != nil {
			return err
		}
	}
	if err := w.takeUp(first.Index); err != nil {
		return err
	}
	w.stage.Of(first.Of)
	w.stage.Skip(first.Index)
	var err error
	w.log, err = file.OpenLog(w.folder.Path(metricsFile))
	return err
}

// takeUp keeps the metrics of the steps before the first and drops the rest.
func (w *watch) takeUp(first int) error {
	path := w.folder.Path(metricsFile)
	if first > 0 {
		for m, err := range file.ReadLog[metric](path) {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if m.Step < first {
				w.metrics = append(w.metrics, m)
			}
		}
	}
	return file.WriteLog(path, w.metrics)
}

// see writes a step down, and now and then the report.
func (w *watch) see(s Step) error {
	if w.missing = w.write(s); w.missing != nil {
		return w.missing
	}
	if time.Since(w.reported) >= reportEvery {
		w.reported = time.Now()
		err := w.report(nil)
		if err != nil && !w.unreported {
			w.say(fmt.Errorf("%w; training goes on", err))
		}
		w.unreported = err != nil
	}
	return nil
}

// write adds a step to the log.
func (w *watch) write(s Step) error {
	if w.log == nil {
		if err := w.open(s); err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
	}
	now := time.Now()
	if s.Time == 0 {
		s.Time = now.Sub(w.last)
	}
	w.last = now
	if err := finite(s); err != nil {
		return err
	}
	m := metric{
		Step: s.Index, Of: s.Of, Loss: s.Loss, Terms: s.Terms, Metrics: s.Metrics, LR: s.LR,
		GradNorm: s.GradNorm, Samples: s.Samples, Seconds: s.Time.Seconds(),
	}
	if err := w.log.Append(m); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	w.metrics = append(w.metrics, m)
	w.stage.Note("loss %.4f", s.Loss)
	w.stage.Add(1)
	return nil
}

// finite reports the first number of a step that is not.
func finite(s Step) error {
	check := func(name string, v float64) error {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("finetune: step %d: the %s is %v", s.Index, name, v)
		}
		return nil
	}
	for _, name := range names(s.Terms) {
		if err := check(name+" term", s.Terms[name]); err != nil {
			return err
		}
	}
	for _, name := range names(s.Metrics) {
		if err := check(name, s.Metrics[name]); err != nil {
			return err
		}
	}
	return errors.Join(
		check("loss", s.Loss),
		check("learning rate", s.LR),
		check("gradients' norm", s.GradNorm),
	)
}

// end writes the last report and closes what is open. cause is the error that ended the run, or
// nil.
func (w *watch) end(cause error) error {
	w.stage.End()
	w.ended = true
	if w.log != nil {
		if err := w.log.Close(); err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
	}
	return w.report(cause)
}

// sync makes sure that the log has the steps that a checkpoint is about to know.
func (w *watch) sync() error {
	if w.log == nil || w.ended {
		return w.missing
	}
	return w.log.Sync()
}

// say shows an error that cannot be returned.
func (w *watch) say(err error) {
	if err != nil {
		w.progress.Printf("%v", err)
	}
}
