//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/internal/weights"
)

// Stopped while it trains, the program saves what was trained under a name that says so.
func TestStopped(t *testing.T) {
	p := at(t)
	stop := func(out, begun string, args ...string) string {
		c := commandtest.Start(t, p.args(out, args...)...)
		c.AwaitFile(t, p.out(begun))
		code, last := c.End(t, syscall.SIGINT)
		require.Equal(t, 130, code, c.Stderr.String())
		return last
	}
	last := stop("full", "full/metrics.jsonl", "-steps", "100000")
	var summary struct {
		Steps   int
		Stopped string
	}
	require.NoError(t, json.Unmarshal([]byte(files(t, p.out("full"))["report.json"]), &summary))
	require.NotEmpty(t, summary.Stopped)
	dir := p.out("full/stopped-after-" + strconv.Itoa(summary.Steps))
	require.Equal(t, fmt.Sprintf("finetune: stopped; what %d updates have made is in %s; "+
		"-resume goes on", summary.Steps, dir), last)
	require.NotEqual(t, weights.Hash(load(t, p.model).UNet), weights.Hash(load(t, dir).UNet))
	require.NoDirExists(t, p.out("full/unfinished"))
	metrics := strings.TrimSpace(files(t, p.out("full"))["metrics.jsonl"])
	require.Len(t, strings.Split(metrics, "\n"), summary.Steps)

	last = stop("lora", "lora/metrics.jsonl", "-steps", "100000", "-lora-rank", "2")
	found, err := filepath.Glob(p.out("lora/stopped-after-*/pytorch_lora_weights.safetensors"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, last, filepath.Dir(found[0]))
}

// Stopped before it trains, it leaves what was encoded. It is stopped where it encodes pictures, of
// which there are so many that it gets no further meanwhile: it looks for a signal between them.
func TestStoppedEarly(t *testing.T) {
	p := at(t)
	lines, err := os.ReadFile(p.samples)
	require.NoError(t, err)
	for i := range 5000 {
		lines = fmt.Appendf(lines, `{"id":"more %d","prompt":"a dog","file":"0.png","reward":1}%s`,
			i, "\n")
	}
	require.NoError(t, os.WriteFile(p.samples, lines, 0o644))
	c := commandtest.Start(t, p.args("early", "-steps", "100000")...)
	c.AwaitFile(t, p.out("early/cache"))
	code, last := c.End(t, syscall.SIGINT)
	require.Equal(t, 130, code, c.Stderr.String())
	require.Equal(t, "finetune: stopped; nothing was trained", last)
	entries, err := os.ReadDir(p.out("early"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "cache", entries[0].Name())
}
