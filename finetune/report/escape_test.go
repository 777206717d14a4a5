package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What terminals obey is shown, and what people read stays: letters of all languages, and what
// joins the parts of an emoji.
func TestEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"a red circle": "a red circle",
		"one\n\ttwo":   "one\n\ttwo",
		"café 日本 👩\u200d🎨 עברית ½": "café 日本 👩\u200d🎨 עברית ½",
		"\x1b[2J\x1b]0;title\a":    `\x1b[2J\x1b]0;title\x07`,
		"over\rwritten\b\x7f":      `over\rwritten\x08\x7f`,
		"\u009b31m":                `\u009b31m`, // CSI of eight bits, in UTF-8
		"\x9b31m":                  `\x9b31m`,   // and alone
		"gnp.\u202eexe":            `gnp.\u202eexe`,
		"a\u2066b\u2069\u200fc":    `a\u2066b\u2069\u200fc`,
		"one\u2028two":             `one\u2028two`,
		"\x00\xff":                 `\x00\xff`,
		"\ufffd":                   "\ufffd", // it is there, and not what stands for a broken byte
	} {
		require.Equal(t, want, Escaped(text))
		require.Equal(t, want, Escaped(want), "once is enough")
	}
	require.Equal(t, `a\nb\tc`, oneLine("a\nb\tc"))
}

// Whatever a program shows goes through Escaped.
func TestAllIsEscaped(t *testing.T) {
	const evil = "\x1b[31mred\u202e"
	var b bytes.Buffer
	p := Plain(&b)
	p.Printf("%s", evil)
	stage := p.Stage(evil, 2)
	stage.Note("%s\n", evil)
	stage.Add(2)
	stage.End()
	bars := Plain(&b)
	bars.bars = true
	bar := bars.Stage("bar"+evil, 2)
	bar.Note("%s", "note"+evil)
	bar.Add(1)
	bar.End()
	table := Table{
		Title: evil, Note: evil, Header: []string{evil, evil}, Rows: [][]string{{evil, "a\nb"}},
	}
	require.NoError(t, table.Print(&b))
	folder, err := NewFolder(t.TempDir() + "/" + evil)
	require.NoError(t, err)
	require.NoError(t, folder.Conclude(&b, 1, Page{Title: evil}, table))
	_, err = io.WriteString(terminal{&b}, evil)
	require.NoError(t, err)
	require.NotContains(t, b.String(), "\x1b[31m")
	require.NotContains(t, b.String(), "\u202e")
	require.GreaterOrEqual(t, strings.Count(b.String(), `\x1b[31mred\u202e`), 16)
	require.Contains(t, b.String(), `a\nb`)
}

// That nobody reads any more is no error of writing; another error is one.
func TestNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	_, err = io.WriteString(terminal{w}, "text")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, err = io.WriteString(terminal{w}, "text")
	require.Error(t, err)
}

// What is wrong beside a signal is said, and the signal is not.
func TestBeside(t *testing.T) {
	full := errors.New("full")
	wrap := func(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }
	for _, c := range []struct{ err, want error }{
		{context.Canceled, nil},
		{wrap("tune", context.Canceled), nil},
		{errors.Join(context.Canceled, nil), nil},
		{errors.Join(context.Canceled, full), full},
		{wrap("tune", errors.Join(wrap("encode", context.Canceled), wrap("save", full))), full},
	} {
		got := beside(c.err)
		if c.want == nil {
			require.NoError(t, got)
			continue
		}
		require.ErrorIs(t, got, c.want)
		require.NotErrorIs(t, got, context.Canceled)
	}
}

// Finished says what is true.
func TestFinished(t *testing.T) {
	dir := t.TempDir()
	require.Equal(t, "nothing was made", Finished(dir))
	require.Equal(t, "nothing was made", Finished(dir+"/none"))
	require.NoError(t, os.Mkdir(dir+"/samples", 0o755))
	require.NoError(t, os.WriteFile(dir+"/samples.jsonl", nil, 0o644))
	require.NoError(t, os.WriteFile(dir+"/config.json", []byte("{}"), 0o644))
	require.NoError(t, os.WriteFile(dir+"/.lock", []byte("me"), 0o644))
	require.Equal(t, "nothing was made", Finished(dir))
	require.NoError(t, os.WriteFile(dir+"/a", []byte("a"), 0o644))
	require.Equal(t, "what was finished is in "+dir+"; -resume goes on", Finished(dir))
	require.Equal(t, "what was finished is in "+dir+"/a; -resume goes on", Finished(dir+"/a"))
}
