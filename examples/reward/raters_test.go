package main

import (
	"context"
	"flag"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/measure"
)

var seeds = flag.Int("seeds", 0, "of TestRaters; 0 is a short form of it with one seed")

// A world is labelled pictures of one seed: those that raters judge and a reward learns from, and
// those of other prompts that judge it, whose labels are right.
type world struct {
	seed       uint64
	clip       alignment.CLIP
	rest, test []dataset.Sample
}

// known is a CLIP that embeds everything once.
type known struct {
	alignment.CLIP
	images map[image.Image][]float32
	texts  map[string][]float32
}

func (k *known) ImageFeatures(ctx context.Context, of []image.Image) (*tensor.Dense, error) {
	return lookUp(k.images, of, func(of []image.Image) (*tensor.Dense, error) {
		return k.CLIP.ImageFeatures(ctx, of)
	})
}

func (k *known) TextFeatures(ctx context.Context, of []string) (*tensor.Dense, error) {
	return lookUp(k.texts, of, func(of []string) (*tensor.Dense, error) {
		return k.CLIP.TextFeatures(ctx, of)
	})
}

func lookUp[K comparable](
	known map[K][]float32, of []K, ask func([]K) (*tensor.Dense, error),
) (*tensor.Dense, error) {
	var new []K
	for _, k := range of {
		if known[k] == nil {
			new = append(new, k)
		}
	}
	if len(new) > 0 {
		rows, err := ask(new)
		if err != nil {
			return nil, err
		}
		width := rows.Shape()[1]
		for i, k := range new {
			known[k] = rows.Float32s()[i*width : (i+1)*width]
		}
	}
	var all []float32
	for _, k := range of {
		all = append(all, known[k]...)
	}
	return tensor.New(tensor.WithShape(len(of), len(all)/len(of)), tensor.WithBacking(all)), nil
}

// newWorld draws so many prompts, and pictures of each, of which about half show what a prompt says
// that differs from it in something. Labels are the judge's.
func newWorld(t *testing.T, encoder alignment.CLIP, seed uint64, prompts, each int) *world {
	t.Helper()
	drawn, err := shapes.Grammar().Draw("raters", seed, prompts)
	require.NoError(t, err)
	slices.Sort(drawn)
	drawn = slices.Compact(drawn)
	r := rand.New(rand.NewPCG(seed, 1))
	var shown, claimed []string
	for _, p := range drawn {
		for range each {
			show := p
			if r.IntN(2) == 0 {
				wrong, err := shapes.Grammar().Perturb(p, 1, r)
				require.NoError(t, err)
				show = wrong[0]
			}
			shown, claimed = append(shown, show), append(claimed, p)
		}
	}
	all, err := dataset.Collect(t.Context(), shapes.Illustrate(shown, "raters", seed))
	require.NoError(t, err)
	for i := range all {
		all[i].ID, all[i].Prompt = fmt.Sprint(i), claimed[i]
		all[i].Label, err = shapes.Rater{}.Label(all[i])
		require.NoError(t, err)
	}
	w := &world{seed: seed, clip: &known{
		encoder, map[image.Image][]float32{}, map[string][]float32{},
	}}
	w.rest, w.test, err = dataset.SplitPrompts(all, 0.25, seed)
	require.NoError(t, err)
	return w
}

// A rater says good of a good picture, and of a bad one, with these probabilities.
type rater struct{ ofGood, ofBad float64 }

// five are raters who err, the first of whom are replaced by others.
func five(errs float64, others ...rater) []rater {
	return slices.Concat(others, slices.Repeat([]rater{{1 - errs, errs}}, 5-len(others)))
}

var (
	atRandom = rater{0.5, 0.5}
	kind     = rater{1, 1} // says good of everything
)

// panels are those who judge, by what is wrong with them.
var panels = []struct {
	name   string
	raters []rater
}{
	{"5 % errors", five(0.05)},
	{"15 % errors", five(0.15)},
	{"30 % errors", five(0.3)},
	{"15 %, one at random", five(0.15, atRandom)},
	{"15 %, one says good of all", five(0.15, kind)},
	{"15 %, one of each", five(0.15, atRandom, kind)},
}

const oneOfEach = 5 // its place

// judge has all samples judged by all raters.
func judge(samples []dataset.Sample, raters []rater, seed uint64) feedback.Table {
	r := rand.New(rand.NewPCG(seed, 2))
	table := feedback.Table{Raters: make([]string, len(raters))}
	for i, s := range samples {
		table.Pictures = append(table.Pictures, s.ID)
		for k, rater := range raters {
			says, o := rater.ofBad, feedback.Opinion{Picture: i, Rater: k, Label: dataset.Bad}
			if s.Label == dataset.Good {
				says = rater.ofGood
			}
			if r.Float64() < says {
				o.Label = dataset.Good
			}
			table.Opinions = append(table.Opinions, o)
		}
	}
	return table
}

// labelledBy are the samples with the labels that an aggregation makes of what raters say.
func labelledBy(
	t *testing.T, by feedback.Aggregator, samples []dataset.Sample, table feedback.Table,
) []dataset.Sample {
	t.Helper()
	verdicts, err := by.Aggregate(t.Context(), table)
	require.NoError(t, err)
	out := slices.Clone(samples)
	for i, v := range verdicts {
		out[i].Label, out[i].Good = v.Label, v.Good
		out[i].Judgements = len(table.Raters)
	}
	return out
}

var aggregations = []struct {
	name string
	by   feedback.Aggregator
	soft bool
}{
	{"majority", feedback.Majority{}, false},
	{"Dawid-Skene", feedback.DawidSkene{Smoothing: 1}, false},
	{"Dawid-Skene, soft", feedback.DawidSkene{Smoothing: 1}, true},
}

// outcomes are numbers of the same things in the same order, and the seeds that they come from.
type outcomes struct {
	values []float64
	seeds  []string
}

func (o *outcomes) add(seed uint64, values []float64) {
	o.values = append(o.values, values...)
	o.seeds = append(o.seeds, slices.Repeat([]string{fmt.Sprint(seed)}, len(values))...)
}

// over is how much larger these are than others, in points. Each seed has pictures, errors of
// raters and trainings of its own, so an interval over the seeds covers what all of them bring.
func (o *outcomes) over(t *testing.T, others *outcomes) measure.Estimate {
	t.Helper()
	require.Equal(t, others.seeds, o.seeds)
	differences := make([]float64, len(o.values))
	for i, v := range o.values {
		differences[i] = 100 * (v - others.values[i])
	}
	e, err := measure.FewClusters(differences, o.seeds)
	require.NoError(t, err)
	return e
}

func (o *outcomes) mean() float64 {
	sum := 0.0
	for _, v := range o.values {
		sum += 100 * v
	}
	return sum / float64(len(o.values))
}

func show(e measure.Estimate) string {
	return fmt.Sprintf("%+.2f (%+.2f to %+.2f)", e.Value, e.Low, e.High)
}

// right says which labels are those of truth.
func right(labels, truth []dataset.Sample) (out []float64) {
	for i, s := range labels {
		out = append(out, measure.Bools([]bool{s.Label == truth[i].Label})...)
	}
	return out
}

// training is what learns from labels.
func (w *world) training(labels []dataset.Sample) *alignment.Training {
	return &alignment.Training{
		CLIP: w.clip, Samples: dataset.FromSlice(labels), Perturb: shapes.Grammar().Perturb,
		Lambda: 0.5, Prompts: 4, Product: true, Hidden: 64, LR: 2e-3, Passes: 30, HeldOut: 0.15,
		Wait: 6, Seed: w.seed,
	}
}

// pairs learns a reward, and adds how it ranks pairs of pictures whose labels are right.
func (w *world) pairs(t *testing.T, training *alignment.Training, to *outcomes) *alignment.Model {
	t.Helper()
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	scores, err := training.Model().Score(t.Context(), w.test)
	require.NoError(t, err)
	var good []bool
	var prompts []string
	for _, s := range w.test {
		good, prompts = append(good, s.Label == dataset.Good), append(prompts, s.Prompt)
	}
	values, _, err := measure.Pairs(scores, good, prompts)
	require.NoError(t, err)
	to.add(w.seed, values)
	return training.Model()
}

// some are n of the labels, chosen by seed.
func some(labels []dataset.Sample, n int, seed uint64) (chosen, others []dataset.Sample) {
	order := rand.New(rand.NewPCG(seed, 3)).Perm(len(labels))
	for i, at := range order {
		if i < n {
			chosen = append(chosen, labels[at])
		} else {
			others = append(others, labels[at])
		}
	}
	return chosen, others
}

// uncertain has those first that a reward is least sure of.
func uncertain(t *testing.T, m *alignment.Model, of []dataset.Sample) []dataset.Sample {
	t.Helper()
	logits, err := alignment.Presigmoid{Model: m}.Score(t.Context(), of)
	require.NoError(t, err)
	order := make([]int, len(of))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if math.Abs(logits[a]) < math.Abs(logits[b]) {
			return -1
		}
		return 1
	})
	out := make([]dataset.Sample, len(of))
	for i, at := range order {
		out[i] = of[at]
	}
	return out
}

// Whatever is wrong with five raters, what Dawid-Skene makes of their judgements is right as often
// as the majority, but for half a point; and more often where one of them guesses and another says
// good of everything. Five seeds have 2,000 pictures each.
func TestAggregations(t *testing.T) {
	t.Logf("%-28s %-10s %-12s %s", "labels that are right, %", "majority", "Dawid-Skene",
		"difference")
	for place, panel := range panels {
		var majority, skene outcomes
		for seed := range uint64(5) {
			r := rand.New(rand.NewPCG(seed, 4))
			truth := make([]dataset.Sample, 2000)
			for i := range truth {
				truth[i].ID = fmt.Sprint(i)
				if truth[i].Label = dataset.Bad; r.IntN(2) == 0 {
					truth[i].Label = dataset.Good
				}
			}
			table := judge(truth, panel.raters, seed)
			for i, to := range []*outcomes{&majority, &skene} {
				to.add(seed, right(labelledBy(t, aggregations[i].by, truth, table), truth))
			}
		}
		gain := skene.over(t, &majority)
		t.Logf("%-28s %-10.2f %-12.2f %s", panel.name, majority.mean(), skene.mean(), show(gain))
		require.GreaterOrEqual(t, gain.Value, -0.5, panel.name)
		if place == oneOfEach {
			require.Greater(t, gain.Low, 0.0)
		}
	}
}

// A reward that is learned from labels of raters who err ranks pairs of pictures almost as well as
// one that is learned from labels without errors, by labels without errors of other prompts. In
// full:
//
//	go test -run TestRaters -v -timeout 3h ./examples/reward -seeds 5
//
// README.md has what that found.
func TestRaters(t *testing.T) {
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	if *seeds == 0 {
		w := newWorld(t, encoder, 1, 100, 8)
		var clean, learned outcomes
		w.pairs(t, w.training(w.rest), &clean)
		table := judge(w.rest, panels[oneOfEach].raters, 1)
		w.pairs(t, w.training(labelledBy(t, aggregations[1].by, w.rest, table)), &learned)
		t.Logf("%.2f, and %.2f with errors", clean.mean(), learned.mean())
		require.Greater(t, clean.mean(), 80.0)
		require.GreaterOrEqual(t, learned.over(t, &clean).Value, -3.0)
		return
	}
	var worlds []*world
	for seed := range *seeds {
		worlds = append(worlds, newWorld(t, encoder, uint64(seed), 240, 8))
	}
	t.Logf("%d pictures to learn from, %d to be judged by, for each of %d seeds",
		len(worlds[0].rest), len(worlds[0].test), *seeds)
	// learn makes a training of each world and adds what its reward is worth.
	learn := func(training func(w *world) *alignment.Training) *outcomes {
		o := &outcomes{}
		for _, w := range worlds {
			w.pairs(t, training(w), o)
		}
		return o
	}
	clean := learn(func(w *world) *alignment.Training { return w.training(w.rest) })
	t.Logf("%-28s %-18s %8.2f", "pairs ranked well, %", "no errors", clean.mean())
	for _, panel := range panels {
		for _, by := range aggregations {
			o := learn(func(w *world) *alignment.Training {
				table := judge(w.rest, panel.raters, w.seed)
				training := w.training(labelledBy(t, by.by, w.rest, table))
				training.Soft = by.soft
				return training
			})
			lost := o.over(t, clean)
			t.Logf("%-28s %-18s %8.2f %s", panel.name, by.name, o.mean(), show(lost))
			if by.name != "majority" {
				require.GreaterOrEqual(t, lost.Value, -3.0, "%s, %s", panel.name, by.name)
			}
		}
	}
	t.Log("what λ = 0.5 brings over λ = 0, by the number of labels")
	for _, n := range []int{120, 480} {
		var with, without outcomes
		for _, w := range worlds {
			chosen, _ := some(w.rest, n, w.seed)
			w.pairs(t, w.training(chosen), &with)
			plain := w.training(chosen)
			plain.Lambda = 0
			w.pairs(t, plain, &without)
		}
		t.Logf("%6d labels: %.2f and %.2f, %s", n, with.mean(), without.mean(),
			show(with.over(t, &without)))
	}
	t.Log("what it brings to label those first that a reward of 240 labels is least sure of, " +
		"15 % errors")
	var first, random [2]outcomes
	more := [2]int{120, 240}
	for _, w := range worlds {
		table := judge(w.rest, panels[1].raters, w.seed)
		labels := labelledBy(t, aggregations[1].by, w.rest, table)
		begun, others := some(labels, 240, w.seed)
		m := w.pairs(t, w.training(begun), &outcomes{})
		unsure := uncertain(t, m, others)
		for i, n := range more {
			w.pairs(t, w.training(slices.Concat(begun, others[:n])), &random[i])
			w.pairs(t, w.training(slices.Concat(begun, unsure[:n])), &first[i])
		}
	}
	for i, n := range more {
		t.Logf("%6d more: %.2f and at random %.2f, %s", n, first[i].mean(), random[i].mean(),
			show(first[i].over(t, &random[i])))
	}
}
