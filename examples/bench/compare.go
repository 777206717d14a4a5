package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/kudos-ml/kudos/examples/internal/cases"
)

// identity is what times must have in common to be of the same case.
func identity(r cases.Result) string {
	arithmetic := r.Precision
	if r.Winograd {
		arithmetic += " with Winograd"
	}
	return fmt.Sprintf("%s, %s, threads=%d", r.Name, arithmetic, r.Threads)
}

// middle is the middle of some sorted numbers, or the higher of the two in the middle.
func middle(sorted []float64) float64 { return sorted[len(sorted)/2] }

// calm are the shares that nothing disturbed, in order. They are nil if that is not most.
func calm(r cases.Result) []float64 {
	n := len(r.Shares) - r.Disturbed
	if n < 1 || 2*n < len(r.Shares) {
		return nil
	}
	return slices.Sorted(slices.Values(r.Shares[:n]))
}

// A verdict is what a comparison finds.
type verdict int

const (
	same verdict = iota
	slower
	faster
	disturbed // too much to say
	moved     // to cores that are nearer or farther
	unknown   // without shares there is nothing to compare
	verdicts
)

func (v verdict) String() string {
	return [...]string{"the same", "slower", "faster", "disturbed", "placed otherwise",
		"without a share of a peak"}[v]
}

// least is how far medians must be apart beside the spreads: probes vary as much.
const least = 0.03

// judge compares the shares of two results of a case. One is beyond the other if all its shares
// are, and if the medians are apart.
func judge(before, after cases.Result) verdict {
	if len(before.Shares) == 0 || len(after.Shares) == 0 {
		return unknown
	}
	if before.Placement != after.Placement {
		return moved
	}
	old, now := calm(before), calm(after)
	if old == nil || now == nil {
		return disturbed
	}
	was, is := middle(old), middle(now)
	switch {
	case now[len(now)-1] < old[0] && is < (1-least)*was:
		return slower
	case now[0] > old[len(old)-1] && is > (1+least)*was:
		return faster
	}
	return same
}

// compare prints what is slower or faster than before. It is an error if anything is slower, or if
// nothing can be compared.
func compare(w io.Writer, before, after []cases.Result) error {
	was := map[string]cases.Result{}
	for _, r := range before {
		was[identity(r)] = r
	}
	var counts [verdicts]int
	compared := 0
	fmt.Fprintln(w)
	for _, r := range after {
		old, ok := was[identity(r)]
		if !ok {
			continue
		}
		if old.Machine != r.Machine || old.Device != r.Device {
			return fmt.Errorf("%s: times on %s (%s) and on %s (%s) are not compared", r.Name,
				old.Device, old.Machine, r.Device, r.Machine)
		}
		compared++
		v := judge(old, r)
		counts[v]++
		if v == same {
			continue
		}
		fmt.Fprintf(w, "%-16s %s: %.1f %% of the peak, before %.1f %%\n", v, identity(r),
			100*r.Share, 100*old.Share)
	}
	if compared == 0 {
		return fmt.Errorf("none of the %d times before is of a case of now", len(before))
	}
	fmt.Fprintf(w, "%d compared", compared)
	for v, n := range counts {
		if n > 0 {
			fmt.Fprintf(w, ", %d %v", n, verdict(v))
		}
	}
	fmt.Fprintln(w)
	if counts[slower] > 0 {
		return fmt.Errorf("%d of %d cases are slower", counts[slower], compared)
	}
	return nil
}
