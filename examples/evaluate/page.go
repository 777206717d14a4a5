package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/reward/measure"
)

// titles are what arms are called where people read, by name.
func (r *result) titles() map[string]string {
	out := map[string]string{}
	for _, a := range r.Arms {
		out[a.Name] = a.Title
	}
	return out
}

// tables are what the terminal and the page both show.
func tables(r *result) []report.Table {
	means := report.Table{
		Title: "Means", Header: []string{"", "reward", "CLIP score", "diversity"},
		Note: "CLIP score: 100 times the cosine of CLIP's features of picture and prompt. Diversity: 1 − cosine of its features of two pictures of one prompt.",
	}
	for _, a := range r.Arms {
		means.Rows = append(means.Rows, []string{a.Title, number(a.Reward, 3), number(&a.CLIPScore, 2), number(a.Diversity, 3)})
	}
	titles := r.titles()
	gains := report.Table{
		Title: "Differences", Header: []string{"", "reward", "CLIP score", "diversity"}, Strong: 1,
		Note: fmt.Sprintf("With 95 %% intervals of %d pairs of pictures from the same noise", r.Prompts*r.PerPrompt),
	}
	if r.Prompts > 1 {
		gains.Note += ", clustered by prompt"
	}
	gains.Note += "."
	for _, d := range r.Differences {
		gains.Rows = append(gains.Rows, []string{titles[d.Arm] + " − " + titles[d.From], signed(d.Reward, 3), signed(&d.CLIPScore, 2), signed(d.Diversity, 3)})
	}
	if r.Reward != "" {
		gains.Note += " The reward is what best-of-n chooses by, and may be what tuned: it says how well it was followed. What people would say, it does not know."
		return []report.Table{gains, means}
	}
	return []report.Table{withoutReward(gains), withoutReward(means)}
}

// withoutReward leaves out the column of a reward that there is not.
func withoutReward(t report.Table) report.Table {
	t.Header = slices.Delete(t.Header, 1, 2)
	for i, row := range t.Rows {
		t.Rows[i] = slices.Delete(row, 1, 2)
	}
	return t
}

// number is a value of some digits, or a dash where there is none.
func number(v *float64, digits int) string {
	if v == nil {
		return "–"
	}
	return strings.Replace(fmt.Sprintf("%.*f", digits, *v), "-", "−", 1)
}

// signed is a difference with its interval.
func signed(d *measure.Difference, digits int) string {
	if d == nil {
		return "–"
	}
	return withSign(d.Mean, digits) + " (" + interval(d, digits) + ")"
}

func interval(d *measure.Difference, digits int) string {
	return withSign(d.Low, digits) + " to " + withSign(d.High, digits)
}

func withSign(v float64, digits int) string {
	return strings.Replace(fmt.Sprintf("%+.*f", digits, v), "-", "−", 1)
}

// page is report.html.
func (s *session) page(r *result, all []*scored) (page report.Page, err error) {
	page = report.Page{Title: s.title(), Lead: r.lead(), Footer: "go run ./examples/evaluate " + quoted(s.args)}
	page.Blocks = append(page.Blocks, r.figures())
	grid, err := s.grid(all)
	if err != nil {
		return page, err
	}
	page.Blocks = append(page.Blocks, r.charts()...)
	page.Blocks = append(page.Blocks, grid)
	for _, t := range tables(r) {
		page.Blocks = append(page.Blocks, t)
	}
	page.Blocks = append(page.Blocks, report.Text{Title: "How the pictures were made", Body: r.how()})
	return page, nil
}

// how says which models made the pictures, and how.
func (r *result) how() string {
	var models []string
	for _, a := range r.Arms {
		model := a.Title + ": " + a.Model
		if a.LoRA != "" {
			model += fmt.Sprintf(" with %g × %s", a.LoRAScale, a.LoRA)
		}
		models = append(models, model)
	}
	how := strings.Join(models, "; ") + fmt.Sprintf(". Sampler %s, %d steps, guidance %g, %d×%d pixels, seed %d", r.Sampler, r.Steps, r.Guidance, r.Width, r.Height, r.Seed)
	if r.Negative != "" {
		how += fmt.Sprintf(", away from %q", r.Negative)
	}
	return how + "."
}

// quoted are arguments as a shell takes them, those that need it in quotes.
func quoted(args []string) string {
	words := slices.Clone(args)
	for i, w := range words {
		if strings.ContainsAny(w, " \t\n'\"$`\\*?[]{}()<>|&;#~!") || w == "" {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// title says what is compared, by the names of files.
func (s *session) title() string {
	name := func(a arm) string { return filepath.Base(cmp.Or(a.lora, a.model)) }
	if len(s.arms) == 1 {
		return fmt.Sprintf("%s against its best of %d", name(s.arms[0]), s.n)
	}
	var tuned []string
	for _, a := range s.arms[1:] {
		tuned = append(tuned, name(a))
	}
	return strings.Join(tuned, ", ") + " against " + name(s.arms[0])
}

// lead says what was done and what came of the first comparison.
func (r *result) lead() string {
	d, titles := r.Differences[0], r.titles()
	what, gain := "CLIP's score", &d.CLIPScore
	if d.Reward != nil {
		what, gain = "the reward", d.Reward
	}
	verdict := "cannot be told apart from"
	switch {
	case gain.Above(0):
		verdict = "is better than"
	case gain.High < 0:
		verdict = "is worse than"
	}
	lead := fmt.Sprintf("%d prompts, %s of each from every model, from the same noise for all. By %s, %s %s %s.",
		r.Prompts, pictures(r.PerPrompt), what, titles[d.Arm], verdict, titles[d.From])
	if d.Diversity != nil && d.Diversity.High < 0 {
		lead += fmt.Sprintf(" Its pictures of one prompt are more alike than those of %s.", titles[d.From])
	}
	return lead
}

func pictures(n int) string {
	if n == 1 {
		return "one picture"
	}
	return fmt.Sprintf("%d pictures", n)
}

// figures are the first comparison's numbers, large.
func (r *result) figures() (figures report.Figures) {
	d, titles := r.Differences[0], r.titles()
	for _, m := range []struct {
		name   string
		gain   *measure.Difference
		digits int
	}{{"reward", d.Reward, 3}, {"CLIP score", &d.CLIPScore, 2}, {"diversity", d.Diversity, 3}} {
		if m.gain != nil {
			figures = append(figures, report.Figure{
				Name:  fmt.Sprintf("%s, %s − %s", m.name, titles[d.Arm], titles[d.From]),
				Value: withSign(m.gain.Mean, m.digits), Note: "95 % interval " + interval(m.gain, m.digits),
			})
		}
	}
	return figures
}

// charts show all differences with their intervals.
func (r *result) charts() (charts []report.Block) {
	titles := r.titles()
	for _, m := range []struct {
		name   string
		digits int
		of     func(d difference) *measure.Difference
	}{
		{"reward", 2, func(d difference) *measure.Difference { return d.Reward }},
		{"CLIP score", 1, func(d difference) *measure.Difference { return &d.CLIPScore }},
	} {
		chart := report.Intervals{
			Title: "Difference in " + m.name, X: "95 % intervals", Format: func(v float64) string { return withSign(v, m.digits) },
		}
		gain := report.Arm{Name: "from " + titles["base"]}
		for _, d := range r.Differences {
			if v := m.of(d); v != nil && d.From == "base" {
				chart.Groups = append(chart.Groups, titles[d.Arm])
				gain.Value, gain.Low, gain.High = append(gain.Value, v.Mean), append(gain.Low, v.Low), append(gain.High, v.High)
			}
		}
		if chart.Arms = []report.Arm{gain}; len(chart.Groups) > 0 {
			charts = append(charts, chart)
		}
	}
	return charts
}

// rows is how many prompts the page shows, and side the most pixels of a picture there.
const (
	rows = 24
	side = 384
)

// grid shows each prompt's first picture, one column an arm.
func (s *session) grid(all []*scored) (report.Grid, error) {
	g := report.Grid{Title: "From the same noise", Note: "The first picture of every prompt."}
	if n := len(s.prompts); n > rows {
		g.Note = fmt.Sprintf("The first picture of each of the first %d prompts; none was chosen.", rows)
	}
	if s.reward != "" {
		g.Note += " Beside each arm, the picture's reward."
	}
	for _, a := range all {
		g.Columns = append(g.Columns, a.title)
	}
	for i, prompt := range s.prompts[:min(rows, len(s.prompts))] {
		row := report.GridRow{Label: prompt}
		for _, a := range all {
			sample := a.samples[i*s.perPrompt]
			img, err := picture.Read(s.file(a.name).Picture(sample))
			if err != nil {
				return g, err
			}
			rgb := picture.FromImage(img)
			if most := max(rgb.W, rgb.H); most > side {
				rgb = rgb.Resize(max(1, rgb.W*side/most), max(1, rgb.H*side/most), picture.Bicubic)
			}
			cell := report.Picture{Image: rgb.Image()}
			if sample.Reward != nil {
				cell.Note = fmt.Sprintf("%.2f", *sample.Reward)
			}
			row.Cells = append(row.Cells, cell)
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}
