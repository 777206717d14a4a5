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
	"sync"
	"time"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

// folder has what is generated, below the working directory.
const folder = "data"

// jobs is how many compilers run at a time. One takes some 200 MB.
const jobs = 2

// A made family is what it is compiled to.
type made struct {
	family string
	images map[string][]byte // by name
	rows   string            // of resources.txt
}

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
	if len(stale) > 0 {
		tools, err := install()
		if err != nil {
			log.Fatalf("the sources of %s changed, and images of them cannot be made here: %v",
				strings.Join(stale, ", "), err)
		}
		// What is done is written at once: if this is stopped, the next run does the rest.
		var lock sync.Mutex
		var wrong []string
		err = tools.compile(stale, func(m made) error {
			lock.Lock()
			defer lock.Unlock()
			if *check {
				wrong = append(wrong, old.compare(m)...)
				return nil
			}
			return old.write(m)
		})
		for _, w := range wrong {
			log.Print(w)
		}
		if err != nil {
			log.Fatal(err)
		}
		if len(wrong) > 0 {
			log.Fatal("images are not what the sources make. To make them: ", command)
		}
	}
	if *check {
		if wrong := old.rest(); len(wrong) > 0 {
			log.Fatalf("%s. To make what is right: %s", strings.Join(wrong, "; "), command)
		}
		log.Printf("images are what the sources of %s make, in %.0f s",
			strings.Join(stale, ", "), time.Since(begin).Seconds())
		return
	}
	if err := old.tidy(); err != nil {
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

// A state is what there is in the folder.
type state struct {
	sums map[string]string // of sources and images, by name, if the header is as it is now
	rows map[string]string // of resources.txt, by family
	have map[string]string // the sums of the images that there are, by name
	text map[string]string // SUMS and resources.txt
}

// load reads the folder. What is not there is made.
func load() (*state, error) {
	s := &state{
		sums: make(map[string]string), rows: make(map[string]string),
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
				s.rows[f[1]] += line
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

// sources returns the name in SUMS of what a family is made of, and its sum.
func sources(family string) (name, hash string) {
	parts, err := src.Parts(family)
	if err != nil {
		log.Fatal(err)
	}
	if hash, err = src.Sum(family); err != nil {
		log.Fatal(err)
	}
	return strings.Join(parts, " "), hash
}

// has reports whether a family's images are there, and made of what the sources are now.
func (s *state) has(family string) bool {
	if name, hash := sources(family); s.sums[name] != hash {
		return false
	}
	for _, name := range images(family) {
		if s.have[name] == "" || s.have[name] != s.sums[name] {
			return false
		}
	}
	return s.rows[family] != ""
}

// compare says what of a family is not what was made.
func (s *state) compare(m made) (wrong []string) {
	for _, name := range images(m.family) {
		switch s.have[name] {
		case "":
			wrong = append(wrong, name+" is missing")
		case sum(m.images[name]):
		default:
			wrong = append(wrong, name+" differs")
		}
	}
	if s.rows[m.family] != m.rows {
		wrong = append(wrong, "what resources.txt has of "+m.family+" differs")
	}
	if name, hash := sources(m.family); s.sums[name] != hash {
		wrong = append(wrong, "SUMS is of other sources of "+m.family)
	}
	return wrong
}

// write writes a family. An image whose contents are the same keeps its file, whatever this
// compressor would make of it.
func (s *state) write(m made) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, b := range m.images {
		hash := sum(b)
		if s.sums[name] = hash; s.have[name] == hash {
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
		s.have[name] = hash
	}
	s.rows[m.family] = m.rows
	name, hash := sources(m.family)
	s.sums[name] = hash
	return s.lists()
}

// lists writes SUMS and resources.txt, of the families that there are.
func (s *state) lists() error {
	sums, table := header(), row(columns)
	now := make(map[string]string)
	for _, family := range src.Families() {
		table += s.rows[family]
		parts, _ := sources(family)
		for _, name := range append(images(family), parts) {
			if s.sums[name] != "" {
				now[name] = s.sums[name]
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		sums += now[name] + "  " + name + "\n"
	}
	for name, text := range map[string]string{"SUMS": sums, "resources.txt": table} {
		if s.text[name] == text {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
		s.text[name] = text
	}
	return nil
}

// rest says what is in the folder that is of no family.
func (s *state) rest() (wrong []string) {
	for _, name := range slices.Sorted(maps.Keys(s.have)) {
		family, _, _ := strings.Cut(name, ".")
		if !slices.Contains(src.Families(), family) || !slices.Contains(images(family), name) {
			wrong = append(wrong, name+" is of no family")
		}
	}
	for family := range s.rows {
		if !slices.Contains(src.Families(), family) {
			wrong = append(wrong, "resources.txt has "+family+", which is no family")
		}
	}
	return wrong
}

// tidy removes what is of families that there are no more.
func (s *state) tidy() error {
	for _, name := range slices.Sorted(maps.Keys(s.have)) {
		family, _, _ := strings.Cut(name, ".")
		if slices.Contains(src.Families(), family) && slices.Contains(images(family), name) {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name+".gz")); err != nil {
			return err
		}
	}
	return s.lists()
}
