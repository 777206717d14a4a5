package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An addedToken is looked for in a text before the rest of the text is split into words. Its fields
// are those of Hugging Face's library tokenizers.
type addedToken struct {
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // found only where no letter, digit or _ touches it
	LStrip     bool   `json:"lstrip"`      // the spaces before it are part of it
	RStrip     bool   `json:"rstrip"`      // the spaces after it are part of it
	Normalized bool   `json:"normalized"`  // found, normalized itself, in the normalized text
	Special    bool   `json:"special"`

	id int // −1 until it has one
}

// UnmarshalJSON reads the object of a token, or the content of a special token alone. A token that
// is not special is normalized, unless its object says otherwise.
func (t *addedToken) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	*t = addedToken{Special: true, id: -1}
	if err := json.Unmarshal(raw, &t.Content); err == nil {
		return nil
	}
	var object struct {
		addedFields
		ID         *int  `json:"id"`
		Normalized *bool `json:"normalized"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("%.100q is not a token", raw)
	}
	*t = addedToken(object.addedFields)
	t.id = -1
	if object.ID != nil {
		t.id = *object.ID
	}
	t.Normalized = !t.Special
	if object.Normalized != nil {
		t.Normalized = *object.Normalized
	}
	return nil
}

// addedFields is addedToken without its reading of JSON.
type addedFields addedToken

// A finder finds tokens in a text: the leftmost one first, and of those that begin at the same
// place the longest.
type finder struct {
	expression *regexp.Regexp // nil if there is nothing to find
	tokens     map[string]addedToken
}

// newFinder returns a finder of the tokens, as normalize spells them.
func newFinder(tokens []addedToken, normalize func(string) string) finder {
	f := finder{tokens: make(map[string]addedToken)}
	var alternatives []string
	for _, t := range tokens {
		content := normalize(t.Content)
		if content == "" {
			continue
		}
		f.tokens[content] = t
		alternatives = append(alternatives, regexp.QuoteMeta(content))
	}
	if alternatives != nil {
		f.expression = regexp.MustCompile(strings.Join(alternatives, "|"))
		f.expression.Longest()
	}
	return f
}

// split yields the parts of a text in their order: a piece of text without tokens, with the id −1,
// or "" with the id of a token.
func (f finder) split(text string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		done := 0
		for start, end := range f.matches(text) {
			t := f.tokens[text[start:end]]
			if t.SingleWord && (endsWord(text[:start]) || startsWord(text[end:])) {
				continue
			}
			if t.LStrip {
				start = max(len(strings.TrimRightFunc(text[:start], unicode.IsSpace)), done)
			}
			if t.RStrip {
				end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
			}
			if start > done && !yield(text[done:start], -1) {
				return
			}
			// A token of spaces has none left if the token before it has taken them along.
			if start < end && !yield("", t.id) {
				return
			}
			done = end
		}
		if done < len(text) {
			yield(text[done:], -1)
		}
	}
}

func (f finder) matches(text string) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		if f.expression == nil {
			return
		}
		for _, at := range f.expression.FindAllStringIndex(text, -1) {
			if !yield(at[0], at[1]) {
				return
			}
		}
	}
}

func startsWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

func endsWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord reports whether \w matches a rune in regular expressions of Unicode (UTS 18, annex C). It
// is that of Unicode 16, as letters and numbers are.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M,
		unicode.Nd, unicode.Pc, unicode.Join_Control) || newWordRune.MatchString(string(r))
}

// newWordRune matches those letters, digits and marks of Unicode 16 that Go does not know.
var newWordRune = regexp.MustCompile(`[` + newLetters + newNumbers +
	`\x{897}\x{10d69}-\x{10d6d}\x{10efc}\x{113b8}-\x{113c0}\x{113c2}\x{113c5}` +
	`\x{113c7}-\x{113ca}\x{113cc}-\x{113d0}\x{113d2}\x{113e1}\x{113e2}\x{11f5a}` +
	`\x{1611e}-\x{1612f}\x{1e5ee}\x{1e5ef}` +
	`]`)

// setAdded sets the tokens that are looked for in texts. Of two with the same content the last
// counts.
func (t *Tokenizer) setAdded(tokens []addedToken) {
	t.added = nil
	for _, a := range tokens {
		same := func(b addedToken) bool { return a.Content == b.Content }
		t.added = slices.DeleteFunc(t.added, same)
		t.added = append(t.added, a)
	}
	slices.SortFunc(t.added, func(a, b addedToken) int { return cmp.Compare(a.id, b.id) })
	var raw, normalized []addedToken
	for _, a := range t.added {
		if a.Normalized {
			normalized = append(normalized, a)
		} else {
			raw = append(raw, a)
		}
	}
	t.raw = newFinder(raw, func(s string) string { return s })
	t.normalized = newFinder(normalized, normalize)
}
