// Package hub finds models of the Hugging Face hub that are in this machine's cache. Nothing is
// downloaded.
package hub

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

// Find returns the path of a model: the name itself, if it is that of a folder or a file, or else
// the folder of the repository of that name in the cache. cached says that it is the latter. What
// is neither is an error that wraps io/fs.ErrNotExist.
func Find(name string) (path string, cached bool, err error) {
	if _, err = os.Stat(name); err == nil {
		return name, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || !repository.MatchString(name) {
		return "", false, err
	}
	path, err = snapshot(name)
	return path, true, err
}

// snapshot is the cache of a repository's main branch, as
// huggingface.co/docs/huggingface_hub/guides/manage-cache lays it out: models--ORG--NAME/refs/main
// holds the commit, snapshots/COMMIT the files.
func snapshot(name string) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", fmt.Errorf("%s is no folder and no file, and where the cache is is not known: "+
			"%w", name, err)
	}
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(name, "/", "--"))
	if _, err := os.Stat(repo); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is no folder, no file and not in the cache, %s: %w",
			name, cache, err)
	}
	ref := filepath.Join(repo, "refs", "main")
	commit, err := os.ReadFile(ref)
	if others := revisions(repo); errors.Is(err, fs.ErrNotExist) && others != "" {
		return "", fmt.Errorf("the cache of %s has not its revision main but %s: the path of a "+
			"folder in %s names that", name, others, filepath.Join(repo, "snapshots"))
	}
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

// revisions are the names of what the cache has of a repository.
func revisions(repo string) string {
	entries, _ := os.ReadDir(filepath.Join(repo, "refs"))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, ", ")
}

// cacheFolder is where huggingface_hub has its cache (its constants.py): HF_HUB_CACHE,
// HUGGINGFACE_HUB_CACHE, or hub in HF_HOME, or in huggingface in XDG_CACHE_HOME or ~/.cache. In all
// of these ~ is the home folder, and $NAME and ${NAME} are variables.
func cacheFolder() (string, error) {
	for _, place := range []struct{ variable, below string }{
		{"HF_HUB_CACHE", ""},
		{"HUGGINGFACE_HUB_CACHE", ""},
		{"HF_HOME", "hub"},
		{"XDG_CACHE_HOME", "huggingface/hub"},
	} {
		if dir := os.Getenv(place.variable); dir != "" {
			dir, err := expand(dir)
			return filepath.Join(dir, filepath.FromSlash(place.below)), err
		}
	}
	return expand(filepath.FromSlash("~/.cache/huggingface/hub"))
}

// expand is Python's expandvars of expanduser, but for the homes of other users. Variables that are
// not set stay as they are written.
func expand(path string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		path = home + rest
	}
	return variable.ReplaceAllStringFunc(path, func(word string) string {
		if value, set := os.LookupEnv(strings.Trim(word, "${}")); set {
			return value
		}
		return word
	}), nil
}

var variable = regexp.MustCompile(`\$(\w+|\{\w+\})`)
