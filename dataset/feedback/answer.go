package feedback

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// pictureQueue is the queue of all pictures, where each is judged good or bad.
const pictureQueue = 1

// An answer is a row of the table of that name, or is to become one.
type answer struct {
	id         int64
	name       string
	task       int64
	rater      int64
	choice     uint8 // 0 takes the rater's answer back
	reason     string
	taken      time.Duration
	at         int64
	supersedes sql.NullInt64
}

// complete completes an answer, and returns an error if it cannot be one.
func (a *answer) complete(now int64) error {
	if a.name == "" {
		a.name = rand.Text()
	}
	if a.at == 0 {
		a.at = now
	}
	if a.taken < 0 {
		return fmt.Errorf("answer %q took %v", a.name, a.taken)
	}
	a.taken = a.taken.Truncate(time.Millisecond)
	a.reason = strings.TrimSpace(a.reason)
	return nil
}

// record keeps an answer and all that follows from it. It returns the answer as it is kept. One
// that is there already is returned as it was kept then.
func (s *Store) record(ctx context.Context, w *work, a answer) (answer, error) {
	if err := a.complete(s.now()); err != nil {
		return a, err
	}
	switch kept, err := w.answer(ctx, a.name); {
	case err == nil && kept.is(a):
		return kept, nil
	case err == nil:
		return a, fmt.Errorf("answer %q: %w", a.name, ErrConflict)
	case !errors.Is(err, sql.ErrNoRows):
		return a, err
	}
	before, err := w.standing(ctx, a.task, a.rater)
	if err != nil {
		return a, err
	}
	if a.choice == 0 && before.choice == 0 {
		return a, fmt.Errorf("the answer that %q takes back: %w", a.name, ErrUnknown)
	}
	if before.id != 0 {
		a.supersedes = sql.NullInt64{Int64: before.id, Valid: true}
	}
	a.id, err = w.insert(ctx, `
		INSERT INTO answers (name, task, rater, choice, reason, taken, at, supersedes)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		a.name, a.task, a.rater, a.choice, a.reason, a.taken.Milliseconds(), a.at, a.supersedes)
	if err != nil {
		return a, err
	}
	err = w.exec(ctx, `
		INSERT INTO standing (task, rater, choice, answer) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET choice = excluded.choice, answer = excluded.answer`,
		a.task, a.rater, a.choice, a.id)
	if err != nil {
		return a, err
	}
	return a, s.follow(ctx, w, before, a)
}

// is reports whether two answers say the same of the same.
func (a answer) is(b answer) bool {
	return a.name == b.name && a.task == b.task && a.rater == b.rater && a.choice == b.choice &&
		a.reason == b.reason
}

// answer returns the answer of a name.
func (w *work) answer(ctx context.Context, name string) (answer, error) {
	return scanAnswer(w.row(ctx, `
		SELECT id, name, task, rater, choice, reason, taken, at, supersedes
		FROM answers WHERE name = ?`, name))
}

// standing returns the last answer of a rater to a task, or a zero one.
func (w *work) standing(ctx context.Context, task, rater int64) (answer, error) {
	a, err := scanAnswer(w.row(ctx, `
		SELECT id, name, a.task, a.rater, a.choice, reason, taken, at, supersedes
		FROM standing s JOIN answers a ON a.id = s.answer WHERE s.task = ? AND s.rater = ?`,
		task, rater))
	if errors.Is(err, sql.ErrNoRows) {
		return answer{}, nil
	}
	return a, err
}

func scanAnswer(row scanner) (a answer, err error) {
	var taken int64
	err = row.Scan(&a.id, &a.name, &a.task, &a.rater, &a.choice, &a.reason, &taken, &a.at,
		&a.supersedes)
	a.taken = time.Duration(taken) * time.Millisecond
	return a, err
}

// follow brings what is kept for speed up to date with an answer that came after another one of the
// same rater to the same task.
func (s *Store) follow(ctx context.Context, w *work, before, now answer) error {
	held, err := s.settle(ctx, w, now)
	if err != nil {
		return err
	}
	answered, used := 0, 0
	switch {
	case before.choice == 0:
		answered = 1
		if !held {
			used = 1
		}
	case now.choice == 0:
		answered = -1 // the rater has it to answer again
	}
	t, err := w.advance(ctx, now.task, used, answered)
	if err != nil {
		return err
	}
	if before.choice != 0 {
		if err := w.count(ctx, t, before, -1); err != nil {
			return err
		}
	}
	if now.choice != 0 {
		return w.count(ctx, t, now, 1)
	}
	return nil
}

// settle ends the lease that an answer is given under, and reports whether there was one. Whoever
// takes an answer back has the task to answer again.
func (s *Store) settle(ctx context.Context, w *work, a answer) (held bool, err error) {
	if a.choice == 0 {
		return true, w.exec(ctx, `
			INSERT INTO leases (task, rater, queue, expires)
			VALUES (?1, ?2, (SELECT queue FROM tasks WHERE id = ?1), ?3)
			ON CONFLICT DO UPDATE SET expires = excluded.expires`,
			a.task, a.rater, s.expiry())
	}
	var task int64
	err = w.row(ctx, `DELETE FROM leases WHERE task = ? AND rater = ? RETURNING task`,
		a.task, a.rater).Scan(&task)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// count adds n to the numbers of standing answers that say what a does.
func (w *work) count(ctx context.Context, t task, a answer, n int) error {
	err := w.exec(ctx, `
		INSERT INTO rater_counts (queue, rater, choice, n, taken) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET n = n + excluded.n, taken = taken + excluded.taken`,
		t.queue, a.rater, a.choice, n, int64(n)*a.taken.Milliseconds())
	if err != nil {
		return err
	}
	return w.exec(ctx, `
		INSERT INTO prompt_counts (queue, prompt, choice, n) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET n = n + excluded.n`, t.queue, t.prompt, a.choice, n)
}
