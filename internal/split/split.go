// Package split divides prompts so that good labels and bad ones are on both sides.
package split

import "slices"

// Kinds says of prompts which labels their pictures have: good ones [0], bad ones [1].
type Kinds map[string][2]bool

// Add notes a picture of a prompt.
func (k Kinds) Add(prompt string, good bool) {
	has := k[prompt]
	if good {
		has[0] = true
	} else {
		has[1] = true
	}
	k[prompt] = has
}

// Count is how many of some prompts have good labels [0], and how many bad ones [1].
func (k Kinds) Count(prompts []string) (n [2]int) {
	for _, p := range prompts {
		for kind, has := range k[p] {
			if has {
				n[kind]++
			}
		}
	}
	return n
}

// HoldOut holds out n of some prompts: the first ones, if both kinds of labels then are among them
// and among at least keep of the prompts that are left. Otherwise it holds out others, as early in
// the order as can be, and a prompt more or fewer than n. A kind that not more than keep prompts
// have is not held out.
func (k Kinds) HoldOut(prompts []string, n, keep int) []string {
	all := k.Count(prompts)
	wanted := func(kind int) bool { return all[kind] > keep }
	leaves := func(out [2]int) bool {
		return all[0]-out[0] >= min(keep, all[0]) && all[1]-out[1] >= min(keep, all[1])
	}
	lacks := func(out [2]int, kind int) bool { return wanted(kind) && out[kind] == 0 }
	first := k.Count(prompts[:n])
	if leaves(first) && !lacks(first, 0) && !lacks(first, 1) {
		return prompts[:n]
	}
	var held []string
	in, out := map[string]bool{}, [2]int{}
	take := func(n int, suits func(prompt string) bool) {
		for _, p := range prompts {
			if len(held) >= n {
				return
			}
			more := k.Count([]string{p})
			more = [2]int{out[0] + more[0], out[1] + more[1]}
			if !in[p] && suits(p) && leaves(more) {
				held, in[p], out = append(held, p), true, more
			}
		}
	}
	if wanted(0) && wanted(1) {
		take(1, func(p string) bool { return k[p] == [2]bool{true, true} })
	}
	for kind := range all {
		if lacks(out, kind) {
			take(len(held)+1, func(p string) bool { return k[p][kind] })
		}
	}
	take(n, func(string) bool { return true })
	return held
}

// Deal deals prompts into folds, in turn, and returns the fold of each. Where fewer than two of the
// prompts outside of some fold would have labels of one kind, they are dealt kind by kind, which
// spreads both kinds over the folds.
func (k Kinds) Deal(prompts []string, folds int) map[string]int {
	fold := deal(prompts, folds)
	all := k.Count(prompts)
	for f := range folds {
		in := slices.DeleteFunc(slices.Clone(prompts), func(p string) bool { return fold[p] != f })
		if out := k.Count(in); min(all[0]-out[0], all[1]-out[1]) < 2 {
			return deal(k.sorted(prompts), folds)
		}
	}
	return fold
}

func deal(prompts []string, folds int) map[string]int {
	fold := map[string]int{}
	for place, p := range prompts {
		fold[p] = place % folds
	}
	return fold
}

// sorted has the prompts with good labels one after another, and those with bad ones too.
func (k Kinds) sorted(prompts []string) []string {
	rank := func(p string) int {
		switch k[p] {
		case [2]bool{true, false}:
			return 0
		case [2]bool{false, true}:
			return 2
		}
		return 1
	}
	sorted := slices.Clone(prompts)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted
}
