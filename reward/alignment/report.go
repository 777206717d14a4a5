package alignment

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A Report is report.json of a reward that was learned from labels: how, and how well it predicts
// those that it was not trained on.
type Report struct {
	Samples     string  `json:"samples"` // where the labels are from
	CLIP        string  `json:"clip"`    // its hash
	Seed        uint64  `json:"seed"`
	Lambda      float64 `json:"lambda"`
	Temperature float64 `json:"temperature"` // 1: the reward is not calibrated

	Train   Count `json:"train"`
	Test    Count `json:"test"`
	HeldOut Skill `json:"held_out"` // with labels of other prompts
	// KFold is the same with all labels, by as many trainings as it takes; nil without.
	KFold *Validation `json:"k_fold,omitempty"`
}

// Tables are what the terminal and the page both show.
func (r *Report) Tables() []report.Table {
	note := fmt.Sprintf("Learned from %d labels good and %d bad of %s, tested on those of %s. ",
		r.Train.Good, r.Train.Bad, report.Plural(r.Train.Prompts, "prompt"),
		report.Plural(r.Test.Prompts, "other")) + legend
	tables := []report.Table{{
		Title:  "The reward on prompts that it was not trained on",
		Header: skillHeader, Rows: r.HeldOut.rows(""), Note: note,
	}}
	if r.KFold != nil {
		tables = append(tables, r.KFold.Tables()...)
	}
	return tables
}

// legend says what a table of skills shows.
const legend = "With 95 % intervals from a bootstrap over prompts. Pairs are of a good picture " +
	"and a bad one of a prompt; the share is of those whose good one has the higher reward."

var skillHeader = []string{"", "labels", "accuracy", "AUC", "pairs", "pairwise accuracy"}

// rows are the reward's and CLIP's, on pictures of a kind.
func (s Skill) rows(of string) [][]string {
	n := fmt.Sprint(s.Labels.N())
	return [][]string{s.row("reward" + of), {
		"CLIP similarity" + of, n, "", decimals(s.CLIPAUC), fmt.Sprint(s.CLIPPairwise.N),
		percent(s.CLIPPairwise),
	}}
}

func (s Skill) row(name string) []string {
	return []string{
		name, fmt.Sprint(s.Labels.N()), percent(s.Accuracy), decimals(s.AUC),
		fmt.Sprint(s.Pairwise.N), percent(s.Pairwise),
	}
}

// percent prints an estimate that is a share.
func percent(e measure.Estimate) string {
	switch {
	case math.IsNaN(e.Value):
		return "–"
	case math.IsInf(e.Low, 0) || math.IsInf(e.High, 0):
		return report.Percent(e.Value)
	}
	return report.PercentIn(e.Value, e.Low, e.High)
}

// decimals prints an estimate that is not.
func decimals(e measure.Estimate) string {
	switch {
	case math.IsNaN(e.Value):
		return "–"
	case math.IsInf(e.Low, 0) || math.IsInf(e.High, 0):
		return fmt.Sprintf("%.2f", e.Value)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", e.Value, e.Low, e.High)
}

// points prints a difference of shares.
func points(e measure.Estimate) string {
	if math.IsNaN(e.Value) {
		return "–"
	}
	return fmt.Sprintf("%+.1f (%+.1f to %+.1f)", 100*e.Value, 100*e.Low, 100*e.High)
}

// Tables are of the training on unseen and seen prompts, and of its variants.
func (v *Validation) Tables() []report.Table {
	first := report.Table{
		Title:  fmt.Sprintf("The training, tried on %d folds", v.Folds),
		Header: skillHeader, Rows: v.Unseen.rows(", unseen prompts"),
		Note: fmt.Sprintf("Each picture is scored by a reward that has not learned from its fold, "+
			"but from %.0f labels of the others. ", v.Learned) + legend,
	}
	if v.Seen != nil {
		first.Rows = append(first.Rows, v.Seen.rows(", seen prompts")...)
	}
	if len(v.Variants) == 0 {
		return []report.Table{first}
	}
	second := report.Table{
		Title:  "Other trainings, on unseen prompts",
		Header: []string{"", "learned from", "accuracy", "AUC", "pairwise accuracy", "difference"},
		Note: "The difference is of pairwise accuracies, in points, pair by pair. Its interval " +
			"is Student's over the folds.",
	}
	row := func(name string, learned float64, s Skill, difference string) []string {
		return []string{
			name, fmt.Sprintf("%.0f", learned), percent(s.Accuracy), decimals(s.AUC),
			percent(s.Pairwise), difference,
		}
	}
	for _, t := range v.Variants {
		second.Rows = append(second.Rows, row(t.Name, t.Learned, t.Skill, points(t.Difference)))
	}
	second.Rows = append(second.Rows, row("the training", v.Learned, v.Unseen, ""))
	if more := v.More(); more != "" {
		second.Note += " " + more
	}
	return []report.Table{first, second}
}

// More says in a sentence whether more labels than there are would help: whether the pairwise
// accuracy on unseen prompts still rose when the labels last became more. It is empty where no
// variant is the training itself on fewer labels.
func (v *Validation) More() string {
	curve := v.curve()
	if len(curve) == 0 {
		return ""
	}
	last := curve[len(curve)-1]
	rise := measure.Estimate{
		Value: 0 - last.Difference.Value,
		Low:   0 - last.Difference.High, High: 0 - last.Difference.Low,
	}
	from := fmt.Sprintf("from %.0f labels to %.0f the pairwise accuracy", last.Learned, v.Learned)
	switch {
	case rise.Low > 0:
		return fmt.Sprintf("More labels would help: %s rose by %s points.", from, points(rise))
	case rise.High < 0:
		return fmt.Sprintf("More labels did not help: %s changed by %s points.", from, points(rise))
	}
	return fmt.Sprintf("Whether more labels would help is not to be seen: %s changed by %s "+
		"points, and the interval includes 0.", from, points(rise))
}

// curve are the variants that are the training on fewer labels, the fewest first.
func (v *Validation) curve() (curve []Trial) {
	for _, t := range v.Variants {
		if !t.Changed && t.Share < 1 {
			curve = append(curve, t)
		}
	}
	slices.SortStableFunc(curve, func(a, b Trial) int {
		if a.Share < b.Share {
			return -1
		}
		return 1
	})
	return curve
}

// Page is report.html.
func (r *Report) Page() report.Page {
	best, of := r.HeldOut, report.Plural(r.Test.Prompts, "held-out prompt")
	if r.KFold != nil {
		best, of = r.KFold.Unseen, fmt.Sprintf("%d folds of unseen prompts", r.KFold.Folds)
	}
	page := report.Page{
		Title: "A reward of " + filepath.Base(r.Samples),
		Lead: fmt.Sprintf("Of two pictures of a prompt, one good and one bad, the reward prefers "+
			"the good one in %s of the cases, and CLIP's similarity in %s, on %s.",
			percent(best.Pairwise), percent(best.CLIPPairwise), of),
	}
	if known := r.skills(); len(known.Groups) > 0 {
		page.Blocks = append(page.Blocks, known)
	}
	if r.KFold != nil {
		if more := r.KFold.More(); more != "" {
			page.Lead += " " + more
			page.Blocks = append(page.Blocks, r.KFold.chart())
		}
	}
	page.Blocks = append(page.Blocks, best.chart(r.Temperature))
	for _, t := range r.Tables() {
		page.Blocks = append(page.Blocks, t)
	}
	page.Footer = fmt.Sprintf("Labels %s, CLIP %.12s, λ = %g, seed %d.",
		r.Samples, r.CLIP, r.Lambda, r.Seed)
	return page
}

// skills shows pairwise accuracies, those of which something is known.
func (r *Report) skills() report.Intervals {
	c := report.Intervals{
		Title: "Pairwise accuracy", X: "of a good and a bad picture, the good one first",
		Note: "50 % is chance.", Arms: []report.Arm{{Name: "reward"}, {Name: "CLIP similarity"}},
	}
	add := func(name string, s Skill) {
		if math.IsInf(s.Pairwise.Low, 0) && math.IsInf(s.CLIPPairwise.Low, 0) {
			return // of one prompt or none
		}
		c.Groups = append(c.Groups, name)
		for i, e := range []measure.Estimate{s.Pairwise, s.CLIPPairwise} {
			a := &c.Arms[i]
			a.Value, a.Low, a.High = append(a.Value, e.Value), append(a.Low, e.Low),
				append(a.High, e.High)
			if math.IsInf(e.Low, 0) { // nothing is known
				a.Value[len(a.Value)-1] = math.NaN()
			}
		}
	}
	add("held out", r.HeldOut)
	if r.KFold != nil {
		add("unseen", r.KFold.Unseen)
		if r.KFold.Seen != nil {
			add("seen", *r.KFold.Seen)
		}
	}
	return c
}

// chart is the reliability curve.
func (s Skill) chart(temperature float64) report.Chart {
	c := report.Chart{
		Title: "Reliability", X: "reward", Y: "share of good pictures",
		Note: fmt.Sprintf("Of the pictures about a reward, how many are good. The expected "+
			"calibration error is %.3f.", s.Reliability.ECE),
		Series: []report.Series{series("rewards", s.Reliability)},
	}
	if temperature != 1 {
		c.Note += fmt.Sprintf(" Without calibration it is %.3f. The reward's temperature is %.2f.",
			s.Uncalibrated.ECE, temperature)
		c.Series = append(c.Series, series("not calibrated", s.Uncalibrated))
	}
	c.Series = append(c.Series, report.Series{
		Name: "right", X: []float64{0, 1}, Y: []float64{0, 1},
	})
	return c
}

func series(name string, r measure.Reliability) report.Series {
	s := report.Series{Name: name}
	for _, b := range r.Bins {
		s.X, s.Y = append(s.X, b.Score), append(s.Y, b.Good.Rate)
	}
	return s
}

// chart is the learning curve.
func (v *Validation) chart() report.Chart {
	lines := []report.Series{
		{Name: "pairwise accuracy"}, {Name: "lower end"}, {Name: "upper end"},
	}
	add := func(learned float64, e measure.Estimate) {
		for i, y := range []float64{e.Value, e.Low, e.High} {
			lines[i].X, lines[i].Y = append(lines[i].X, learned), append(lines[i].Y, y)
		}
	}
	for _, t := range v.curve() {
		add(t.Learned, t.Skill.Pairwise)
	}
	add(v.Learned, v.Unseen.Pairwise)
	return report.Chart{
		Title: "Learning curve", X: "labels", Y: "pairwise accuracy on unseen prompts",
		Note: "With the ends of the 95 % interval.", Series: lines,
	}
}
