package kerneltest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels"
)

// InChild runs f in a process of its own, in which nothing else has happened. There the test calls
// itself again. In the calling process it waits for the other one and logs what that printed. f may
// use t as any test does.
func InChild(t *testing.T, f func()) {
	t.Helper()
	const variable = "KUDOS_TEST_IN_CHILD"
	if os.Getenv(variable) == t.Name() {
		f()
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	test := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	child := exec.Command(program, "-test.run", test, "-test.v", "-test.count=1")
	child.Env = append(os.Environ(), variable+"="+t.Name())
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a child process: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// freedBy returns how much less memory the process holds after close, of the memory that no file
// backs. close must free memory outside of Go's heap, as a machine's Close does. Nothing is
// collected between the two readings, so Go's runtime holds the same in both. The result is exact
// up to the few pages that reading takes. freedBy skips the test where the system does not tell.
func freedBy(t testing.TB, close func() error) int64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	debug.FreeOSMemory() // leaves nothing for the runtime to free in the background
	before := anonymousBytes(t)
	if err := close(); err != nil {
		t.Fatal(err)
	}
	return before - anonymousBytes(t)
}

// LiveBytes returns how much of Go's heap is in use after the garbage is collected.
func LiveBytes() int64 {
	runtime.GC()
	runtime.GC() // collects what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// RequirePlanned compares the memory of a process that trains with its plan. What close frees
// outside of Go's heap must be the arena and the workspace. live must be all the rest. It is how
// much LiveBytes has grown since before anything of the rest was made. The memory of Go's runtime
// is in neither.
//
// A run writes to every page of arena and workspace, so they are the same up to a few pages. The
// heap has all that is planned. It also has the graph and its compiled form, which are not planned.
// They take about 2.5 KB for each step of a run, and 3 KiB are allowed.
func RequirePlanned(t testing.TB, p kernels.Plan, live int64, close func() error) {
	t.Helper()
	freed, mapped := freedBy(t, close), p.Arena+p.Workspace
	heap := p.Total() - mapped
	t.Logf("%v: %d bytes freed of %d planned, %d bytes live of %d", p, freed, mapped, live, heap)
	if !(freed >= mapped-pages && freed <= mapped+pages) {
		t.Errorf("outside of Go's heap are %d bytes, %d are planned", freed, mapped)
	}
	if graph := 3 << 10 * int64(p.Steps); !(live >= heap && live <= heap+graph) {
		const wrong = "on Go's heap are %d bytes, %d are planned, and a graph of %d at most"
		t.Errorf(wrong, live, heap, graph)
	}
}

// pages is what freedBy is exact to, in bytes.
const pages = 64 << 10

// anonymousBytes returns how much memory the process holds that no file backs.
func anonymousBytes(t testing.TB) int64 {
	t.Helper()
	n, err := anonymous("/proc/self/smaps_rollup")
	if os.IsNotExist(err) || os.IsPermission(err) {
		t.Skip("the system does not tell a process's memory: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// anonymous reads the line "Anonymous: N kB" (proc_pid_smaps(5)).
func anonymous(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "Anonymous:"); ok {
			kB, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(v, "kB")), 10, 64)
			return 1024 * kB, err
		}
	}
	return 0, fmt.Errorf("%s: no line \"Anonymous:\" (%v)", path, lines.Err())
}
