package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// A process holds at most what was planned, from its beginning to its end: within 5 % of it, program aside.
func TestPeakIsThePlan(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"all", nil},
		{"clipped and averaged", []string{"-max-grad-norm", "1", "-ema", "0.5"}},
		{"computed again", []string{"-memory", "200MB"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kerneltest.InChild(t, func() { peakIsThePlan(t, c.args) })
		})
	}
}

func peakIsThePlan(t *testing.T, args []string) {
	debug.SetGCPercent(10) // as main does
	p := at(t)
	debug.FreeOSMemory()
	before := resident(t, "VmRSS")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("the peak of resident memory cannot be reset: %v", err)
	}
	s, printed, err := try(t, p.args("run", append([]string{"-steps", "2", "-batch", "32"}, args...)...)...)
	require.NoError(t, err)
	peak, plan := resident(t, "VmHWM")-before, s.fitting.Total()
	t.Logf("%s\npeak %v, %.3f of the plan", printed, size(peak), float64(peak)/float64(plan))
	require.InEpsilon(t, plan, peak, 0.05)
}

// resident reads how many bytes of the process are in memory, from a line of /proc/self/status: VmRSS now, VmHWM at most.
func resident(t *testing.T, line string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("the system does not tell a process's memory: ", err)
	}
	_, rest, ok := strings.Cut(string(status), line+":")
	require.True(t, ok)
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kilobytes << 10
}
