package main

import (
	"fmt"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
)

// tables are what the terminal and the page both show.
func tables(r *result) []report.Table {
	var out []report.Table
	for _, split := range []string{"unseen", "seen"} {
		t := report.Table{Title: "Alignment, " + split + " prompts", Header: []string{"prompts"}, Strong: 2}
		t.Note = "Share of pictures that show what the prompt says, as the judge sees it. Tuned − base: " + r.Gain[split].String()
		for _, arm := range r.arms() {
			t.Header = append(t.Header, armNames[arm])
			if g, ok := r.Over[split][arm]; ok {
				t.Note += "; tuned − " + armNames[arm] + ": " + g.String()
			}
		}
		t.Note += "."
		for _, category := range append([]string{"all"}, names()...) {
			row := []string{category}
			for _, arm := range r.arms() {
				v := r.Alignment[split][category][arm]
				row = append(row, report.PercentIn(v.Rate, v.Low, v.High))
			}
			t.Rows = append(t.Rows, row)
		}
		out = append(out, t)
	}
	q := report.Table{
		Title: "Quality and variety", Header: []string{""}, Strong: 2,
		Note: "Fréchet distance in CLIP's image features to drawn scenes of the same prompts, smaller is better; drawn: another set of such scenes. Diversity: mean cosine distance of pictures of one kind of thing.",
	}
	columns := append(r.arms(), "drawn")
	for _, arm := range columns {
		q.Header = append(q.Header, armNames[arm])
	}
	for _, row := range []struct {
		name   string
		values map[string]float64
	}{{"Fréchet distance", r.Frechet}, {"diversity", r.Diversity}} {
		cells := []string{row.name}
		for _, c := range columns {
			cells = append(cells, fmt.Sprintf("%.3f", row.values[c]))
		}
		q.Rows = append(q.Rows, cells)
	}
	w := report.Table{Title: "The learned reward", Header: []string{"prompts", "accuracy", "AUC", "AUC of CLIP similarity"}, Note: "On the base model's evaluation pictures, against the judge."}
	for _, split := range []string{"seen", "unseen"} {
		c := r.Reward[split]
		w.Rows = append(w.Rows, []string{split, report.Percent(c.Accuracy.Accuracy), fmt.Sprintf("%.2f", c.AUC), fmt.Sprintf("%.2f", c.CLIPAUC)})
	}
	return append(out, q, w)
}

// arms are those that were evaluated, in order.
func (r *result) arms() (evaluated []string) {
	for _, arm := range arms {
		if _, ok := r.Alignment["seen"]["all"][arm]; ok {
			evaluated = append(evaluated, arm)
		}
	}
	return evaluated
}

func (g gain) String() string {
	return fmt.Sprintf("%+.1f points (%+.1f to %+.1f)", g.Points, g.Low, g.High)
}

func names() (out []string) {
	for _, c := range dataset.Categories() {
		out = append(out, string(c))
	}
	return out
}

// page is report.html.
func (s *session) page(r *result, splits []*split) report.Page {
	g := r.Gain["unseen"]
	p := report.Page{
		Title: "kudos quickstart",
		Lead: fmt.Sprintf("A miniature Stable Diffusion was tuned on %d of its own pictures, weighted by a reward that was learned from labels good and bad. On prompts with kinds of things that no label and no tuning sample has, %.0f of 100 pictures follow their prompt before and %.0f after.",
			s.samples, 100*r.Alignment["unseen"]["all"]["base"].Rate, 100*r.Alignment["unseen"]["all"]["tuned"].Rate),
		Footer: fmt.Sprintf("go run ./examples/quickstart -seed %d -samples %d -steps %d -beta %v -lr %v -eval %d -controls=%t", s.seed, s.samples, s.steps, s.beta, s.lr, s.eval, s.controls),
	}
	p.Blocks = append(p.Blocks, report.Figures{
		{Name: "gain on unseen prompts", Value: fmt.Sprintf("%+.1f points", g.Points), Note: fmt.Sprintf("95 %% interval %+.1f to %+.1f", g.Low, g.High)},
		{Name: "Fréchet distance", Value: fmt.Sprintf("%.3f", r.Frechet["tuned"]), Note: fmt.Sprintf("base %.3f, drawn %.3f", r.Frechet["base"], r.Frechet["drawn"])},
		{Name: "reward accuracy, unseen", Value: report.Percent(r.Reward["unseen"].Accuracy.Accuracy), Note: fmt.Sprintf("AUC %.2f, of CLIP similarity %.2f", r.Reward["unseen"].AUC, r.Reward["unseen"].CLIPAUC)},
	})
	for _, sp := range splits {
		p.Blocks = append(p.Blocks, grid(sp))
	}
	for _, t := range tables(r) {
		p.Blocks = append(p.Blocks, t)
	}
	curve := report.Chart{Title: "Tuning", X: "update", Y: "loss"}
	terms := map[string]*report.Series{}
	var order []string
	for _, step := range s.losses {
		for _, name := range []string{"reward", "pretraining"} {
			v, ok := step.Terms[name]
			if !ok {
				continue
			}
			if terms[name] == nil {
				terms[name] = &report.Series{Name: name + " term"}
				order = append(order, name)
			}
			terms[name].X, terms[name].Y = append(terms[name].X, float64(step.Index)), append(terms[name].Y, v)
		}
	}
	for _, name := range order {
		curve.Series = append(curve.Series, *terms[name])
	}
	p.Blocks = append(p.Blocks, curve)
	return p
}

// grid shows the first pictures of a split, base beside tuned, from the same noise.
func grid(sp *split) report.Grid {
	g := report.Grid{
		Title: "From the same noise, " + sp.name + " prompts", Note: "Marked as the judge sees them.",
	}
	shown := arms[:3] // without the controls
	for _, arm := range shown {
		g.Columns = append(g.Columns, armNames[arm])
	}
	for i, prompt := range sp.prompts[:min(24, len(sp.prompts))] {
		row := report.GridRow{Label: prompt}
		for _, arm := range shown {
			mark := report.Wrong
			if sp.follows(arm, i) {
				mark = report.Right
			}
			row.Cells = append(row.Cells, report.Picture{Image: sp.arms[arm][i].Image, Mark: mark})
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}
