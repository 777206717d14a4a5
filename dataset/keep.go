package dataset

import (
	"context"
	"iter"
	"sync/atomic"
)

// Keep is the dataset of d's samples, for which d is ranged over once. When a range comes to the
// end, the samples are kept in memory, pictures and all. From then on every range gives them. A
// range that ends early, by break or by an error, keeps nothing, and the next one begins at the
// beginning of d.
//
// Several goroutines may range at once. Those that begin before anything is kept range over d,
// which must allow that. What the first of them gets is what is kept.
func Keep(d Dataset) Dataset { return &kept{d: d} }

type kept struct {
	d       Dataset
	samples atomic.Pointer[[]Sample] // nil until a range was whole
}

// All ranges over what is kept, or over d.
func (k *kept) All(ctx context.Context) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		if samples := k.samples.Load(); samples != nil {
			FromSlice(*samples).All(ctx)(yield)
			return
		}
		var samples []Sample
		for s, err := range All(ctx, k.d) {
			if !yield(s, err) || err != nil {
				return
			}
			samples = append(samples, s)
		}
		k.samples.CompareAndSwap(nil, &samples)
	}
}
