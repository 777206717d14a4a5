package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/kernels"
)

// Checks are made in a process of their own. A kernel that fails, or does not end, takes its
// process along: a GPU is of no use to it any more. The next process goes on with the next check.

// An event is a line that such a process writes.
type event struct {
	Begin  string  // the name of a check that begins
	Result *result // of the check that has begun
}

// serve makes checks from one on, and writes events. It ends early if the device is of no use any
// more.
func serve(d kernels.Device, checks []check, first int, out io.Writer) error {
	e := json.NewEncoder(out)
	for _, c := range checks[min(first, len(checks)):] {
		if err := e.Encode(event{Begin: c.name}); err != nil {
			return err
		}
		r := c.perform(d)
		if err := e.Encode(event{Result: &r}); err != nil {
			return err
		}
		if !r.Right && r.LeftOut == "" {
			m, err := d.Alloc(1)
			if err != nil {
				return err
			}
			m.Free()
		}
	}
	return nil
}

// A process makes checks.
type process struct {
	events io.Reader
	stop   func()       // at once
	wait   func() error // until it has ended, with what it has said before
}

// started starts a program as a process.
func started(c *exec.Cmd) (*process, error) {
	var said bytes.Buffer
	c.Stderr = &said
	events, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &process{
		events: events,
		// A process of its own that goes on without it finds nobody to write to.
		stop: func() { c.Process.Kill(); events.Close() },
		wait: func() error {
			err := c.Wait()
			if text := strings.TrimSpace(said.String()); err != nil && text != "" {
				const most = 4000
				err = fmt.Errorf("%w: %s", err, text[max(0, len(text)-most):])
			}
			return err
		},
	}, nil
}

// leave waits a little until the process has ended. One whose kernel does not end may not.
func (p *process) leave() {
	ended := make(chan error, 1)
	go func() { ended <- p.wait() }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
	}
}

// A supervisor has checks made, in as many processes as it takes.
type supervisor struct {
	checks   []check
	start    func(first int) (*process, error)
	each     time.Duration
	until    time.Time
	progress io.Writer
	done     func(result)

	idle int // processes that have ended without having begun, one after another
}

func (s *supervisor) run() {
	for next := 0; next < len(s.checks); {
		if s.idle >= mostIdle {
			s.finish(wrong(s.checks[next].name, "no process begins with it"))
			next++
			continue
		}
		if !time.Now().Before(s.until) {
			s.finish(result{Name: s.checks[next].name, LeftOut: outOfTime})
			next++
			continue
		}
		p, err := s.start(next)
		s.idle++
		if err != nil {
			s.finish(wrong(s.checks[next].name, err.Error()))
			next++
			continue
		}
		next += s.follow(p, next)
	}
}

// mostIdle is how many processes may end one after another without having begun.
const mostIdle = 3

// outOfTime is why checks are left out at the end.
const outOfTime = "there was no time left"

func wrong(name, text string) result {
	return result{Name: name, outcome: outcome{Wrong: text}}
}

// follow takes the results of a process that begins with check first. It returns how many there
// were. If the process ends or takes too long, the check that it was at is wrong.
func (s *supervisor) follow(p *process, first int) (n int) {
	events := make(chan event)
	go func() {
		defer close(events)
		lines := bufio.NewReader(p.events)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var e event
			if json.Unmarshal(line, &e) == nil && (e.Begin != "" || e.Result != nil) {
				events <- e
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	patience := func() (out bool) {
		d := s.each
		if left := time.Until(s.until); left < d {
			d, out = left, true
		}
		timer.Reset(d)
		return out
	}
	end := patience()
	begin, begun := time.Now(), false
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				// Between two checks it may end. The next process goes on.
				if err := p.wait(); begun || n == 0 {
					s.finish(wrong(s.checks[first+n].name, ended(err)))
					n++
				}
				return n
			case e.Result != nil:
				s.finish(*e.Result)
				n++
			}
			begin, begun, end = time.Now(), e.Result == nil, patience()
			s.idle = 0
		case <-timer.C:
			p.stop()
			for range events {
			}
			p.leave()
			r := result{Name: s.checks[first+n].name, Seconds: rounded(time.Since(begin))}
			if r.LeftOut = outOfTime; !end {
				r.LeftOut, r.Wrong = "", fmt.Sprintf("it did not end in %v", s.each)
			}
			s.finish(r)
			return n + 1
		}
	}
}

// ended says that a process ended before its last check.
func ended(err error) string {
	if err != nil {
		return "the process ended: " + err.Error()
	}
	return "the process ended"
}

func (s *supervisor) finish(r result) {
	switch {
	case r.LeftOut != "":
		fmt.Fprintf(s.progress, "left   %s: %s\n", r.Name, r.LeftOut)
	case r.Right:
		fmt.Fprintf(s.progress, "right  %s: %.2g of what is allowed, %.3f s\n", r.Name, r.Worst,
			r.Seconds)
	default:
		fmt.Fprintf(s.progress, "WRONG  %s: %s\n", r.Name, r.Wrong)
	}
	s.done(r)
}
