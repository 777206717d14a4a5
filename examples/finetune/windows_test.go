package main

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file/filetest"
)

// A whole run, one that is stopped and resumed, and one of pairs do nothing with files that Windows
// refuses.
func TestWindows(t *testing.T) {
	p := at(t)
	filetest.Windows(t)
	_, _, err := try(t, p.args("whole", "-every", "1", "-ema", "0.5")...)
	require.NoError(t, err)
	_, _, err = try(t, p.args("whole", "-every", "1", "-ema", "0.5", "-steps", "5", "-resume")...)
	require.NoError(t, err)
	_, _, err = try(t, p.args("pairs", "-lora-rank", "2", "-kohya")...)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	s := newSession()
	s.print, s.progress = io.Discard, report.Plain(io.Discard)
	require.NoError(t, s.parse(p.args("stopped")))
	cancel()
	require.ErrorIs(t, s.run(ctx), context.Canceled)
	_, err = os.Stat(p.out("stopped"))
	require.True(t, errors.Is(err, os.ErrNotExist), "it has made nothing")
	filetest.Names(t, p.dir)
}
