package kerneltest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// InChild runs f in a process of its own, in which nothing else has happened: the test calls itself again there. In
// the calling process it waits for that and logs what it printed. f may use t as any test.
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
	child := exec.Command(program, "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.count=1")
	child.Env = append(os.Environ(), variable+"="+t.Name())
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a child process: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// AnonymousBytes is how much memory the process holds that no file backs, after the garbage is collected and given back.
// It skips the test where the system does not tell.
func AnonymousBytes(t testing.TB) int64 {
	t.Helper()
	debug.FreeOSMemory()
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
