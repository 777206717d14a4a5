package label

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
	"github.com/kudos-ml/kudos/reward/measure"
)

// An analysis is what takes longer to find out than a page may take to load.
type analysis struct {
	Categories []category `json:"categories"`
	Agreement  []agreed   `json:"agreement"`
	Pairs      []pairing  `json:"pairs"`
	Raters     []standing `json:"raters"`
	Disputed   []disputed `json:"disputed"`
}

// A category is the share of good judgements of the pictures of a category of prompts.
type category struct {
	Name string `json:"name"`
	share
}

// An agreed is a measure of how far raters agree.
type agreed struct {
	Name string `json:"name"`
	share
	Why string `json:"why"` // there is no value
}

// A pairing is how far two raters agree on what both have judged.
type pairing struct {
	A     string      `json:"a"`
	B     string      `json:"b"`
	Kappa page.Number `json:"kappa"` // Cohen's
	N     int         `json:"n"`
}

// A standing is where one rater stands among the others.
type standing struct {
	Name string `json:"name"`
	// With is how often the rater says what most of the others say, where they are not divided.
	With share `json:"with"`
	// OfGood and OfBad are how often the rater is right of good and of bad pictures, as
	// feedback.DawidSkene estimates it.
	OfGood  page.Number `json:"of_good"`
	OfBad   page.Number `json:"of_bad"`
	Differs bool        `json:"differs"` // With is below the others', whole interval
}

// A disputed is a picture of which as many say good as bad, or nearly.
type disputed struct {
	shown
	Good int `json:"good"`
	Bad  int `json:"bad"`
}

// Bounds of what the overview shows.
const (
	maxPairs    = 45 // ten raters, each with each
	maxDisputed = 24
	// minTogether is how many pictures two raters must have judged for their kappa to be shown:
	// with fewer it says nothing.
	minTogether = 10
)

// analyse looks at all judgements.
func (h *Handler) analyse(ctx context.Context) (made analysis, err error) {
	table, err := h.config.Store.Table(ctx)
	if err != nil {
		return made, err
	}
	made = analysis{Agreement: agreement(table), Pairs: pairs(table)}
	if made.Categories, err = h.categories(ctx); err != nil {
		return made, err
	}
	if made.Raters, err = raters(ctx, table); err != nil {
		return made, err
	}
	made.Disputed, err = h.disputed(ctx, table)
	return made, err
}

// categories are the shares of good judgements by category, in the order in which the prompts are.
func (h *Handler) categories(ctx context.Context) ([]category, error) {
	all := []category{}
	if h.config.Category == nil {
		return all, nil
	}
	prompts, err := h.config.Store.Prompts(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	counts := make(map[string]feedback.Counts)
	for _, p := range prompts {
		name := cmp.Or(h.config.Category(p.Prompt), "other")
		c, known := counts[name]
		if !known {
			names = append(names, name)
		}
		c.Good += p.Counts.Good
		c.Bad += p.Counts.Bad
		counts[name] = c
	}
	for _, name := range names {
		c := counts[name]
		all = append(all, category{name, shareOf(measure.NewRate(c.Good, c.Good+c.Bad))})
	}
	return all, nil
}

// agreement is how far all raters agree. Its intervals are those of a jackknife over pictures.
func agreement(t feedback.Table) []agreed {
	ratings := t.Ratings()
	twice := ratings[:0:0]
	for _, r := range ratings {
		if rated(r) >= 2 {
			twice = append(twice, r)
		}
	}
	var all []agreed
	for _, m := range []struct {
		name string
		of   func([][]int) (float64, error)
		on   [][]int
	}{
		{"percent agreement", measure.Agreement, twice},
		{"Fleiss' kappa", measure.FleissKappa, alike(twice)},
		{"Krippendorff's alpha", measure.KrippendorffAlpha, twice},
	} {
		value, margin, err := measure.Jackknife(m.on, m.of)
		a := agreed{Name: m.name}
		if err != nil {
			value, margin, a.Why = math.NaN(), math.NaN(), err.Error()
		}
		a.share = share{
			page.Number(value), page.Number(value - margin), page.Number(min(1, value+margin)),
			len(m.on),
		}
		all = append(all, a)
	}
	return all
}

// rated is how many ratings a thing has.
func rated(ratings []int) (n int) {
	for _, r := range ratings {
		if r >= 0 {
			n++
		}
	}
	return n
}

// alike are the things with the most usual number of ratings, of two or more: Fleiss' kappa is
// defined for those alone.
func alike(ratings [][]int) [][]int {
	byNumber := make(map[int][][]int)
	usual := 0
	for _, r := range ratings {
		n := rated(r)
		byNumber[n] = append(byNumber[n], r)
		if have, best := len(byNumber[n]), len(byNumber[usual]); have > best ||
			have == best && n > usual {
			usual = n
		}
	}
	return byNumber[usual]
}

// pairs are Cohen's kappas of raters who have judged enough of the same pictures.
func pairs(t feedback.Table) []pairing {
	all := []pairing{}
	columns := make([][]int, len(t.Raters))
	for r := range columns {
		columns[r] = make([]int, len(t.Pictures))
		for i := range columns[r] {
			columns[r][i] = -1
		}
	}
	ratings := t.Ratings()
	for i, row := range ratings {
		for r, rating := range row {
			columns[r][i] = rating
		}
	}
	for a := range columns {
		for b := a + 1; b < len(columns) && len(all) < maxPairs; b++ {
			n := 0
			for i := range ratings {
				if columns[a][i] >= 0 && columns[b][i] >= 0 {
					n++
				}
			}
			if n < minTogether {
				continue
			}
			kappa, err := measure.CohenKappa(columns[a], columns[b])
			if err != nil {
				kappa = math.NaN() // both say the same of everything
			}
			all = append(all, pairing{t.Raters[a], t.Raters[b], page.Number(kappa), n})
		}
	}
	return all
}

// raters says where each rater with a judgement stands.
func raters(ctx context.Context, t feedback.Table) ([]standing, error) {
	fit, err := feedback.DawidSkene{Smoothing: 1}.Fit(ctx, t)
	if err != nil {
		return nil, err
	}
	with, of := make([]int, len(t.Raters)), make([]int, len(t.Raters))
	for _, row := range t.Ratings() {
		var said [2]int
		for _, rating := range row {
			if rating >= 0 {
				said[rating]++
			}
		}
		for r, rating := range row {
			if rating < 0 {
				continue
			}
			agree, differ := said[rating]-1, said[1-rating]
			if agree == differ {
				continue // the others are divided, or there are none
			}
			of[r]++
			if agree > differ {
				with[r]++
			}
		}
	}
	all := []standing{}
	for r, name := range t.Raters {
		if fit.Raters[r].N == 0 {
			continue
		}
		others := measure.NewRate(sum(with)-with[r], sum(of)-of[r])
		own := measure.NewRate(with[r], of[r])
		all = append(all, standing{
			Name: name, With: shareOf(own), Differs: own.High < others.Low,
			OfGood: page.Number(fit.Raters[r].OfGood), OfBad: page.Number(fit.Raters[r].OfBad),
		})
	}
	return all, nil
}

func sum(all []int) (n int) {
	for _, k := range all {
		n += k
	}
	return n
}

// disputed are the pictures that raters are most divided about, with those most often judged first.
func (h *Handler) disputed(ctx context.Context, t feedback.Table) ([]disputed, error) {
	type count struct{ picture, good, bad int }
	counts := make([]count, len(t.Pictures))
	for i := range counts {
		counts[i].picture = i
	}
	for i, row := range t.Ratings() {
		for _, rating := range row {
			switch rating {
			case 1:
				counts[i].good++
			case 0:
				counts[i].bad++
			}
		}
	}
	counts = slices.DeleteFunc(counts, func(c count) bool { return min(c.good, c.bad) == 0 })
	share := func(c count) float64 {
		return math.Abs(float64(c.good)/float64(c.good+c.bad) - 0.5)
	}
	slices.SortStableFunc(counts, func(a, b count) int {
		return cmp.Or(cmp.Compare(share(a), share(b)), cmp.Compare(b.good+b.bad, a.good+a.bad))
	})
	all := []disputed{}
	for _, c := range counts[:min(len(counts), maxDisputed)] {
		id := t.Pictures[c.picture]
		sample, err := h.config.Store.Picture(ctx, id)
		if err != nil {
			return nil, err
		}
		all = append(all,
			disputed{shown{id, sample.Prompt, link("/overview", id)}, c.good, c.bad})
	}
	return all, nil
}
