// Package commandtest runs programs for their tests in processes of their own: a test binary is its
// program when it is asked to be.
package commandtest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// variable is what asks a test binary to be its program.
const variable = "KUDOS_BE_THE_PROGRAM"

// Main is all of a TestMain: it runs the tests or, in a process of Start's, main.
func Main(m *testing.M, main func()) {
	if os.Getenv(variable) == "" {
		os.Exit(m.Run())
	}
	main()
	os.Exit(0)
}

// A Program is a process of the program that is tested.
type Program struct {
	*exec.Cmd
	Stderr bytes.Buffer
	Said   Output        // on its standard output
	ended  chan struct{} // closed when the process has ended
}

// An Output is what a program has written so far.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write satisfies io.Writer.
func (o *Output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

// String is all of it.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Start runs the program with arguments, until the test ends at the longest.
func Start(t *testing.T, args ...string) *Program {
	t.Helper()
	return StartWith(t, nil, args...)
}

// StartWith is Start with variables NAME=VALUE in the program's environment.
func StartWith(t *testing.T, variables []string, args ...string) *Program {
	t.Helper()
	p := command(t, variables, args...)
	p.Cmd.Stdout, p.Cmd.Stderr = &p.Said, &p.Stderr
	p.start(t)
	return p
}

// command is a program that is not started yet.
func command(t *testing.T, variables []string, args ...string) *Program {
	p := &Program{
		Cmd:   exec.CommandContext(t.Context(), os.Args[0], args...),
		ended: make(chan struct{}),
	}
	p.Env = append(append(os.Environ(), variable+"=1"), variables...)
	return p
}

func (p *Program) start(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Cmd.Start())
	go func() {
		p.Cmd.Wait() //nolint:errcheck // the exit status is what it would say
		close(p.ended)
	}()
}

// StartUnread is Start of a program of whose output nobody reads anything: it is a pipe of which
// the other end is closed, as that of "program 2>&1 | tee log" is when tee has died.
func StartUnread(t *testing.T, args ...string) *Program {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	p := command(t, nil, args...)
	p.Cmd.Stdout, p.Cmd.Stderr = w, w
	p.start(t)
	require.NoError(t, w.Close())
	return p
}

// Await waits until done says so, however long that takes. The program must not end before.
func (p *Program) Await(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-p.ended:
			require.True(t, done(), "the program has ended too early: %s", &p.Stderr)
		case <-time.After(time.Millisecond):
		}
	}
}

// AwaitFile waits until there is a folder, or a file that is not empty.
func (p *Program) AwaitFile(t *testing.T, name string) {
	t.Helper()
	p.Await(t, func() bool {
		info, err := os.Stat(name)
		return err == nil && (info.IsDir() || info.Size() > 0)
	})
}

// End signals the program and waits for its end.
func (p *Program) End(t *testing.T, signal os.Signal) (code int, last string) {
	t.Helper()
	require.NoError(t, p.Process.Signal(signal))
	return p.Wait()
}

// Wait waits for the program's end: its exit status, -1 after a signal, and the last line of its
// stderr.
func (p *Program) Wait() (code int, last string) {
	<-p.ended
	lines := strings.Split(strings.TrimSpace(p.Stderr.String()), "\n")
	return p.ProcessState.ExitCode(), lines[len(lines)-1]
}
