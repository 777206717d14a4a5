package evaluate

import (
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A Result is what arms are like, and by how much they differ.
type Result struct {
	Arms        []Summary    `json:"arms"`
	Differences []Difference `json:"differences"`
}

// A Summary is what an arm's pictures are like: means over the pictures. Reward is nil without a
// reward, Diversity if no prompt has two pictures.
type Summary struct {
	Name      string   `json:"name"`
	Title     string   `json:"-"`
	Reward    *float64 `json:"reward,omitempty"`
	CLIPScore float64  `json:"clip_score"`
	Diversity *float64 `json:"diversity,omitempty"`
}

// A Difference is by how much the mean of one arm is above another's: paired, with 95 % intervals.
type Difference struct {
	Arm       string              `json:"arm"`
	From      string              `json:"from"`
	Reward    *measure.Difference `json:"reward,omitempty"`
	CLIPScore measure.Difference  `json:"clip_score"`
	// Diversity has prompts as pairs; it is nil unless two prompts have two pictures.
	Diversity *measure.Difference `json:"diversity,omitempty"`
}

// Pairs are what to compare arms with: each with the first, and, if the last is the best of n of
// the first, the others with that as well.
func Pairs(arms int, bestOf bool) (pairs [][2]int) {
	for i := 1; i < arms; i++ {
		pairs = append(pairs, [2]int{i, 0})
	}
	if bestOf {
		for i := 1; i < arms-1; i++ {
			pairs = append(pairs, [2]int{i, arms - 1})
		}
	}
	return pairs
}

// Summarize makes the numbers of arms that a Scorer with CLIP scored: of each arm, and of each pair
// of an arm and the one from which it differs, by index. seed decides the bootstrap.
func Summarize(arms []*Arm, pairs [][2]int, seed uint64) (*Result, error) {
	r := &Result{}
	diversity := make([][]float64, len(arms))
	for i, a := range arms {
		if len(a.Scores[CLIPScore]) == 0 {
			return nil, fmt.Errorf("evaluate: %s has no scores %q", a.Name, CLIPScore)
		}
		one := Summary{Name: a.Name, Title: a.title(), CLIPScore: a.Mean(CLIPScore)}
		if len(a.Scores[Reward]) > 0 {
			one.Reward = new(a.Mean(Reward))
		}
		var err error
		if diversity[i], err = a.Diversity(); err != nil {
			return nil, err
		}
		if len(diversity[i]) > 0 {
			one.Diversity = new(stat.Mean(diversity[i], nil))
		}
		r.Arms = append(r.Arms, one)
	}
	for _, p := range pairs {
		a, from := arms[p[0]], arms[p[1]]
		d := Difference{Arm: a.Name, From: from.Name}
		var err error
		if d.CLIPScore, err = Compare(from, a, CLIPScore, seed); err != nil {
			return nil, err
		}
		if len(a.Scores[Reward]) > 0 {
			paired, err := Compare(from, a, Reward, seed)
			if err != nil {
				return nil, err
			}
			d.Reward = &paired
		}
		if len(diversity[p[0]]) > 1 {
			paired, err := measure.Paired(diversity[p[1]], diversity[p[0]], nil, seed)
			if err != nil {
				return nil, err
			}
			d.Diversity = &paired
		}
		r.Differences = append(r.Differences, d)
	}
	return r, nil
}

// Titles are what arms are called where people read, by name.
func (r *Result) Titles() map[string]string {
	out := map[string]string{}
	for _, a := range r.Arms {
		out[a.Name] = a.Title
	}
	return out
}

// Tables are the differences, and then the means of each arm. note is what a reader must know of
// the differences beside that they have 95 % intervals.
func (r *Result) Tables(note string) []report.Table {
	means := report.Table{
		Title: "Means", Header: []string{"", "reward", "CLIP score", "diversity"},
		Note: "CLIP score: 100 times the cosine of CLIP's features of picture and prompt. " +
			"Diversity: 1 − cosine of its features of two pictures of one prompt.",
	}
	rewarded := false
	for _, a := range r.Arms {
		rewarded = rewarded || a.Reward != nil
		means.Rows = append(means.Rows, []string{
			a.Title, number(a.Reward, 3), number(&a.CLIPScore, 2), number(a.Diversity, 3),
		})
	}
	titles := r.Titles()
	gains := report.Table{
		Title: "Differences", Header: []string{"", "reward", "CLIP score", "diversity"},
		Strong: 1, Note: note,
	}
	for _, d := range r.Differences {
		gains.Rows = append(gains.Rows, []string{
			titles[d.Arm] + " − " + titles[d.From], signed(d.Reward, 3), signed(&d.CLIPScore, 2),
			signed(d.Diversity, 3),
		})
	}
	if rewarded {
		gains.Note += " The reward is what best-of-n chooses by, and may be what tuned: it " +
			"says how well it was followed. What people would say, it does not know."
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

// Verdict says in a sentence what came of the first difference, by the reward where there is one,
// and in a second one if the pictures of one prompt have become more alike.
func (r *Result) Verdict() string {
	d, titles := r.Differences[0], r.Titles()
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
	text := fmt.Sprintf("By %s, %s %s %s.", what, titles[d.Arm], verdict, titles[d.From])
	if d.Diversity != nil && d.Diversity.High < 0 {
		text += fmt.Sprintf(" Its pictures of one prompt are more alike than those of %s.",
			titles[d.From])
	}
	return text
}

// Figures are the first difference's numbers, large.
func (r *Result) Figures() (figures report.Figures) {
	d, titles := r.Differences[0], r.Titles()
	for _, m := range []struct {
		name   string
		gain   *measure.Difference
		digits int
	}{{"reward", d.Reward, 3}, {"CLIP score", &d.CLIPScore, 2}, {"diversity", d.Diversity, 3}} {
		if m.gain != nil {
			figures = append(figures, report.Figure{
				Name:  fmt.Sprintf("%s, %s − %s", m.name, titles[d.Arm], titles[d.From]),
				Value: withSign(m.gain.Mean, m.digits), Note: "95 % interval " + interval(m.gain,
					m.digits),
			})
		}
	}
	return figures
}

// Charts show all differences from the first arm with their intervals.
func (r *Result) Charts() (charts []report.Block) {
	titles, base := r.Titles(), r.Arms[0].Name
	for _, m := range []struct {
		name   string
		digits int
		of     func(d Difference) *measure.Difference
	}{
		{"reward", 2, func(d Difference) *measure.Difference { return d.Reward }},
		{"CLIP score", 1, func(d Difference) *measure.Difference { return &d.CLIPScore }},
	} {
		chart := report.Intervals{
			Title: "Difference in " + m.name, X: "95 % intervals",
			Format: func(v float64) string { return withSign(v, m.digits) },
		}
		gain := report.Arm{Name: "from " + titles[base]}
		for _, d := range r.Differences {
			if v := m.of(d); v != nil && d.From == base {
				chart.Groups = append(chart.Groups, titles[d.Arm])
				gain.Value, gain.Low, gain.High = append(gain.Value, v.Mean), append(gain.Low,
					v.Low), append(gain.High, v.High)
			}
		}
		if chart.Arms = []report.Arm{gain}; len(chart.Groups) > 0 {
			charts = append(charts, chart)
		}
	}
	return charts
}
