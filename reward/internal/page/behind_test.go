package page

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lines are what is logged.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// An Analyst makes one analysis at a time, and another when there are other answers and the last
// has been shown for a while. An error leaves the last one.
func TestAnalyst(t *testing.T) {
	log := make(lines, 1)
	var clock atomic.Int64 // seconds
	behind := NewBackground()
	asked, answer := make(chan bool), make(chan error)
	a := Analyst[int]{
		On: behind, Log: slog.New(slog.NewTextHandler(log, nil)),
		Clock: func() time.Time { return time.Unix(clock.Load(), 0) },
	}
	made := 0
	a.Make = func(ctx context.Context) (int, error) {
		made++
		asked <- true
		select {
		case err := <-answer:
			return made, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	assert.Nil(t, a.Latest(5))
	<-asked
	assert.Nil(t, a.Latest(6), "one at a time")
	answer <- nil
	var got *Analysis[int]
	found := func(n int) func() bool {
		return func() bool { got = a.Latest(5); return got != nil && got.Found == n }
	}
	require.Eventually(t, found(1), 10*time.Second, time.Millisecond)
	assert.Equal(t, Analysis[int]{Found: 1, Answers: 5, at: got.at}, *got)

	clock.Add(2)
	assert.Equal(t, 2.0, a.Latest(6).Age, "it is looked at for a while")
	clock.Add(1000) // however long it has taken
	assert.Equal(t, 1, a.Latest(5).Found, "nothing is new")
	assert.Equal(t, 1, a.Latest(6).Found)
	<-asked
	answer <- errors.New("no disk")
	assert.Contains(t, <-log, "no disk")
	assert.Equal(t, 1, a.Latest(5).Found)

	a.Latest(7)
	<-asked
	require.NoError(t, behind.Close(), "it ends what runs")
	behind.Go(func(context.Context) { t.Error("after the end nothing begins") })
	require.NoError(t, behind.Close())
}
