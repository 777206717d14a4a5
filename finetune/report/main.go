package report

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/kudos-ml/kudos/internal/file"
)

// Main runs a program to its end. SIGINT, SIGTERM and SIGHUP, which says that the terminal is gone,
// cancel run's context. A second SIGINT or SIGTERM ends the process at once. A second SIGHUP does
// not: there are often two. SIGHUP that is ignored from the beginning, as by nohup, stays ignored.
// That nobody reads the output any more ends no program: SIGPIPE is ignored.
//
// Main returns after success and flag.ErrHelp. After an error, which it prints on standard error,
// it ends the process with status 1. If run stopped because of a signal, and nothing else is wrong,
// the status is 130. left then says where that is which was finished: see Finished.
func Main(name string, run func(ctx context.Context) error, left func() string) {
	ctx, stop := context.WithCancel(context.Background())
	mind(stop)
	err := run(ctx)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	stopped := ctx.Err() != nil && errors.Is(err, context.Canceled)
	if stopped {
		err = beside(err)
	}
	if err != nil {
		say(name, err.Error())
	}
	if stopped {
		say(name, "stopped; "+left())
	}
	if stopped && err == nil {
		os.Exit(130)
	}
	os.Exit(1)
}

// mind calls stop when a signal asks the process to end.
func mind(stop func()) {
	signal.Ignore(ignored...)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if hangUp != nil && !signal.Ignored(hangUp) {
		signal.Notify(signals, hangUp)
	}
	go func() {
		for s := range signals {
			stop()
			if s != hangUp {
				signal.Reset(os.Interrupt, syscall.SIGTERM) // the next one has its usual effect
			}
		}
	}()
}

// beside is what an error says beside that its context was cancelled; nil if that is all.
func beside(err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, beside(one))
		}
		return errors.Join(all...)
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil && errors.Is(inner, context.Canceled) {
			return beside(inner)
		}
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// say prints a program's last words. That nobody reads them is no error.
func say(name, text string) {
	_, _ = io.WriteString(os.Stderr, Escaped(name+": "+text)+"\n")
}

// Left says for Main where that is which a run leaves, "what was said is in labels.db", or that
// nothing was made if there is nothing: no such file, or a folder with no more than config.json.
func Left(what, path string) string {
	there := !file.IsEmpty(path)
	if entries, err := os.ReadDir(path); err == nil {
		there = slices.ContainsFunc(entries, func(e os.DirEntry) bool {
			settings := file.IsLeft(e.Name()) || e.Name() == "config.json"
			return !settings && !file.IsEmpty(filepath.Join(path, e.Name()))
		})
	}
	if !there {
		return "nothing was made"
	}
	return what + " is in " + path
}

// Finished is Left of what was finished of a run that -resume goes on with.
func Finished(path string) string {
	left := Left("what was finished", path)
	if strings.HasSuffix(left, path) {
		left += "; -" + resumeFlag + " goes on"
	}
	return left
}

// Command is a program with its arguments as a shell takes them, to be shown to people.
func Command(name string, args ...string) string {
	for _, arg := range args {
		if !plain.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		name += " " + arg
	}
	return name
}

// plain is what needs no quotes.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)
