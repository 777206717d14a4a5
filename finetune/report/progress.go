package report

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A Progress shows how far a run is. On a terminal there is a bar for every stage. Elsewhere there
// is a line when a stage ends, and in long stages now and then a line between. An error of showing
// it is passed over: it must not stop the run.
type Progress struct {
	w    io.Writer
	bars bool
	now  func() time.Time
}

// Stderr shows progress on standard error, with bars if that is a terminal.
func Stderr() *Progress {
	return &Progress{w: os.Stderr, bars: term.IsTerminal(int(os.Stderr.Fd())), now: time.Now}
}

// Plain shows progress as lines of text. Of io.Discard, nothing is shown.
func Plain(w io.Writer) *Progress { return &Progress{w: w, now: time.Now} }

// Printf writes a line between stages, Escaped.
func (p *Progress) Printf(format string, args ...any) {
	_, _ = io.WriteString(p.w, Escaped(fmt.Sprintf(format+"\n", args...)))
}

// A Stage is one part of a run. Its methods are for one goroutine.
type Stage struct {
	p           *Progress
	name        string
	n, done     int
	skipped     int // of those that are done
	start, next time.Time
	// paced is when the first parts were done. What they took beyond their work does not come
	// again.
	paced time.Time
	warm  int // how many those were
	gap   time.Duration
	bar   *progressbar.ProgressBar
	note  string
	ended bool
	// hidden: nothing is shown of it yet.
	hidden bool
}

// firstLine is how long a stage without bar runs before it says how far it is. Later lines come
// half as often each time, so that a night's log stays short.
const firstLine = 10 * time.Second

// Stage begins a stage of n parts. n is 0 if that is not known, or not yet. Only one stage of a
// Progress is open at a time.
func (p *Progress) Stage(name string, n int) *Stage {
	s := &Stage{p: p, name: oneLine(name), n: n, start: p.now(), gap: firstLine}
	s.next = s.start.Add(s.gap)
	s.draw()
	return s
}

// late is how long nothing is shown of a stage that Late begins.
const late = 2 * time.Second

// Late is Stage for what is mostly over at once: nothing is shown of it if it takes less than two
// seconds.
func (p *Progress) Late(name string, n int) *Stage {
	s := &Stage{p: p, name: oneLine(name), n: n, start: p.now(), gap: late, hidden: true}
	s.next = s.start.Add(s.gap)
	return s
}

// draw begins the stage's bar, if there are bars.
func (s *Stage) draw() {
	if s.p.bars {
		s.bar = progressbar.NewOptions(cmp.Or(s.n, -1),
			progressbar.OptionSetWriter(s.p.w),
			progressbar.OptionSetDescription(fmt.Sprintf("%-12s", s.name)),
			progressbar.OptionSetWidth(24),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"}))
	}
}

// Of says how many parts there are, where that was not known at the beginning.
func (s *Stage) Of(n int) {
	s.n = n
	if s.bar != nil {
		s.bar.ChangeMax(n)
	}
}

// Skip says that k parts were done before the stage began. They count, but not in what is said of
// time.
func (s *Stage) Skip(k int) {
	s.done += k
	s.skipped += k
	if s.bar != nil {
		s.bar.Set(s.done) //nolint:errcheck // a bar that cannot be drawn must not stop the run
	}
}

// Note sets a few words that are shown beside the progress, such as the loss.
func (s *Stage) Note(format string, args ...any) {
	s.note = oneLine(fmt.Sprintf(format, args...))
	if s.bar != nil {
		s.bar.Describe(fmt.Sprintf("%-12s %s", s.name, s.note))
	}
}

// Add reports k parts more as done.
func (s *Stage) Add(k int) {
	s.done += k
	if s.hidden && s.p.now().Sub(s.start) >= late {
		s.hidden = false
		s.draw()
		k = s.done
	}
	if s.bar != nil {
		s.bar.Add(k) //nolint:errcheck // a bar that cannot be drawn must not stop the run
		return
	}
	now := s.p.now()
	if s.warm == 0 {
		s.paced, s.warm = now, s.done
	}
	if s.done <= 0 || s.n > 0 && s.done >= s.n || now.Before(s.next) {
		return
	}
	s.gap *= 2
	s.next = now.Add(s.gap)
	elapsed := now.Sub(s.start)
	switch {
	case s.n == 0:
		s.line(fmt.Sprintf("%d in %s", s.done, Duration(elapsed)))
	case s.done == s.warm:
		s.line(fmt.Sprintf("%d of %d in %s", s.done, s.n, Duration(elapsed)))
	default:
		each := float64(now.Sub(s.paced)) / float64(s.done-s.warm)
		left := time.Duration(each * float64(s.n-s.done))
		s.line(fmt.Sprintf("%d of %d in %s, about %s left",
			s.done, s.n, Duration(elapsed), Duration(left)))
	}
}

// End reports the stage as over, unless nothing is known of it, and returns how long it took.
// Ending it again does nothing more.
func (s *Stage) End() time.Duration {
	elapsed := s.p.now().Sub(s.start)
	if s.ended {
		return elapsed
	}
	s.ended = true
	if s.bar != nil {
		s.bar.Exit() //nolint:errcheck // as above
		fmt.Fprintln(s.p.w)
		return elapsed
	}
	if s.hidden || s.n == 0 && s.done == 0 {
		return elapsed
	}
	count := fmt.Sprint(s.done)
	if s.done < s.n {
		count = fmt.Sprintf("stopped at %d of %d", s.done, s.n)
	}
	if s.skipped > 0 {
		count += fmt.Sprintf(", %d of them earlier,", s.skipped)
	}
	s.line(fmt.Sprintf("%s in %s", count, Duration(elapsed)))
	return elapsed
}

func (s *Stage) line(text string) {
	if s.note != "" {
		text += ", " + s.note
	}
	s.p.Printf("%s: %s", s.name, text)
}

// Duration prints a time as people say it: "0.4s", "12s", "3m05s", "2h07m".
func Duration(d time.Duration) string {
	switch {
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute-500*time.Millisecond:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
