package study

import (
	"context"
	"fmt"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// An Analysis says how votes are looked at.
type Analysis struct {
	Study string
	// Category names the category of a prompt. nil, or "" for a prompt, is none.
	Category func(prompt string) string
	// Unseen says of a prompt that neither model was tuned on it. nil is not known.
	Unseen func(prompt string) bool
	Seed   uint64 // decides the bootstrap
}

// AllPairs is the name of the first group of an Outcome.
const AllPairs = "all"

// Analyse says what the votes on a study amount to so far. A study that is not there is an error
// that wraps feedback.ErrUnknown.
func Analyse(ctx context.Context, store *feedback.Store, a Analysis) (*Result, error) {
	pairs, err := store.Pairs(ctx, a.Study)
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("study: study %q: %w", a.Study, feedback.ErrUnknown)
	}
	votes, err := store.StandingVotes(ctx, a.Study)
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	o, err := store.Overview(ctx)
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	erased, err := erasedRaters(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	wanted := 0
	for _, c := range o.Studies {
		if c.Study == a.Study {
			wanted = c.Wanted
		}
	}
	return a.of(pairs, votes, erased, wanted)
}

// erasedRaters are the names of raters who were erased.
func erasedRaters(ctx context.Context, store *feedback.Store) (map[string]bool, error) {
	raters, err := store.Raters(ctx)
	erased := make(map[string]bool)
	for _, r := range raters {
		erased[r.Name] = !r.Erased.IsZero()
	}
	return erased, err
}

// of is Analyse of what the store has.
func (a Analysis) of(
	pairs []feedback.Pair, votes []feedback.Vote, erased map[string]bool, wanted int,
) (*Result, error) {
	first := pairs[0]
	r := &Result{
		Study: a.Study, ModelA: first.ModelA, ModelB: first.ModelB, Pairs: len(pairs),
		Set: len(first.A), Wanted: wanted,
	}
	prompts, raters := map[string]bool{}, map[string]bool{}
	for _, p := range pairs {
		if p.ModelA != first.ModelA || p.ModelB != first.ModelB {
			return nil, fmt.Errorf("study: study %q compares %s with %s, and %s with %s too",
				a.Study, first.ModelA, first.ModelB, p.ModelA, p.ModelB)
		}
		prompts[p.Prompt] = true
	}
	for _, v := range votes {
		raters[v.Rater] = true
	}
	r.Prompts, r.Raters = len(prompts), len(raters)
	for _, q := range questions {
		t := newTable(pairs, votes, erased, q)
		o := Outcome{Question: q.String(), Votes: t.total, Left: t.left, Sided: t.sided}
		o.Groups = t.groups(a, wanted)
		o.Agreement = t.agreement()
		r.Questions = append(r.Questions, o)
	}
	return r, nil
}
