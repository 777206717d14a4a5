package dataset

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/kudos-ml/kudos/internal/rng"
)

// FromSlice is the dataset of the samples given.
func FromSlice(samples []Sample) Dataset {
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			for _, s := range samples {
				if err := ctx.Err(); err != nil {
					yield(Sample{}, err)
					return
				}
				if !yield(s, nil) {
					return
				}
			}
		}
	})
}

// Collect returns all samples of d. With an error it returns those that came before it.
func Collect(ctx context.Context, d Dataset) ([]Sample, error) {
	var samples []Sample
	for s, err := range All(ctx, d) {
		if err != nil {
			return samples, err
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// ErrNoLabels is the error that CollectLabelled wraps where no sample is labelled. A caller can ask
// for labels.
var ErrNoLabels = errors.New("no sample is labelled good or bad")

// CollectLabelled returns the samples of d that are labelled good or bad. It is an error, which
// wraps ErrNoLabels, if there are none.
func CollectLabelled(ctx context.Context, d Dataset) ([]Sample, error) {
	all, err := Collect(ctx, d)
	if err != nil {
		return nil, err
	}
	var labelled []Sample
	for _, s := range all {
		if s.Label == Good || s.Label == Bad {
			labelled = append(labelled, s)
		}
	}
	if len(labelled) == 0 {
		return nil, fmt.Errorf("dataset: %w (of %d samples%s)", ErrNoLabels, len(all), of(d))
	}
	return labelled, nil
}

// of names the file that a dataset comes from, if it is a File.
func of(d Dataset) string {
	if f, ok := d.(File); ok {
		return " in " + f.Path
	}
	return ""
}

// lacking is the dataset of a function that was not given one.
func lacking(name string) Dataset {
	return Func(func(context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			yield(Sample{}, fmt.Errorf("dataset: %s has no function: it is nil", name))
		}
	})
}

// Filter is the dataset of d's samples that keep holds for.
func Filter(d Dataset, keep func(Sample) bool) Dataset {
	if keep == nil {
		return lacking("Filter")
	}
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			for s, err := range All(ctx, d) {
				if (err != nil || keep(s)) && !yield(s, err) {
					return
				}
			}
		}
	})
}

// Map is the dataset of f's results for d's samples. An error of f ends it.
func Map(d Dataset, f func(context.Context, Sample) (Sample, error)) Dataset {
	if f == nil {
		return lacking("Map")
	}
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			for s, err := range All(ctx, d) {
				if err == nil {
					s, err = f(ctx, s)
				}
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	})
}

// Join is the dataset of all samples of the datasets given, one dataset after another.
func Join(ds ...Dataset) Dataset {
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			for _, d := range ds {
				for s, err := range All(ctx, d) {
					if !yield(s, err) || err != nil {
						return
					}
				}
			}
		}
	})
}

// Take is the dataset of d's first n samples.
func Take(d Dataset, n int) Dataset {
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			left := n
			if left <= 0 {
				return
			}
			for s, err := range All(ctx, d) {
				left--
				if !yield(s, err) || err != nil || left == 0 {
					return
				}
			}
		}
	})
}

// Shuffle is the dataset of d's samples in an order that seed and epoch decide. While it is ranged
// over it holds all samples in memory.
func Shuffle(d Dataset, seed, epoch uint64) Dataset {
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			samples, err := Collect(ctx, d)
			if err != nil {
				yield(Sample{}, err)
				return
			}
			for _, i := range rng.New(seed, "dataset order", epoch, 0).Perm(len(samples)) {
				if !yield(samples[i], nil) {
					return
				}
			}
		}
	})
}

// Cycle is the dataset of the samples of epoch(0), then those of epoch(1), and so on without end. A
// pass without samples is an error. With Shuffle it gives d over and over, each time in another
// order:
//
//	dataset.Cycle(func(e uint64) dataset.Dataset { return dataset.Shuffle(d, seed, e) })
func Cycle(epoch func(uint64) Dataset) Dataset {
	if epoch == nil {
		return lacking("Cycle")
	}
	return Func(func(ctx context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			for e := uint64(0); ; e++ {
				empty := true
				for s, err := range All(ctx, epoch(e)) {
					empty = false
					if !yield(s, err) || err != nil {
						return
					}
				}
				if empty {
					yield(Sample{}, fmt.Errorf(
						"dataset: nothing to cycle over: pass %d has no samples", e))
					return
				}
			}
		}
	})
}
