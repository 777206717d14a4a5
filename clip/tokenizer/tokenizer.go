// Package tokenizer turns prompts into the token ids that CLIP's text encoders read. The encoding
// is byte-level byte-pair encoding with an end-of-word mark (Sennrich et al. 2016; Radford et al.
// 2021).
//
// A Tokenizer comes from a folder as transformers writes it (Load) or from a corpus (Train). Save
// writes such a folder. A Tokenizer cleans text as transformers' CLIPTokenizer does. OpenAI returns
// one with the same vocabulary that cleans text as openai/CLIP does.
//
// What is wrong in a file is a FileError, which names the file.
package tokenizer

import "strings"

// The special tokens of CLIP.
const (
	startToken = "<|startoftext|>"
	endToken   = "<|endoftext|>"
)

// A Tokenizer is a vocabulary with its merges. It is safe for concurrent use as long as nobody
// changes Length.
type Tokenizer struct {
	// Length is the number of ids of every encoding, at least 2. It is 77 for OpenAI's CLIPs, which
	// have as many positions.
	Length int

	tokens  []string       // by id; empty where an id is unused
	ids     map[string]int // by token
	merges  []string       // "a b", best first
	joins   map[pair]join  // what two neighbours become
	start   int            // <|startoftext|>
	end     int            // <|endoftext|>
	pad     int            // fills an encoding up to Length
	unknown int            // stands for a symbol that the vocabulary lacks
	bytes   [256]int       // id of each byte's symbol
	last    [256]int       // id of each byte's symbol at a word's end

	added      []addedToken // found in the text before it is split into words
	raw        finder       // of those that are found in the text as it is
	normalized finder       // of those that are found in the clean text

	normalize func(string) string   // cleans a text
	words     func(string) []string // splits a clean text
}

type pair struct{ left, right int }

type join struct{ rank, id int }

// Encode returns Length ids: the start, the text's tokens, the end, and padding. A text that is too
// long loses its last tokens.
func (t *Tokenizer) Encode(text string) []int {
	ids := make([]int, 0, t.Length)
	ids = append(ids, t.start)
	tokens := t.Tokens(text)
	ids = append(ids, tokens[:min(len(tokens), max(t.Length-2, 0))]...)
	ids = append(ids, t.end)
	for len(ids) < t.Length {
		ids = append(ids, t.pad)
	}
	return ids
}

// Tokens returns the ids of all of the text's tokens, without start, end and padding.
func (t *Tokenizer) Tokens(text string) []int {
	var ids []int
	for part, id := range t.raw.split(strings.ToValidUTF8(text, "\uFFFD")) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		for part, id := range t.normalized.split(t.normalize(part)) {
			if id >= 0 {
				ids = append(ids, id)
				continue
			}
			for _, word := range t.words(part) {
				ids = t.appendWord(ids, word)
			}
		}
	}
	return ids
}

// Size returns the number of rows that an embedding table for the vocabulary needs.
func (t *Tokenizer) Size() int { return len(t.tokens) }

// Start returns the id of the token that begins every encoding: <|startoftext|>.
func (t *Tokenizer) Start() int { return t.start }

// End returns the id of the token that ends the text of every encoding: <|endoftext|>. CLIP pools
// at the first of them.
func (t *Tokenizer) End() int { return t.end }

// Pad returns the id that fills an encoding up to Length.
func (t *Tokenizer) Pad() int { return t.pad }

// Token returns the token of an id, with its end-of-word mark. It is "" if the id is unused.
func (t *Tokenizer) Token(id int) string {
	if id < 0 || id >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// OpenAI returns a tokenizer with t's vocabulary that cleans text as openai/CLIP does. HTML
// entities are unescaped twice, spaces are joined, and the whole text is lower-cased as Python does
// it. The rest of an encoding is filled with 0. (What openai/CLIP does by the library ftfy is not
// done.)
func (t *Tokenizer) OpenAI() *Tokenizer {
	o := *t
	o.pad = 0
	o.added, o.raw, o.normalized = nil, finder{}, finder{}
	o.normalize, o.words = openAIText, openAIWords
	return &o
}

// symbols are the printable stand-ins of the 256 bytes in the order of CLIP's ids, and byteOf the
// bytes that they stand for.
var symbols, byteOf = func() ([]string, []int) {
	var names []string
	var of []int
	printable := func(b int) bool {
		return '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b && b <= 0xFF
	}
	for b := range 256 {
		if printable(b) {
			names, of = append(names, string(rune(b))), append(of, b)
		}
	}
	for b := range 256 {
		if !printable(b) {
			names, of = append(names, string(rune(256+len(of)-188))), append(of, b)
		}
	}
	return names, of
}()

// wordEnd marks a token that ends a word.
const wordEnd = "</w>"

// index fills what is derived from tokens.
func (t *Tokenizer) index() {
	t.ids = make(map[string]int, len(t.tokens))
	for id, token := range t.tokens {
		if token != "" {
			t.ids[token] = id
		}
	}
	find := func(token string) int {
		if id, ok := t.ids[token]; ok {
			return id
		}
		return t.unknown
	}
	for i, s := range symbols {
		t.bytes[byteOf[i]], t.last[byteOf[i]] = find(s), find(s+wordEnd)
	}
}
