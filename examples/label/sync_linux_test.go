package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// Where a process may be watched by those that started it alone (Yama), the program lets others.
func init() { _ = unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0) }

// A call is a system call of the program: when it began and when it had ended, counted in lines of
// the trace.
type call struct {
	name, file, text string
	begin, end       int
}

// In strace's form: PID NAME(FD<FILE>, "TEXT", …) = RESULT, or in two parts.
var (
	whole   = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>`)
)

// traced reads what strace has seen.
func traced(t *testing.T, text []byte) (calls []*call) {
	t.Helper()
	open := map[string]*call{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<24)
	for at := 0; lines.Scan(); at++ {
		line := lines.Text()
		if m := resumed.FindStringSubmatch(line); m != nil {
			if c := open[m[1]]; c != nil {
				c.end = at
				delete(open, m[1])
			}
			continue
		}
		m := whole.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c := &call{m[2], m[3], m[4], at, at}
		calls = append(calls, c)
		if strings.HasSuffix(line, "<unfinished ...>") {
			open[m[1]] = c
			c.end = 1 << 60
		}
	}
	require.NoError(t, lines.Err())
	return calls
}

// Each acknowledgement follows its sync: by the time the answer goes out, the page of the log that
// has the judgement was written, and after that the log was synced.
func TestAcknowledgementFollowsSync(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace: apt install strace")
	}
	dir := folder(t, 10)
	s := serve(t, "-images", dir, "-raters", "4")
	trace := filepath.Join(t.TempDir(), "trace")
	watch := exec.CommandContext(t.Context(), strace, "-f", "-y", "-s", "70000", "-o", trace,
		"-e", "trace=write,pwrite64,fsync,fdatasync", "-p", strconv.Itoa(s.Process.Pid))
	var said commandtest.Output
	watch.Stderr = &said
	require.NoError(t, watch.Start())
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	for !strings.Contains(said.String(), "attached") {
		select {
		case <-ended:
			t.Skip("strace may not watch a process here: ", said.String())
		default:
		}
	}
	var ids []string
	var mu sync.Mutex
	var group sync.WaitGroup
	for k := range 4 {
		v := s.enter(t, fmt.Sprint("rater ", k), "")
		group.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("answer-%d-%d-", k, i)
				if _, _, err := v.answer(id, fmt.Sprintf("%03d.png", i%10), "good"); err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	require.NoError(t, watch.Process.Signal(syscall.SIGINT))
	<-ended
	s.interrupt(t)
	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	calls := traced(t, text)
	for _, id := range ids {
		follows(t, calls, id)
	}
}

// follows holds the acknowledgement of an answer to what comes before it.
func follows(t *testing.T, calls []*call, id string) {
	t.Helper()
	var written, synced, acknowledged *call
	for _, c := range calls {
		log := strings.HasSuffix(c.file, "labels.db-wal")
		switch {
		case written == nil && c.name == "pwrite64" && log && strings.Contains(c.text, id):
			written = c
		case written != nil && synced == nil && log && strings.HasSuffix(c.name, "sync") &&
			c.begin > written.end:
			synced = c
		case acknowledged == nil && c.name == "write" && strings.Contains(c.file, "socket") &&
			strings.Contains(c.text, `done\":[\"`+id):
			acknowledged = c
		}
	}
	require.NotNil(t, written, "%s was not written to the log", id)
	require.NotNil(t, acknowledged, "%s was not acknowledged", id)
	require.NotNil(t, synced, "%s was not synced", id)
	require.Less(t, synced.end, acknowledged.begin, "%s was acknowledged before it was synced", id)
}
