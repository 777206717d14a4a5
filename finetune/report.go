package finetune

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kudos-ml/kudos/finetune/report"
)

// A summary is report.json.
type summary struct {
	Steps   int     `json:"steps"` // done
	Of      int     `json:"of,omitempty"`
	Samples int     `json:"samples"` // seen in all steps
	Seconds float64 `json:"seconds"`
	First   losses  `json:"first"`             // means over the first tenth of the steps
	Last    losses  `json:"last"`              // and over the last
	Stopped string  `json:"stopped,omitempty"` // the error that ended the run

	Guard *Verdict `json:"guard,omitempty"` // nil unless a Guard has measured
}

type losses struct {
	Loss  float64            `json:"loss"`
	Terms map[string]float64 `json:"terms,omitempty"`
}

// report writes what is known of the run so far.
func (w *watch) report(stopped error) error {
	if len(w.metrics) == 0 {
		return nil
	}
	latest, tenth := w.metrics[len(w.metrics)-1], max(1, len(w.metrics)/10)
	s := summary{
		Steps: latest.Step + 1, Of: latest.Of,
		First: means(w.metrics[:tenth]), Last: means(w.metrics[len(w.metrics)-tenth:]),
	}
	for _, m := range w.metrics {
		s.Samples += m.Samples
		s.Seconds += m.Seconds
	}
	if stopped != nil {
		s.Stopped = stopped.Error()
	}
	if w.guard != nil && len(w.guard.measures) > 0 {
		s.Guard = new(w.guard.Verdict())
	}
	if err := w.folder.JSON(summaryFile, s); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	if err := w.page(s, tenth).WriteFile(w.folder.Path(pageFile)); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	return nil
}

// page is report.html.
func (w *watch) page(s summary, tenth int) report.Page {
	p := report.Page{
		Title:  w.name,
		Lead:   fmt.Sprintf("%d updates", s.Steps),
		Footer: "Every step is a line of " + metricsFile + ".",
	}
	if s.Of > 0 {
		p.Lead = fmt.Sprintf("%d of %d updates", s.Steps, s.Of)
	}
	took := time.Duration(s.Seconds * float64(time.Second))
	p.Lead += fmt.Sprintf(" in %s, %d samples.", report.Duration(took), s.Samples)
	if s.Stopped != "" {
		p.Lead += " It was stopped: " + s.Stopped + "."
	}
	if s.Guard != nil {
		p.Lead += s.Guard.said()
		p.Blocks = s.Guard.charts(w.guard.Reward, w.guard.HeldOut)
	}
	chart := func(title, note, name string, of func(metric) float64) report.Chart {
		return report.Chart{
			Title: title, Note: note, X: "update", Series: []report.Series{w.curve(name, of)},
		}
	}
	loss := chart("Loss", "", "loss", func(m metric) float64 { return m.Loss })
	table := report.Table{Title: "Loss", Header: []string{"", "at first", "at last"}}
	if tenth > 1 {
		table.Note = fmt.Sprintf("Means over %d updates.", tenth)
	}
	row := func(name string, first, last float64) {
		cells := []string{name, fmt.Sprintf("%.4g", first), fmt.Sprintf("%.4g", last)}
		table.Rows = append(table.Rows, cells)
	}
	row("all", s.First.Loss, s.Last.Loss)
	for _, name := range names(s.First.Terms) {
		row(name, s.First.Terms[name], s.Last.Terms[name])
		curve := w.curve(name, func(m metric) float64 { return m.Terms[name] })
		loss.Series = append(loss.Series, curve)
	}
	rate := chart("Learning rate", "", "learning rate", func(m metric) float64 { return m.LR })
	p.Blocks = append(p.Blocks, loss, table, rate)
	if slices.ContainsFunc(w.metrics, func(m metric) bool { return m.GradNorm != 0 }) {
		norm := func(m metric) float64 { return m.GradNorm }
		p.Blocks = append(p.Blocks, chart("Gradients' norm",
			"Of all gradients together, before clipping.", "gradients' norm", norm))
	}
	for _, name := range metricNames(w.metrics) {
		of := func(m metric) float64 { return m.Metrics[name] }
		p.Blocks = append(p.Blocks, chart(name, "", name, of))
	}
	return p
}

// metricNames are those of all steps.
func metricNames(metrics []metric) []string {
	all := map[string]float64{}
	for _, m := range metrics {
		maps.Copy(all, m.Metrics)
	}
	return names(all)
}

// points is the most that a curve has: about two a unit of a chart's width.
const points = 400

// curve is a number of each step. Of a long run, it is the means over a few steps each.
func (w *watch) curve(name string, of func(metric) float64) report.Series {
	s := report.Series{Name: name}
	for part := range slices.Chunk(w.metrics, (len(w.metrics)+points-1)/points) {
		var x, y float64
		for _, m := range part {
			x += float64(m.Step) / float64(len(part))
			y += of(m) / float64(len(part))
		}
		s.X, s.Y = append(s.X, x), append(s.Y, y)
	}
	return s
}

// means are the means of a few steps.
func means(part []metric) losses {
	out := losses{Terms: map[string]float64{}}
	for _, m := range part {
		out.Loss += m.Loss / float64(len(part))
		for name, v := range m.Terms {
			out.Terms[name] += v / float64(len(part))
		}
	}
	return out
}

// names are the names of values in order.
func names(values map[string]float64) []string { return slices.Sorted(maps.Keys(values)) }
