package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file/filetest"
)

// hurry loads what a run needs that is to be short: it makes its pictures in a few steps, has few
// pictures to pretrain on, and n of an arm to evaluate. Its results are nonsense.
func (s *session) hurry(ctx context.Context, n int) error {
	s.eval, s.captioned = n, 64
	err := s.load(ctx)
	s.trial.Request.Steps = 3
	return err
}

// A whole run does nothing with files that Windows refuses.
func TestWindows(t *testing.T) {
	dir := t.TempDir()
	filetest.Windows(t)
	s, err := parse([]string{"-out", filepath.Join(dir, "run"), "-samples", "64", "-steps", "2"})
	require.NoError(t, err)
	require.NoError(t, s.hurry(t.Context(), 4))
	require.NoError(t, s.run.Do(t.Context(), func() error { return s.method(t.Context()) }))
	filetest.Names(t, dir)
}
