package hub

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The expected folders are what huggingface_hub 2.4.0 has as constants.HF_HUB_CACHE with these
// variables.
func TestCacheFolder(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("DISK", "/disk")
	t.Setenv("KUDOS_TEST_UNSET", "")
	require.NoError(t, os.Unsetenv("KUDOS_TEST_UNSET"))
	for _, k := range []struct{ hub, old, hf, xdg, want string }{
		{"a", "o", "b", "c", "a"},
		{"", "o", "b", "c", "o"},
		{"", "", "b", "c", "b/hub"},
		{"", "", "", "c", "c/huggingface/hub"},
		{"", "", "", "", home + "/.cache/huggingface/hub"},
		{"~/models", "", "", "", home + "/models"},
		{"", "~/old", "", "", home + "/old"},
		{"", "", "~", "", home + "/hub"},
		{"", "", "~/hf", "", home + "/hf/hub"},
		{"", "", "", "~/x", home + "/x/huggingface/hub"},
		{"$DISK/h", "", "", "", "/disk/h"},
		{"", "", "${DISK}s/$KUDOS_TEST_UNSET", "", "/disks/$KUDOS_TEST_UNSET/hub"},
		{"a~/b", "", "", "", "a~/b"},
	} {
		t.Setenv("HF_HUB_CACHE", k.hub)
		t.Setenv("HUGGINGFACE_HUB_CACHE", k.old)
		t.Setenv("HF_HOME", k.hf)
		t.Setenv("XDG_CACHE_HOME", k.xdg)
		got, err := cacheFolder()
		require.NoError(t, err)
		require.Equal(t, filepath.FromSlash(k.want), got, "%+v", k)
	}
	for _, home := range []string{"HOME", "USERPROFILE", "HF_HUB_CACHE"} {
		t.Setenv(home, "")
	}
	t.Setenv("HF_HOME", "~")
	_, _, err := Find("some/model")
	require.ErrorContains(t, err, "some/model is no folder and no file, and where the cache is is")
}

func TestFind(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	repo := filepath.Join(cache, "models--some--model")
	want := filepath.Join(repo, "snapshots", "abc")
	require.NoError(t, os.MkdirAll(want, 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("abc\n"), 0o666))
	got, cached, err := Find("some/model")
	require.NoError(t, err)
	require.True(t, cached)
	require.Equal(t, want, got)

	got, cached, err = Find(cache)
	require.NoError(t, err)
	require.False(t, cached)
	require.Equal(t, cache, got)

	_, _, err = Find("some/other")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "not in the cache, "+cache)
	require.NoError(t, os.Rename(filepath.Join(repo, "refs", "main"),
		filepath.Join(repo, "refs", "fp16")))
	_, _, err = Find("some/model")
	require.ErrorContains(t, err, "some/model has not its revision main but fp16: the path of a ")
	require.NoError(t, os.RemoveAll(filepath.Join(repo, "refs")))
	_, _, err = Find("some/model")
	require.ErrorContains(t, err, "the cache of some/model is incomplete: ")
	_, _, err = Find("../some/model")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
