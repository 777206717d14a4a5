package report

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
)

// Main runs a program to its end. SIGINT and SIGTERM cancel run's context. A second signal ends the
// process at once. Main returns after success and flag.ErrHelp. After an error, which it prints on
// standard error, it ends the process with status 1. If run stopped because of a signal, the status
// is 130, and left says where that is which was finished.
func Main(name string, run func(ctx context.Context) error, left func() string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal has its usual effect
	err := run(ctx)
	cancelled := errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil && cancelled:
		fmt.Fprintf(os.Stderr, "%s: stopped; %s\n", name, left())
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
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
