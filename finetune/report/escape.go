package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escaped is text as it may be shown on a terminal, whoever wrote it: what would command the
// terminal, or change the order in which it is read, is written as Go writes it in strings, \x1b or
// \u202e. Ends of lines and tabs stay.
func Escaped(text string) string { return escaped(text, "\n\t") }

// oneLine is Escaped of what must stay in its line.
func oneLine(text string) string { return escaped(text, "") }

func escaped(text, kept string) string {
	if plainText(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case strings.ContainsRune(kept, r) || !commands(r):
			b.WriteString(text[:n])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[n:]
	}
	return b.String()
}

// plainText says whether there is nothing to escape, as nearly always.
func plainText(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// commands says whether a character is for terminals rather than for people: a control character,
// a separator of lines, or one that turns the direction of what follows.
func commands(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\u061c', r == '\u200e',
		r == '\u200f', '\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069':
		return true
	}
	return false
}

// Stdout is standard output for the results of a program. What is written is Escaped. That nobody
// reads it any more is no error.
func Stdout() io.Writer { return terminal{os.Stdout} }

// A terminal is a writer that people look at.
type terminal struct{ w io.Writer }

func (t terminal) Write(text []byte) (int, error) {
	if _, err := io.WriteString(t.w, Escaped(string(text))); err != nil && !gone(err) {
		return 0, err
	}
	return len(text), nil
}
