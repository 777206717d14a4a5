//go:build unix

package file

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// limitFiles makes writes behind the first n bytes of a file fail until the test ends, as they do
// on a full disk. The limit holds for all files of the process, the log that the go command keeps
// of a test's output among them: n must be larger than that may grow.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limited := before
	limited.Cur = n
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited))
	t.Cleanup(func() {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
		signal.Reset(syscall.SIGXFSZ)
	})
}

func TestFullDisk(t *testing.T) {
	const limit = 4 << 20
	dir := t.TempDir()
	path := filepath.Join(dir, "metrics.jsonl")
	log, err := OpenLog(path)
	require.NoError(t, err)
	text := strings.Repeat("x", 300_000)
	limitFiles(t, limit)
	lines := 0
	for err == nil {
		if err = log.Append(text); err == nil {
			lines++
		}
	}
	require.ErrorIs(t, err, syscall.EFBIG)
	require.ErrorContains(t, err, path)
	whole := func() {
		t.Helper()
		n := 0
		for line, err := range ReadLog[string](path) {
			require.NoError(t, err)
			require.Equal(t, text, line)
			n++
		}
		require.Equal(t, lines, n)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.EqualValues(t, lines*(len(text)+3), info.Size(), "half a line stayed")
	}
	require.Equal(t, limit/(len(text)+3), lines)
	whole()
	require.NoError(t, log.Close())

	page := filepath.Join(dir, "report.html")
	require.ErrorContains(t, WriteBytes(page, make([]byte, limit+1)), page)
	require.ErrorIs(t, WriteLog(path, make([][]byte, limit)), syscall.EFBIG)
	whole()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
