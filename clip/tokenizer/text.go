package tokenizer

import (
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// space is Unicode's White_Space, which Python and Rust mean by \s and Go does not.
const space = `\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`

// CLIP's words: English contractions, letters, single digits, and everything else between spaces.
const (
	specials     = `<\|startoftext\|>|<\|endoftext\|>`
	contractions = `'s|'t|'re|'ve|'m|'ll|'d`
	runs         = `\p{L}+|\p{N}|[^` + space + `\p{L}\p{N}`
)

var (
	spaceRun = regexp.MustCompile(`[` + space + `]+`)
	words    = regexp.MustCompile(specials + `|` + contractions + `|` + runs + `]+`)
	anyCase  = regexp.MustCompile(specials + `|(?i:` + contractions + `)|` + runs + `\x{345}]+`)
	entity   = regexp.MustCompile(`&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)`)
)

// transformersPieces are the words of a text as transformers' CLIPTokenizer sees them: composed (NFC), spaces
// joined, lower-cased rune by rune. Special tokens were cut out before; what looks like one now is text.
func transformersPieces(text string) []string {
	text = spaceRun.ReplaceAllString(norm.NFC.String(text), " ")
	text = strings.Map(unicode.ToLower, strings.ReplaceAll(text, "İ", "i\u0307"))
	var pieces []string
	for _, p := range words.FindAllString(text, -1) {
		if p == startToken || p == endToken {
			pieces = append(pieces, "<|", strings.Trim(p, "<|>"), "|>")
			continue
		}
		pieces = append(pieces, p)
	}
	return pieces
}

// openAIPieces are the words of a text as openai/CLIP's simple_tokenizer.py sees them. Its expression ignores
// case, which makes Python pass over U+0345: no letter itself, but a variant of ι.
func openAIPieces(text string) []string {
	text = pythonStrip(unescape(unescape(text)))
	text = pythonStrip(spaceRun.ReplaceAllString(text, " "))
	return anyCase.FindAllString(cases.Lower(language.Und).String(text), -1)
}

// pythonStrip is Python's str.strip, which also strips the separators U+001C to U+001F.
func pythonStrip(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f })
}

// unescape is Python's html.unescape. It differs from Go's in numeric references: those of characters that
// HTML forbids vanish.
func unescape(s string) string {
	return entity.ReplaceAllStringFunc(s, func(ref string) string {
		if ref[1] == '#' {
			return numericReference(strings.TrimSuffix(ref[2:], ";"))
		}
		return html.UnescapeString(ref)
	})
}

func numericReference(digits string) string {
	base := 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	switch {
	case err != nil || n > unicode.MaxRune || 0xD800 <= n && n <= 0xDFFF || n == 0:
		return "\uFFFD"
	case n == 0x0D:
		return "\r"
	case 0x80 <= n && n <= 0x9F:
		return html.UnescapeString("&#" + strconv.FormatUint(n, 10) + ";")
	case forbidden(rune(n)):
		return ""
	}
	return string(rune(n))
}

// forbidden reports the code points that HTML 5 does not allow in a numeric reference.
func forbidden(r rune) bool {
	return 0x1 <= r && r <= 0x8 || r == 0xb || 0xe <= r && r <= 0x1f || r == 0x7f ||
		0xfdd0 <= r && r <= 0xfdef || r&0xfffe == 0xfffe
}
