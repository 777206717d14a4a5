package feedback

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

// inUTF16 is a text in UTF-16 with a byte order mark.
func inUTF16(text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return string(b)
}

// Other tools' files may be in UTF-16 and have any ends of lines. What is no text is an error that
// names the file and the line.
func TestImportsAsEditorsLeaveThem(t *testing.T) {
	for _, c := range imports {
		data, err := os.ReadFile(filepath.Join("testdata", c.file))
		require.NoError(t, err)
		text := string(data)
		want, err := readAll(c.read, text, c.file, c.fields)
		require.NoError(t, err)
		require.NotEmpty(t, want)
		for name, other := range map[string]string{
			"UTF-16": inUTF16(text), "CRLF": strings.ReplaceAll(text, "\n", "\r\n"),
			"CR": strings.ReplaceAll(text, "\n", "\r"), "a mark": "\ufeff" + text,
		} {
			got, err := readAll(c.read, other, c.file, c.fields)
			require.NoError(t, err, c.file+" "+name)
			require.Equal(t, want, got, c.file+" "+name)
		}
		lines := strings.SplitAfter(text, "\n")
		for n := range lines {
			if strings.TrimSpace(lines[n]) == "" {
				continue
			}
			broken := append([]string{}, lines...)
			broken[n] = broken[n][:len(broken[n])/2] + "\xe9" + broken[n][len(broken[n])/2:]
			_, err := readAll(c.read, strings.Join(broken, ""), c.file, c.fields)
			var line *dataset.LineError
			require.ErrorAs(t, err, &line, "%s:%d", c.file, n+1)
			require.Equal(t, dataset.LineError{File: c.file, Line: n + 1, Err: line.Err}, *line)
			require.ErrorContains(t, err, "the line is not UTF-8: it has the byte 0xe9")
		}
	}
}

// An archive is text too.
func TestArchivesAsEditorsLeaveThem(t *testing.T) {
	const first = `{"kudos":"feedback","version":1}` + "\n"
	s := newStore(t)
	rater := `{"rater":{"name":"Änne","added":"2026-03-01T10:00:00Z"}}`
	require.NoError(t, s.Import(t.Context(), strings.NewReader(inUTF16(first+rater)), "a"))
	err := s.Import(t.Context(), strings.NewReader(first+"{\xc4"), "a.jsonl")
	require.ErrorContains(t, err, "a.jsonl:2: the line is not UTF-8: it has the byte 0xc4")
	err = s.Import(t.Context(), strings.NewReader(first+strings.Repeat("x", maxLine+1)), "a.jsonl")
	require.ErrorContains(t, err, "a.jsonl:2: the line has more than 4194304 bytes")
}

// What is read for one record is bounded.
func TestLimited(t *testing.T) {
	l := &limited{r: iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 100))), most: 50}
	read, err := io.ReadAll(l)
	require.EqualError(t, err, "it has more than 50 bytes")
	require.Len(t, read, 51)
}
