package cudatest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

// Sources is a folder to take the sources from in place of those of package src. It is for
// mutation: the environment variable KUDOS_CUDA_SOURCES.
var Sources = os.Getenv("KUDOS_CUDA_SOURCES")

// A compilation makes the executable of a build.
type compilation struct {
	gxx   string
	flags []string
	seed  string            // what all files depend on: g++ and its flags
	files map[string][]byte // the sources
	cache string            // the folder where what is compiled stays
	work  string            // the folder of the sources
}

// compile returns the path of the executable of a build. It is made if it is not in the cache. Each
// family of kernels is compiled by itself, so that a change costs little.
func compile(gxx string, b Build) (exe string, err error) {
	c := &compilation{gxx: gxx, files: make(map[string][]byte)}
	c.flags = []string{"-std=c++17", "-march=native", "-fno-strict-aliasing", "-pthread"}
	c.flags = slices.Clip(append(c.flags, b.flags()...))
	version, err := exec.Command(gxx, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("cudatest: %s --version: %w", gxx, err)
	}
	c.seed = fmt.Sprintf("%s\n%s\n%s", version, c.flags, alone)
	if err := c.read(); err != nil {
		return "", err
	}
	defer os.RemoveAll(c.work)
	families := make([]string, 0, len(c.files))
	for name := range c.files {
		if filepath.Ext(name) == ".cu" {
			families = append(families, name)
		}
	}
	slices.Sort(families)
	objects, err := c.objects(families)
	if err != nil {
		return "", err
	}
	exe = filepath.Join(c.cache, c.hash(strings.Join(objects, " ")))
	return exe, c.make(exe, objects...)
}

// read reads the sources, writes them to a folder, and makes the cache.
func (c *compilation) read() error {
	var sources fs.FS = src.Files
	if Sources != "" {
		sources = os.DirFS(Sources)
	}
	var err error
	if c.work, err = os.MkdirTemp("", "kudos-emulation-"); err != nil {
		return err
	}
	entries, err := fs.ReadDir(sources, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{".h", ".cuh", ".cu"}, filepath.Ext(e.Name())) {
			continue
		}
		text, err := fs.ReadFile(sources, e.Name())
		if err != nil {
			return err
		}
		c.files[e.Name()] = text
		if err := os.WriteFile(filepath.Join(c.work, e.Name()), text, 0o644); err != nil {
			return err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	c.cache = filepath.Join(cache, "kudos", "emulation")
	return os.MkdirAll(c.cache, 0o755)
}

// objects compiles families, as many at a time as there are processors, and returns the paths of
// what it made.
func (c *compilation) objects(families []string) (paths []string, err error) {
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	errs := make(chan error)
	for _, name := range families {
		file := name
		if name != program {
			file = "alone_" + name
			text := fmt.Sprintf(alone, name)
			if err := os.WriteFile(filepath.Join(c.work, file), []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
		object := filepath.Join(c.cache, c.hash(c.closure(name))+".o")
		paths = append(paths, object)
		go func() {
			free <- struct{}{}
			defer func() { <-free }()
			errs <- c.make(object, "-c", "-x", "c++", file)
		}()
	}
	for range families {
		err = errors.Join(err, <-errs)
	}
	return paths, err
}

// program is the family that is none: it has main.
const program = "emulate.cu"

// alone is a file of one family. On a device a family is a module of its own. Here all of them are
// linked to one program. In a namespace without a name, two families may use a name for two things.
const alone = "#include \"emu.h\"\nnamespace {\n#include \"%s\"\n}\n"

var included = regexp.MustCompile(`(?m)^#include "(.*)"`)

// closure returns a file's text and that of all it includes, directly or not.
func (c *compilation) closure(name string) string {
	var all strings.Builder
	seen, todo := map[string]bool{}, []string{name}
	for len(todo) > 0 {
		name, todo = todo[0], todo[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		fmt.Fprintf(&all, "%s %d\n%s", name, len(c.files[name]), c.files[name])
		for _, m := range included.FindAllSubmatch(c.files[name], -1) {
			todo = append(todo, string(m[1]))
		}
	}
	return all.String()
}

// hash names what is made of a text.
func (c *compilation) hash(text string) string {
	sum := sha256.Sum256([]byte(c.seed + "\n" + text))
	return hex.EncodeToString(sum[:16])
}

// make runs g++ to make a file, unless it is there. The file appears when it is whole.
func (c *compilation) make(file string, args ...string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	f, err := os.CreateTemp(c.cache, "new-")
	if err != nil {
		return err
	}
	f.Close()
	defer os.Remove(f.Name())
	cmd := exec.Command(c.gxx, append(append(c.flags, args...), "-o", f.Name())...)
	cmd.Dir = c.work
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cudatest: %s: %w\n%s", cmd, err, out)
	}
	if err := os.Chmod(f.Name(), 0o755); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
