package weights

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Printable is a text out of a file as a message may show it. A text that holds anything besides
// the characters of names is quoted as Go quotes strings, so that no terminal obeys it. A long one
// is cut.
func Printable(text string) string {
	const most = 200 // bytes; names of tensors have at most about 120
	if len(text) > most {
		for text = text[:most]; !utf8.ValidString(text) && len(text) > most-utf8.UTFMax; {
			text = text[:len(text)-1]
		}
		text += "…"
	}
	plain := func(r rune) bool { return r > ' ' && r < 127 && r != '"' || r == '…' }
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return strconv.QuoteToGraphic(text)
}

// Few lists lines of a message, each behind a tab on a line of its own: the first few of them in
// alphabetical order, and how many more there are.
func Few(lines []string) string {
	const few = 6
	lines = slices.Sorted(slices.Values(lines))
	var out strings.Builder
	for _, line := range lines[:min(few, len(lines))] {
		out.WriteString("\n\t" + line)
	}
	if more := len(lines) - few; more > 0 {
		fmt.Fprintf(&out, "\n\tand %d more", more)
	}
	return out.String()
}

// FewNames is Few of names out of files or folders, which are Printable there.
func FewNames(names []string) string {
	lines := make([]string, len(names))
	for i, name := range names {
		lines[i] = Printable(name)
	}
	return Few(lines)
}
