//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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

// Whatever asks it to end, what was trained is saved: Ctrl-C where who reads its output has died of
// it already; the end of the terminal, of which it is often told twice, and told to end besides.
func TestNothingIsLost(t *testing.T) {
	// Under nohup the tests ignore it, and the program would too.
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	p := at(t)
	const endless = "100000"
	for name, signals := range map[string][]syscall.Signal{
		"reader": {syscall.SIGINT}, "hang-up": {syscall.SIGHUP},
		"hang-ups":   {syscall.SIGHUP, syscall.SIGHUP, syscall.SIGTERM},
		"terminated": {syscall.SIGTERM, syscall.SIGHUP},
	} {
		t.Run(name, func(t *testing.T) {
			start := commandtest.Start
			if name == "reader" {
				start = commandtest.StartUnread
			}
			// An update takes long enough to be told more while it is made.
			c := start(t, p.args(name, "-steps", endless, "-batch", "24")...)
			c.AwaitFile(t, p.out(name+"/metrics.jsonl"))
			for i, s := range signals {
				err := c.Process.Signal(s)
				if i > 0 && errors.Is(err, os.ErrProcessDone) {
					break // it has saved and ended already
				}
				require.NoError(t, err)
				time.Sleep(100 * time.Millisecond)
			}
			code, last := c.Wait()
			require.Equal(t, 130, code, last)
			found, err := filepath.Glob(p.out(name + "/stopped-after-*/unet/config.json"))
			require.NoError(t, err)
			require.Len(t, found, 1)
			steps, err := filepath.Glob(p.out(name + "/checkpoints/step-*"))
			require.NoError(t, err)
			require.NotEmpty(t, steps)
		})
	}
	t.Run("nobody reads to the end", func(t *testing.T) {
		code, _ := commandtest.StartUnread(t, p.args("unread", "-steps", "2")...).Wait()
		require.Zero(t, code)
		require.DirExists(t, p.out("unread/tuned"))
	})
	t.Run("nohup", func(t *testing.T) {
		signal.Ignore(syscall.SIGHUP) // which the program inherits
		defer signal.Notify(hangUp, syscall.SIGHUP)
		c := commandtest.Start(t, p.args("nohup", "-steps", endless)...)
		c.AwaitFile(t, p.out("nohup/metrics.jsonl"))
		require.NoError(t, c.Process.Signal(syscall.SIGHUP))
		lines := func() int {
			return strings.Count(files(t, p.out("nohup"))["metrics.jsonl"], "\n")
		}
		was := lines()
		c.Await(t, func() bool { return lines() > was+5 })
		code, _ := c.End(t, syscall.SIGTERM)
		require.Equal(t, 130, code)
	})
}

// What is wrong beside a signal is said: a last save that fails is not hidden by Ctrl-C, and the
// last words say where the work is.
func TestStoppedOnAFullDisk(t *testing.T) {
	p := at(t)
	c := commandtest.Start(t, p.args("run", "-steps", "100000", "-every", "1")...)
	c.AwaitFile(t, p.out("run/checkpoints"))
	// What will be saved cannot be: there is a file in its place.
	blocked := p.out("run/unfinished/unet")
	c.Await(t, func() bool { return os.RemoveAll(blocked) == nil })
	require.NoError(t, os.MkdirAll(filepath.Dir(blocked), 0o755))
	require.NoError(t, os.WriteFile(blocked, nil, 0o644))
	code, last := c.End(t, syscall.SIGINT)
	require.Equal(t, 1, code)
	require.Contains(t, c.Stderr.String(), blocked)
	require.Regexp(t, `^finetune: stopped; what \d+ updates have made is in `+
		regexp.QuoteMeta(p.out("run/checkpoints"))+"; -resume goes on$", last)
	require.NoDirExists(t, p.out("run/unfinished"))
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
