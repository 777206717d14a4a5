package page

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// A Background is what runs behind pages.
type Background struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// NewBackground makes one in which nothing runs.
func NewBackground() *Background {
	b := new(Background)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Go runs f, whose context ends with Close. After Close it does nothing.
func (b *Background) Go(f func(ctx context.Context)) {
	if b.ctx.Err() == nil {
		b.group.Go(func() { f(b.ctx) })
	}
}

// Close ends what runs, and waits for its end.
func (b *Background) Close() error {
	b.cancel()
	b.group.Wait()
	return nil
}

// An Analyst makes analyses of answers behind pages, one at a time.
type Analyst[T any] struct {
	Make  func(ctx context.Context) (T, error)
	On    *Background
	Log   *slog.Logger // nil: errors are told to nobody
	Clock func() time.Time

	mu   sync.Mutex
	last *Analysis[T]
	busy bool
	wait time.Duration
}

// An Analysis is what an Analyst has found.
type Analysis[T any] struct {
	Found   T       `json:"found"`
	Answers int     `json:"answers"` // how many there were
	Age     float64 `json:"age_s"`

	at time.Time
}

// rest is how long an analysis is good for at least. One that has taken longer is good for ten
// times as long as it took, so that it takes no more than a tenth of a core.
const rest = 3 * time.Second

// Latest returns the last analysis with its age, or nil. If there are another number of answers by
// now, and it is old enough, it has another one made.
func (a *Analyst[T]) Latest(answers int) *Analysis[T] {
	now := a.Clock()
	a.mu.Lock()
	defer a.mu.Unlock()
	stale := a.last == nil || a.last.Answers != answers && now.Sub(a.last.at) > max(rest, a.wait)
	if stale && !a.busy {
		a.busy = true
		a.On.Go(func(ctx context.Context) { a.renew(ctx, answers) })
	}
	if a.last == nil {
		return nil
	}
	shown := *a.last
	shown.Age = now.Sub(shown.at).Seconds()
	return &shown
}

// renew makes an analysis.
func (a *Analyst[T]) renew(ctx context.Context, answers int) {
	begun := time.Now()
	made := &Analysis[T]{Answers: answers, at: a.Clock()}
	var err error
	made.Found, err = a.Make(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = false
	a.wait = 10 * time.Since(begun)
	if err == nil {
		a.last = made
	} else if ctx.Err() == nil && a.Log != nil {
		a.Log.Error("the answers could not be analysed", "error", err)
	}
}

// A Number is one that JSON has as null where it is none.
type Number float64

// MarshalJSON satisfies json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if f := float64(n); f-f == 0 {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}
