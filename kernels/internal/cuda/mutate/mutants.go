//go:build unix

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Mutant is a file of kernels with one mistake.
type Mutant struct {
	Mutation string // what is wrong: `i < n` is now `i <= n`
	Line     string // the first line that it is wrong in, as it was, without what indents it
	Number   int    // of that line, from 1
	Text     string // the whole file
}

// Key says which mutant of a file it is, while lines are moved and others are changed.
func (m Mutant) Key() string { return m.Line + "\n" + m.Mutation }

// An edit puts other text in the place of text[from:to].
type edit struct {
	from, to int
	with     string
	mutation string
}

// An operator finds what can go wrong in a text without comments.
type operator func(code string) []edit

// operators are all mistakes that are made.
var operators = []operator{
	deleted(`\b(?:sync_\w+|copy_commit|copy_wait|fence_\w+|wait_\w+)(?:<[^;()]*>)?\([^;()]*\);`),
	waitsForLess,
	deleted(`\bif \([^;{}]*\)\s+(?:continue|return|break);`),
	unguarded,
	alwaysCopied,
	replaced(`\b[a-zA-Z_][\w.]* \? `, "true ? "),
	replaced(` && `, " || "),
	replaced(` \|\| `, " && "),
	compared,
	replaced(`\b(load[24])\(`, "${1}t("),
	replaced(`\b(load[24])t\(`, "${1}("),
	swapped,
	subtracted,
}

// mutants returns all mutants of a file, by line.
func mutants(text string) []Mutant {
	code := blank(text)
	var all []Mutant
	seen := make(map[string]int)
	for _, find := range operators {
		for _, e := range find(code) {
			begin := strings.LastIndexByte(text[:e.from], '\n') + 1
			end := begin + strings.IndexByte(text[begin:]+"\n", '\n')
			m := Mutant{
				Mutation: e.mutation,
				Line:     strings.TrimSpace(text[begin:end]),
				Number:   strings.Count(text[:begin], "\n") + 1,
				Text:     text[:e.from] + e.with + text[e.to:],
			}
			key := m.Key()
			if seen[key]++; seen[key] > 1 { // the same line in another place
				m.Mutation += fmt.Sprintf(" (number %d)", seen[key])
			}
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b Mutant) int { return a.Number - b.Number })
	return all
}

// blank returns text with spaces for what is no code that the emulation compiles: comments,
// strings, preprocessor lines but the bodies of macros, and what is for devices.
func blank(text string) string {
	b := []byte(text)
	clear := func(from, to int) {
		for i := from; i < to; i++ {
			if b[i] != '\n' {
				b[i] = ' '
			}
		}
	}
	for _, pattern := range []string{`//[^\n]*`, `(?s)/\*.*?\*/`, `"(?:[^"\\\n]|\\.)*"`} {
		for _, m := range regexp.MustCompile(pattern).FindAllIndex(b, -1) {
			clear(m[0], m[1])
		}
	}
	// depth counts conditionals, and device is the depth of the one whose branch is not compiled.
	at, depth, device := 0, 0, 0
	for line := range strings.Lines(string(b)) {
		word := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(word, "#if"):
			depth++
			if device == 0 && strings.HasPrefix(word, "#if defined(__CUDACC__)") {
				device = depth
			}
		case strings.HasPrefix(word, "#endif"):
			if device == depth {
				device = 0
			}
			depth--
		case strings.HasPrefix(word, "#else") && device == depth:
			device = 0
		}
		if device != 0 || strings.HasPrefix(word, "#") ||
			strings.HasPrefix(word, "static_assert") || strings.HasPrefix(word, "template <") {
			clear(at, at+len(line))
		}
		at += len(line)
	}
	return string(b)
}

// short is code as it is named in a mutation: on one line.
func short(code string) string { return strings.Join(strings.Fields(code), " ") }

// deleted is without what matches a pattern.
func deleted(pattern string) operator {
	r := regexp.MustCompile(pattern)
	return func(code string) (all []edit) {
		for _, m := range r.FindAllStringIndex(code, -1) {
			if what := code[m[0]:m[1]]; nested(what) {
				e := edit{m[0], m[1], ";", fmt.Sprintf("without `%s`", short(what))}
				all = append(all, e)
			}
		}
		return all
	}
}

// nested reports whether parentheses match.
func nested(code string) bool {
	depth := 0
	for _, c := range code {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			return false
		}
	}
	return depth == 0
}

// becomes is an edit of code[from:to], described by it and some words around it.
func becomes(code string, from, to int, with string, most int) edit {
	left, right := from, to
	for left > 0 && inside(code[left-1]) && (from-left < most || word(code[left-1])) {
		left--
	}
	for right < len(code) && inside(code[right]) && (right-to < most || word(code[right])) {
		right++
	}
	is := code[left:from] + with + code[to:right]
	return edit{from, to, with, fmt.Sprintf("`%s` is `%s`", short(code[left:right]), short(is))}
}

// around is how many characters around an operator its description has at least.
const around = 8

func inside(c byte) bool { return !strings.ContainsRune(";{}\n", rune(c)) }

func word(c byte) bool {
	return c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// replaced has another text in the place of what matches a pattern.
func replaced(pattern, with string) operator {
	r := regexp.MustCompile(pattern)
	return func(code string) (all []edit) {
		for _, m := range r.FindAllStringSubmatchIndex(code, -1) {
			text := string(r.ExpandString(nil, with, code, m))
			all = append(all, becomes(code, m[0], m[1], text, around))
		}
		return all
	}
}

// waitsForLess leaves one more group of copies on its way.
func waitsForLess(code string) (all []edit) {
	r := regexp.MustCompile(`\bcopy_wait<([^;()]*|[^;]*\([^;]*\)[^;]*)>\(\)`)
	for _, m := range r.FindAllStringSubmatchIndex(code, -1) {
		groups := code[m[2]:m[3]]
		all = append(all, becomes(code, m[0], m[1], "copy_wait<("+groups+") + 1>()", 0))
	}
	return all
}

// comparison is a comparison, or what is compared with others: templates have no spaces there.
var comparison = regexp.MustCompile(` (<|<=|>|>=) `)

// leaves is what follows the condition of a guard.
var leaves = regexp.MustCompile(`^\s+(?:continue|return|break);`)

// constant is what stands before a comparison that the compiler does.
var constant = regexp.MustCompile(`(?:\bconstexpr [^;{}]*|\bUNROLL\s+for \([^;]*;[^;]*)$`)

// unguarded makes conditions true, but for those of guards, which are deleted.
func unguarded(code string) (all []edit) {
	for _, m := range regexp.MustCompile(`\bif \(`).FindAllStringIndex(code, -1) {
		open := m[1] - 1
		end := closing(code, open)
		condition := code[open+1 : end]
		if end == len(code) || leaves.MatchString(code[end+1:]) {
			continue
		}
		e := edit{open + 1, end, "true", fmt.Sprintf("`if (%s)` is always", short(condition))}
		all = append(all, e)
	}
	return all
}

// closing returns where the parenthesis at open is closed, or the length of code.
func closing(code string, open int) int {
	depth := 0
	for i := open; i < len(code); i++ {
		switch code[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(code)
}

// arguments returns where the arguments of a call begin and end.
func arguments(code string, open int) (spans [][2]int) {
	end := closing(code, open)
	begin, depth := open+1, 0
	for i := open + 1; i < end; i++ {
		switch code[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case '<': // comparisons have spaces
			if word(code[i-1]) {
				depth++
			}
		case '>':
			if code[i-1] != ' ' && code[i-1] != '-' {
				depth--
			}
		case ',':
			if depth == 0 {
				spans = append(spans, [2]int{begin, i})
				begin = i + 1
			}
		}
	}
	spans = append(spans, [2]int{begin, end})
	for i, s := range spans { // without the spaces around
		for s[0] < s[1] && strings.ContainsRune(" \n", rune(code[s[0]])) {
			s[0]++
		}
		spans[i] = s
	}
	return spans
}

// alwaysCopied copies what is not valid.
func alwaysCopied(code string) (all []edit) {
	for _, m := range regexp.MustCompile(`\bcopy\d+\(`).FindAllStringIndex(code, -1) {
		args := arguments(code, m[1]-1)
		if len(args) != 3 || code[args[2][0]:args[2][1]] == "true" {
			continue
		}
		condition := short(code[args[2][0]:args[2][1]])
		e := edit{args[2][0], args[2][1], "true", fmt.Sprintf("copies also if not `%s`", condition)}
		all = append(all, e)
	}
	return all
}

// compared is off by one. What is known when the kernel is compiled is left alone: constants, and
// the bounds of loops that are unrolled.
func compared(code string) (all []edit) {
	off := map[string]string{"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
	for _, m := range comparison.FindAllStringSubmatchIndex(code, -1) {
		if constant.MatchString(code[:m[0]]) {
			continue
		}
		all = append(all, becomes(code, m[2], m[3], off[code[m[2]:m[3]]], around))
	}
	return all
}

// swapped exchanges the halves of the right fragment of a product.
func swapped(code string) (all []edit) {
	for _, m := range regexp.MustCompile(`\bmma\w*\(`).FindAllStringIndex(code, -1) {
		args := arguments(code, m[1]-1)
		if len(args) != 4 {
			continue
		}
		b0, b1 := code[args[2][0]:args[2][1]], code[args[3][0]:args[3][1]]
		if b0 == b1 || strings.HasPrefix(b0, "u32 ") {
			continue
		}
		what := fmt.Sprintf("`%s` and `%s` are swapped", short(b0), short(b1))
		all = append(all, edit{args[2][0], args[3][1], b1 + ", " + b0, what})
	}
	return all
}

// subtracted has - for +.
func subtracted(code string) (all []edit) {
	for _, m := range regexp.MustCompile(` (\+) `).FindAllStringSubmatchIndex(code, -1) {
		all = append(all, becomes(code, m[2], m[3], "-", around))
	}
	return all
}
