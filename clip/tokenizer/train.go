package tokenizer

import (
	"fmt"
	"maps"
	"slices"
)

// Train learns a vocabulary on a corpus. It has the 512 byte symbols of CLIP, then one token a
// merge, then the start and the end. Each merge joins the pair of neighbours that is the most
// frequent in the corpus; of equals it is the first in alphabetical order. So the result depends on
// the counts of the corpus's words alone. There are fewer merges if no pair is left that occurs
// twice. A negative number of merges is an error. Length is 77.
func Train(corpus []string, merges int) (*Tokenizer, error) {
	if merges < 0 {
		return nil, fmt.Errorf("tokenizer: %d merges asked for", merges)
	}
	t := &Tokenizer{Length: clipLength, normalize: normalize, words: transformersWords}
	for _, end := range []string{"", wordEnd} {
		for _, s := range symbols {
			t.tokens = append(t.tokens, s+end)
		}
	}
	t.index()
	list := countWords(t, corpus)
	for len(t.merges) < merges {
		best, ok := t.commonest(list)
		if !ok {
			break
		}
		t.learn(best, list)
	}
	t.start, t.end = len(t.tokens), len(t.tokens)+1
	t.pad, t.unknown = t.end, t.end
	t.tokens = append(t.tokens, startToken, endToken)
	t.setAdded([]addedToken{
		{Content: startToken, Special: true, id: t.start},
		{Content: endToken, Special: true, id: t.end},
	})
	t.index()
	if err := t.setMerges(); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

// A counted word is a distinct word of the corpus as ids.
type counted struct {
	ids   []int
	count int
}

func countWords(t *Tokenizer, corpus []string) []counted {
	counts := make(map[string]int)
	for _, text := range corpus {
		for _, piece := range t.words(t.normalize(text)) {
			counts[piece]++
		}
	}
	var list []counted
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		ids := make([]int, len(text))
		for i := range len(text) {
			ids[i] = t.bytes[text[i]]
		}
		ids[len(ids)-1] = t.last[text[len(text)-1]]
		list = append(list, counted{ids, counts[text]})
	}
	return list
}

// commonest returns the most frequent pair of neighbours. ok is false if none occurs twice.
func (t *Tokenizer) commonest(list []counted) (best pair, ok bool) {
	counts := make(map[pair]int)
	for _, w := range list {
		for i := range len(w.ids) - 1 {
			counts[pair{w.ids[i], w.ids[i+1]}] += w.count
		}
	}
	most := 1
	for p, n := range counts {
		if n > most || n == most && ok && t.merge(p) < t.merge(best) {
			best, most, ok = p, n, true
		}
	}
	return best, ok
}

// merge returns a pair as merges.txt spells it.
func (t *Tokenizer) merge(p pair) string { return t.tokens[p.left] + " " + t.tokens[p.right] }

// learn adds the token of a pair, and joins the pair wherever it occurs. Where another pair spells
// the same token already, the token keeps its id.
func (t *Tokenizer) learn(p pair, list []counted) {
	t.merges = append(t.merges, t.merge(p))
	token := t.tokens[p.left] + t.tokens[p.right]
	id, known := t.ids[token]
	if !known {
		id = len(t.tokens)
		t.ids[token] = id
		t.tokens = append(t.tokens, token)
	}
	for i := range list {
		list[i].ids = replacePair(list[i].ids, p, id)
	}
}

func replacePair(ids []int, p pair, id int) []int {
	out := ids[:0]
	for i := 0; i < len(ids); i++ {
		if i+1 < len(ids) && ids[i] == p.left && ids[i+1] == p.right {
			out = append(out, id)
			i++
			continue
		}
		out = append(out, ids[i])
	}
	return out
}
