//go:build unix

package main

import (
	"errors"
	"flag"
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

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/internal/file"
)

// moments is how many times a run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 2, "moments at which a run is killed")

// What tells a program of these tests to die: before operation K on the disk or, torn, after half of
// it; and where to list its operations.
const (
	dieAt   = "KUDOS_DIE_AT"
	dieTorn = "KUDOS_DIE_TORN"
	listTo  = "KUDOS_LIST_TO"
)

// dies does what the environment says.
func dies() {
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

// files are those of a folder, but for what is there only to go on and what tells times.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "cache") || strings.HasPrefix(name, "checkpoints") {
			return nil
		}
		text, err := os.ReadFile(path)
		all[name] = string(text)
		switch name {
		case "report.json":
			all[name] = stages.ReplaceAllString(all[name], "")
		case "metrics.jsonl":
			all[name] = seconds.ReplaceAllString(all[name], "")
		}
		return err
	}))
	return all
}

var (
	stages  = regexp.MustCompile(`"seconds": \{[^}]*\}`)
	seconds = regexp.MustCompile(`"seconds":[0-9.e-]+`)
)

// A moment is an operation on the disk before which a run is killed, or in the middle of it.
type moment struct {
	operation int // from 1
	name      string
	torn      bool
}

// choose spreads moments over the kinds of files that a run writes, and over the operations on each.
func choose(operations []string, n int) (all []moment) {
	kinds, of := []string{}, map[string][]int{}
	for i, name := range operations {
		kind, _, _ := strings.Cut(name, "/")
		if of[kind] == nil {
			kinds = append(kinds, kind)
		}
		of[kind] = append(of[kind], i+1)
	}
	for i := range n {
		kind := kinds[(i*len(kinds)/n+i)%len(kinds)]
		if n >= len(kinds) {
			kind = kinds[i%len(kinds)]
		}
		ops := of[kind]
		op := ops[(2*i+1)*len(ops)/(2*n)]
		all = append(all, moment{op, operations[op-1], i%2 == 1})
	}
	return all
}

// Killed at any moment and resumed, a run leaves bit for bit what it would have left.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	args := func(out string) []string {
		return []string{"-out", filepath.Join(dir, out), "-samples", "64", "-steps", "5", "-eval", "128"}
	}
	run := func(variables []string, args ...string) (code int, said string) {
		c := commandtest.StartWith(t, variables, args...)
		code, _ = c.Wait()
		return code, c.Stderr.String()
	}
	list := filepath.Join(dir, "list")
	code, said := run([]string{listTo + "=" + list}, args("whole")...)
	require.Zero(t, code, said)
	text, err := os.ReadFile(list)
	require.NoError(t, err)
	var operations, judged []string // judged: what evaluation has painted
	whole := filepath.Join(dir, "whole") + string(filepath.Separator)
	for name := range strings.Lines(string(text)) {
		name = strings.TrimPrefix(strings.TrimSpace(name), whole)
		operations = append(operations, name)
		if strings.HasPrefix(name, "cache/") && slices.Contains(operations, "tuned/model_index.json") {
			judged = append(judged, name)
		}
	}
	want := files(t, whole)
	require.Contains(t, want, "report.html")
	require.Contains(t, want, "tuned/unet/diffusion_pytorch_model.safetensors")
	for i, m := range choose(operations, *moments) {
		out := fmt.Sprint(i)
		variables := []string{fmt.Sprint(dieAt, "=", m.operation)}
		if m.torn {
			variables = append(variables, dieTorn+"=1")
		}
		code, said := run(variables, args(out)...)
		require.Equal(t, -1, code, said)
		t.Logf("killed at operation %d of %d, %s, torn: %t", m.operation, len(operations), m.name, m.torn)
		for _, name := range judged { // which takes most of a run: it is read if it is right
			to := filepath.Join(dir, out, name)
			if _, err := os.Stat(to); err == nil || !strings.HasSuffix(name, ".safetensors") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(whole, name))
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			require.NoError(t, os.WriteFile(to, text, 0o644))
		}
		code, said = run(nil, append(args(out), "-resume")...)
		require.Zero(t, code, said)
		require.Equal(t, want, files(t, filepath.Join(dir, out)), m.name)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, out)))
	}

	// A run that is at its end is what it was.
	code, said = run(nil, append(args("whole"), "-resume")...)
	require.Zero(t, code, said)
	require.Equal(t, want, files(t, whole))
}
