package file

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errDead = errors.New("dead")

// dieAt runs f and lets all operations but the first k fail, as if the process had died there. It
// reports whether f came that far.
func dieAt(k int, f func()) (died bool) {
	n := 0
	Before = func(string, string) error {
		if n++; n > k {
			return errDead
		}
		return nil
	}
	defer func() { Before = nil }()
	f()
	return n > k
}

// anotherProcess makes this process forget which folders it has written to.
func anotherProcess() { places.clean, places.unlocked = nil, nil }

// tree returns what is under a folder: the contents of the files by their names.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	read := func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		all[name] = string(text)
		return err
	}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", read))
	return all
}

func TestWrittenWholeOrNotAtAll(t *testing.T) {
	big := strings.Repeat("new and long ", 100_000) // several writes
	writeBig := func(dir string) error { return WriteBytes(filepath.Join(dir, "a"), []byte(big)) }
	for name, test := range map[string]struct {
		do         func(dir string) error
		old, fresh map[string]string // what is there before and after
		between    bool              // that nothing is there is allowed too
	}{
		"a file": {
			do:    writeBig,
			fresh: map[string]string{"a": big},
		},
		"another in its place": {
			do:  writeBig,
			old: map[string]string{"a": "old"}, fresh: map[string]string{"a": big},
		},
		"a log": {
			do:  func(dir string) error { return WriteLog(filepath.Join(dir, "a"), []int{1, 2}) },
			old: map[string]string{"a": "old\n"}, fresh: map[string]string{"a": "1\n2\n"},
		},
		"a folder": {
			do: func(dir string) error {
				return WriteFolder(filepath.Join(dir, "a"), func(dir string) error {
					err := WriteBytes(filepath.Join(dir, "1"), []byte("one"))
					return errors.Join(err, WriteJSON(filepath.Join(dir, "2"), 2))
				})
			},
			fresh: map[string]string{"a/1": "one", "a/2": "2\n"},
		},
		"another folder in its place": {
			do: func(dir string) error {
				return WriteFolder(filepath.Join(dir, "a"), func(dir string) error {
					return WriteBytes(filepath.Join(dir, "1"), []byte("one"))
				})
			},
			old:   map[string]string{"a/1": "old", "a/2": "old"},
			fresh: map[string]string{"a/1": "one"}, between: true,
		},
		"a folder that goes": {
			do:  func(dir string) error { return RemoveFolder(filepath.Join(dir, "a")) },
			old: map[string]string{"a/1": "old", "a/2": "old"}, fresh: map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, died := 0, true; died; k++ {
				require.Less(t, k, 100)
				dir := t.TempDir()
				for name, text := range test.old {
					require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
					require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
				}
				anotherProcess()
				var err error
				died = dieAt(k, func() { err = test.do(dir) })
				if !died {
					require.NoError(t, err)
				}
				left := tree(t, dir)
				for name := range left {
					if isTemporary(strings.Split(name, "/")[0]) {
						require.True(t, died, "%s stays", name)
						delete(left, name)
					}
				}
				unchanged := fmt.Sprint(left) == fmt.Sprint(test.old)
				between := test.between && died && len(left) == 0
				switch {
				case unchanged, between:
					require.ErrorIs(t, err, errDead, "after operation %d", k)
					require.ErrorContains(t, err, filepath.Join(dir, "a"))
				default:
					require.Equal(t, test.fresh, left, "after operation %d", k)
				}

				// The next process cleans up and can do the same.
				anotherProcess()
				require.NoError(t, test.do(dir))
				require.Equal(t, test.fresh, tree(t, dir))
				entries, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.LessOrEqual(t, len(entries), 1, "nothing temporary is left")
			}
		})
	}
}

func TestWriteErrors(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "report.json")
	require.NoError(t, WriteJSON(name, map[string]any{"seed": 1, "a<b": "ü"}))
	want := map[string]string{"report.json": "{\n  \"a<b\": \"ü\",\n  \"seed\": 1\n}\n"}
	require.Equal(t, want, tree(t, dir))

	broken := errors.New("no space left on device")
	err := Write(name, func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "write "+name+": no space left on device")
	require.ErrorContains(t, WriteJSON(name, math.NaN()), name)
	require.Equal(t, want, tree(t, dir))

	nowhere := filepath.Join(dir, "none", "x")
	err = WriteBytes(nowhere, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotContains(t, err.Error(), suffix, "the temporary name tells nobody anything")
	err = WriteFolder(nowhere, func(string) error { return nil })
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotContains(t, err.Error(), suffix)
	err = WriteFolder(filepath.Join(dir, "f"), func(string) error { return broken })
	require.ErrorIs(t, err, broken)
	require.Error(t, WriteBytes(dir, nil), "a folder is not replaced by a file")
	require.Equal(t, want, tree(t, dir))
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	usual, own := filepath.Join(dir, "usual"), filepath.Join(dir, "own")
	plain, err := os.OpenFile(filepath.Join(dir, "plain"), os.O_CREATE, 0o666)
	require.NoError(t, err)
	require.NoError(t, plain.Close())
	require.NoError(t, os.WriteFile(own, nil, 0o600))
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(name)
		require.NoError(t, err)
		return info.Mode()
	}
	want := mode(own)
	require.NoError(t, WriteBytes(usual, nil))
	require.NoError(t, WriteBytes(own, nil))
	require.Equal(t, mode(plain.Name()), mode(usual))
	require.Equal(t, want, mode(own))
}

// A process that begins to write to a folder leaves alone what another one is writing there.
func TestTemporaryFilesOfTheLiving(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, prefix+"DEAD"+suffix)
	require.NoError(t, os.WriteFile(dead, nil, 0o644))
	foreign := filepath.Join(dir, ".kudos.tmp")
	require.NoError(t, os.WriteFile(foreign, nil, 0o644))
	anotherProcess()
	require.NoError(t, Write(filepath.Join(dir, "a"), func(w io.Writer) error {
		require.NoFileExists(t, dead)
		io.WriteString(w, "a")
		anotherProcess()
		return WriteFolder(filepath.Join(dir, "f"), func(inner string) error {
			anotherProcess()
			require.NoError(t, WriteBytes(filepath.Join(inner, "1"), nil))
			return WriteBytes(filepath.Join(dir, "b"), []byte("b"))
		})
	}))
	want := map[string]string{"a": "a", "b": "b", "f/1": "", ".kudos.tmp": ""}
	require.Equal(t, want, tree(t, dir))
}

// A lock that another program has on the folder, as flock(1) takes one, keeps nobody from writing.
func TestAFolderThatSomebodyElseLocks(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, prefix+"DEAD"+suffix)
	require.NoError(t, os.WriteFile(dead, nil, 0o644))
	f, err := openFolder(dir)
	require.NoError(t, err)
	if f == nil || lock(f, true) != nil {
		t.Skip("folders are not locked here")
	}
	defer f.Close()
	anotherProcess()
	began := time.Now()
	for range 100 {
		require.NoError(t, WriteBytes(filepath.Join(dir, "a"), nil))
	}
	require.Less(t, time.Since(began), 30*patience, "it waits once")
	require.FileExists(t, dead)
	yesterday := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(dead, yesterday, yesterday))
	places.clean = nil
	require.NoError(t, WriteBytes(filepath.Join(dir, "a"), nil))
	require.NoFileExists(t, dead)
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	_, err := Lock(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)

	first, err := Lock(dir)
	require.NoError(t, err)
	second, err := Lock(dir + "/.")
	require.NoError(t, err)
	require.NoError(t, first())
	require.NoError(t, first(), "once is enough")
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), "KUDOS_TEST_LOCK="+dir)
	out, err := child.CombinedOutput()
	if err == nil && strings.Contains(string(out), "no locks") {
		t.Skip("there are no locks here")
	}
	require.Error(t, err, "%s", out)
	require.Contains(t, string(out), dir+" is being written to by another process (")
	require.Contains(t, string(out), fmt.Sprintf("process %d on ", os.Getpid()))
	require.NoError(t, second())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)

	// A process that is killed holds nothing any more.
	child = exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), "KUDOS_TEST_LOCK="+dir)
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	text, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", text)
	_, err = Lock(dir)
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, dir, locked.Folder)
	require.Contains(t, locked.Holder, fmt.Sprintf("process %d on ", child.Process.Pid))
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.FileExists(t, filepath.Join(dir, lockFile))
	unlock, err := Lock(dir)
	require.NoError(t, err)
	require.NoError(t, unlock())
}

// TestChild is the other process of TestLock.
func TestChild(t *testing.T) {
	dir := os.Getenv("KUDOS_TEST_LOCK")
	if dir == "" {
		return
	}
	if _, err := Lock(dir); err != nil {
		t.Fatal(err)
	}
	if locks.held[dir].f == nil {
		fmt.Println("no locks")
		return
	}
	fmt.Println("locked")
	time.Sleep(time.Minute)
}

// What a lock's file says of its holder is shown on terminals: a whole line, of printable letters.
func TestHolder(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), lockFile))
	require.NoError(t, err)
	defer f.Close()
	require.Empty(t, holder(f))
	for text, want := range map[string]string{
		"half": "", "a\x1b[2Jü\nb": "a[2Jü", strings.Repeat("x", 400) + "\n": "",
	} {
		require.NoError(t, f.Truncate(0))
		_, err := f.WriteAt([]byte(text), 0)
		require.NoError(t, err)
		require.Equal(t, want, holder(f))
	}
}

func TestFree(t *testing.T) {
	dir := t.TempDir()
	free, known := Free(dir)
	if !known {
		t.Skip("not known here")
	}
	require.Positive(t, free)
	_, known = Free(filepath.Join(dir, "not", "yet", "there"))
	require.True(t, known)
}

type line struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
}

func readLog(t *testing.T, name string) (lines []line) {
	t.Helper()
	for l, err := range ReadLog[line](name) {
		require.NoError(t, err)
		lines = append(lines, l)
	}
	return lines
}

func TestLogSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	log, err := OpenLog(path)
	require.NoError(t, err)
	var want []line
	for i := range 500 { // more than a block
		want = append(want, line{i, 0.5})
		require.NoError(t, log.Append(want[i]))
	}
	require.NoError(t, log.Close())
	require.Equal(t, want, readLog(t, path))

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := len(whole) - 1; cut > len(whole)-30; cut-- { // killed while it wrote the last line
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o644))
		kept := readLog(t, path)
		require.Equal(t, want[:len(kept)], kept)
		require.GreaterOrEqual(t, len(kept), 498)
		log, err := OpenLog(path)
		require.NoError(t, err)
		require.NoError(t, log.Append(line{7, 7}))
		require.NoError(t, log.Close())
		require.Equal(t, append(kept[:len(kept):len(kept)], line{7, 7}), readLog(t, path))
	}
	noLine := bytes.Repeat([]byte("x"), 10000)
	require.NoError(t, os.WriteFile(path, noLine, 0o644))
	log, err = OpenLog(path)
	require.NoError(t, err)
	require.NoError(t, log.Append(line{1, 1}))
	require.Error(t, log.Append(math.NaN()))
	died := dieAt(0, func() { require.ErrorIs(t, log.Append(line{2, 2}), errDead) })
	require.True(t, died)
	require.NoError(t, log.f.Close())
	require.Equal(t, []line{{1, 1}}, readLog(t, path), "half a line is none")
	log, err = OpenLog(path)
	require.NoError(t, err)
	require.NoError(t, log.Append(line{3, 3}))
	require.NoError(t, log.Close())
	require.Equal(t, []line{{1, 1}, {3, 3}}, readLog(t, path))

	require.NoError(t, os.WriteFile(path, []byte("{\"step\":1}\n{\"step\n{}\n"), 0o644))
	n := 0
	for _, err := range ReadLog[line](path) {
		if n++; n == 2 {
			var bad *json.SyntaxError
			require.ErrorAs(t, err, &bad)
			require.ErrorContains(t, err, path+":2:")
		}
	}
	require.Equal(t, 2, n)
}

// Files are written, synced, closed and renamed, and the folder is synced, in this order.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	var done []string
	Before = func(operation, name string) error {
		name, err := filepath.Rel(dir, name)
		if parts := strings.Split(name, "/"); isTemporary(parts[0]) {
			parts[0] = "TEMP"
			name = strings.Join(parts, "/")
		}
		if parts := strings.Split(name, "/"); isTemporary(parts[len(parts)-1]) {
			name = strings.Join(append(parts[:len(parts)-1], "temp"), "/")
		}
		done = append(done, operation+" "+name)
		return err
	}
	defer func() { Before = nil }()
	require.NoError(t, WriteBytes(filepath.Join(dir, "a"), []byte("one")))
	require.Equal(t, []string{
		"create TEMP", "write TEMP", "sync TEMP", "close TEMP", "move TEMP", "rename a", "sync .",
	}, done)

	done = nil
	require.NoError(t, WriteFolder(filepath.Join(dir, "f"), func(dir string) error {
		return WriteBytes(filepath.Join(dir, "1"), []byte("one"))
	}))
	require.Equal(t, []string{
		"create TEMP", "create TEMP/temp", "write TEMP/temp", "sync TEMP/temp", "close TEMP/temp",
		"move TEMP/temp", "rename TEMP/1", "sync TEMP",
		"move f", "rename TEMP", // what had the name goes
		"move TEMP", "rename f", "sync .",
	}, done)
}

// A file system that refuses modes, or to be told that something is to last, is written to all the
// same. One that fails, or is full, is an error.
func TestRefusals(t *testing.T) {
	write := func(fails string, with error) error {
		dir := t.TempDir()
		name := filepath.Join(dir, "a")
		require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
		Before = func(operation, at string) error {
			if at == dir {
				operation += " folder"
			}
			if operation == fails {
				return with
			}
			return nil
		}
		err := WriteBytes(name, []byte("new"))
		log, failure := OpenLog(filepath.Join(dir, "log"))
		require.NoError(t, failure)
		require.NoError(t, log.Append(1))
		failure = log.Close()
		if fails == "sync" {
			require.Equal(t, err == nil, failure == nil)
		} else {
			require.NoError(t, failure)
		}
		Before = nil
		if err == nil {
			require.Equal(t, "new", tree(t, dir)["a"])
		}
		return err
	}
	require.NoError(t, write("chmod", fs.ErrPermission))
	for _, refusal := range refusals {
		require.NoError(t, write("sync", refusal))
		require.NoError(t, write("sync folder", refusal))
	}
	for _, failure := range failures {
		require.ErrorIs(t, write("sync", failure), failure)
		require.ErrorIs(t, write("sync folder", failure), failure)
		require.ErrorIs(t, write("close", failure), failure)
	}
}

// What another program has open for a moment is renamed and removed when it is closed, and what it
// keeps open is an error.
func TestPatience(t *testing.T) {
	taken := errors.New("taken")
	was := busy
	busy = func(err error) bool { return errors.Is(err, taken) }
	defer func() { busy, Before = was, nil }()
	for operation, do := range map[string]func(name string) error{
		"rename": func(name string) error { return WriteBytes(name, []byte("new")) },
		"remove": Remove,
	} {
		name := filepath.Join(t.TempDir(), "a")
		require.NoError(t, os.WriteFile(name, nil, 0o666))
		times := 3
		Before = func(now, at string) error {
			if now != operation || at != name || times == 0 {
				return nil
			}
			times--
			return taken
		}
		require.NoError(t, do(name))
		require.Zero(t, times)
		times = math.MaxInt
		began := time.Now()
		require.ErrorIs(t, do(name), taken)
		require.GreaterOrEqual(t, time.Since(began), patience)
	}
}

// A file or folder takes another's place.
func TestRename(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a/1", "b/2", "c", "d"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(at(name)), 0o777))
		require.NoError(t, os.WriteFile(at(name), []byte(name), 0o666))
	}
	require.NoError(t, Rename(at("a"), at("b")))
	require.NoError(t, Rename(at("c"), at("d")))
	require.NoError(t, Rename(at("d"), at("e")))
	require.Equal(t, map[string]string{"b/1": "a/1", "e": "c"}, tree(t, dir))
	require.ErrorIs(t, Rename(at("none"), at("x")), fs.ErrNotExist)
	require.NoError(t, Remove(at("none")))
	require.Error(t, Remove(at("b")), "it is not empty")
	require.NoError(t, RemoveAll(at("b")))
	require.Equal(t, map[string]string{"e": "c"}, tree(t, dir))
}

// What people call things is a file's name everywhere, or it is not one anywhere.
func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"00001.png", "a b", "ü", "日本", "con1", "console.txt", "com", "com10", "lpt", "nul-1.png",
		".hidden", "a..png", " a", "👩‍🎨.png", strings.Repeat("x", 255),
	} {
		require.NoError(t, CheckName(name), name)
	}
	for _, name := range []string{
		"", "con", "CON.png", "Aux.tar.gz", "nul", "prn ", "com1", "COM9.txt", "lpt¹", "CONIN$",
		"nul .png", "a:b", "a/b", `a\b`, "a|b", "a?", "*", "<a>", `"a"`, "a\x00", "a\nb", "\x7f",
		"a.", "a ", ".", "..", strings.Repeat("x", 256),
	} {
		require.Error(t, CheckName(name), name)
	}
}

// Modes are the process's: nobody else reads what it writes where it says so.
func TestUmask(t *testing.T) {
	for _, mask := range []int{0o022, 0o077, 0o002} {
		was, ok := umask(mask)
		if !ok {
			t.Skip("there are no modes here")
		}
		dir := t.TempDir()
		err := WriteFolder(filepath.Join(dir, "f"), func(dir string) error {
			return WriteBytes(filepath.Join(dir, "a"), nil)
		})
		log, failure := OpenLog(filepath.Join(dir, "log"))
		unlock, failed := Lock(dir)
		umask(was)
		require.NoError(t, errors.Join(err, failure, failed))
		for name, all := range map[string]os.FileMode{
			"f": 0o777, "f/a": 0o666, "log": 0o666, lockFile: 0o666,
		} {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, all&^os.FileMode(mask), info.Mode().Perm(), name)
		}
		require.NoError(t, errors.Join(unlock(), log.Close()))
	}
}
