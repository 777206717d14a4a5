package text

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// Whatever a text is, what is read of it is UTF-8 without marks before lines and without other ends
// of lines than LF; it reads the same again; and what is in UTF-16 reads as it does in UTF-8.
//
//	go test -fuzz FuzzReader ./internal/text
func FuzzReader(f *testing.F) {
	for _, text := range []string{
		"", "a\r\nb\rc\n", "\ufeffa\n\ufeffb", "\xff\xfea\x00\r\x00\n\x00",
		"\xfe\xff\xd8\x3d\xdc\x15",
		"caf\xe9", "a\x00", "<html>", "\x1b$B", "\xff\xfe\x00\x00", "\ufeff\ufeff\r\ufeff",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := io.ReadAll(NewReader(bytes.NewReader(data)))
		require.True(t, utf8.Valid(got))
		require.NotContains(t, string(got), "\r")
		require.NotContains(t, string(got), "\x00")
		require.NotContains(t, "\n"+string(got), "\n\ufeff")
		if err != nil {
			var wrong *Error
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, 1+bytes.Count(got, []byte("\n")), wrong.Line)
			return
		}
		again, err := io.ReadAll(NewReader(bytes.NewReader(got)))
		if err != nil {
			return // the mark before it kept it from being taken for another file
		}
		require.Equal(t, string(got), string(again))
		utf16, err := io.ReadAll(NewReader(bytes.NewReader([]byte(utf16Of(binary.BigEndian,
			string(got))))))
		require.NoError(t, err)
		require.Equal(t, string(got), string(utf16))
	})
}
