// Package commandtest runs programs for their tests in processes of their own: a test binary is its program when it is asked to be.
package commandtest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
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
}

// Start runs the program with arguments, until the test ends at the longest.
func Start(t *testing.T, args ...string) *Program {
	t.Helper()
	p := &Program{Cmd: exec.CommandContext(t.Context(), os.Args[0], args...)}
	p.Env = append(os.Environ(), variable+"=1")
	p.Cmd.Stderr = &p.Stderr
	require.NoError(t, p.Cmd.Start())
	return p
}

// Await waits for a folder, or a file that is not empty.
func Await(t *testing.T, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := os.Stat(name)
		return err == nil && (info.IsDir() || info.Size() > 0)
	}, 5*time.Minute, time.Millisecond, name)
}

// End signals the program and waits for its end.
func (p *Program) End(t *testing.T, signal os.Signal) (code int, last string) {
	t.Helper()
	require.NoError(t, p.Process.Signal(signal))
	return p.Wait()
}

// Wait waits for the program's end: its exit status, -1 after a signal, and the last line of its stderr.
func (p *Program) Wait() (code int, last string) {
	p.Cmd.Wait() //nolint:errcheck // the exit status is what it would say
	lines := strings.Split(strings.TrimSpace(p.Stderr.String()), "\n")
	return p.ProcessState.ExitCode(), lines[len(lines)-1]
}
