package memory

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// Free returns how many bytes of memory this process may still take before it has to swap or is
// killed: what the machine has available, or less if a cgroup of the process is given less, as in
// containers and under job schedulers. known is false where the system does not say.
func Free() (bytes int64, known bool) { return free(os.DirFS("/")) }

func free(root fs.FS) (bytes int64, known bool) {
	bytes = math.MaxInt64
	if there, ok := number(root, "proc/meminfo", "MemAvailable:"); ok {
		bytes = there << 10
	}
	text, _ := fs.ReadFile(root, "proc/self/cgroup") // without it there are none
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			bytes = min(bytes, second.free(root, parts[2]))
		case strings.Contains(","+parts[1]+",", ",memory,"):
			bytes = min(bytes, first.free(root, parts[2]))
		}
	}
	return max(0, bytes), bytes < math.MaxInt64
}

// A version of cgroups has files of its own
// (docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html).
type version struct {
	mount, limit, high, used string
	cached                   string // of memory.stat: what is used and given back when it is wanted
}

var (
	first = version{
		"sys/fs/cgroup/memory", "memory.limit_in_bytes", "",
		"memory.usage_in_bytes", "total_inactive_file",
	}
	second = version{
		"sys/fs/cgroup", "memory.max", "memory.high", "memory.current", "inactive_file",
	}
)

// free is what a cgroup and those above it have left. In a container the path may be the host's,
// which is not there: the mount is then the container's own cgroup.
func (v version) free(root fs.FS, group string) (least int64) {
	least = math.MaxInt64
	for at := path.Join("/", group); ; at = path.Dir(at) {
		dir := path.Join(v.mount, at)
		for _, name := range []string{v.limit, v.high} {
			limit, ok := number(root, path.Join(dir, name), "") // a folder has none
			used, there := number(root, path.Join(dir, v.used), "")
			if !ok || !there {
				continue
			}
			cached, _ := number(root, path.Join(dir, "memory.stat"), v.cached) // or none is known
			least = min(least, max(0, limit-max(0, used-cached)))
		}
		if at == "/" {
			return least
		}
	}
}

// number reads a file that holds a number or, with a name, the number behind the name that begins a
// line. "max", which is no limit, is none.
func number(root fs.FS, file, name string) (n int64, ok bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if name != "" && (len(words) < 2 || words[0] != name) || len(words) == 0 {
			continue
		}
		if name != "" {
			words = words[1:]
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		// Version 1 has the largest number of whole pages for no limit.
		return n, err == nil && n < math.MaxInt64>>12<<12
	}
	return 0, false
}
