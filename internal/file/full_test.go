//go:build unix

package file

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// limitFiles makes writes behind the first n bytes of a file fail until the test ends, as they do on a full disk.
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
	dir := t.TempDir()
	path := filepath.Join(dir, "metrics.jsonl")
	log, err := OpenLog(path)
	require.NoError(t, err)
	limitFiles(t, 1000)
	lines := 0
	for err == nil {
		if err = log.Append(line{lines, 0.125}); err == nil {
			lines++
		}
	}
	require.True(t, errors.Is(err, syscall.EFBIG), err)
	require.ErrorContains(t, err, path)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "}\n"), "half a line stayed: %q", text)
	require.Len(t, readLog(t, path), lines)
	require.Greater(t, len(text), 950)
	require.NoError(t, log.Close())

	page := filepath.Join(dir, "report.html")
	require.ErrorContains(t, Write(page, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 2000))
		return err
	}), page)
	require.ErrorContains(t, WriteLog(path, make([]line, 100)), path)
	require.Len(t, readLog(t, path), lines, "the log is as it was")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
