package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

var (
	labelFiles = flag.Int("label-files", 60, "random files of TestRandomLabels")
	labelSeed  = flag.Uint64("label-files-seed", 1, "seed of TestRandomLabels")
)

// TestRandomLabels reads files of labels as people might have them. What each line was made as says
// what must be read of it, or what must be said of it and in which line:
//
//	go test -run TestRandomLabels -v ./dataset -label-files 2000 -label-files-seed 1
func TestRandomLabels(t *testing.T) {
	dir := t.TempDir()
	labelledPictures(t, dir)
	counts := map[string]int{}
	for i := range *labelFiles {
		l := &labels{
			r:    rand.New(rand.NewPCG(*labelSeed, uint64(i))),
			path: filepath.Join(dir, "labels.jsonl"),
		}
		l.images, l.most = l.r.IntN(2) == 0, l.r.IntN(3)
		text := l.file()
		require.NoError(t, os.WriteFile(l.path, text, 0o644))
		counts[l.compare(t, fmt.Sprintf("file %d: %q", i, text))]++
	}
	t.Log(counts)
}

// labelledPictures are what files of labels name, and what they should not.
func labelledPictures(t *testing.T, dir string) {
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub", "folder.png"), 0o755))
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 2, 2))))
	for name, text := range map[string]string{
		"1.png": b.String(), "2.png": b.String(), "3 4.PNG": b.String(), "sub/ü,犬.png": b.String(),
		"empty.png": "", "page.png": "<html>", "cut.png": b.String()[:40],
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}

// labels are a file of labels that is made.
type labels struct {
	r      *rand.Rand
	path   string
	images bool // the pictures are to be read
	most   int  // of what is to be refused: none, little or much
	lines  []line

	want  []Sample
	wrong int    // the line of which an error must speak; 0 if there is none
	says  string // what it must say
}

// A line is what it was made as. Both are zero where it is blank.
type line struct {
	sample Sample
	says   string // what must be said of it, where it is to be refused
}

// file is the file's bytes.
func (l *labels) file() []byte {
	var rows []string
	for range pick(l.r, 0, 1, 1, 2, 3, 5, 9) {
		l.lines = append(l.lines, line{})
		rows = append(rows, l.row(&l.lines[len(l.lines)-1]))
	}
	if n := len(rows); l.err(12) && n > 0 && l.lines[n-1].sample.Prompt != "" {
		// A download that ended early.
		text := []rune(strings.TrimSpace(strings.Trim(rows[n-1], "\ufeff")))
		rows[n-1] = string(text[:1+l.r.IntN(len(text)-1)])
		l.lines[n-1] = line{says: "ends inside a JSON value"}
	}
	end := pick(l.r, "\n", "\n", "\r\n", "\r")
	text := l.encode(strings.Join(rows, end)+pick(l.r, "", end, end+end), end)
	if l.wrong == 0 {
		l.resolve()
	}
	return text
}

// resolve finds out what is to be read, or the first line that is to be refused.
func (l *labels) resolve() {
	taken := map[string]bool{}
	for i, made := range l.lines {
		s := made.sample
		switch {
		case made.says == "" && s.Prompt == "": // blank
			continue
		case made.says == "" && s.ID == "" && !taken[s.File]:
			s.ID = s.File
		}
		if s.ID == "" {
			s.ID = fmt.Sprintf("labels.jsonl:%d", i+1)
		}
		bad := map[string]string{
			"gone.png": "no such file", "C:/1.png": "no such file", "empty.png": "empty.png",
			"page.png": "page.png", "cut.png": "cut.png", "sub/folder.png": "folder",
		}[s.File]
		switch {
		case made.says == "" && taken[s.ID]:
			made.says = fmt.Sprintf("the id %q", s.ID)
		case made.says == "" && l.images:
			made.says = bad
		}
		if made.says != "" {
			l.wrong, l.says = i+1, made.says
			return
		}
		taken[s.ID] = true
		l.want = append(l.want, s)
	}
}

// err says whether a mistake is made that one of n files which are full of them would have.
func (l *labels) err(n int) bool { return l.r.IntN(n*(3-l.most)) < l.most }

// row is a line, and says what it is made as.
func (l *labels) row(made *line) (text string) {
	space := pick(l.r, "", "", " ", "\t")
	if l.r.IntN(16) == 0 {
		return pick(l.r, "", space, "\u00a0 ", "\ufeff")
	}
	if l.err(16) {
		text, made.says = l.noObject()
		return space + text
	}
	fields, says := l.fields(&made.sample)
	if says == "" {
		says = l.mistake(&fields)
	}
	l.r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	text = "{" + space + strings.Join(fields, space+","+space) + space + "}"
	if says == "" && l.err(16) {
		says = "more than one"
		switch l.r.IntN(4) {
		case 0, 1:
			text, says = text+",", "ends with a comma"
		case 2:
			text += " " + text
		case 3:
			text, says = text+pick(l.r, ";", " # good", "]", ", 1"), "more"
		}
	}
	if says != "" {
		*made = line{says: says}
	}
	return pick(l.r, "", "", "", "\ufeff") + space + text + space
}

// noObject is a line that is something else, and what is to be said of it.
func (l *labels) noObject() (text, says string) {
	all := map[string]string{
		"prompt,file,label": "no JSON object", "a dog,1.png,good": "no JSON object",
		"[": "JSON array", `[{"prompt":"a dog","label":"good"},`: "JSON array",
		`["a dog","good"]`: "JSON array", "]": "no JSON object", `"a dog"`: "no JSON object",
		"null": "no JSON object", "1": "no JSON object", "# mine": "no JSON object",
		"prompt: a dog": "no JSON object", "---": "no JSON object", "{": "ends inside",
		`{"prompt":`: "ends inside", "{}": "prompt is missing", "\x1a": "no JSON object",
		`{'prompt': 'a dog'}`: "bad JSON", `{prompt:"a dog"}`: "bad JSON",
		`{"prompt" "a dog"}`: "bad JSON", `{"prompt":"a dog",}`: "bad JSON",
		`{"prompt":"a dog" "label":"good"}`: "bad JSON", `{"prompt":"a dog"]`: "bad JSON",
		`{"prompt":"a dog","label":True}`:                   "bad JSON",
		`{"prompt":"a dog","label":good}`:                   "bad JSON",
		`{"prompt":"a dog","label":01}`:                     "bad JSON",
		`{"prompt":"a dog","reward":NaN}`:                   "NaN",
		`{"prompt":"a dog","reward":-Infinity}`:             "Infinity",
		`{"prompt":"C:\dog"}`:                               "bad JSON",
		"{\"prompt\":\"a\tdog\"}":                           "bad JSON",
		`{"samples":[{"prompt":"a dog"}]}`:                  `no field "samples"`,
		"PK":                                                "no JSON object",
		"a\x00b":                                            "zero byte",
		"\x1b$B8$\x1b(B":                                    "ISO-2022",
		`{"prompt":"` + strings.Repeat("x", maxLine) + `"}`: "more than",
		strings.Repeat(`{"source":`, 20000):                 "bad JSON",
	}
	if l.r.IntN(3) > 0 { // the common ones
		all = map[string]string{
			"prompt,file,label": "no JSON object", "[": "JSON array",
			`{'prompt': 'a dog', 'label': 'good'}`: "bad JSON", "{": "ends inside",
		}
	}
	text = pick(l.r, slices.Sorted(maps.Keys(all))...)
	return text, all[text]
}

// fields are those of a line as they are written, and what is wrong with them.
func (l *labels) fields(s *Sample) (fields []string, says string) {
	r := l.r
	wrong := func(text string) {
		if says == "" {
			says = text
		} else {
			says = " " // one of them is said
		}
	}
	put := func(name, value string) {
		if r.IntN(20) == 0 {
			name = pick(r, strings.ToUpper(name), strings.ToUpper(name[:1])+name[1:])
		}
		fields = append(fields, l.quote(name)+pick(r, ":", ": ", " : ")+value)
	}
	s.Prompt = pick(r, "a dog", "ein Hündchen", "犬 🐕", `two "red" \circles`, " spaced ",
		"two\nlines", "\x1b[31mred", "<a> & b", "a\u2028b", "\ufeffmarked", "[a]", "1")
	put("prompt", l.quote(s.Prompt))
	if r.IntN(3) == 0 {
		s.ID = pick(r, "1", "7", "a b", "1.png", "labels.jsonl:2", "ü", "犬")
		put("id", l.quote(s.ID))
	}
	if r.IntN(3) > 0 {
		s.File = pick(r, "1.png", "2.png", "3 4.PNG", "sub/ü,犬.png", "1.png", "2.png", "1.png")
		if l.err(10) {
			s.File = pick(r, "gone.png", "C:/1.png", "empty.png", "page.png", "cut.png",
				"sub/folder.png", "/1.png", "../1.png", "sub/../../1.png", `sub\1.png`, `C:\1.png`)
		}
		switch {
		case strings.Contains(s.File, `\`):
			wrong("has backslashes")
		case strings.HasPrefix(s.File, "/"), strings.Contains(s.File, ".."):
			wrong("is not a path inside the folder")
		}
		put("file", l.quote(s.File))
	}
	if r.IntN(5) == 0 {
		s.Group = pick(r, "1", "ü")
		put("group", l.quote(s.Group))
	}
	value, isWrong := l.label(s)
	if value != "" {
		put("label", value)
	}
	if isWrong {
		wrong("is none of good (1, true), bad (0, false) and skip")
	}
	if r.IntN(4) == 0 {
		people, share, isWrong := l.people(s, value != "" && value != "null" && !isWrong)
		if people != "" {
			put("judgements", people)
		}
		if share != "" {
			put("good", share)
		}
		if isWrong != "" {
			wrong(isWrong)
		}
	}
	if r.IntN(3) == 0 {
		value, isWrong := l.number(s)
		put("reward", value)
		if isWrong != "" {
			wrong(isWrong)
		}
	}
	if r.IntN(6) == 0 {
		value, isWrong := l.others(s)
		put("alternatives", value)
		if isWrong != "" {
			wrong(isWrong)
		}
	}
	if r.IntN(6) == 0 {
		value, isWrong := l.source(s)
		put("source", value)
		if isWrong != "" {
			wrong(isWrong)
		}
	}
	return fields, says
}

// label is a label as it is spelled, or "" for none.
func (l *labels) label(s *Sample) (value string, wrong bool) {
	if l.err(12) {
		return pick(l.r, `"great"`, `""`, "2", "-1", "0.5", `["good"]`, `{"label":1}`, `"y"`,
			`"gut"`, `"10"`, `"goood"`, `"NaN"`, "1e3", `"bad,"`, `"1 0"`, `"l"`, "[]"), true
	}
	switch l.r.IntN(10) {
	case 0:
		return pick(l.r, "", "null"), false
	case 1:
		s.Label = Skip
		return pick(l.r, `"skip"`, `"Skip"`, `"SKIP "`), false
	case 2, 3, 4, 5:
		s.Label = Good
		return pick(l.r, `"good"`, `"good"`, `"Good"`, `"GOOD"`, `" good"`, "1", "1.0", `"1"`,
			"true", `"True"`, `"yes"`, `"YES"`, `"\u0067ood"`, "1e0", `"1.00"`, `"good\n"`), false
	}
	s.Label = Bad
	return pick(l.r, `"bad"`, `"Bad"`, `"BAD"`, "0", "0.0", `"0"`, "false", `"FALSE"`, `"no"`,
		`"No "`, "-0", "-0.0", "0e5"), false
}

// people are judgements and the share of good ones, of a sample that has a label or not.
func (l *labels) people(s *Sample, labelled bool) (people, share, wrong string) {
	if l.err(8) {
		const says = "judgements, above 0, and good go together"
		if l.r.IntN(2) == 0 {
			return "3", "", says
		}
		return "", "0.5", says
	}
	if l.err(8) {
		people, share = pick(l.r, "0", "-2", "1.5", "1e99", `"3"`, "3"), "0.5"
		if people == "3" {
			share = pick(l.r, "1.5", "-0.1", `"1"`, "75", "true")
		}
		says := map[string]string{
			"0": "go together", "-2": "there are -2 judgements", "1.5": "not a whole number",
			"1e99": "not a whole number", `"3"`: "judgements is string, not a whole number",
			"3": "not in [0,1]",
		}[people]
		if share == `"1"` || share == "true" {
			says = "not a number"
		}
		return people, share, says
	}
	s.Judgements = 1 + l.r.IntN(4)
	s.Good = float64(l.r.IntN(s.Judgements+1)) / float64(s.Judgements)
	switch {
	case labelled && s.Label != Skip && (s.Good < 0.5) == (s.Label == Good) && l.most == 0:
		s.Good = 0.5
	case labelled && (s.Label == Good && s.Good < 0.5 || s.Label == Bad && s.Good > 0.5):
		wrong = "and the share of good judgements"
	case labelled:
	case s.Good > 0.5:
		s.Label = Good
	case s.Good < 0.5:
		s.Label = Bad
	default:
		s.Label = Skip
	}
	return fmt.Sprint(s.Judgements), strconv.FormatFloat(s.Good, 'f', -1, 64), wrong
}

// number is a reward.
func (l *labels) number(s *Sample) (value, wrong string) {
	if l.err(10) {
		value = pick(l.r, `"0.5"`, `"high"`, "true", "[1]", "{}", "1e400", "-1e999")
		if strings.Contains(value, "e4") || strings.Contains(value, "e9") {
			return value, "is too large"
		}
		return value, "not a number"
	}
	value = pick(l.r, "null", "0", "0.5", "1", "-0.25", "1E-3", "12.5", "-0", "1e300")
	if value == "null" {
		return value, ""
	}
	number, err := strconv.ParseFloat(value, 64)
	if err != nil {
		panic(err)
	}
	s.Reward = &number
	return value, ""
}

// others are alternatives.
func (l *labels) others(s *Sample) (value, wrong string) {
	if l.err(4) {
		wrongs := map[string]string{
			`["a dog",""]`: "an alternative is empty", `["a",null]`: "an alternative is empty",
			`"a dog"`: "string, not an array of strings", "1": "number, not an array of strings",
			`{"a":"b"}`: "not an array of strings", `["a",["b"]]`: "not a string",
		}
		value = pick(l.r, slices.Sorted(maps.Keys(wrongs))...)
		return value, wrongs[value]
	}
	if l.r.IntN(4) == 0 {
		return pick(l.r, "null", "[]"), ""
	}
	var all []string
	for range 1 + l.r.IntN(3) {
		prompt := pick(l.r, "a cat", "eine Katze für 犬", "x\ny")
		all = append(all, l.quote(prompt))
		s.Alternatives = append(s.Alternatives, Alternative{Prompt: prompt})
	}
	return "[" + strings.Join(all, ", ") + "]", ""
}

// source is where a sample comes from.
func (l *labels) source(s *Sample) (value, wrong string) {
	wrongs := map[string]string{
		`"me"`: "source is string, not an object", "[]": "source is array, not an object",
		`{"step":1}`: `no field "step"`, `{"seed":-1}`: "not a whole number",
		`{"seed":1.5}`: "not a whole number", `{"seed":"1"}`: "not a whole number",
		`{"seed":18446744073709551616}`: "not a whole number",
		`{"seed":1,"seed":2}`:           `.seed" is there twice`,
		`{"seed":1,"Seed":1}`:           `.Seed" is there twice`,
		`{"model":1}`:                   "source.model is number, not a string",
		`{"guidance":"7"}`:              "source.guidance is string, not a number",
	}
	if l.err(3) {
		value = pick(l.r, slices.Sorted(maps.Keys(wrongs))...)
		return value, wrongs[value]
	}
	if l.r.IntN(4) == 0 {
		return pick(l.r, "null", "{}"), ""
	}
	s.Source = Source{Model: "tiny", Steps: 5, Guidance: 7.5, Seed: math.MaxUint64, Rater: "ü"}
	return `{"model":"tiny","steps":5,"guidance":7.5,"seed":18446744073709551615,"rater":` +
		l.quote("ü") + `}`, ""
}

// mistake puts one more field among those of a line, or one less.
func (l *labels) mistake(fields *[]string) (says string) {
	if !l.err(6) {
		return ""
	}
	switch all := *fields; l.r.IntN(6) {
	case 0:
		*fields = append(all, pick(l.r, `"lable":"good"`, `"text":"a dog"`, `"score":1`,
			`"file_name":"1.png"`, `"image":"1.png"`, `"":1`, `"prompt ":"x"`))
		return "there is no field"
	case 1:
		*fields = append(all, all[l.r.IntN(len(all))])
		return "is there twice"
	case 2:
		*fields = append(all, pick(l.r, `"Prompt":"x"`, `"PROMPT":"a dog"`))
		return "is there twice"
	case 3:
		(*fields)[0] = pick(l.r, `"prompt":""`, `"prompt":"  "`, `"prompt":null`)
		return "the prompt is missing"
	case 4:
		(*fields)[0] = pick(l.r, `"prompt":"\ud83d"`, `"prompt":"x \uDC15"`)
		return "is half a character"
	case 5:
		(*fields)[0] = pick(l.r, `"prompt":["a dog"]`, `"prompt":1`, `"prompt":{"text":"x"}`)
		return "not a string"
	}
	return ""
}

// quote is a text in JSON, as one of several programs writes it.
func (l *labels) quote(text string) string {
	e, _ := json.Marshal(text)
	switch l.r.IntN(3) {
	case 0: // Python's json.dumps, which writes ASCII
		var b strings.Builder
		for _, c := range string(e) {
			switch {
			case c < 0x80:
				b.WriteRune(c)
			case c < 0x10000:
				fmt.Fprintf(&b, `\u%04x`, c)
			default:
				high, low := utf16.EncodeRune(c)
				fmt.Fprintf(&b, `\u%04X\u%04x`, high, low)
			}
		}
		return b.String()
	case 1:
		var b bytes.Buffer
		plain := json.NewEncoder(&b)
		plain.SetEscapeHTML(false)
		_ = plain.Encode(text)
		return strings.TrimSpace(b.String())
	}
	return string(e)
}

// encode is a text in one of the encodings, of which some are to be refused.
func (l *labels) encode(text, end string) []byte {
	in16 := func(order binary.AppendByteOrder, text string) (b []byte) {
		for _, u := range utf16.Encode([]rune(text)) {
			b = order.AppendUint16(b, u)
		}
		return b
	}
	all := func(says string, b []byte) []byte { // the file is refused as a whole
		l.wrong, l.says = 1, says
		return b
	}
	k := l.r.IntN(24)
	if k > 5 && l.most == 0 {
		k = 24
	}
	switch {
	case k < 2:
		return []byte("\ufeff" + text)
	case k < 4:
		return in16(binary.LittleEndian, "\ufeff"+text)
	case k < 6:
		return in16(binary.BigEndian, "\ufeff"+text)
	case k == 6:
		if b := l.latin(text, end); b != nil {
			return b
		}
	case k == 7 && strings.HasPrefix(text, "{"):
		return all("zero byte", in16(binary.LittleEndian, text))
	case k == 8 && strings.HasPrefix(text, "{"):
		return all("zero byte", in16(binary.BigEndian, text))
	case k == 9:
		b := []byte("\xff\xfe\x00\x00")
		for _, c := range text {
			b = binary.LittleEndian.AppendUint32(b, uint32(c))
		}
		return all("UTF-32", b)
	case k == 10:
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return all("packed by gzip", b.Bytes())
	case k == 11:
		return all("", []byte(pick(l.r, "<!DOCTYPE html><html>", "PK\x03\x04\x14\x00",
			"version https://git-lfs.github.com/spec/v1\n", "SQLite format 3\x00",
			"\x89PNG\r\n\x1a\n", `{\rtf1 x}`, "prompt,label\r\na dog,good\r\n", "%PDF-1.7\n")))
	}
	return []byte(text)
}

// latin is a text in Latin-1, of which lines with a letter beyond ASCII are to be refused; nil if
// Latin-1 does not have it.
func (l *labels) latin(text, end string) (b []byte) {
	for _, c := range text {
		if c > 0xff || c == 0xa0 {
			return nil
		}
		b = append(b, byte(c))
	}
	for i, part := range strings.Split(text, end) {
		if strings.ContainsFunc(part, func(c rune) bool { return c >= 0x80 }) {
			l.lines[i].says = "is not UTF-8"
		}
	}
	return b
}

// compare compares what is read and said, and returns which kind it was.
func (l *labels) compare(t *testing.T, shows string) string {
	f := File{Path: l.path, Images: l.images}
	got, err := Collect(t.Context(), f)
	if l.wrong > 0 {
		require.Error(t, err, shows)
		var line *LineError
		require.True(t, errors.As(err, &line), "%v\n%s", err, shows)
		require.Contains(t, err.Error(), fmt.Sprintf("%s:%d: ", l.path, l.wrong), shows)
		require.Contains(t, line.Err.Error(), l.says, shows)
		return "refused"
	}
	require.NoError(t, err, shows)
	for i := range got {
		require.Equal(t, l.images && got[i].File != "", got[i].Image != nil, shows)
		got[i].Image = nil
	}
	require.Equal(t, l.want, got, shows)
	labelled := 0
	for _, s := range l.want {
		if s.Label == Good || s.Label == Bad {
			labelled++
		}
	}
	got, err = CollectLabelled(t.Context(), f)
	if labelled == 0 {
		require.ErrorIs(t, err, ErrNoLabels, shows)
		require.ErrorContains(t, err, l.path)
		return "without labels"
	}
	require.NoError(t, err)
	require.Len(t, got, labelled)
	return "read"
}
