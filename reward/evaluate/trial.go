package evaluate

import (
	"context"
	"fmt"
	"image"
	"maps"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A Trial is arms whose pictures a judge has called good or bad. Sample i of every arm is of one
// prompt, and from the same noise where there is a choice of one.
type Trial struct {
	Name     string // what its prompts are, such as "unseen"
	Pictures map[string][]dataset.Sample
	arms     map[string]*Arm // scored 1 for good and 0 for bad
}

// Judge asks a judge of all pictures of some arms, by their names. A picture is good if its score
// is at least ½.
func Judge(
	ctx context.Context, name string, judge reward.Model, pictures map[string][]dataset.Sample,
) (*Trial, error) {
	t := &Trial{Name: name, Pictures: pictures, arms: map[string]*Arm{}}
	scorer := &Scorer{Reward: judge}
	for arm, samples := range pictures {
		scored, err := scorer.Score(ctx, arm, dataset.FromSlice(samples))
		if err != nil {
			return nil, fmt.Errorf("%s, %s prompts: %w", arm, name, err)
		}
		for i, score := range scored.Scores[Reward] {
			scored.Scores[Reward][i] = 0
			if score >= 0.5 {
				scored.Scores[Reward][i] = 1
			}
		}
		t.arms[arm] = scored
	}
	return t, nil
}

// Good reports whether picture i of an arm is good.
func (t *Trial) Good(arm string, i int) bool { return t.arms[arm].Scores[Reward][i] == 1 }

// Labelled are the pictures of an arm with the judge's labels.
func (t *Trial) Labelled(arm string) []dataset.Sample {
	labelled := slices.Clone(t.Pictures[arm])
	for i := range labelled {
		labelled[i].Label = dataset.Bad
		if t.Good(arm, i) {
			labelled[i].Label = dataset.Good
		}
	}
	return labelled
}

// Everything is what Rates calls all pictures together.
const Everything = "all"

// Rates are the shares of good pictures, with 95 % intervals: of each category of samples, and of
// Everything, by the names of the arms.
func (t *Trial) Rates(category func(dataset.Sample) string) map[string]map[string]measure.Rate {
	rates := map[string]map[string]measure.Rate{}
	for arm, samples := range t.Pictures {
		good := map[string][]bool{}
		for i, s := range samples {
			for _, part := range []string{Everything, category(s)} {
				good[part] = append(good[part], t.Good(arm, i))
			}
		}
		for part, answers := range good {
			if rates[part] == nil {
				rates[part] = map[string]measure.Rate{}
			}
			rates[part][arm] = measure.RateOf(answers)
		}
	}
	return rates
}

// A Gain is a difference of shares in percentage points, with its 95 % interval.
type Gain struct {
	Points float64 `json:"points"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// String has all three.
func (g Gain) String() string {
	return fmt.Sprintf("%+.1f points (%+.1f to %+.1f)", g.Points, g.Low, g.High)
}

// Gain is by how much more of an arm's pictures are good than of another's: paired by place, with
// prompts as clusters (Compare). seed decides the bootstrap.
func (t *Trial) Gain(arm, than string, seed uint64) (Gain, error) {
	d, err := Compare(t.arms[than], t.arms[arm], Reward, seed)
	return Gain{100 * d.Mean, 100 * d.Low, 100 * d.High}, err
}

// Table has the rates of some categories, a column for each arm, of which titles has the names.
func (t *Trial) Table(
	category func(dataset.Sample) string, categories []string, arms []string,
	titles map[string]string, note string,
) report.Table {
	table := report.Table{
		Title: "Alignment, " + t.Name + " prompts", Header: []string{"prompts"}, Strong: 2,
		Note: note,
	}
	for _, arm := range arms {
		table.Header = append(table.Header, titles[arm])
	}
	rates := t.Rates(category)
	for _, part := range append([]string{Everything}, categories...) {
		row := []string{part}
		for _, arm := range arms {
			r := rates[part][arm]
			row = append(row, report.PercentIn(r.Rate, r.Low, r.High))
		}
		table.Rows = append(table.Rows, row)
	}
	return table
}

// Grid shows the first n places, a column for each arm, of which titles has the names.
func (t *Trial) Grid(n int, arms []string, titles map[string]string) report.Grid {
	grid := report.Grid{
		Title: "From the same noise, " + t.Name + " prompts",
		Note:  "Marked as the judge sees them.",
	}
	for _, arm := range arms {
		grid.Columns = append(grid.Columns, titles[arm])
	}
	first := t.Pictures[arms[0]]
	for i, sample := range first[:min(n, len(first))] {
		row := report.GridRow{Label: sample.Prompt}
		for _, arm := range arms {
			mark := report.Wrong
			if t.Good(arm, i) {
				mark = report.Right
			}
			picture := report.Picture{Image: t.Pictures[arm][i].Image, Mark: mark}
			row.Cells = append(row.Cells, picture)
		}
		grid.Rows = append(grid.Rows, row)
	}
	return grid
}

// Quality is what pictures are like whatever they show, by the names of arms.
type Quality struct {
	Frechet   map[string]float64 `json:"frechet"`   // distance to the reference
	Diversity map[string]float64 `json:"diversity"` // mean cosine distance of a kind's pictures
}

// MeasureQuality compares the pictures of arms, by their names, with those of a reference in an
// encoder's features (measure.FrechetFeatures), and those of one kind with each other
// (measure.Diversity): kinds has a word for each place.
func MeasureQuality(
	ctx context.Context, encoder reward.Encoder, arms map[string][]image.Image,
	reference []image.Image, kinds []string,
) (q Quality, err error) {
	features := func(pictures []image.Image) ([][]float64, error) {
		f, err := encoder.ImageFeatures(ctx, pictures)
		if err != nil {
			return nil, err
		}
		return measure.Rows(f.Float32s(), f.Shape()[1])
	}
	of, err := features(reference)
	if err != nil {
		return q, fmt.Errorf("evaluate: the reference: %w", err)
	}
	q = Quality{map[string]float64{}, map[string]float64{}}
	for _, arm := range slices.Sorted(maps.Keys(arms)) {
		f, err := features(arms[arm])
		if err == nil {
			q.Frechet[arm], err = measure.FrechetFeatures(f, of)
		}
		if err == nil {
			q.Diversity[arm], err = measure.Diversity(f, kinds)
		}
		if err != nil {
			return q, fmt.Errorf("evaluate: %s: %w", arm, err)
		}
	}
	return q, nil
}

// Table has a column for each arm, of which titles has the names.
func (q Quality) Table(arms []string, titles map[string]string, note string) report.Table {
	t := report.Table{Title: "Quality and variety", Header: []string{""}, Strong: 2, Note: note}
	frechet, diversity := []string{"Fréchet distance"}, []string{"diversity"}
	for _, arm := range arms {
		t.Header = append(t.Header, titles[arm])
		frechet = append(frechet, fmt.Sprintf("%.3f", q.Frechet[arm]))
		diversity = append(diversity, fmt.Sprintf("%.3f", q.Diversity[arm]))
	}
	t.Rows = [][]string{frechet, diversity}
	return t
}
