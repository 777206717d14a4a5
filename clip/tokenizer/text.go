package tokenizer

import (
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// space is Unicode's White_Space, which Python and Rust mean by \s and Go does not.
const space = "" +
	`\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}` +
	`\x{3000}`

// CLIP's words: English contractions, letters, single digits, and everything else between spaces.
const (
	specials     = `<\|startoftext\|>|<\|endoftext\|>`
	contractions = `'s|'t|'re|'ve|'m|'ll|'d`
	runs         = `[` + letters + `]+|[` + numbers + `]|[^` + space + letters + numbers
)

// Letters and numbers of Unicode 16, as Hugging Face's library tokenizers has them: those that Go
// knows, which are Unicode 15's, and the newer ones.
const (
	letters    = `\p{L}` + newLetters
	numbers    = `\p{N}` + newNumbers
	newLetters = "" +
		`\x{1c89}\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}\x{105c0}-\x{105f3}` +
		`\x{10d4a}-\x{10d65}\x{10d6f}-\x{10d85}\x{10ec2}-\x{10ec4}\x{11380}-\x{11389}` +
		`\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}\x{113d1}\x{113d3}\x{11bc0}-\x{11be0}` +
		`\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d40}-\x{16d6c}\x{18cff}` +
		`\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2ebf0}-\x{2ee5d}`
	newNumbers = "" +
		`\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{16130}-\x{16139}` +
		`\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}\x{1e5f1}-\x{1e5fa}`
)

// lower returns a rune's lower case in Unicode 17, as Rust has it. Go's own is that of Unicode 15.
func lower(r rune) rune {
	switch {
	case r == 0x1c89, r == 0xa7cc, r == 0xa7ce, r == 0xa7d2, r == 0xa7d4, r == 0xa7da:
		return r + 1
	case r == 0xa7cb:
		return 0x264
	case r == 0xa7dc:
		return 0x19b
	case 0x10d50 <= r && r <= 0x10d65:
		return r + 0x20
	case 0x16ea0 <= r && r <= 0x16eb8:
		return r + 0x1b
	}
	return unicode.ToLower(r)
}

var (
	spaceRun = regexp.MustCompile(`[` + space + `]+`)
	words    = regexp.MustCompile(specials + `|` + contractions + `|` + runs + `]+`)
	anyCase  = regexp.MustCompile(specials + `|(?i:` + contractions + `)|` + runs + `\x{345}]+`)
	entity   = regexp.MustCompile(`&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)`)
)

// normalize does what transformers' CLIPTokenizer does first. Characters are composed (NFC), spaces
// are joined, and letters are lower-cased one by one.
func normalize(text string) string {
	text = spaceRun.ReplaceAllString(composed(text), " ")
	return strings.Map(lower, strings.ReplaceAll(text, "İ", "i\u0307"))
}

// newMarks are combining characters that are not in Unicode 9. Hugging Face's library tokenizers
// composes by the tables of Unicode 9: it neither orders nor composes these.
var newMarks = regexp.MustCompile(`[` +
	`\x{7fd}\x{898}-\x{89f}\x{8ca}-\x{8d3}\x{9fe}\x{c3c}\x{d3b}\x{d3c}\x{eba}\x{1715}` +
	`\x{1abf}-\x{1ace}\x{1df6}-\x{1dfa}\x{a82c}\x{10d24}-\x{10d27}\x{10eab}\x{10eac}` +
	`\x{10f46}-\x{10f50}\x{10f82}-\x{10f85}\x{11070}\x{1133b}\x{1145e}\x{11839}\x{1183a}` +
	`\x{11930}\x{1193d}\x{1193e}\x{11943}\x{119e0}\x{11a34}\x{11a47}\x{11a99}\x{11d42}` +
	`\x{11d44}\x{11d45}\x{11d97}\x{16ff0}\x{16ff1}\x{1e130}-\x{1e136}\x{1e2ae}` +
	`\x{1e2ec}-\x{1e2ef}` +
	`]`)

// composed returns the normal form C of a text. The newMarks stay where they are.
func composed(text string) string {
	var b strings.Builder
	done := 0
	for _, at := range newMarks.FindAllStringIndex(text, -1) {
		b.WriteString(norm.NFC.String(text[done:at[0]]))
		b.WriteString(text[at[0]:at[1]])
		done = at[1]
	}
	return b.String() + norm.NFC.String(text[done:])
}

// transformersWords returns the words of a normalized text. Special tokens were cut out before:
// what looks like one now is text.
func transformersWords(text string) []string {
	var list []string
	for _, w := range words.FindAllString(text, -1) {
		if w == startToken || w == endToken {
			list = append(list, "<|", strings.Trim(w, "<|>"), "|>")
			continue
		}
		list = append(list, w)
	}
	return list
}

// openAIText does what openai/CLIP's simple_tokenizer.py does first, but for what it does by the
// library ftfy.
func openAIText(text string) string {
	text = pythonStrip(unescape(unescape(text)))
	text = pythonStrip(spaceRun.ReplaceAllString(text, " "))
	return pythonLower(text)
}

// pythonLower is Python's str.lower. A Σ that ends a word becomes ς (Unicode, table 3-17,
// Final_Sigma).
func pythonLower(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == 'İ':
			b.WriteString("i\u0307")
		case r == 'Σ' && endsCased(s[:i]) && !beginsCased(s[i+len("Σ"):]):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// beginsCased reports whether the first letter of s is cased. What is case ignorable is passed
// over.
func beginsCased(s string) bool {
	r, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(s, isCaseIgnorable))
	return isCased(r)
}

// endsCased reports whether the last letter of s is cased. What is case ignorable is passed over.
func endsCased(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(s, isCaseIgnorable))
	return isCased(r)
}

// isCased reports whether a rune is Cased (Unicode, section 3.13).
func isCased(r rune) bool {
	return unicode.In(r,
		unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

// isCaseIgnorable reports whether a rune is Case_Ignorable (Unicode, section 3.13): a mark, a
// format, a modifier, or a sign that may stand within a word.
func isCaseIgnorable(r rune) bool {
	const signs = "'.:·\u0387\u055f\u05f4\u2018\u2019\u2024\u2027" +
		"\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) ||
		strings.ContainsRune(signs, r)
}

// openAIWords returns the words of a text that openAIText has cleaned. The expression ignores case.
// That makes Python pass over U+0345, which is no letter, but a variant of ι.
func openAIWords(text string) []string { return anyCase.FindAllString(text, -1) }

// pythonStrip is Python's str.strip, which also strips the separators U+001C to U+001F.
func pythonStrip(s string) string {
	isSpace := func(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }
	return strings.TrimFunc(s, isSpace)
}

// unescape is Python's html.unescape. It differs from Go's in numeric references: those of
// characters that HTML forbids vanish.
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

// forbidden reports whether HTML 5 forbids a code point in a numeric reference.
func forbidden(r rune) bool {
	return 0x1 <= r && r <= 0x8 || r == 0xb || 0xe <= r && r <= 0x1f || r == 0x7f ||
		0xfdd0 <= r && r <= 0xfdef || r&0xfffe == 0xfffe
}
