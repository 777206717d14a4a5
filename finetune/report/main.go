package report

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a program to its end. SIGINT and SIGTERM cancel run's context; a second signal ends the
// process at once. Main returns after success and flag.ErrHelp. After an error, which it prints on
// standard error, it ends the process with status 1; if run stopped because of a signal, with 130,
// and left says where that is which was finished.
func Main(name string, run func(ctx context.Context) error, left func() string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal has its usual effect
	err := run(ctx)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))):
		fmt.Fprintf(os.Stderr, "%s: stopped; %s\n", name, left())
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
