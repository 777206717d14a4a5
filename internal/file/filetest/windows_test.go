//go:build linux

package filetest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Windows would refuse is refused.
func TestAllowed(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"open", "closed", "folder/open", "mapped"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(at(name)), 0o777))
		require.NoError(t, os.WriteFile(at(name), []byte("text"), 0o666))
	}
	for _, name := range []string{"open", "folder/open"} {
		f, err := os.Open(at(name))
		require.NoError(t, err)
		defer f.Close()
	}
	f, err := os.Open(at("mapped"))
	require.NoError(t, err)
	memory, err := syscall.Mmap(int(f.Fd()), 0, 4, syscall.PROT_READ, syscall.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, syscall.Munmap(memory)) }()
	require.NoError(t, f.Close())

	for _, c := range []struct{ operation, name, why string }{
		{"move", "closed", ""}, {"rename", "closed", ""}, {"remove", "closed", ""},
		{"rename", "fresh", ""}, {"create", "fresh", ""}, {"write", "open", ""},
		{"move", "open", "is open"}, {"rename", "open", "is open"}, {"remove", "open", "is open"},
		{"move", "folder", "is open"}, {"remove", "folder", "is open"},
		{"rename", "folder", "there is a folder"},
		{"rename", "mapped", "is open"},
		{"create", "Closed", "that is closed, which is there"}, {"create", "con.png", "device"},
		{"rename", "a:b", "no ':' in names"}, {"lock", "a.", "ends in a dot"},
	} {
		err := Allowed(c.operation, at(c.name))
		if c.why == "" {
			require.NoError(t, err, "%v", c)
		} else {
			require.ErrorContains(t, err, c.why, "%v", c)
		}
	}
}
