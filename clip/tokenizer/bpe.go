package tokenizer

import "container/heap"

// appendWord appends the tokens of one word to ids. They are its bytes, joined by the best merge
// first, and of equal ones by the leftmost.
func (t *Tokenizer) appendWord(ids []int, word string) []int {
	if word == startToken {
		return append(ids, t.start)
	}
	if word == endToken {
		return append(ids, t.end)
	}
	w := newWord(t, word)
	for len(w.queue) > 0 {
		w.apply(heap.Pop(&w.queue).(candidate))
	}
	for i := 0; i >= 0; i = w.parts[i].next {
		ids = append(ids, w.parts[i].id)
	}
	return ids
}

// A word is a linked list of parts, with the merges that may be next. By the list, a word of n
// bytes costs n log n.
type word struct {
	t     *Tokenizer
	parts []part
	queue candidates
}

// A part is a token of a word. Its neighbours are indices into the word's parts, −1 at the ends.
type part struct{ id, previous, next int }

// A candidate is a merge of the parts at left and right. It was possible when they had these ids.
type candidate struct {
	join
	left, right int
	ids         pair
}

func newWord(t *Tokenizer, text string) *word {
	w := &word{t: t, parts: make([]part, len(text))}
	for i := range len(text) {
		w.parts[i] = part{t.bytes[text[i]], i - 1, i + 1}
	}
	end := len(text) - 1
	w.parts[end].id, w.parts[end].next = t.last[text[end]], -1
	for i := range end {
		w.propose(i)
	}
	heap.Init(&w.queue)
	return w
}

// propose queues the merge of the part at i with the one after it, if there is such a merge.
func (w *word) propose(i int) {
	if i < 0 || w.parts[i].next < 0 {
		return
	}
	next := w.parts[i].next
	ids := pair{w.parts[i].id, w.parts[next].id}
	if j, ok := w.t.joins[ids]; ok {
		heap.Push(&w.queue, candidate{j, i, next, ids})
	}
}

// apply merges the candidate's parts if they are still there.
func (w *word) apply(c candidate) {
	left, right := &w.parts[c.left], &w.parts[c.right]
	if left.next != c.right || left.id != c.ids.left || right.id != c.ids.right {
		return
	}
	left.id, left.next = c.id, right.next
	if right.next >= 0 {
		w.parts[right.next].previous = c.left
	}
	right.next = -1 // what was queued for it no longer fits
	w.propose(left.previous)
	w.propose(c.left)
}

type candidates []candidate

func (q candidates) Len() int { return len(q) }
func (q candidates) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].left < q[j].left
}
func (q candidates) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *candidates) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *candidates) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
