package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

//go:embed driver.cu
var driver []byte

// emulator is a source that is in the place of driver.cu when kernels are emulated without a
// driver.
const emulator = "emulate.cu"

// alone is a file of one family. On a device a family is a module of its own. Here all of them are
// linked to one library. In a namespace without a name, two families may use a name for two things.
const alone = "#include \"emu.h\"\nnamespace {\n#include \"%s\"\n}\n"

// build returns a folder with a library to link with, and one with the driver, both called
// libcuda. Families of kernels are compiled by themselves, as in package cudatest.
func build(include string) (library, folder string, err error) {
	gxx, err := exec.LookPath("g++")
	if err != nil {
		return "", "", fmt.Errorf("there is no g++ to emulate kernels with: %w", err)
	}
	b := builder{gxx: gxx, include: include, files: map[string][]byte{"driver.cu": driver}}
	if err := b.read(); err != nil {
		return "", "", err
	}
	if b.work, err = os.MkdirTemp("", "kudos-fakedriver-"); err != nil {
		return "", "", err
	}
	defer os.RemoveAll(b.work)
	for name, text := range b.files {
		if err := os.WriteFile(filepath.Join(b.work, name), text, 0o644); err != nil {
			return "", "", err
		}
	}
	calls, err := b.calls()
	if err != nil {
		return "", "", err
	}
	if library, err = b.link([]string{calls}); err != nil {
		return "", "", err
	}
	objects, err := b.compile()
	if err != nil {
		return "", "", err
	}
	folder, err = b.link(append(objects, calls))
	return library, folder, err
}

// A builder makes files in the cache. Their names are hashes of what they are made of.
type builder struct {
	gxx, include string
	files        map[string][]byte
	headers      []byte // what all objects depend on
	work         string // a folder with the files
}

// read collects the sources.
func (b *builder) read() error {
	version, err := exec.Command(b.gxx, "--version").Output()
	if err != nil {
		return err
	}
	b.headers = append(version, strings.Join(b.flags(), " ")...)
	names, err := fs.Glob(src.Files, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == emulator {
			continue
		}
		if b.files[name], err = src.Files.ReadFile(name); err != nil {
			return err
		}
		if filepath.Ext(name) != ".cu" {
			b.headers = append(b.headers, b.files[name]...)
		}
	}
	return nil
}

func (b *builder) flags() []string {
	return []string{"-std=c++17", "-march=native", "-O2", "-fno-strict-aliasing", "-fPIC",
		"-pthread", "-I" + b.include}
}

// call finds the names of functions in cuda.h.
var call = regexp.MustCompile(`\b(cu[A-Z]\w*) *\(`)

// calls returns an object in which every function of cuda.h answers that it is not supported. A
// function of another object goes before it.
func (b *builder) calls() (string, error) {
	const unit = "#include <cuda.h>\n"
	expand := exec.Command(b.gxx, "-E", "-P", "-I"+b.include, "-x", "c", "-")
	expand.Stdin = strings.NewReader(unit)
	header, err := expand.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", expand, err)
	}
	var names []string
	for _, m := range call.FindAllSubmatch(header, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	var text strings.Builder
	for _, name := range slices.Compact(names) {
		fmt.Fprintf(&text, "__attribute__((weak)) int %s(void) { return 801; }\n", name)
	}
	file := filepath.Join(b.work, "calls.c")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return "", err
	}
	return b.object([]byte(text.String()), "-fPIC", "-x", "c", "calls.c")
}

// compile returns the objects of all families and of the driver.
func (b *builder) compile() ([]string, error) {
	var units []string
	for name := range b.files {
		if filepath.Ext(name) == ".cu" {
			units = append(units, name)
		}
	}
	slices.Sort(units)
	objects, errs := make([]string, len(units)), make([]error, len(units))
	jobs := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	for i, name := range units {
		file := name
		if name != "driver.cu" {
			file = "alone_" + name
			text := fmt.Sprintf(alone, name)
			if err := os.WriteFile(filepath.Join(b.work, file), []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
		wait.Go(func() {
			jobs <- struct{}{}
			defer func() { <-jobs }()
			args := append(b.flags(), "-x", "c++", file)
			source := slices.Concat(b.headers, []byte(file), b.files[name])
			objects[i], errs[i] = b.object(source, args...)
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// object returns the object that is made of a source by g++'s arguments.
func (b *builder) object(source []byte, args ...string) (string, error) {
	object := filepath.Join(cache(), hash(source)+".o")
	if _, err := os.Stat(object); err == nil {
		return object, nil
	}
	made := object + fmt.Sprintf(".%d", os.Getpid())
	defer os.Remove(made)
	if err := b.run(append(args, "-c", "-o", made)...); err != nil {
		return "", err
	}
	return object, keep(made, object)
}

// link returns a folder with a shared library of objects.
func (b *builder) link(objects []string) (string, error) {
	folder := filepath.Join(cache(), "driver-"+hash([]byte(strings.Join(objects, " "))))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	made := folder + fmt.Sprintf(".%d", os.Getpid())
	if err := os.MkdirAll(made, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	const name = "libcuda.so.1"
	args := append([]string{"-shared", "-pthread", "-Wl,-soname," + name,
		"-o", filepath.Join(made, name)}, objects...)
	if err := b.run(args...); err != nil {
		return "", err
	}
	if err := os.Symlink(name, filepath.Join(made, "libcuda.so")); err != nil {
		return "", err
	}
	return folder, keep(made, folder)
}

// run runs g++ where the sources are.
func (b *builder) run(args ...string) error {
	c := exec.Command(b.gxx, args...)
	c.Dir = b.work
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c, err, out)
	}
	return nil
}

func hash(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d ", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
