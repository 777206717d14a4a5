package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/kudos-ml/kudos/internal/text"
)

// A tree is what there is in a folder and below it, and what was made of it.
type tree struct {
	root  string
	real  string           // without links
	files []string         // paths from root with slashes, in the order of their names
	seen  map[string]bool  // folders, by their paths without links
	links []string         // to folders, which are read after the folders
	odd   map[string]error // what is wrong with files that matter

	elsewhere []string // folders of other splits

	found []found
	used  map[string]bool // files that found has
	left  leavings
}

// readTree lists a folder.
func readTree(ctx context.Context, root string) (*tree, error) {
	t := &tree{
		root: root, seen: map[string]bool{}, odd: map[string]error{}, used: map[string]bool{},
	}
	fail := func(err error) (*tree, error) { return nil, fmt.Errorf("dataset: %w", err) }
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", root)
	}
	if err == nil {
		t.real, err = real(root)
	}
	if err == nil {
		err = t.walk(ctx, "", t.real)
	}
	if err != nil {
		return fail(err)
	}
	for len(t.links) > 0 {
		link := slices.MinFunc(t.links, byName)
		t.links = slices.DeleteFunc(t.links, func(l string) bool { return l == link })
		to, err := real(t.path(link))
		if err != nil {
			return fail(err)
		}
		above, err := filepath.Rel(to, t.real)
		if t.seen[to] || err == nil && filepath.IsLocal(above) {
			t.again(link)
			continue
		}
		if err := t.walk(ctx, link, to); err != nil {
			return fail(err)
		}
	}
	slices.SortFunc(t.files, byName)
	return t, nil
}

// again says that a folder is not read because it is read elsewhere.
func (t *tree) again(dir string) {
	t.left.add("folder is read already, or has this one in it, and was not read by this link",
		"folders are read already, or have this one in them, and were not read by these links", dir)
}

// real is a folder's path from the root of the file system, without links.
func real(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	return dir, err
}

// byName compares paths as a walk that sorts each folder's names comes to them.
func byName(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

// path is a file's path for the system.
func (t *tree) path(file string) string { return filepath.Join(t.root, filepath.FromSlash(file)) }

// walk lists a folder below the root, whose path without links is given too.
func (t *tree) walk(ctx context.Context, dir, at string) error {
	t.seen[at] = true
	entries, err := os.ReadDir(t.path(dir))
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if ignored(e.Name()) {
			continue
		}
		if strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() || isPicture(name) || ending(name) == ".icloud" {
				t.left.add("name begins with a dot and was passed over",
					"names begin with a dot and were passed over", name)
			}
			continue
		}
		info, err := e.Info()
		link := err == nil && info.Mode()&fs.ModeSymlink != 0
		if link {
			info, err = os.Stat(t.path(name))
		}
		switch {
		case link && errors.Is(err, fs.ErrNotExist) || link && err != nil && !isPermission(err):
			if matters(name) {
				t.odd[name] = fmt.Errorf("%s is a link to what is not there", shown(name))
			} else {
				t.left.add("link leads nowhere", "links lead nowhere", name)
			}
		case err != nil:
			return err
		case info.IsDir() && link:
			t.links = append(t.links, name)
		case info.IsDir():
			below := filepath.Join(at, e.Name())
			if t.seen[below] {
				t.again(name)
			} else if err := t.walk(ctx, name, below); err != nil {
				return err
			}
		default:
			t.add(name, info)
		}
	}
	return nil
}

func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }

// matters says whether a file is a picture or says something of pictures.
func matters(name string) bool {
	return isPicture(name) || isCaption(name) || isMetadata(name) || isSamples(name)
}

// add lists a file.
func (t *tree) add(name string, info fs.FileInfo) {
	if matters(name) {
		err := text.Regular(shown(name), info)
		switch {
		case err != nil:
		case !utf8.ValidString(name):
			err = fmt.Errorf("%s: the name is not UTF-8: rename the file", shown(name))
		case info.Size() == 0 && isPicture(name):
			err = fmt.Errorf("%s is empty: it has no bytes", shown(name))
		}
		if err != nil {
			t.odd[name] = err
		}
	}
	if info.Mode().IsRegular() {
		t.files = append(t.files, name)
	}
}

// wrong is what is wrong with the files of a kind, if anything is.
func (t *tree) wrong(kind func(file string) bool) error {
	names := slices.SortedFunc(maps.Keys(t.odd), byName)
	names = slices.DeleteFunc(names, func(n string) bool { return !kind(n) })
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("dataset: %s: %w%s", t.root, t.odd[names[0]], more(len(names)-1))
}

// unnamed leaves the pictures that what says what is in the folder does not name, and caption files
// of those that it names.
func (t *tree) unnamed(by string) {
	all := slices.Clone(t.files)
	for name := range t.odd {
		if !slices.Contains(t.files, name) {
			all = append(all, name)
		}
	}
	slices.SortFunc(all, byName)
	named := map[string]bool{}
	for file := range t.used {
		named[folded(file)], named[folded(stem(file))] = true, true
	}
	for _, file := range all {
		if isCaption(file) && named[folded(stem(file))] {
			t.left.add("caption file was not read, as "+by+" has the captions",
				"caption files were not read, as "+by+" has the captions", file)
		}
		below := func(dir string) bool { return strings.HasPrefix(file, dir+"/") }
		if isPicture(file) && !t.used[file] && !slices.ContainsFunc(t.elsewhere, below) {
			t.left.add("picture is not named by "+by+" and was not read",
				"pictures are not named by "+by+" and were not read", file)
		}
	}
}

// ignored says whether a name is of what operating systems and their file servers leave.
func ignored(name string) bool {
	switch strings.ToLower(name) {
	case "@eadir", "#recycle", "@recycle", "@recently-snapshot", "__macosx", "$recycle.bin",
		"system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini",
		".ds_store", ".git", ".gitattributes", ".ipynb_checkpoints", ".spotlight-v100",
		".trashes", ".fseventsd", ".cache", ".huggingface":
		return true
	}
	return strings.HasPrefix(name, "._") // AppleDouble: what macOS knows of another file
}

// folded is the same for names that differ in case or Unicode normalization alone.
func folded(name string) string { return norm.NFC.String(strings.ToLower(norm.NFC.String(name))) }

// shown is a name as it can be printed.
func shown(name string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if strings.ContainsFunc(name, odd) {
		return strconv.Quote(name)
	}
	return name
}

// fewOf names the first of many files.
func fewOf(names []string) string {
	const most = 5
	list := make([]string, 0, most)
	for _, n := range names[:min(most, len(names))] {
		list = append(list, shown(n))
	}
	text := strings.Join(list, ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// more says how many other files there is something of the kind about.
func more(n int) string {
	switch {
	case n <= 0:
		return ""
	case n == 1:
		return "; another file has such a fault"
	}
	return fmt.Sprintf("; %d other files have such faults", n)
}

// leavings are names by what is said of them, in the order in which that was first said.
type leavings struct {
	kinds []string
	many  map[string]string
	names map[string][]string
}

// add says something of files, in words for one and for several.
func (l *leavings) add(one, many string, names ...string) {
	if len(names) == 0 {
		return
	}
	if l.names == nil {
		l.many, l.names = map[string]string{}, map[string][]string{}
	}
	if l.names[one] == nil {
		l.kinds = append(l.kinds, one)
	}
	l.many[one] = many
	l.names[one] = append(l.names[one], names...)
}

// sentences says all of it: "2 files with captions were not read: 2.bmp, 2.gif".
func (l *leavings) sentences() (all []string) {
	for _, kind := range l.kinds {
		names, said := l.names[kind], kind
		if len(names) > 1 {
			said = l.many[kind]
		}
		all = append(all, fmt.Sprintf("%d %s: %s", len(names), said, fewOf(names)))
	}
	return all
}
