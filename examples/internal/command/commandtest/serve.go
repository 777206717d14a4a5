package commandtest

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Serve starts a program that serves pages, calls do with the address that it prints for whoever
// gives a name, and interrupts it. It must then end without an error.
func Serve(t *testing.T, c *exec.Cmd, do func(base string)) {
	t.Helper()
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, address, found := strings.Cut(lines.Text(), "http://")
		if found && !strings.Contains(address, "#") {
			do("http://" + address)
			require.NoError(t, c.Process.Signal(os.Interrupt))
		}
	}
	require.NoError(t, lines.Err())
	require.NoError(t, c.Wait())
}
