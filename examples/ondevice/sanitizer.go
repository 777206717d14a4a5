package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A sanitized run is what compute-sanitizer found in small checks.
type sanitized struct {
	Program string `json:"program,omitempty"`
	LeftOut string `json:"left_out,omitempty"` // why it was not run
	Tools   []tool `json:"tools,omitempty"`
}

// A tool is one of the things that compute-sanitizer looks for.
type tool struct {
	Name    string  `json:"name"`
	Right   bool    `json:"right"`
	Errors  int     `json:"errors"`             // that it counts
	Checks  int     `json:"checks"`             // that were made under it
	Of      int     `json:"of"`                 // that were to be made
	LeftOut string  `json:"left_out,omitempty"` // why not all were
	Wrong   string  `json:"wrong,omitempty"`
	Log     string  `json:"log,omitempty"` // the end of what it wrote, if it is not right
	Seconds float64 `json:"seconds"`
}

// sanitizer returns the path of compute-sanitizer, if it is there.
func sanitizer() string {
	const name = "compute-sanitizer"
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, folder := range []string{"/usr/local/cuda*/bin", "/usr/local/cuda*/compute-sanitizer"} {
		found, err := filepath.Glob(filepath.Join(folder, name))
		if err == nil && len(found) > 0 {
			return slices.Max(found)
		}
	}
	return ""
}

// tools are those that are run, and the checks that are made under them. Races are looked for where
// threads share memory.
var tools = []struct{ name, checks string }{
	{"memcheck", ""},
	{"racecheck", "^(primitives|reduce|loss|table|norm|linear|conv|attention|adamw)"},
}

// sanitize runs small checks under compute-sanitizer, until there is no time left.
func (o *options) sanitize(program string, until time.Time, progress io.Writer) sanitized {
	s := sanitized{Program: program}
	if program == "" {
		s.LeftOut = "compute-sanitizer is neither in PATH nor in /usr/local/cuda*"
		fmt.Fprintf(progress, "\nleft   sanitizer: %s\n", s.LeftOut)
		return s
	}
	for i, t := range tools {
		c := *o
		c.small = true
		if c.only == "" {
			c.only = t.checks
		}
		part := time.Until(until) / time.Duration(len(tools)-i)
		r := c.underTool(program, t.name, part)
		s.Tools = append(s.Tools, r)
		fmt.Fprintf(progress, "\n%-6s %s: %d errors in %d of %d checks, %.0f s%s\n",
			map[bool]string{true: "right", false: "WRONG"}[r.Right], t.name, r.Errors, r.Checks,
			r.Of, r.Seconds, r.Wrong)
	}
	return s
}

// underTool makes checks under a tool for so long.
func (o *options) underTool(program, name string, most time.Duration) (t tool) {
	begin := time.Now()
	t.Name = name
	defer func() { t.Seconds = rounded(time.Since(begin)) }()
	chosen, err := o.choose(checks())
	if err != nil {
		t.Right, t.LeftOut = true, err.Error()
		return t
	}
	t.Of = len(chosen)
	if most <= 0 {
		t.LeftOut = outOfTime
		return t
	}
	exe, err := os.Executable()
	if err != nil {
		t.Wrong = err.Error()
		return t
	}
	log, err := os.CreateTemp("", "ondevice-*.log")
	if err != nil {
		t.Wrong = err.Error()
		return t
	}
	log.Close()
	defer os.Remove(log.Name())
	args := append([]string{"--tool", name, "--log-file", log.Name(), exe}, o.childArgs(0)...)
	c := exec.Command(program, args...)
	c.Env = append(os.Environ(), "KUDOS_CUDA_SYNC=1") // an error names its kernel
	p, err := started(c)
	if err != nil {
		t.Wrong = err.Error()
		return t
	}
	timer := time.AfterFunc(most, p.stop)
	counted, ended := make(chan tool, 1), make(chan error, 1)
	go func() {
		var c tool
		c.count(p.events)
		counted <- c
		ended <- p.wait()
	}()
	var end error
	select {
	case end = <-ended:
		c := <-counted
		t.Checks, t.Wrong = c.Checks, c.Wrong
	case <-time.After(most + 10*time.Second):
		t.Wrong = "it did not end"
	}
	inTime := timer.Stop()
	said, err := os.ReadFile(log.Name())
	if err != nil {
		t.Wrong = err.Error()
		return t
	}
	t.judge(said, inTime, end)
	return t
}

// count counts the checks that a process makes.
func (t *tool) count(events io.Reader) {
	for lines := bufio.NewReader(events); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event
		if json.Unmarshal(line, &e) != nil || e.Result == nil {
			continue
		}
		t.Checks++
		if r := e.Result; !r.Right && r.LeftOut == "" && t.Wrong == "" {
			t.Wrong = r.Name + ": " + r.Wrong
		}
	}
}

// summary is the line in which a tool counts errors or hazards.
var summary = regexp.MustCompile(`(?m)^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+) `)

// judge reads what a tool has written.
func (t *tool) judge(log []byte, inTime bool, ended error) {
	found := summary.FindAllSubmatch(log, -1)
	for _, m := range found {
		n, _ := strconv.Atoi(string(m[1]))
		t.Errors += n
	}
	if !inTime {
		t.LeftOut = outOfTime
		t.Errors = max(t.Errors, bytes.Count(log, []byte("========= Invalid")),
			bytes.Count(log, []byte("hazard detected")))
	}
	switch {
	case t.Wrong != "":
	case t.Errors > 0:
		t.Wrong = fmt.Sprintf("%d errors", t.Errors)
	case inTime && len(found) == 0:
		t.Wrong = "it has not counted its errors"
	case inTime && ended != nil:
		t.Wrong = ended.Error()
	}
	t.Right = t.Wrong == ""
	if !t.Right {
		const most = 8000
		t.Log = strings.ToValidUTF8(string(log[max(0, len(log)-most):]), "?")
	}
}
