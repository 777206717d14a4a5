package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// A process holds at most what was planned, from its beginning to its end, and beside it only
// what is no part of a plan: the program's own pages, which are left out; the graph, 3 KiB for
// each of a step's operations at most; and what Go's runtime holds, a tenth of what is on its
// heap as garbage, by the percentage that main sets, and 2 MiB for itself; and while a checkpoint
// is written, 2 KiB for each of its tensors: its name, its shape and where in the file it lies.
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
	before, program := resident(t, "VmRSS"), resident(t, "RssFile")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("the peak of resident memory cannot be reset: %v", err)
	}
	args = append([]string{"-steps", "2", "-batch", "32"}, args...)
	s, printed, err := try(t, p.args("run", args...)...)
	require.NoError(t, err)
	peak := resident(t, "VmHWM") - before - (resident(t, "RssFile") - program)
	f := s.Planned
	tensors := 4 * len(s.model.UNet.Trainable()) // parameters, and three of AdamW's for each
	heap := f.Total() - f.Arena - f.Workspace
	beside := 3<<10*int64(f.Steps) + heap/10 + 2<<20 + 2<<10*int64(tensors)
	t.Logf("%s\npeak %v, %v more than the plan, of %v that may be beside it",
		printed, report.Size(peak), report.Size(peak-f.Total()), report.Size(beside))
	require.GreaterOrEqual(t, peak, f.Total())
	require.LessOrEqual(t, peak, f.Total()+beside)
}

// resident reads how many bytes of the process are in memory, from a line of /proc/self/status:
// VmRSS now, VmHWM at most.
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
