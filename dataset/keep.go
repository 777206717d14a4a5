package dataset

import (
	"context"
	"iter"
	"sync/atomic"
)

// Keep is d, ranged over once: its samples are kept in memory, pictures and all, when a range over
// them first comes to the end, and from then on are what every range gives. A range that ends
// early, by break or by an error, keeps nothing, and the next begins again at d's beginning.
// Several may range at once: those that begin before anything is kept each range over d, which must
// allow that, and the first to come to its end is the one that is kept.
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
		for s, err := range k.d.All(ctx) {
			if !yield(s, err) || err != nil {
				return
			}
			samples = append(samples, s)
		}
		k.samples.CompareAndSwap(nil, &samples)
	}
}
