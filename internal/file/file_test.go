package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	hello := func(w io.Writer) error {
		_, err := io.WriteString(w, "hello")
		return err
	}
	require.NoError(t, Write(path, hello))
	broken := errors.New("no space left on device")
	err := Write(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, path)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "hello", string(after))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.ErrorContains(t, Write(filepath.Join(dir, "none", "x.json"), hello), "x.json")
}

type line struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
}

func readLog(t *testing.T, path string) (lines []line) {
	t.Helper()
	for l, err := range ReadLog[line](path) {
		require.NoError(t, err)
		lines = append(lines, l)
	}
	return lines
}

func TestLogSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	log, err := OpenLog(path)
	require.NoError(t, err)
	var want []line
	for i := range 500 { // more than a block
		want = append(want, line{i, 0.5})
		require.NoError(t, log.Append(want[i]))
	}
	require.NoError(t, log.Close())
	require.Equal(t, want, readLog(t, path))

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := len(whole) - 1; cut > len(whole)-30; cut-- { // killed while it wrote the last line
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o644))
		kept := readLog(t, path)
		require.Equal(t, want[:len(kept)], kept)
		require.GreaterOrEqual(t, len(kept), 498)
		log, err := OpenLog(path)
		require.NoError(t, err)
		require.NoError(t, log.Append(line{7, 7}))
		require.NoError(t, log.Close())
		require.Equal(t, append(kept[:len(kept):len(kept)], line{7, 7}), readLog(t, path))
	}
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 10000), 0o644)) // no line at all
	log, err = OpenLog(path)
	require.NoError(t, err)
	require.NoError(t, log.Append(line{1, 1}))
	require.Error(t, log.Append(math.NaN()))
	require.NoError(t, log.Close())
	require.Equal(t, []line{{1, 1}}, readLog(t, path))

	require.NoError(t, os.WriteFile(path, []byte("{\"step\":1}\n{\"step\n{}\n"), 0o644))
	n := 0
	for _, err := range ReadLog[line](path) {
		if n++; n == 2 {
			var bad *json.SyntaxError
			require.ErrorAs(t, err, &bad)
			require.ErrorContains(t, err, path+":2:")
		}
	}
	require.Equal(t, 2, n)
}
