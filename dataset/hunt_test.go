package dataset

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

var (
	folders    = flag.Int("folders", 40, "random folders of TestRandomFolders")
	foldSeed   = flag.Uint64("folders-seed", 1, "seed of TestRandomFolders")
	huggingSay = flag.String("datasets", "", "Python with Hugging Face's datasets, for "+
		"TestRandomFolders")
)

// TestRandomFolders reads folders as people might have them, and compares what is read and what is
// said with a model of the rules that knows what each file was made as. Those with metadata are
// compared with what Hugging Face's datasets 5.2.0 reads, too:
//
//	go test -run TestRandomFolders -v ./dataset -folders 300 -folders-seed 1 -datasets PYTHON
func TestRandomFolders(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("names of all bytes, and links")
	}
	counts := map[string]int{}
	root := t.TempDir()
	var all []*made
	for i := range *folders {
		r := rand.New(rand.NewPCG(*foldSeed, uint64(i)))
		m := &made{r: r, dir: filepath.Join(root, fmt.Sprint(i)), i: i}
		m.left = map[string]bool{}
		if r.IntN(5) < 3 {
			m.captions(filepath.Join(root, fmt.Sprint("out", i)))
		} else {
			m.metadata()
		}
		m.write(t)
		counts[m.compare(t)]++
		all = append(all, m)
	}
	t.Log(counts)
	if *huggingSay != "" {
		counts := map[string]int{}
		for i, theirs := range hugging(t, all) {
			counts[all[i].against(t, theirs)]++
		}
		t.Log(counts)
	}
}

// A made folder is what files it has, and what is to come of it.
type made struct {
	r    *rand.Rand
	i    int
	dir  string
	out  string // another folder, which links lead to
	list bool   // it has metadata
	// alone says that there is one metadata file. datasets takes a text for a list of its letters
	// where another file has lists.
	alone bool

	files map[string]string // contents; of out, behind "out:"
	links map[string]string // where they lead to

	want   map[string][]string // captions of pictures
	order  []string            // "file: captions", in order, where it is not that of names
	left   map[string]bool     // names that are said
	wrong  []string            // names of which an error must have one
	theirs bool                // Hugging Face's datasets is to read the same
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// captions makes a folder whose captions are in files.
func (m *made) captions(out string) {
	r := m.r
	m.files, m.links, m.want = map[string]string{}, map[string]string{}, map[string][]string{}
	for range 1 + r.IntN(5) {
		m.picture(pick(r, "", "", "", "sub/", "a b/c/", "Ünï/"))
	}
	for range r.IntN(4) {
		m.junk()
	}
	if r.IntN(4) == 0 {
		m.link(out)
	}
	m.resolve()
}

// picture adds a picture, or what is none for us, and perhaps a caption.
func (m *made) picture(dir string) {
	r := m.r
	stem := dir + pick(r, "1", "2", "a", "A", "IMG_3", "x.y", "ü", "日本", "c d", "-n", "#1", "é,1")
	name := stem + pick(r, ".png", ".png", ".jpg", ".JPG", ".jpeg", ".webp", ".jfif", ".bmp",
		".gif", ".tiff", ".HEIC", "")
	m.files[name] = "x"
	if r.IntN(30) == 0 {
		m.files[name] = ""
	}
	caption := stem
	if r.IntN(5) == 0 {
		caption = name
	}
	if r.IntN(8) == 0 {
		caption = dir + norm.NFD.String(strings.TrimPrefix(caption, dir))
	}
	if r.IntN(30) > 0 {
		m.files[caption+pick(r, ".txt", ".txt", ".txt", ".TXT", ".caption")] = m.text()
	}
}

// text is a caption file; truth knows what it says.
func (m *made) text() string {
	r := m.r
	body := pick(r, "a dog", "ein Hündchen", "犬 🐕, \x1b[31mred", "<lora:x:0.8> (hat:1.3)",
		"--n blurry")
	end := pick(r, "\n", "\r\n", "\r")
	lines := []string{body}
	for range r.IntN(3) {
		lines = append(lines, pick(r, "", "  ", "another, longer caption", body))
	}
	text := strings.Join(lines, end) + pick(r, "", end, end+end)
	switch r.IntN(40) {
	case 0, 1:
		return "\ufeff" + text
	case 2, 3:
		return inUTF16(text)
	case 4:
		return "caf\xe9 " + text
	case 5:
		return text + end + "x\x00"
	case 6:
		return pick(r, "", " \n", "\ufeff")
	case 7:
		return pick(r, "version https://git-lfs.github.com/spec/v1\n", "<!DOCTYPE html>",
			`{\rtf1 x}`, "\xff\xfe\x00\x00a\x00\x00\x00", "\x89PNG\r\n")
	}
	return text
}

// truth is what a caption file says, by other means than the package's; nil if it is refused.
func truth(text string) (captions []string) {
	if rest, ok := strings.CutPrefix(text, "\xff\xfe"); ok {
		var units []byte
		for i := 0; i+1 < len(rest); i += 2 {
			c := rune(rest[i]) | rune(rest[i+1])<<8
			if c >= 0xd800 && c < 0xdc00 && i+3 < len(rest) {
				low := rune(rest[i+2]) | rune(rest[i+3])<<8
				c, i = 0x10000+(c-0xd800)<<10+(low-0xdc00), i+2
			}
			units = append(units, string(c)...)
		}
		text = string(units)
	}
	for _, bad := range []string{"\xe9 ", "\x00", "version https", "<!DOC", `{\rtf`, "\x89"} {
		if strings.Contains(text, bad) {
			return nil
		}
	}
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			captions = append(captions, line)
		}
	}
	return captions
}

// junk adds what is no picture.
func (m *made) junk() {
	name := pick(m.r, "._1.png", ".DS_Store", "Thumbs.db", "@eaDir/1.png", "__MACOSX/x.png",
		"notes.txt", "README.txt", ".hidden.png", ".trash/x.png", "1.npz", "1.json", "set.zip",
		"b.parquet", "sub/desktop.ini", "x.mp4", "labels.db", "a.safetensors", ".git/config",
		"sub/old.txt")
	m.files[name] = "x"
}

// link adds a link.
func (m *made) link(out string) {
	m.out = out
	m.files["out:1.png"], m.files["out:1.txt"] = "x", "linked"
	m.files["out:deep/2.jpg"], m.files["out:deep/2.caption"] = "x", "linked too"
	switch m.r.IntN(6) {
	case 0:
		m.links["z link"] = out
	case 1:
		m.links["y"], m.links["z"] = out, out
	case 2:
		m.links["loop"] = "."
	case 3:
		m.links["gone"] = "nowhere"
	case 4:
		m.links["hub.png"], m.links["hub.txt"] = out+"/1.png", out+"/1.txt"
	case 5:
		m.links["hub.png"], m.files["hub.txt"] = out+"/gone.png", "no picture"
	}
}

// resolve says what is to come of the folder, from the files as a link leads to them.
func (m *made) resolve() {
	files := map[string]string{}
	for name, text := range m.files {
		if !strings.HasPrefix(name, "out:") {
			files[name] = text
		}
	}
	for name, to := range m.links {
		switch {
		case name == "z", name == "loop", name == "gone":
			m.left[name] = true
		case to == m.out:
			for other, text := range m.files {
				if below, ok := strings.CutPrefix(other, "out:"); ok {
					files[name+"/"+below] = text
				}
			}
		case strings.HasSuffix(to, "gone.png"):
			m.wrong = append(m.wrong, name)
		default:
			files[name] = m.files["out:"+path.Base(to)]
		}
	}
	one := func(list string, name string) bool {
		return slices.Contains(strings.Fields(list), strings.ToLower(path.Ext(name)))
	}
	taken := map[string][]string{}
	isImage := func(n string) bool { return one(".png .jpg .jpeg .jpe .jfif .webp", n) }
	isText := func(n string) bool { return one(".txt .caption", n) }
	fold := func(n string) string { return strings.ToLower(norm.NFC.String(n)) }
	less := func(n string) string { return strings.TrimSuffix(n, path.Ext(n)) }
	of := func(name string, key func(string) string) (all []string) {
		for text := range files {
			base := key(less(text))
			if isText(text) && !passed(text) && (base == key(name) || base == key(less(name))) {
				all = append(all, text)
			}
		}
		return all
	}
	for name, bytes := range files {
		switch plain := of(name, func(n string) string { return n }); {
		case passed(name):
			if h := hidden(name); h != "" && (isImage(h) || h != name) {
				m.left[h] = true
			}
		case isImage(name):
			if bytes == "" {
				m.wrong = append(m.wrong, name)
			}
			if len(plain) == 0 {
				plain = of(name, fold)
			}
			if len(plain) != 1 {
				m.wrong = append(m.wrong, name)
				continue
			}
			taken[plain[0]] = append(taken[plain[0]], name)
			if m.want[name] = truth(files[plain[0]]); m.want[name] == nil {
				m.wrong = append(m.wrong, plain[0])
			} else if len(m.want[name]) > 1 {
				m.left[name] = true
			}
		case isText(name):
		case path.Ext(name) == "":
			if len(of(name, fold)) > 0 {
				m.left[name] = true
			}
		case one(".bmp .gif .tiff .heic .zip .parquet .mp4", name):
			m.left[name] = true
		}
	}
	for text := range files {
		if len(taken[text]) > 1 {
			m.wrong = append(m.wrong, taken[text]...)
		}
		if !isText(text) || passed(text) || len(taken[text]) > 0 || text == "README.txt" {
			continue
		}
		alone := true
		for name := range files {
			foreign := one(".bmp .gif .tiff .heic .zip .parquet .mp4", name) || path.Ext(name) == ""
			if foreign && !passed(name) && slices.Contains(of(name, fold), text) {
				alone = false
			}
		}
		if alone {
			m.left[text] = true
		}
	}
	if len(m.want) == 0 && len(m.wrong) == 0 {
		m.wrong = []string{path.Base(m.dir)}
	}
}

// passed says whether a name or one above it is passed over, and hidden by which dot that is said.
func passed(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if strings.HasPrefix(part, ".") || slices.Contains(strings.Fields(
			"@eaDir __MACOSX Thumbs.db desktop.ini"), part) {
			return true
		}
	}
	return false
}

func hidden(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, ".") && !strings.HasPrefix(part, "._") && part != ".git" &&
			part != ".DS_Store" {
			return strings.Join(parts[:i+1], "/")
		}
	}
	return ""
}

// metadata makes a folder that metadata says of what is in it.
func (m *made) metadata() {
	r := m.r
	m.files, m.links, m.want = map[string]string{}, map[string]string{}, map[string][]string{}
	m.list, m.theirs = true, true
	ending := pick(r, ".jsonl", ".csv")
	dirs := pick(r, []string{""}, []string{""}, []string{"train/"}, []string{"data/"},
		[]string{"test/"}, []string{"train/", "test/"}, []string{"a/", "b/"},
		[]string{"training-1/", "val/"}, []string{"", "more/"})
	m.alone = len(dirs) == 1
	column := pick(r, "text", "text", "text", "caption", "prompt")
	for _, dir := range dirs {
		if len(dirs) == 2 && dir == dirs[1] && (dir == "test/" || dir == "val/") {
			m.rows(dir, column, ending, false)
			continue
		}
		m.rows(dir, column, ending, true)
	}
	if column != "text" {
		for _, dir := range dirs {
			m.left[dir+"metadata"+ending] = true
		}
	}
	if len(m.want) == 0 && len(m.wrong) == 0 {
		m.wrong, m.theirs = []string{path.Base(m.dir)}, false
	}
	if r.IntN(4) == 0 && len(dirs) == 1 {
		m.files[dirs[0]+"stray.png"], m.left[dirs[0]+"stray.png"] = "x", true
	}
}

// rows adds a metadata file and its pictures, which are to be read or not.
func (m *made) rows(dir, column, ending string, read bool) {
	r := m.r
	n := 1 + r.IntN(4)
	var rows []map[string]any
	for i := range n {
		below := pick(r, "", "", "images/", "ü/")
		name := below + fmt.Sprint(i) + pick(r, ".png", ".jpg", ".JPEG", ".webp", ".bmp")
		m.files[dir+name] = "x"
		said := name
		switch r.IntN(14) {
		case 0:
			said, m.theirs = strings.ReplaceAll(name, "/", `\`), m.theirs && below == ""
		case 1:
			said, m.theirs = norm.NFD.String(name), m.theirs && !strings.Contains(name, "ü")
		case 2:
			said, m.theirs = strings.ToUpper(name), m.theirs && strings.ToUpper(name) == name
		}
		var value any = pick(r, "a dog", "ein Hund, \"grün\"", "two\nlines", "犬 🐕", " spaced ")
		captions := []string{value.(string)}
		if column == "text" && ending == ".jsonl" && r.IntN(3) == 0 && n == 1 && m.alone {
			value = []string{"one", "two"}
			captions = []string{"one", "two"}
		}
		bad := false
		switch r.IntN(40) {
		case 0:
			value, bad = "", true
		case 1:
			said, bad, m.theirs = "gone.png", true, false
		case 2:
			said, bad, m.theirs = "../../up.png", true, false
		}
		rows = append(rows, map[string]any{"file_name": said, column: value, "score": 0.5})
		file := dir + name
		switch {
		case !read:
		case bad:
			m.wrong = append(m.wrong, "metadata"+ending+":")
		case strings.HasSuffix(name, ".bmp"):
			m.left[file] = true
		default:
			m.want[file] = captions
			m.order = append(m.order, file)
			if len(captions) > 1 {
				m.left[file] = true
			}
		}
	}
	if !read {
		m.left[dir+"metadata"+ending] = true
	}
	var b bytes.Buffer
	end := pick(r, "\n", "\r\n", "\r")
	if ending == ".csv" {
		b.WriteString("file_name," + column + ",score" + end)
	}
	for _, row := range rows {
		if ending == ".csv" {
			quote := func(s any) string {
				return `"` + strings.ReplaceAll(fmt.Sprint(s), `"`, `""`) + `"`
			}
			b.WriteString(quote(row["file_name"]) + "," + quote(row[column]) + ",0.5" + end)
			continue
		}
		line, _ := json.Marshal(row)
		b.WriteString(string(line) + end)
	}
	text := b.String()
	m.theirs = m.theirs && end != "\r"
	switch r.IntN(8) {
	case 0:
		text = inUTF16(text)
		m.theirs = false
	case 1:
		text = "\ufeff" + text
		m.theirs = m.theirs && ending == ".csv"
	}
	m.files[dir+"metadata"+ending] = text
}

// write makes the folder.
func (m *made) write(t *testing.T) {
	require.NoError(t, os.MkdirAll(m.dir, 0o755))
	for name, text := range m.files {
		full := filepath.Join(m.dir, name)
		if below, ok := strings.CutPrefix(name, "out:"); ok {
			full = filepath.Join(m.out, below)
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte(text), 0o644))
	}
	for name, to := range m.links {
		require.NoError(t, os.Symlink(to, filepath.Join(m.dir, name)))
	}
}

// shows is what a failure shows.
func (m *made) shows() string {
	return fmt.Sprintf("folder %d\nfiles %q\nlinks %q\nwant %q\nleft %v\nwrong %q", m.i, m.files,
		m.links, m.want, m.left, m.wrong)
}

// compare compares what is read and said, and returns which kind it was.
func (m *made) compare(t *testing.T) string {
	f := Folder{Path: m.dir}
	samples, err := Collect(t.Context(), f)
	sentences, leftErr := f.Left(t.Context())
	if len(m.wrong) > 0 {
		require.Error(t, err, m.shows())
		require.Error(t, leftErr, m.shows())
		require.Contains(t, err.Error(), m.dir, m.shows())
		require.True(t, slices.ContainsFunc(m.wrong, func(name string) bool {
			return strings.Contains(err.Error(), name) || strings.Contains(err.Error(), shown(name))
		}), "%v\n%s", err, m.shows())
		return "refused"
	}
	require.NoError(t, err, m.shows())
	require.NoError(t, leftErr)
	got := map[string][]string{}
	for i, s := range samples {
		require.Empty(t, got[s.File], m.shows())
		got[s.File] = s.Captions()
		require.Equal(t, s.File, s.ID)
		if i > 0 && !m.list {
			require.Negative(t, byName(samples[i-1].File, s.File), m.shows())
		}
	}
	require.Equal(t, m.want, got, m.shows())
	said := map[string]bool{}
	for _, s := range sentences {
		_, list, ok := strings.Cut(s[strings.LastIndex(s[:len(s)-1], ": "):], ": ")
		require.True(t, ok)
		for _, name := range namesOf(list, m) {
			said[name] = true
		}
	}
	require.Equal(t, m.left, said, "%q\n%s", sentences, m.shows())
	if len(m.left) > 0 {
		return "read, and some left"
	}
	return "read"
}

// namesOf are the names of a list, which may have commas in them.
func namesOf(list string, m *made) (names []string) {
	for list != "" {
		best := ""
		for name := range m.left {
			if (list == name || strings.HasPrefix(list, name+", ")) && len(name) > len(best) {
				best = name
			}
		}
		if best == "" {
			return append(names, list)
		}
		names = append(names, best)
		list = strings.TrimPrefix(strings.TrimPrefix(list, best), ", ")
	}
	return names
}

// huggingRead prints, for each folder of a line of its input, the pictures and captions that
// Hugging Face's datasets reads of it, or its error.
const huggingRead = `
import json, os, sys, tempfile
os.environ["HF_HUB_OFFLINE"] = "1"
import datasets
datasets.disable_progress_bars()
for line in sys.stdin:
    root = json.loads(line)
    try:
        with tempfile.TemporaryDirectory() as cache:
            d = datasets.load_dataset("imagefolder", data_dir=root, cache_dir=cache)
            d = d["train"] if "train" in d else datasets.concatenate_datasets(list(d.values()))
            d = d.cast_column("image", datasets.Image(decode=False))
            column = [c for c in ("text", "caption", "prompt") if c in d.column_names][0]
            rows = [[os.path.relpath(r["image"]["path"], root), r[column]] for r in d]
        print(json.dumps({"rows": rows}), flush=True)
    except Exception as e:
        print(json.dumps({"error": (str(e.__cause__ or e) or repr(e))[:300]}), flush=True)
`

type huggingRows struct {
	Rows  [][2]json.RawMessage
	Error string
}

// hugging are what datasets reads of the folders that have metadata; nil of the others.
func hugging(t *testing.T, all []*made) []*huggingRows {
	var in bytes.Buffer
	for _, m := range all {
		if m.list {
			fmt.Fprintf(&in, "%q\n", m.dir)
		}
	}
	c := exec.Command(*huggingSay, "-c", huggingRead)
	c.Stdin, c.Stderr = &in, os.Stderr
	out, err := c.Output()
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(out))
	theirs := make([]*huggingRows, len(all))
	for i, m := range all {
		if m.list {
			theirs[i] = &huggingRows{}
			require.NoError(t, d.Decode(theirs[i]))
		}
	}
	return theirs
}

// against compares with datasets.
func (m *made) against(t *testing.T, theirs *huggingRows) string {
	switch {
	case theirs == nil:
		return "captions in files"
	case theirs.Error != "":
		require.False(t, m.theirs && len(m.wrong) == 0, "%s\n%s", theirs.Error, m.shows())
		if len(m.wrong) > 0 {
			return "both refuse"
		}
		return "datasets refuses"
	case len(m.wrong) > 0:
		return "we refuse"
	}
	got := map[string][]string{}
	for _, row := range theirs.Rows {
		var name, one string
		var several []string
		require.NoError(t, json.Unmarshal(row[0], &name))
		if json.Unmarshal(row[1], &one) == nil {
			several = []string{one}
		} else {
			require.NoError(t, json.Unmarshal(row[1], &several))
		}
		for ours := range m.files { // datasets has not looked whether there is such a file
			like := strings.EqualFold(norm.NFC.String(ours),
				norm.NFC.String(strings.ReplaceAll(name, `\`, "/")))
			if like && !m.theirs {
				name = ours
			}
		}
		if !m.left[name] || len(m.want[name]) > 0 {
			got[name] = several
		}
	}
	require.Equal(t, m.want, got, m.shows())
	return "both read the same"
}
