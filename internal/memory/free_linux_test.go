package memory

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// What is free is what the machine has available or, if that is less, what a cgroup has left. Files
// are as kernels write them.
func TestFree(t *testing.T) {
	const meminfo = "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:     800 kB\nSwapFree: 9 kB\n"
	const v2 = "sys/fs/cgroup/"
	const v1 = "sys/fs/cgroup/memory/"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"the machine": {map[string]string{"proc/meminfo": meminfo}, 800 << 10},
		"no limits": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user.slice\n",
			v2 + "user.slice/memory.max": "max\n", v2 + "user.slice/memory.current": "5\n",
		}, 800 << 10},
		"a container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			v2 + "memory.max": "500000\n", v2 + "memory.high": "max\n",
			v2 + "memory.current": "200000\n",
			v2 + "memory.stat":    "anon 100000\nactive_file 7\ninactive_file 60000\n",
		}, 500_000 - 140_000},
		"the host's path": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/docker/abc\n",
			v2 + "memory.max": "500000\n", v2 + "memory.current": "200000\n",
		}, 300_000},
		"a group above": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/slurm/job_1/step_0\n",
			v2 + "slurm/job_1/step_0/memory.max":     "max\n",
			v2 + "slurm/job_1/step_0/memory.current": "1\n",
			v2 + "slurm/job_1/memory.max":            "90000\n",
			v2 + "slurm/job_1/memory.current":        "10000\n",
		}, 80_000},
		"throttled": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
			v2 + "a/memory.max": "90000\n", v2 + "a/memory.high": "50000",
			v2 + "a/memory.current": "10000\n",
		}, 40_000},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "12:cpu,memory:/job\n1:name=systemd:/\n",
			v1 + "job/memory.limit_in_bytes": "70000\n",
			v1 + "job/memory.usage_in_bytes": "30000\n",
			v1 + "job/memory.stat":           "inactive_file 1\ntotal_inactive_file 5000\n",
			v1 + "memory.limit_in_bytes":     "9223372036854771712\n",
			v1 + "memory.usage_in_bytes":     "30000\n",
		}, 45_000},
		"all taken": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			v2 + "memory.max": "500\n", v2 + "memory.current": "600\n",
		}, 0},
		"nothing is said": {map[string]string{"proc/self/cgroup": "broken\n"}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range c.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			bytes, known := free(root)
			require.Equal(t, c.want >= 0, known)
			if known {
				require.Equal(t, c.want, bytes)
			}
		})
	}
	bytes, known := Free()
	require.True(t, known, "of this machine")
	require.Greater(t, bytes, int64(1<<20))
}
