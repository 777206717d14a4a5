package study

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset/feedback"

	"github.com/kudos-ml/kudos/reward/internal/page"
)

// A Result is what the votes on a study amount to.
type Result struct {
	Study     string    `json:"study"`
	ModelA    string    `json:"model_a"`
	ModelB    string    `json:"model_b"`
	Pairs     int       `json:"pairs"`
	Prompts   int       `json:"prompts"`
	Set       int       `json:"set"`    // pictures of each model in the first pair
	Wanted    int       `json:"wanted"` // raters of each pair
	Raters    int       `json:"raters"` // who have voted
	Questions []Outcome `json:"questions"`
}

// An Outcome is what was said to one question.
type Outcome struct {
	Question string `json:"question"`
	Votes    Votes  `json:"votes"`
	// Groups are all pairs, then those of each category, then those of seen and unseen prompts.
	Groups    []Group     `json:"groups"`
	Agreement []Agreement `json:"agreement"`
	// Left is the share of Sided votes, those that prefer a set, that prefer the left one: ½ but
	// for chance, unless raters lean to a side. Votes of raters who were erased do not count: with
	// the name it is lost on which side they saw what.
	Left  Share `json:"left"`
	Sided int   `json:"sided"`
}

// Votes says how many votes there are, by what they say.
type Votes struct {
	A       int `json:"a"`
	B       int `json:"b"`
	Tie     int `json:"tie"`
	BothBad int `json:"both_bad"`
}

// Total is the number of votes.
func (v Votes) Total() int { return v.A + v.B + v.Tie + v.BothBad }

func (v *Votes) add(c feedback.Choice) {
	*[]*int{&v.A, &v.B, &v.Tie, &v.BothBad}[c-feedback.A]++
}

// A Group is what pairs amount to that have something in common, by the two-thirds rule. Pairs
// with fewer votes than are wanted are not in it.
type Group struct {
	Name       string `json:"name"`
	Pairs      int    `json:"pairs"`
	Prompts    int    `json:"prompts"`
	Raters     int    `json:"raters"`
	Win        Share  `json:"win"`
	Lose       Share  `json:"lose"`
	Tie        Share  `json:"tie"`
	Alike      Share  `json:"alike"`      // of all, ties that two thirds call one, or both bad
	Difference Share  `json:"difference"` // Win − Lose
}

// A Share is a share, or a difference of two, with its 95 % interval. What is not known is NaN,
// which JSON has as null.
type Share struct{ Value, Low, High float64 }

// MarshalJSON satisfies json.Marshaler.
func (s Share) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]page.Number{
		"value": page.Number(s.Value), "low": page.Number(s.Low), "high": page.Number(s.High),
	})
}

// An Agreement is a measure of how far raters agree, on all pairs that have two votes or more.
type Agreement struct {
	Name string `json:"name"`
	Share
	Pairs int    `json:"pairs"`
	Why   string `json:"why,omitempty"` // there is no value
}

// MarshalJSON satisfies json.Marshaler: Share has one, which is not that of the whole.
func (a Agreement) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"name": a.Name, "value": page.Number(a.Value), "low": page.Number(a.Low),
		"high": page.Number(a.High), "pairs": a.Pairs, "why": a.Why,
	})
}

// group returns a group by its name, or nil.
func (o *Outcome) group(name string) *Group {
	i := slices.IndexFunc(o.Groups, func(g Group) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return &o.Groups[i]
}

// The least of what a comparison is made of, for it to say which model is better: of fewer prompts
// all may end alike by chance, and one rater is no sample.
const (
	leastPrompts = 10
	leastRaters  = 2
)

// Enough reports whether there are enough prompts and raters to say which model is better.
func (g Group) Enough() bool { return g.Prompts >= leastPrompts && g.Raters >= leastRaters }

// Better returns 1 if the group's pairs say that A is better, −1 for B, and 0 if they leave that
// open: the interval of the difference has 0 in it, or there is not Enough.
func (g Group) Better() int {
	switch {
	case !g.Enough():
		return 0
	case g.Difference.Low > 0:
		return 1
	case g.Difference.High < 0:
		return -1
	}
	return 0
}

// PairsToSettle returns about how many pairs there have to be for the interval of the difference to
// leave out 0, if the difference stays what it is: an interval's width falls as 1/√n, so
//
//	n' = n · (margin / difference)²
//
// where margin is from the difference to the end of its interval that is nearer to 0. ok is false
// if the difference is 0, or nothing is known of its interval. What raters differ in does not fall
// with the number of pairs; where they differ much, more raters are needed as well.
func (g Group) PairsToSettle() (n int, ok bool) {
	d := g.Difference
	margin := d.Value - d.Low
	if d.Value < 0 {
		margin = d.High - d.Value
	}
	need := math.Ceil(float64(g.Pairs) * (margin / d.Value) * (margin / d.Value))
	if !g.Enough() || d.Value == 0 || !(need < 1e7) {
		return 0, false
	}
	return cmp.Or(int(need), 1), true
}
