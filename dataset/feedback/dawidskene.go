package feedback

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/kudos-ml/kudos/dataset"
)

// DawidSkene finds out from the opinions themselves how far each rater is to be trusted, and weighs
// their opinions by that (Dawid and Skene 1979, Maximum Likelihood Estimation of Observer
// Error-Rates Using the EM Algorithm). Good is the probability that a picture is good. The label is
// Good above ½, Bad below it, and Skip at ½. A Skip of a rater says nothing.
//
// In its model a picture is good with the probability p. Rater r says good of a good one with the
// probability s_r and bad of a bad one with t_r, whatever the others say. So one who says good of
// everything has s = 1 and t = 0, and one who guesses has s + t = 1: neither counts. From the
// probability q_i that picture i is good, which at first is the share of raters who say so, each
// round estimates the model, with the smoothing α,
//
//	p   = (Σ_i q_i + α) / (N + 2α)
//	s_r = (Σ q_i over what r calls good + α) / (Σ q_i over what r has judged + 2α)
//	t_r = (Σ 1−q_i over what r calls bad + α) / (Σ 1−q_i over what r has judged + 2α)
//
// and q from the model by Bayes' rule. A round never lowers the logarithm of the likelihood, to
// which α(log p + log(1−p)) is added and the same for every s_r and t_r.
//
// With fewer than three raters a picture there is little to find out, and Majority says as much.
type DawidSkene struct {
	// Smoothing is α, in judgements, 0 or more. 0 is none: a rater who never erred is then taken to
	// be infallible. 1 adds to each rater, of either kind of picture, one right judgement and one
	// wrong one, so that few judgements do not make a rater trusted.
	Smoothing float64
	// Rounds is the most rounds. 0 is 500: with a smoothing of 1 it takes about a hundred. It ends
	// when a round raises the logarithm by no more than 1e-8 for each judgement.
	Rounds int
}

// A Fit is what DawidSkene has found out.
type Fit struct {
	Good   []float64     // of each picture the probability that it is good; NaN without an opinion
	Share  float64       // p, the probability that any picture is good
	Raters []Reliability // of each rater
	// Objective is the logarithm that no round lowers, after each round.
	Objective []float64
}

// Reliability is what is to be held of a rater.
type Reliability struct {
	OfGood float64 // s, the probability of saying good of a good picture
	OfBad  float64 // t, the probability of saying bad of a bad picture
	N      int     // judgements, without skips
}

// Aggregate fits the model. Its errors are those of Fit.
func (d DawidSkene) Aggregate(ctx context.Context, t Table) ([]Verdict, error) {
	fit, err := d.Fit(ctx, t)
	if err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, len(t.Pictures))
	for i, good := range fit.Good {
		if !math.IsNaN(good) {
			verdicts[i] = Verdict{Label: dataset.Majority(good), Good: good}
		}
	}
	return verdicts, nil
}

// Fit finds out how far raters are to be trusted. It is an error if Smoothing is negative or not
// finite, and if ctx ends before the last round.
func (d DawidSkene) Fit(ctx context.Context, t Table) (Fit, error) {
	if !(d.Smoothing >= 0) || math.IsInf(d.Smoothing, 1) {
		return Fit{}, fmt.Errorf("a smoothing of %v", d.Smoothing)
	}
	rounds := d.Rounds
	if rounds == 0 {
		rounds = 500
	}
	f := Fit{Good: make([]float64, len(t.Pictures)), Raters: make([]Reliability, len(t.Raters))}
	opinions := make([]Opinion, 0, len(t.Opinions))
	for _, o := range t.Opinions {
		if o.Label == dataset.Good || o.Label == dataset.Bad {
			opinions = append(opinions, o)
			f.Raters[o.Rater].N++
		}
	}
	good, bad, _ := t.counts()
	for i := range f.Good {
		f.Good[i] = float64(good[i]) / float64(good[i]+bad[i]) // NaN for 0/0
	}
	for range rounds {
		if err := ctx.Err(); err != nil {
			return Fit{}, err
		}
		f.estimate(opinions, d.Smoothing)
		objective := f.weigh(opinions, d.Smoothing)
		if math.IsNaN(objective) {
			return Fit{}, errors.New("the likelihood is not a number")
		}
		f.Objective = append(f.Objective, objective)
		n := len(f.Objective)
		if n > 1 && objective-f.Objective[n-2] <= 1e-8*float64(len(opinions)) {
			break
		}
	}
	return f, nil
}

// estimate is the M step: the model from the probabilities of the pictures.
func (f *Fit) estimate(opinions []Opinion, smoothing float64) {
	ratio := func(part, whole float64) float64 {
		if whole+2*smoothing == 0 {
			return 0.5 // nothing is known
		}
		return (part + smoothing) / (whole + 2*smoothing)
	}
	var sum, n float64
	for _, q := range f.Good {
		if !math.IsNaN(q) {
			sum += q
			n++
		}
	}
	f.Share = ratio(sum, n)
	type mass struct{ right, all [2]float64 } // of bad pictures and of good ones
	masses := make([]mass, len(f.Raters))
	for _, o := range opinions {
		m, q := &masses[o.Rater], f.Good[o.Picture]
		m.all[0] += 1 - q
		m.all[1] += q
		if o.Label == dataset.Good {
			m.right[1] += q
		} else {
			m.right[0] += 1 - q
		}
	}
	for r, m := range masses {
		f.Raters[r].OfGood = ratio(m.right[1], m.all[1])
		f.Raters[r].OfBad = ratio(m.right[0], m.all[0])
	}
}

// weigh is the E step: the probabilities of the pictures from the model. It returns the objective
// of the model.
func (f *Fit) weigh(opinions []Opinion, smoothing float64) (objective float64) {
	good, bad := make([]float64, len(f.Good)), make([]float64, len(f.Good))
	for i := range good {
		good[i], bad[i] = math.Log(f.Share), math.Log(1-f.Share)
	}
	type logs struct{ ofGood, ofBad float64 } // of saying something of a picture
	saysGood, saysBad := make([]logs, len(f.Raters)), make([]logs, len(f.Raters))
	for i, r := range f.Raters {
		saysGood[i] = logs{math.Log(r.OfGood), math.Log(1 - r.OfBad)}
		saysBad[i] = logs{math.Log(1 - r.OfGood), math.Log(r.OfBad)}
	}
	for _, o := range opinions {
		says := saysBad[o.Rater]
		if o.Label == dataset.Good {
			says = saysGood[o.Rater]
		}
		good[o.Picture] += says.ofGood
		bad[o.Picture] += says.ofBad
	}
	for i, q := range f.Good {
		if math.IsNaN(q) {
			continue
		}
		most := max(good[i], bad[i])
		all := most + math.Log(math.Exp(good[i]-most)+math.Exp(bad[i]-most))
		f.Good[i] = math.Exp(good[i] - all)
		objective += all
	}
	if smoothing == 0 {
		return objective
	}
	prior := func(p float64) { objective += smoothing * (math.Log(p) + math.Log(1-p)) }
	prior(f.Share)
	for _, r := range f.Raters {
		prior(r.OfGood)
		prior(r.OfBad)
	}
	return objective
}
