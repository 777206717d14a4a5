//go:build unix

package picture

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What cannot be read, or never ends, is not opened, by whatever link one comes to it.
func TestReadsRegularFilesAlone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.png")
	require.NoError(t, syscall.Mkfifo(pipe, 0o644))
	folder := filepath.Join(dir, "folder.png")
	require.NoError(t, os.Mkdir(folder, 0o755))
	t.Chdir(dir) // a socket's path is short
	l, err := net.Listen("unix", "socket.png")
	require.NoError(t, err)
	defer l.Close()
	for to, want := range map[string]string{
		pipe: "a named pipe", folder: "a folder", filepath.Join(dir, "socket.png"): "a socket",
		"/dev/zero": "a device", "/dev/null": "a device",
	} {
		link := filepath.Join(t.TempDir(), "link.png")
		require.NoError(t, os.Symlink(to, link))
		for _, name := range []string{to, link} {
			_, err := Read(name)
			require.ErrorContains(t, err, name+" is "+want+" and not a picture")
		}
		_, err = ReadFS(os.DirFS(filepath.Dir(to)), filepath.Base(to))
		require.ErrorContains(t, err, " is "+want)
	}
	dead := filepath.Join(dir, "dead.png")
	require.NoError(t, os.Symlink("nowhere.png", dead))
	_, err = Read(dead)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "dead.png is a link to nowhere.png")
	// A file of 300 GB, of zero bytes, is looked at no further than its first bytes.
	sparse := filepath.Join(dir, "sparse.png")
	require.NoError(t, os.WriteFile(sparse, nil, 0o644))
	if os.Truncate(sparse, 300<<30) == nil {
		_, err = Read(sparse)
		require.ErrorContains(t, err, "nothing but zero bytes")
	}
}
