package text

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// utf16Of is a text in UTF-16 with a mark.
func utf16Of(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// read returns the lines of a text as Lines has them, and its end as NewReader has it.
func read(t *testing.T, text string) (lines []string, err error) {
	t.Helper()
	for line, e := range Lines(strings.NewReader(text), 100) {
		if err = e; err == nil {
			lines = append(lines, string(line))
		}
	}
	whole, other := io.ReadAll(NewReader(iotest.OneByteReader(strings.NewReader(text))))
	if err != nil {
		var wrong *Error
		require.ErrorAs(t, other, &wrong)
		require.Equal(t, err, wrong.Err)
		require.Equal(t, len(lines)+1, wrong.Line, text)
		require.Equal(t, len(lines), strings.Count(string(whole), "\n"))
		return lines, err
	}
	require.NoError(t, other)
	joined := strings.Join(lines, "\n")
	require.Equal(t, joined, strings.TrimSuffix(string(whole), "\n"))
	return lines, nil
}

func TestLines(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                nil,
		"\ufeff":                          nil,
		"a dog":                           {"a dog"},
		"a\nb":                            {"a", "b"},
		"a\nb\n":                          {"a", "b"},
		"a\r\nb\r\n":                      {"a", "b"},
		"a\rb\r":                          {"a", "b"},
		"a\r\rb\r\n\nc\n\r":               {"a", "", "b", "", "c", ""},
		"\ufeffein Hündchen, 犬 🐕\n":       {"ein Hündchen, 犬 🐕"},
		"\ufeffa\n\ufeff\ufeffb\r\ufeffc": {"a", "b", "c"},                 // joined files
		"a\ufeffb":                        {"a\ufeffb"},                    // a space of no width
		"a\u2028b\u0085c\fd\ve":           {"a\u2028b\u0085c\fd\ve"},       // no ends of lines
		"a\ufffdb":                        {"a\ufffdb"},                    // in the file itself
		"<b>bold</b>, \x1b[31m (red)":     {"<b>bold</b>, \x1b[31m (red)"}, // as it is
	} {
		got, err := read(t, text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got, "%q", text)
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			got, err = read(t, utf16Of(order, text))
			require.NoError(t, err, "%q", text)
			require.Equal(t, want, got, "%q in UTF-16", text)
		}
	}
	for _, err := range Lines(strings.NewReader(strings.Repeat("ü", 51)), 100) {
		require.ErrorContains(t, err, "the line has more than ")
	}
	lines, err := read(t, strings.Repeat("ü", 50)+"\n")
	require.NoError(t, err)
	require.Len(t, lines, 1)
}

func TestWhatIsNoText(t *testing.T) {
	const utf8, zero = "the line is not UTF-8: it has the byte 0x", "the line holds a zero byte"
	little := utf16Of(binary.LittleEndian, "a dog")
	for text, want := range map[string]string{
		"the artist\x92s dog, caf\xe9":      utf8 + "92", // Windows-1252
		"caf\xe9":                           utf8 + "e9", // Latin-1
		"\x8c\xa2":                          utf8 + "8c", // Shift JIS
		"\xb9\xb7\x00":                      utf8 + "b9", // GBK
		"\xc3":                              utf8 + "c3", // cut
		"\xed\xa0\xbd\xed\xb0\x95":          utf8 + "ed", // CESU-8
		"\xc0\x80":                          utf8 + "c0", // Java's zero
		"a\x00 \x00d\x00":                   zero,        // UTF-16 without a mark
		"\x00a\x00 ":                        zero,
		"a\x00":                             zero,
		little[:len(little)-1]:              "broken UTF-16",
		utf16Of(binary.BigEndian, "a\x00b"): zero,
		"\xff\xfe\x3d\xd8a\x00":             "broken UTF-16", // half of a pair
		"\xff\xfe\x15\xdca\x00":             "broken UTF-16",
		"\xff\xfe\x3d\xd8":                  "broken UTF-16",
		"\xff\xfe\x00\x00a\x00\x00\x00":     "the text is UTF-32",
		"\x00\x00\xfe\xff\x00\x00\x00a":     "the text is UTF-32",
		"\x1b$B8$\x1b(B":                    "ISO-2022",
		"<!DOCTYPE html><html>404</html>":   "a web page",
		"\ufeff\n <HTML>\n":                 "a web page",
		"version https://git-lfs.github.com/spec/v1\noid x": "a pointer of Git LFS",
		`{\rtf1\ansi a dog}`:  "RTF",
		"%PDF-1.4\n":          "PDF",
		"PK\x03\x04\x14\x00":  "a zip archive",
		"\x1f\x8b\x08":        "packed by gzip",
		"BZh91AY&SY":          "packed by bzip2",
		"(\xb5/\xfd\x04":      "packed by zstd",
		"7z\xbc\xaf\x27\x1c":  "a 7z archive",
		"PAR1\x15\x04":        "a Parquet file",
		"ARROW1\x00\x00":      "an Arrow file",
		"SQLite format 3\x00": "an SQLite database",
		"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>": "an XML document",
		"\x89PNG\r\n\x1a\n\x00":  "a picture",
		"\xff\xd8\xff\xe0\x00JF": "a picture",
	} {
		_, err := read(t, text)
		require.ErrorContains(t, err, want, "%q", text)
		if strings.HasPrefix(text, "\xfe\xff") || !strings.HasPrefix(want, "the line") {
			continue // it says what the whole file is
		}
		lines, err := read(t, "a\r\n\rc\n"+text)
		require.ErrorContains(t, err, want, "%q", text)
		require.Equal(t, []string{"a", "", "c"}, lines)
	}
	broken := errors.New("the disk is broken")
	for _, err := range Lines(iotest.ErrReader(broken), 100) {
		require.ErrorIs(t, err, broken)
	}
	ends := io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken))
	_, err := io.ReadAll(NewReader(ends))
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "line 2")
}

// A file without ends of lines is refused after its first bytes.
func TestALineWithoutEnd(t *testing.T) {
	const size = 50 << 20
	var text endless
	began := time.Now()
	for _, err := range Lines(io.LimitReader(&text, size), 1<<20) {
		require.ErrorContains(t, err, "the line has more than ")
	}
	require.Less(t, int(text), 2<<20)
	require.Less(t, time.Since(began), time.Second)
}

// endless is how much of an endless line was read.
type endless int

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	*e += endless(len(p))
	return len(p), nil
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.json")
	write := func(text string) { require.NoError(t, os.WriteFile(name, []byte(text), 0o644)) }
	write(utf16Of(binary.LittleEndian, "{\r\n}\r\n"))
	got, err := ReadFile(name, 100)
	require.NoError(t, err)
	require.Equal(t, "{\n}\n", string(got))
	got, err = ReadFS(os.DirFS(dir), "a.json")
	require.NoError(t, err)
	require.Equal(t, "{\n}\n", string(got))
	_, err = ReadFile(name, 10)
	require.EqualError(t, err, name+" has more than 10 bytes")

	write("{\n\xe9")
	_, err = ReadFile(name, 100)
	require.ErrorContains(t, err, name+":2: the line is not UTF-8")
	_, err = ReadFS(fstest.MapFS{"a.json": {Data: []byte("\xe9")}}, "a.json")
	require.ErrorContains(t, err, "a.json:1: the line is not UTF-8")

	_, err = ReadFile(dir, 100)
	require.EqualError(t, err, dir+" is a folder, not a file")
	_, err = ReadFS(os.DirFS(dir), ".")
	require.ErrorContains(t, err, "is a folder")
	_, err = ReadFile(filepath.Join(dir, "gone"), 100)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ReadFS(os.DirFS(dir), "gone")
	require.ErrorIs(t, err, os.ErrNotExist)
}
