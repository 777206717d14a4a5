package kudos_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"github.com/kudos-ml/kudos/examples/tiny"
)

// README's program prints what README says, and saves what README says. The last digit may differ
// between machines, whose sums have other orders.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	program, output := fenced(t, string(readme), "go"), fenced(t, string(readme), "text")

	// An overlay puts the program into the module without a file there.
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(file, []byte(program), 0o644))
	here, err := filepath.Abs("examples/readme/main.go")
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{here: file}})
	require.NoError(t, err)
	replaced := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(replaced, overlay, 0o644))
	compiled := filepath.Join(dir, "readme.exe")
	build := exec.CommandContext(
		t.Context(), "go", "build", "-overlay", replaced, "-o", compiled, "./examples/readme")
	got, err := build.CombinedOutput()
	require.NoError(t, err, "%s", got)

	run := exec.CommandContext(t.Context(), compiled)
	run.Dir = t.TempDir()
	got, err = run.CombinedOutput()
	require.NoError(t, err, "%s", got)

	number := regexp.MustCompile(`\d+\.\d+`)
	require.Equal(t,
		number.ReplaceAllString(output, "x"), number.ReplaceAllString(string(got), "x"))
	want := number.FindAllString(output, -1)
	require.NotEmpty(t, want)
	for i, s := range number.FindAllString(string(got), -1) {
		which := fmt.Sprintf("number %d of %s", i, got)
		require.InDelta(t, float(t, want[i]), float(t, s), 1.5e-4, which)
	}
	saved(t, os.DirFS(filepath.Join(run.Dir, "tuned")))
}

// saved holds a folder to the miniature: it has the same files, with the same tensors in float32.
// Those of the UNet, and no others, have other values.
func saved(t *testing.T, folder fs.FS) {
	t.Helper()
	var names []string
	err := fs.WalkDir(tiny.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if name == "clip" {
			return fs.SkipDir // it is beside the pipeline, not of it
		}
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	require.NoError(t, err)
	require.Contains(t, names, "model_index.json")
	tuned := map[string]bool{}
	for _, name := range names {
		there, err := fs.ReadFile(tiny.FS(), name)
		require.NoError(t, err)
		got, err := fs.ReadFile(folder, name)
		require.NoError(t, err)
		if path.Ext(name) != ".safetensors" {
			continue
		}
		before, after := tensors(t, there), tensors(t, got)
		require.Equal(t, len(before), len(after), name)
		for tensor, was := range before {
			is := after[tensor]
			require.Equal(t, "F32", is.DType, "%s: %s", name, tensor)
			require.Equal(t, was.Shape, is.Shape, "%s: %s", name, tensor)
			require.Equal(t, len(was.values), len(is.values), "%s: %s", name, tensor)
			if !slices.Equal(was.values, is.values) {
				tuned[path.Dir(name)] = true
			}
		}
	}
	require.Equal(t, map[string]bool{"unet": true}, tuned)
}

// A weight is a tensor of a safetensors file.
type weight struct {
	DType   string
	Shape   []int
	Offsets [2]int `json:"data_offsets"`
	values  []float32
}

// tensors reads a safetensors file whose tensors are float16 or float32.
func tensors(t *testing.T, file []byte) map[string]weight {
	t.Helper()
	require.Greater(t, len(file), 8)
	begin := 8 + binary.LittleEndian.Uint64(file)
	require.LessOrEqual(t, begin, uint64(len(file)))
	var head map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(file[8:begin], &head))
	delete(head, "__metadata__")
	all := map[string]weight{}
	for name, text := range head {
		var w weight
		require.NoError(t, json.Unmarshal(text, &w))
		data := file[begin:][w.Offsets[0]:w.Offsets[1]]
		switch w.DType {
		case "F16":
			for ; len(data) > 0; data = data[2:] {
				half := float16.Frombits(binary.LittleEndian.Uint16(data))
				w.values = append(w.values, half.Float32())
			}
		case "F32":
			for ; len(data) > 0; data = data[4:] {
				bits := binary.LittleEndian.Uint32(data)
				w.values = append(w.values, math.Float32frombits(bits))
			}
		default:
			t.Fatalf("%s is %s", name, w.DType)
		}
		require.NotEmpty(t, w.values, name)
		all[name] = w
	}
	require.NotEmpty(t, all)
	return all
}

// Every link in a Markdown file of the repository leads to a file or folder that is there, and to a
// heading that is there; every go run in it, to a program.
func TestDocumentsLinks(t *testing.T) {
	here := os.DirFS(".")
	var names []string
	err := fs.WalkDir(here, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "out", "runs"}, name) {
			return fs.SkipDir
		}
		if path.Ext(name) == ".md" {
			names = append(names, name)
		}
		return nil
	})
	require.NoError(t, err)
	require.Subset(t, names, []string{"README.md", "CONTRIBUTING.md", "examples/README.md"})
	links, programs := 0, 0
	for _, name := range names {
		d := read(t, here, name)
		require.Empty(t, d.broken(here), name)
		links, programs = links+len(d.links()), programs+len(d.programs())
	}
	require.Positive(t, links)
	require.Positive(t, programs)
}

func TestBrokenLinksAreSeen(t *testing.T) {
	const other = "# One of `two`\n\n## And, a third-one\n\n```sh\n# no heading\n```\n"
	here := fstest.MapFS{
		"a/main.go":   {Data: []byte("// Command a is.\npackage main\n")},
		"b/b.go":      {Data: []byte("// package main is not its name.\npackage b\n")},
		"b/x_test.go": {Data: []byte("package main\n")},
		"b/other.md":  {Data: []byte(other)},
	}
	for text, want := range map[string]string{
		"[x](../a) and ![y](../a/main.go)":  "",
		"[x](https://example.org/nothing)":  "",
		"[x](other.md#one-of-two)":          "",
		"[x](other.md#and-a-third-one)":     "",
		"# Here\n[x](#here)":                "",
		"[x](a)":                            "a",
		"[x\ny](a)":                         "a",
		"![x](../a/none.png)":               "../a/none.png",
		"[x](other.md#no-heading)":          "other.md#no-heading",
		"[x](#there)":                       "#there",
		"    go run ./a -x y":               "",
		"runs `go run ./a` and go\nrun ./a": "",
		"`go run example.org/other/cmd@v1`": "",
		"`go run ./b`":                      "go run ./b",
		"and `go run\n./c` too":             "go run ./c",
	} {
		files := maps.Clone(here)
		files["b/README.md"] = &fstest.MapFile{Data: []byte(text)}
		require.Equal(t, want, strings.Join(read(t, files, "b/README.md").broken(files), " "), text)
	}
}

// A document is a Markdown file.
type document struct{ name, text string }

func read(t *testing.T, in fs.FS, name string) document {
	t.Helper()
	text, err := fs.ReadFile(in, name)
	require.NoError(t, err)
	return document{name, strings.ReplaceAll(string(text), "\r\n", "\n")}
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	goRun   = regexp.MustCompile(`\bgo\s+run\s+(\./[\w./-]*\w)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	silent  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// links are the targets of the links to other files and headings of the repository.
func (d document) links() (targets []string) {
	for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(d.text, ""), -1) {
		if !strings.Contains(m[1], "://") {
			targets = append(targets, m[1])
		}
	}
	return targets
}

// programs are the folders that the document says to go run, relative to the repository's root.
func (d document) programs() (folders []string) {
	for _, m := range goRun.FindAllStringSubmatch(d.text, -1) {
		folders = append(folders, m[1])
	}
	return folders
}

// anchors are the headings as links name them: in lower case, without punctuation, - for a space.
func (d document) anchors() (all []string) {
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(d.text, ""), -1) {
		name := silent.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// broken are the links and commands that lead nowhere.
func (d document) broken(in fs.FS) (all []string) {
	for _, target := range d.links() {
		file, anchor, named := strings.Cut(target, "#")
		name := d.name
		if file != "" {
			name = path.Join(path.Dir(d.name), file)
		}
		text, err := fs.ReadFile(in, name)
		if _, there := fs.Stat(in, name); there != nil {
			all = append(all, target)
			continue
		}
		to := document{name, string(text)}
		if named && (err != nil || !slices.Contains(to.anchors(), anchor)) {
			all = append(all, target)
		}
	}
	for _, folder := range d.programs() {
		if !program(in, path.Clean(folder)) {
			all = append(all, "go run "+folder)
		}
	}
	return all
}

// program reports whether a folder is that of a program: a file in it is of package main.
func program(in fs.FS, folder string) bool {
	files, err := fs.Glob(in, folder+"/*.go")
	if err != nil {
		return false
	}
	for _, name := range files {
		text, err := fs.ReadFile(in, name)
		if err != nil || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly)
		if err == nil && f.Name.Name == "main" {
			return true
		}
	}
	return false
}

// fenced is the only block of a language.
func fenced(t *testing.T, text, language string) string {
	_, after, ok := strings.Cut(text, "```"+language+"\n")
	require.True(t, ok)
	block, rest, ok := strings.Cut(after, "```\n")
	require.True(t, ok)
	require.NotContains(t, rest, "```"+language+"\n")
	return block
}

func float(t *testing.T, s string) float64 {
	x, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return x
}
