package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

// Lines and names of the source are not in the output, and nothing of the machine is.
var (
	nvrtcOptions = []string{"--std=c++17", "--gpu-architecture=compute_%s", "--include-path=."}
	ptxasOptions = []string{"-O3", "-arch=sm_%s"}
)

// Tools are the installed compilers.
type tools struct {
	python, libnvrtc, ptxas, nvdisasm string
}

// install returns the tools. They are installed if they are not in the user's cache, in a folder
// named after the list of requirements.
func install() (*tools, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("the compilers are installed on Linux alone")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, errors.New("there is no python3 to install the compilers with " +
			"(apt-get install python3-venv)")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "kudos")
	venv := filepath.Join(cache, "cuda-"+sum([]byte(requirements))[:16])
	if _, err := os.Stat(venv); err != nil {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return nil, err
		}
		// It appears under its name when it is whole.
		work, err := os.MkdirTemp(cache, "new-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(work)
		log.Printf("installing the compilers in %s", venv)
		list := filepath.Join(work, "requirements.txt")
		if err := os.WriteFile(list, []byte(requirements), 0o644); err != nil {
			return nil, err
		}
		if _, err := run(work, python, "-m", "venv", work); err != nil {
			return nil, fmt.Errorf("%w\n(apt-get install python3-venv)", err)
		}
		pip := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-deps", "--only-binary=:all:", "--require-hashes", "-r", list}
		if _, err := run(work, filepath.Join(work, "bin", "python"), pip...); err != nil {
			return nil, err
		}
		if err := os.Rename(work, venv); err != nil {
			if _, there := os.Stat(venv); there != nil { // another process was not faster
				return nil, err
			}
		}
	}
	t := &tools{python: python}
	for pattern, file := range map[string]*string{
		"nvidia/cuda_nvrtc/lib/libnvrtc.so.12": &t.libnvrtc,
		"nvidia/cuda_nvcc/bin/ptxas":           &t.ptxas,
		"nvidia/cu13/bin/nvdisasm":             &t.nvdisasm,
	} {
		found, err := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages", pattern))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("%s has no %s: remove that folder", venv, pattern)
		}
		*file = found[0]
	}
	return t, nil
}

// run runs a program in a folder and returns what it wrote, to stderr too.
func run(dir, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "),
			err, out)
	}
	return out, nil
}

// compile compiles families and calls done with each.
func (t *tools) compile(families []string, done func(made) error) error {
	work, err := os.MkdirTemp("", "kudos-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	names, err := src.Files.ReadDir(".")
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := src.Files.ReadFile(name.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(work, name.Name()), b, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(work, "nvrtc.py"), []byte(nvrtc), 0o644); err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, len(families))
	running := make(chan struct{}, jobs)
	for i, family := range families {
		group.Go(func() {
			running <- struct{}{}
			defer func() { <-running }()
			m, err := t.family(work, family)
			if err == nil {
				err = done(m)
			}
			if errs[i] = err; err != nil {
				errs[i] = fmt.Errorf("%s.cu: %w", family, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// family compiles a family for all architectures.
func (t *tools) family(work, family string) (made, error) {
	m := made{family: family, images: make(map[string][]byte)}
	for _, architecture := range []string{"80", "90a"} {
		ptx, cubin, rows, err := t.image(work, family, architecture)
		if err != nil {
			return m, fmt.Errorf("sm_%s: %w", architecture, err)
		}
		if architecture == "80" {
			m.images[family+".compute_80.ptx"] = ptx
		}
		m.images[family+".sm_"+architecture+".cubin"] = cubin
		slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
		for _, fields := range rows {
			m.rows += row(fields)
		}
	}
	return m, nil
}

// columns are those of resources.txt. Those in capitals are counts of instructions.
var columns = []string{
	"kernel", "image", "architecture", "registers", "spill", "stack", "shared",
	"HMMA", "HGMMA", "LDSM", "LDGSTS", "UTMALDG", "STL", "LDL",
}

// row is a line of resources.txt.
func row(fields []string) string {
	var b strings.Builder
	for i, f := range fields {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "%-36s", f)
		case i < 3:
			fmt.Fprintf(&b, " %-14s", f)
		default:
			fmt.Fprintf(&b, " %*s", max(6, len(columns[i])), f)
		}
	}
	return b.String() + "\n"
}

var (
	// What ptxas -v says of a kernel, in lines that follow one another.
	compiling = regexp.MustCompile(`Compiling entry function '(\w+)'`)
	memory    = regexp.MustCompile(
		`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	used   = regexp.MustCompile(`Used (\d+) registers`)
	static = regexp.MustCompile(`(\d+) bytes smem`)

	// What nvdisasm -c writes: where a kernel's code begins, and an instruction.
	section     = regexp.MustCompile(`^\s*\.section\s+\.text\.(\w+)`)
	instruction = regexp.MustCompile(`^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)`)
)

// image compiles a family for an architecture. It returns the PTX, the cubin, and a row of
// resources.txt for each kernel.
func (t *tools) image(work, family, architecture string) (
	ptx, cubin []byte, rows [][]string, err error,
) {
	stem := filepath.Join(work, family+"."+architecture)
	args := []string{"nvrtc.py", t.libnvrtc, family + ".cu", stem + ".ptx"}
	for _, o := range nvrtcOptions {
		args = append(args, strings.ReplaceAll(o, "%s", architecture))
	}
	said, err := run(work, t.python, args...)
	if err != nil {
		return nil, nil, nil, err
	}
	os.Stderr.Write(said) // warnings
	args = []string{"-v", stem + ".ptx", "-o", stem + ".cubin"}
	for _, o := range ptxasOptions {
		args = append(args, strings.ReplaceAll(o, "%s", architecture))
	}
	report, err := run(work, t.ptxas, args...)
	if err != nil {
		return nil, nil, nil, err
	}
	code := exec.Command(t.nvdisasm, "-c", stem+".cubin") // it warns that the cubin is an old one
	assembly, err := code.Output()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("nvdisasm: %w", err)
	}
	counts := census(assembly)

	var fields []string
	for line := range strings.Lines(string(report)) {
		if m := compiling.FindStringSubmatch(line); m != nil {
			fields = []string{m[1], family, "sm_" + architecture, "", "", "", "0"}
		}
		if m := memory.FindStringSubmatch(line); m != nil && fields != nil {
			stores, _ := strconv.Atoi(m[2])
			loads, _ := strconv.Atoi(m[3])
			fields[4], fields[5] = strconv.Itoa(stores+loads), m[1]
		}
		m := used.FindStringSubmatch(line)
		if m == nil || fields == nil {
			continue
		}
		fields[3] = m[1]
		if m := static.FindStringSubmatch(line); m != nil {
			fields[6] = m[1]
		}
		kernel, ok := counts[fields[0]]
		if !ok || fields[4] == "" {
			const what = "what the compilers say of kernel %s is not understood"
			return nil, nil, nil, fmt.Errorf(what, fields[0])
		}
		if fields[4] != "0" {
			log.Printf("%s spills %s bytes on %s", fields[0], fields[4], fields[2])
		}
		for _, name := range columns[len(fields):] {
			fields = append(fields, strconv.Itoa(kernel[name]))
		}
		rows = append(rows, fields)
		fields = nil
	}
	if len(rows) == 0 || len(rows) != len(counts) {
		return nil, nil, nil, fmt.Errorf("ptxas speaks of %d kernels, and nvdisasm of %d",
			len(rows), len(counts))
	}
	if ptx, err = os.ReadFile(stem + ".ptx"); err != nil {
		return nil, nil, nil, err
	}
	cubin, err = os.ReadFile(stem + ".cubin")
	return ptx, cubin, rows, err
}

// census counts instructions by kernel and name.
func census(assembly []byte) map[string]map[string]int {
	counts := make(map[string]map[string]int)
	var kernel map[string]int
	for line := range bytes.Lines(assembly) {
		if m := section.FindSubmatch(line); m != nil {
			kernel = make(map[string]int)
			counts[string(m[1])] = kernel
		} else if m := instruction.FindSubmatch(line); m != nil && kernel != nil {
			kernel[string(m[1])]++
		}
	}
	return counts
}
