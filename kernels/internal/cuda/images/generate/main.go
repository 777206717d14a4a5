// Command generate compiles the families of CUDA kernels whose sources changed, and writes what
// package images embeds. It runs in that package's folder, by go generate.
//
//	go run -C kernels/internal/cuda/images ./generate [-all | -check]
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

// folder has what is generated, below the working directory.
const folder = "data"

// jobs is how many compilers run at a time. One takes some 200 MB.
const jobs = 2

// A made file is one that is generated, and not yet written.
type made map[string][]byte

func main() {
	log.SetFlags(0)
	log.SetPrefix("generate: ")
	all := flag.Bool("all", false, "compile all families, not only those whose sources changed")
	check := flag.Bool("check", false, "compile all families, write nothing, and fail if the "+
		"files differ from what is made")
	flag.Parse()
	begin := time.Now()
	old, err := load()
	if err != nil {
		log.Fatal(err)
	}
	var stale []string
	for _, family := range src.Families() {
		if *all || *check || !old.has(family) {
			stale = append(stale, family)
		}
	}
	files := make(made)
	if len(stale) > 0 {
		tools, err := install()
		if err != nil {
			log.Fatalf("the sources of %s changed, and images of them cannot be made here: %v",
				strings.Join(stale, ", "), err)
		}
		if err := tools.compile(stale, files); err != nil {
			log.Fatal(err)
		}
	}
	sums, table := old.merge(stale, files)
	if *check {
		wrong := old.compare(files, sums, table)
		for _, w := range wrong {
			log.Print(w)
		}
		if len(wrong) > 0 {
			log.Fatal("images are not what the sources make. To make them: ", command)
		}
		log.Printf("%d families are as they are made, in %.0f s",
			len(stale), time.Since(begin).Seconds())
		return
	}
	if err := old.write(files, sums, table); err != nil {
		log.Fatal(err)
	}
	if len(stale) > 0 {
		log.Printf("compiled %s in %.0f s", strings.Join(stale, ", "), time.Since(begin).Seconds())
	}
}

// command makes the images.
const command = "go generate ./kernels/internal/cuda/images"

// header says what compiles. If it changes, everything is compiled anew.
func header() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s writes this list: what images are made by, of, and are.\n", command)
	for line := range strings.Lines(requirements) {
		if name, _, ok := strings.Cut(line, " \\"); ok && strings.Contains(name, "==") {
			fmt.Fprintf(&b, "# %s\n", strings.TrimSpace(name))
		}
	}
	fmt.Fprintf(&b, "# nvrtc %s\n", strings.Join(nvrtcOptions, " "))
	fmt.Fprintf(&b, "# ptxas %s\n", strings.Join(ptxasOptions, " "))
	fmt.Fprintf(&b, "%s  generate/requirements.txt\n", sum([]byte(requirements)))
	fmt.Fprintf(&b, "%s  generate/nvrtc.py\n", sum([]byte(nvrtc)))
	return b.String()
}

//go:embed requirements.txt
var requirements string

//go:embed nvrtc.py
var nvrtc string

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// A state is what a generation before has left.
type state struct {
	sums map[string]string   // of sources and images, by name, if the header is as it is now
	rows map[string][]string // of resources.txt, by family
	have map[string]string   // the sums of the images that there are, by name
	text map[string]string   // SUMS and resources.txt
}

// load reads the folder. What is not there is made.
func load() (*state, error) {
	s := &state{
		sums: make(map[string]string), rows: make(map[string][]string),
		have: make(map[string]string), text: make(map[string]string),
	}
	for _, name := range []string{"SUMS", "resources.txt"} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		s.text[name] = string(b)
	}
	if rest, ok := strings.CutPrefix(s.text["SUMS"], header()); ok {
		for line := range strings.Lines(rest) {
			if hash, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
				s.sums[name] = hash
			}
		}
	}
	if head, rest, _ := strings.Cut(s.text["resources.txt"], "\n"); head+"\n" == row(columns) {
		for line := range strings.Lines(rest) {
			if f := strings.Fields(line); len(f) > 1 {
				s.rows[f[1]] = append(s.rows[f[1]], line)
			}
		}
	}
	images, err := filepath.Glob(filepath.Join(folder, "*.gz"))
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		b, err := os.ReadFile(image)
		if err != nil {
			return nil, err
		}
		if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			b, _ = io.ReadAll(z)
		}
		s.have[strings.TrimSuffix(filepath.Base(image), ".gz")] = sum(b)
	}
	return s, nil
}

// images are the names of a family's images.
func images(family string) []string {
	return []string{family + ".compute_80.ptx", family + ".sm_80.cubin", family + ".sm_90a.cubin"}
}

// sources returns the sums of what a family is made of, by name.
func sources(family string) map[string]string {
	parts, err := src.Parts(family)
	if err != nil {
		log.Fatal(err)
	}
	sums := make(map[string]string)
	for _, part := range parts {
		b, err := src.Files.ReadFile(part)
		if err != nil {
			log.Fatal(err)
		}
		sums["src/"+part] = sum(b)
	}
	return sums
}

// has reports whether a family's images are there, and made of what the sources are now.
func (s *state) has(family string) bool {
	for name, hash := range sources(family) {
		if s.sums[name] != hash {
			return false
		}
	}
	for _, name := range images(family) {
		if s.have[name] == "" || s.have[name] != s.sums[name] {
			return false
		}
	}
	return len(s.rows[family]) > 0
}

// merge returns SUMS and resources.txt as they are to be. files has what was compiled now: images,
// and for each family a list of rows. The rest is as it was.
func (s *state) merge(compiled []string, files made) (sums, table string) {
	now := make(map[string]string)
	table = row(columns)
	for _, family := range src.Families() {
		maps.Copy(now, sources(family))
		for _, name := range images(family) {
			now[name] = s.have[name]
			if b, ok := files[name]; ok {
				now[name] = sum(b)
			}
		}
		if slices.Contains(compiled, family) {
			table += string(files[family])
			delete(files, family)
		} else {
			table += strings.Join(s.rows[family], "")
		}
	}
	sums = header()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		sums += now[name] + "  " + name + "\n"
	}
	return sums, table
}

// compare says what in the folder is not what was made.
func (s *state) compare(files made, sums, table string) (wrong []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if h := s.have[name]; h == "" {
			wrong = append(wrong, name+" is missing")
		} else if h != sum(files[name]) {
			wrong = append(wrong, name+" differs")
		}
	}
	for name := range s.have {
		if files[name] == nil {
			wrong = append(wrong, name+" is of no family")
		}
	}
	if s.text["SUMS"] != sums {
		wrong = append(wrong, "SUMS differs")
	}
	if s.text["resources.txt"] != table {
		wrong = append(wrong, "resources.txt differs")
	}
	return wrong
}

// write writes what changed, and removes images of families that there are no more. An image whose
// contents are the same keeps its file, whatever this compressor would make of it.
func (s *state) write(files made, sums, table string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, b := range files {
		if s.have[name] == sum(b) {
			continue
		}
		var z bytes.Buffer
		w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
		if err != nil {
			return err
		}
		w.Write(b)
		w.Close()
		if err := os.WriteFile(filepath.Join(folder, name+".gz"), z.Bytes(), 0o644); err != nil {
			return err
		}
	}
	for name := range s.have {
		family, _, _ := strings.Cut(name, ".")
		if slices.Contains(src.Families(), family) && slices.Contains(images(family), name) {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name+".gz")); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"SUMS": sums, "resources.txt": table} {
		if s.text[name] == text {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
