package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// repository is a name on the Hugging Face hub: ORG/NAME, or NAME alone.
var repository = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$`)

// cached finds what is in the cache of a repository's main branch, as
// huggingface.co/docs/huggingface_hub/guides/manage-cache lays it out: models--ORG--NAME/refs/main
// holds the commit, snapshots/COMMIT the files.
func cached(name string) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(name, "/", "--"))
	if _, err := os.Stat(repo); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is no folder, no file and not in the cache, %s: %w",
			name, cache, err)
	}
	ref := filepath.Join(repo, "refs", "main")
	commit, err := os.ReadFile(ref)
	if err != nil {
		return "", fmt.Errorf("the cache of %s is incomplete: %w", name, err)
	}
	hash := strings.TrimSpace(string(commit))
	if !filepath.IsLocal(hash) || filepath.Base(hash) != hash {
		return "", fmt.Errorf("%s holds %q, which is no commit", ref, hash)
	}
	snapshot := filepath.Join(repo, "snapshots", hash)
	if _, err := os.Stat(snapshot); err != nil {
		return "", fmt.Errorf("the cache of %s is incomplete: %w", name, err)
	}
	return snapshot, nil
}

// cacheFolder is HF_HUB_CACHE, or hub in HF_HOME, or in huggingface in XDG_CACHE_HOME or ~/.cache.
func cacheFolder() (string, error) {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub"), nil
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "huggingface", "hub"), nil
}
