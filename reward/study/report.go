package study

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/draw"
	"math"
	"strings"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/picture"
)

// asked are the questions, as a title has them.
var asked = map[string]string{
	feedback.Alignment.String(): "which follows the prompt better",
	feedback.Fidelity.String():  "which looks better",
}

// Verdict says in a few sentences what came of the questions.
func (r *Result) Verdict() string {
	var all []string
	for _, o := range r.Questions {
		all = append(all, r.verdict(o))
	}
	return strings.Join(all, " ")
}

func (r *Result) verdict(o Outcome) string {
	g := o.Groups[0]
	by := "By " + o.Question + ", "
	if g.Pairs == 0 {
		return by + fmt.Sprintf("no pair has the %s that are wanted yet.",
			report.Plural(r.Wanted, "vote"))
	}
	shares := fmt.Sprintf("of %s %s wins %s and loses %s, a difference of %s.",
		report.Plural(g.Pairs, "pair"), r.ModelA, report.Percent(g.Win.Value),
		report.Percent(g.Lose.Value), points(g.Difference))
	switch g.Better() {
	case 1:
		return by + r.ModelA + " is better: " + shares
	case -1:
		return by + r.ModelB + " is better: " + shares
	}
	return by + "it is open which is better: " + shares + " " + r.settle(g)
}

// settle says how many more answers would settle what is open.
func (r *Result) settle(g Group) string {
	if !g.Enough() {
		return fmt.Sprintf("It takes %d prompts and %d raters at least to say more.", leastPrompts,
			leastRaters)
	}
	n, ok := g.PairsToSettle()
	if !ok {
		return "There is no difference that more answers could settle."
	}
	more := max(1, n-g.Pairs)
	return fmt.Sprintf("If the difference stays what it is, about %s with %s each, of prompts "+
		"like these, would settle it.", report.Plural(more, "more pair"),
		report.Plural(r.Wanted, "vote"))
}

// signed is a difference of shares, in percent.
func signed(v float64) string {
	if n := math.Round(100 * v); n != 0 {
		return strings.Replace(fmt.Sprintf("%+.0f", n), "-", "−", 1)
	}
	return "0"
}

// points is a difference of shares with its interval.
func points(s Share) string {
	return fmt.Sprintf("%s %% (%s to %s)", signed(s.Value), signed(s.Low), signed(s.High))
}

// Tables are what the terminal and the page both show.
func (r *Result) Tables() (tables []report.Table) {
	for _, o := range r.Questions {
		t := report.Table{
			Title: strings.ToUpper(o.Question[:1]) + o.Question[1:] + ": " + asked[o.Question],
			Header: []string{
				"pairs of prompts", "pairs", r.ModelA + " wins", "loses", "tie", "called a tie",
				"wins − losses",
			},
			Strong: 6,
		}
		for _, g := range o.Groups {
			if g.Pairs == 0 {
				t.Rows = append(t.Rows, []string{g.Name, "0", "–", "–", "–", "–", "–"})
				continue
			}
			row := []string{g.Name, fmt.Sprint(g.Pairs)}
			for _, s := range []Share{g.Win, g.Lose, g.Tie, g.Alike} {
				row = append(row, report.PercentIn(s.Value, s.Low, s.High))
			}
			t.Rows = append(t.Rows, append(row, points(g.Difference)))
		}
		tables = append(tables, t)
	}
	tables[len(tables)-1].Note = "With 95 % intervals, of prompts and raters drawn anew. A pair " +
		"is won or lost if two thirds of its raters prefer one side; all others are ties, of " +
		"which some are called so by two thirds."
	return append(tables, r.votes(), r.agreements())
}

func (r *Result) votes() report.Table {
	t := report.Table{
		Title: "Votes",
		Header: []string{"question", "votes", "for " + r.ModelA, "for " + r.ModelB, "tie",
			"both bad", "for the left"},
		Note: "Sides are drawn for each pair and rater. So half of the votes that prefer a side " +
			"are for the left one, unless raters lean to a side.",
	}
	for _, o := range r.Questions {
		v := o.Votes
		left := "–"
		if o.Sided > 0 {
			left = report.PercentIn(o.Left.Value, o.Left.Low, o.Left.High)
		}
		t.Rows = append(t.Rows, []string{o.Question, fmt.Sprint(v.Total()), fmt.Sprint(v.A),
			fmt.Sprint(v.B), fmt.Sprint(v.Tie), fmt.Sprint(v.BothBad), left})
	}
	return t
}

func (r *Result) agreements() report.Table {
	t := report.Table{
		Title: "Agreement of raters", Header: []string{"measure"},
		Note: "1 is agreement on everything. The last two take off what chance gives: there 0 is " +
			"chance.",
	}
	for i, o := range r.Questions {
		t.Header = append(t.Header, o.Question)
		for k, a := range o.Agreement {
			if i == 0 {
				t.Rows = append(t.Rows, []string{a.Name})
			}
			cell := "–"
			switch {
			case a.Why != "":
			case math.IsInf(a.Low, 0):
				cell = fmt.Sprintf("%.2f", a.Value)
			default:
				cell = fmt.Sprintf("%.2f (%.2f to %.2f)", a.Value, a.Low, a.High)
			}
			t.Rows[k] = append(t.Rows[k], cell)
		}
	}
	return t
}

// Page is report.html. Pictures are read from the store.
func (r *Result) Page(ctx context.Context, store *feedback.Store) (report.Page, error) {
	lead := fmt.Sprintf("%s of %s, with %s of each model side by side; %s, who did not know "+
		"which was which. %s", report.Plural(r.Pairs, "pair"), report.Plural(r.Prompts, "prompt"),
		report.Plural(r.Set, "picture"), report.Plural(r.Raters, "rater"), r.Verdict())
	page := report.Page{
		Title:  r.ModelA + " against " + r.ModelB,
		Lead:   strings.ReplaceAll(lead, " %", "\u00a0%"),
		Blocks: []report.Block{r.figures(), r.chart()},
	}
	for _, t := range r.Tables() {
		page.Blocks = append(page.Blocks, t)
	}
	grid, err := r.grid(ctx, store)
	page.Blocks = append(page.Blocks, grid)
	return page, err
}

// figures are the numbers that matter most.
func (r *Result) figures() (figures report.Figures) {
	for _, o := range r.Questions {
		g := o.Groups[0]
		f := report.Figure{
			Name: o.Question + ": wins − losses", Value: "–", Note: "no pair has all votes yet",
		}
		if g.Pairs > 0 {
			f.Value = signed(g.Difference.Value) + " %"
			f.Note = fmt.Sprintf("95 %% interval %s to %s", signed(g.Difference.Low),
				signed(g.Difference.High))
		}
		figures = append(figures, f)
	}
	return figures
}

// chart shows the differences of all groups.
func (r *Result) chart() report.Intervals {
	c := report.Intervals{
		Title: "Wins − losses of " + r.ModelA, X: "% of pairs, 95 % intervals", Format: signed,
	}
	for _, g := range r.Questions[0].Groups {
		c.Groups = append(c.Groups, g.Name)
	}
	for _, o := range r.Questions {
		arm := report.Arm{Name: o.Question}
		for _, name := range c.Groups {
			d := o.group(name).Difference
			arm.Value = append(arm.Value, d.Value)
			arm.Low, arm.High = append(arm.Low, d.Low), append(arm.High, d.High)
		}
		c.Arms = append(c.Arms, arm)
	}
	return c
}

// examples is how many pairs the page shows.
const examples = 12

// grid shows the first pairs with what was said of them.
func (r *Result) grid(ctx context.Context, store *feedback.Store) (report.Grid, error) {
	g := report.Grid{
		Title: "Pairs", Columns: []string{r.ModelA, r.ModelB},
		Note: fmt.Sprintf("The first %d; none was chosen. Behind each model, the votes for it by "+
			"alignment and fidelity.", min(examples, r.Pairs)),
	}
	pairs, err := store.Pairs(ctx, r.Study)
	if err != nil {
		return g, fmt.Errorf("study: %w", err)
	}
	votes, err := store.StandingVotes(ctx, r.Study)
	if err != nil {
		return g, fmt.Errorf("study: %w", err)
	}
	type cell struct {
		pair     string
		question feedback.Question
		choice   feedback.Choice
	}
	said := make(map[cell]int)
	for _, v := range votes {
		said[cell{v.Pair, v.Question, v.Choice}]++
	}
	for _, p := range pairs[:min(examples, len(pairs))] {
		row := report.GridRow{Label: p.Prompt}
		for i, ids := range [][]string{p.A, p.B} {
			img, err := sheet(ctx, store, ids)
			if err != nil {
				return g, err
			}
			choice := feedback.A + feedback.Choice(i)
			row.Cells = append(row.Cells, report.Picture{Image: img, Note: fmt.Sprintf("%d, %d",
				said[cell{p.ID, feedback.Alignment, choice}],
				said[cell{p.ID, feedback.Fidelity, choice}])})
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}

// sheet is the pictures of a set as one, in as many columns as rows. Each has at most 192 pixels a
// side.
func sheet(ctx context.Context, store *feedback.Store, ids []string) (image.Image, error) {
	columns := int(math.Ceil(math.Sqrt(float64(len(ids)))))
	var all *image.NRGBA
	var w, h int
	for i, id := range ids {
		data, err := store.ReadPicture(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("study: %w", err)
		}
		img, err := picture.Decode(bytes.NewReader(data), id)
		if err != nil {
			return nil, fmt.Errorf("study: %w", err)
		}
		rgb := picture.FromImage(img)
		if all == nil {
			const most = 192
			w, h = rgb.W, rgb.H
			if side := max(w, h); side > most {
				w, h = max(1, w*most/side), max(1, h*most/side)
			}
			rows := (len(ids) + columns - 1) / columns
			all = image.NewNRGBA(image.Rect(0, 0, columns*w, rows*h))
		}
		if rgb.W != w || rgb.H != h {
			rgb = rgb.Resize(w, h, picture.Bicubic)
		}
		at := image.Pt(i%columns*w, i/columns*h)
		draw.Draw(all, image.Rectangle{at, at.Add(image.Pt(w, h))}, rgb.Image(), image.Point{},
			draw.Src)
	}
	return all, nil
}
