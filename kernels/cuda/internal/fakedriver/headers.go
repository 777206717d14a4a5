package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// headers are a wheel on PyPI with CUDA's headers.
type headers struct {
	wheel string // name==version
	sum   string // its SHA-256
}

var (
	cuda12 = headers{
		"nvidia-cuda-runtime-cu12==12.8.90",
		"adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90",
	}
	cuda13 = headers{
		"nvidia-cuda-runtime==13.0.96",
		"7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
	}
)

// old reports whether the headers are of CUDA 12.
func (h headers) old() bool { return h == cuda12 }

// shim is the folder that goes before headers of CUDA 13.
func shim() string {
	dir, err := filepath.Abs("kernels/cuda/internal/cuda13")
	if err != nil {
		panic(err)
	}
	return dir
}

// fetch returns the folder of the headers. It gets them if they are not in the cache.
func (h headers) fetch() (string, error) {
	dir := filepath.Join(cache(), "headers-"+h.sum[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	work, err := os.MkdirTemp(cache(), "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	pip := exec.Command("python3", "-m", "pip", "download", "--quiet",
		"--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
		"--platform=manylinux2014_x86_64", "--dest", work, h.wheel)
	if out, err := pip.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", pip, err, out)
	}
	wheels, err := filepath.Glob(filepath.Join(work, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return "", fmt.Errorf("%s: there is not one wheel in %v", pip, wheels)
	}
	contents, err := os.ReadFile(wheels[0])
	if err != nil {
		return "", err
	}
	if sum := sha256.Sum256(contents); hex.EncodeToString(sum[:]) != h.sum {
		return "", fmt.Errorf("%s: its SHA-256 is %x, not %s", h.wheel, sum, h.sum)
	}
	include := filepath.Join(work, "include")
	if err := unpack(wheels[0], include); err != nil {
		return "", fmt.Errorf("%s: %w", h.wheel, err)
	}
	return dir, keep(include, dir)
}

// unpack takes the folder include out of a wheel.
func unpack(wheel, to string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		_, name, ok := strings.Cut(f.Name, "/include/")
		if !ok || !filepath.IsLocal(name) || strings.HasSuffix(name, "/") {
			continue
		}
		file := filepath.Join(to, filepath.FromSlash(path.Clean(name)))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := write(file, f); err != nil {
			return err
		}
	}
	return nil
}

func write(file string, f *zip.File) error {
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := to.ReadFrom(from); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

// cache is the folder for what is fetched and compiled.
func cache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "kudos", "fakedriver")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		panic(err)
	}
	return dir
}

// keep gives a file or a folder its name in the cache. It may be there already, from another
// process that made the same.
func keep(made, name string) error {
	err := os.Rename(made, name)
	if _, there := os.Stat(name); there == nil {
		return nil
	}
	return err
}
