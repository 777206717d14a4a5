//go:build unix

package commandtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file"
)

// What tells a program to die: before operation K on the disk or, torn, after half of it; and where
// to list its operations.
const (
	dieAt   = "KUDOS_DIE_AT"
	dieTorn = "KUDOS_DIE_TORN"
	listTo  = "KUDOS_LIST_TO"
)

// Dies makes the program do what Kill and List have put into its environment. It is called in
// TestMain, before the program's main.
func Dies() {
	at, _ := strconv.ParseInt(os.Getenv(dieAt), 10, 64) // none is never
	torn, to := os.Getenv(dieTorn) != "", os.Getenv(listTo)
	if at == 0 && to == "" {
		return
	}
	var list *os.File
	if to != "" {
		var err error
		if list, err = os.Create(to); err != nil {
			panic(err)
		}
	}
	var done atomic.Int64
	file.Before = func(_, name string) error {
		if list != nil {
			fmt.Fprintln(list, name)
		}
		switch n := done.Add(1); {
		case at == 0 || n < at:
			return nil
		case torn && n == at:
			return errors.New("torn")
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it has no other end
		select {}
	}
}

// List runs a program to its end and returns the files of its operations on the disk, in their
// order, relative to a folder.
func List(t *testing.T, folder string, args ...string) (operations []string) {
	t.Helper()
	list := filepath.Join(t.TempDir(), "list")
	p := StartWith(t, []string{listTo + "=" + list}, args...)
	code, _ := p.Wait()
	require.Zero(t, code, p.Stderr.String())
	text, err := os.ReadFile(list)
	require.NoError(t, err)
	for name := range strings.Lines(string(text)) {
		name, err := filepath.Rel(folder, strings.TrimSpace(name))
		require.NoError(t, err)
		operations = append(operations, filepath.ToSlash(name))
	}
	return operations
}

// A Moment is an operation on the disk before which a program is killed or, torn, half-way through.
type Moment struct {
	Operation int // from 1
	Name      string
	Torn      bool
}

// Moments spreads n moments over the kinds of files that a program writes, by the folder or file
// that they begin with, and over the operations on each kind.
func Moments(operations []string, n int) (all []Moment) {
	var kinds []string
	of := map[string][]int{}
	for i, name := range operations {
		kind, _, _ := strings.Cut(name, "/")
		if file.IsLeft(kind) { // half-written
			kind = ""
		}
		if of[kind] == nil {
			kinds = append(kinds, kind)
		}
		of[kind] = append(of[kind], i+1)
	}
	for i := range n {
		kind := kinds[i%len(kinds)]
		if n < len(kinds) {
			kind = kinds[(2*i+1)*len(kinds)/(2*n)]
		}
		at := of[kind][(2*i+1)*len(of[kind])/(2*n)]
		all = append(all, Moment{at, operations[at-1], i%2 == 1})
	}
	return all
}

// Kill runs a program until it dies at a moment, which it must come to.
func Kill(t *testing.T, m Moment, args ...string) {
	t.Helper()
	code, said := TryToKill(t, m, args...)
	require.Equal(t, -1, code, "%s: %s", m.Name, said)
	t.Logf("killed at operation %d, %s, torn: %t", m.Operation, m.Name, m.Torn)
}

// TryToKill is Kill of a program that may end before: it returns its exit status, -1 where it died,
// and what it has said.
func TryToKill(t *testing.T, m Moment, args ...string) (code int, said string) {
	t.Helper()
	variables := []string{fmt.Sprint(dieAt, "=", m.Operation)}
	if m.Torn {
		variables = append(variables, dieTorn+"=1")
	}
	p := StartWith(t, variables, args...)
	code, _ = p.Wait()
	return code, p.Stderr.String()
}

// Resume runs a program with -resume to its end, which must be a good one.
func Resume(t *testing.T, args ...string) {
	t.Helper()
	p := Start(t, append(slices.Clone(args), "-resume")...)
	code, _ := p.Wait()
	require.Zero(t, code, &p.Stderr)
}

var (
	seconds = regexp.MustCompile(`"seconds": ?([0-9.e-]+|\{[^}]*\})`)
	inTime  = regexp.MustCompile(`(updates) in [^,]+,`)
)

// Timeless is the text of a file of a run without the times that it tells.
func Timeless(text string) string {
	return inTime.ReplaceAllString(seconds.ReplaceAllString(text, ""), "$1")
}

// Files are the files of a folder, by their names there, but for those that keep leaves out.
func Files(t *testing.T, dir string, keep func(name string) bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if name = filepath.ToSlash(name); err != nil || !keep(name) {
			return err
		}
		text, err := os.ReadFile(path)
		all[name] = string(text)
		return err
	}))
	return all
}

// LastWords stops a program at moments, from the one on at which it has its folder to the one at
// which something is in it, and requires that what it says last is true: what was finished is where
// it says, or nothing was made. args are
// those of a run into a folder. It returns how often each of both was said.
func LastWords(t *testing.T, times int, args func(out string) []string) (finished, nothing int) {
	t.Helper()
	dir := t.TempDir()
	for i := range times {
		out := filepath.Join(dir, strconv.Itoa(i))
		p := Start(t, args(out)...)
		p.Await(t, func() bool {
			_, err := os.Stat(out)
			return err == nil
		})
		if i < times-1 {
			time.Sleep(10 * time.Millisecond << i)
		} else {
			p.Await(t, func() bool { return len(made(t, out)) > 0 })
		}
		_ = p.Process.Signal(syscall.SIGINT) // or it has ended
		code, last := p.Wait()
		if code == 0 {
			continue
		}
		require.Equal(t, 130, code, p.Stderr.String())
		there := made(t, out)
		_, where, ok := strings.Cut(last, "what was finished is in ")
		if !ok {
			require.Contains(t, last, "stopped; nothing was made")
			require.Empty(t, there)
			nothing++
			continue
		}
		finished++
		where, ok = strings.CutSuffix(where, "; -resume goes on")
		require.True(t, ok, last)
		require.True(t, where == out || strings.HasPrefix(where, out+"/"), last)
		_, err := os.Stat(where)
		require.NoError(t, err)
		require.NotEmpty(t, there)
	}
	return finished, nothing
}

// made are the names of what a run has made in its folder: of files with anything in them, but for
// its settings and its lock.
func made(t *testing.T, dir string) (names []string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || file.IsLeft(d.Name()) || d.Name() == "config.json" {
			return nil // it is not there, or not there any more
		}
		if info, err := d.Info(); err == nil && info.Size() > 0 {
			names = append(names, path)
		}
		return nil
	})
	return names
}
