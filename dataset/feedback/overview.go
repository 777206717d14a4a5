package feedback

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/kudos-ml/kudos/dataset"
)

// Counts says how many judgements stand, by what they say.
type Counts struct {
	Good int
	Bad  int
	Skip int
}

// Total is the number of judgements that stand.
func (c Counts) Total() int { return c.Good + c.Bad + c.Skip }

// add counts n judgements that say the same.
func (c *Counts) add(label dataset.Label, n int) {
	switch label {
	case dataset.Good:
		c.Good += n
	case dataset.Bad:
		c.Bad += n
	case dataset.Skip:
		c.Skip += n
	}
}

// An Overview says how far the judging of pictures is. Its numbers are kept as judgements come in,
// so that to read them takes no longer with a million than with none. Those of gold pictures alone
// are counted anew, and take the longer the more of them were judged.
type Overview struct {
	Pictures int // that can be judged
	Wanted   int // raters of each picture
	Together int // pictures of a prompt that come one after another: see SetTogether
	Gold     int // pictures whose answer is known, and that each rater is given: see SetGold
	Complete int // pictures that so many raters have judged, or skipped
	Leased   int // pictures that raters have now, once for each rater
	Counts   Counts
	Raters   []RaterCounts // in the order in which they were added, those without judgements too
	Studies  []StudyCounts // in the order in which they were added
}

// RaterCounts says what one rater has said.
type RaterCounts struct {
	Rater  string
	Counts Counts
	Taken  time.Duration // by all these judgements together
	Gold   int           // gold pictures that the rater calls good or bad
	Right  int           // those of them of which that is the answer
}

// StudyCounts says how far one question of a study is.
type StudyCounts struct {
	Study    string
	Question Question
	Pairs    int
	Wanted   int // raters of each pair
	Complete int // pairs that so many raters have voted on
	A        int // votes that stand for A
	B        int
	Tie      int
	BothBad  int
}

// PromptCounts says what was said of the pictures of one prompt.
type PromptCounts struct {
	Prompt   string
	Pictures int // with a file or without
	Counts   Counts
}

// Overview returns how far everything is.
func (s *Store) Overview(ctx context.Context) (o Overview, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `
			SELECT tasks, raters, together, complete,
				(SELECT count(*) FROM tasks WHERE queue = queues.id AND gold > 0),
				(SELECT count(*) FROM leases WHERE queue = queues.id AND expires > ?)
			FROM queues WHERE id = ?`, s.now(), pictureQueue).
			Scan(&o.Pictures, &o.Wanted, &o.Together, &o.Complete, &o.Gold, &o.Leased)
		if err != nil {
			return err
		}
		if o.Raters, err = raterCounts(ctx, tx); err != nil {
			return err
		}
		for _, r := range o.Raters {
			o.Counts.Good += r.Counts.Good
			o.Counts.Bad += r.Counts.Bad
			o.Counts.Skip += r.Counts.Skip
		}
		o.Studies, err = studyCounts(ctx, tx)
		return err
	})
	return o, err
}

func raterCounts(ctx context.Context, tx *sql.Tx) (all []RaterCounts, err error) {
	rows, err := tx.QueryContext(ctx, `
		WITH golden AS (
			SELECT s.rater, count(*) AS n, sum(s.choice = t.gold) AS ok
			FROM tasks t CROSS JOIN standing s ON s.task = t.id
			WHERE t.queue = ?1 AND t.gold > 0 AND s.choice IN (?2, ?3) GROUP BY s.rater)
		SELECT r.name, coalesce(c.choice, 0), coalesce(c.n, 0), coalesce(c.taken, 0),
			coalesce(g.n, 0), coalesce(g.ok, 0)
		FROM raters r LEFT JOIN rater_counts c ON c.rater = r.id AND c.queue = ?1
		LEFT JOIN golden g ON g.rater = r.id
		ORDER BY r.id`, pictureQueue, dataset.Good, dataset.Bad)
	return all, each(rows, err, func(row scanner) error {
		var r RaterCounts
		var label dataset.Label
		var n int
		var taken int64
		err := row.Scan(&r.Rater, &label, &n, &taken, &r.Gold, &r.Right)
		if err != nil {
			return err
		}
		if len(all) == 0 || all[len(all)-1].Rater != r.Rater {
			all = append(all, r)
		}
		last := &all[len(all)-1]
		last.Counts.add(label, n)
		last.Taken += time.Duration(taken) * time.Millisecond
		return nil
	})
}

func studyCounts(ctx context.Context, tx *sql.Tx) (all []StudyCounts, err error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT q.study, q.question, q.tasks, q.raters, q.complete, coalesce(c.choice, 0),
			coalesce(sum(c.n), 0)
		FROM queues q LEFT JOIN rater_counts c ON c.queue = q.id
		WHERE q.id <> ? GROUP BY q.id, c.choice ORDER BY q.id`, pictureQueue)
	return all, each(rows, err, func(row scanner) error {
		var c StudyCounts
		var choice Choice
		var n int
		err := row.Scan(&c.Study, &c.Question, &c.Pairs, &c.Wanted, &c.Complete, &choice, &n)
		if err != nil {
			return err
		}
		if k := len(all) - 1; k < 0 || all[k].Study != c.Study || all[k].Question != c.Question {
			all = append(all, c)
		}
		last := &all[len(all)-1]
		switch choice {
		case A:
			last.A = n
		case B:
			last.B = n
		case Tie:
			last.Tie = n
		case BothBad:
			last.BothBad = n
		}
		return nil
	})
}

// Prompts returns what was said of the pictures of each prompt, in the order in which the prompts
// were added.
func (s *Store) Prompts(ctx context.Context) (all []PromptCounts, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT p.prompt, p.pictures, coalesce(c.choice, 0), coalesce(c.n, 0)
			FROM prompts p LEFT JOIN prompt_counts c ON c.prompt = p.id AND c.queue = ?
			ORDER BY p.id`, pictureQueue)
		return each(rows, err, func(row scanner) error {
			var p PromptCounts
			var label dataset.Label
			var n int
			if err := row.Scan(&p.Prompt, &p.Pictures, &label, &n); err != nil {
				return err
			}
			if len(all) == 0 || all[len(all)-1].Prompt != p.Prompt {
				all = append(all, p)
			}
			all[len(all)-1].Counts.add(label, n)
			return nil
		})
	})
	return all, err
}

// Check counts everything anew and returns an error if SQLite finds the file damaged, or if a
// number that is kept is not what the answers amount to. It takes some seconds for a million of
// them.
func (s *Store) Check(ctx context.Context) error {
	return s.read(ctx, func(tx *sql.Tx) error {
		var found string
		err := tx.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&found)
		if err != nil {
			return err
		}
		if found != "ok" {
			return fmt.Errorf("the file is damaged: %s", found)
		}
		return recount(ctx, tx)
	})
}

// recount returns an error if a number that is kept is wrong.
func recount(ctx context.Context, tx *sql.Tx) error {
	for _, c := range checks {
		var wrong int
		if err := tx.QueryRowContext(ctx, c.query).Scan(&wrong); err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		if wrong != 0 {
			return fmt.Errorf("%d of %s are not what the answers amount to", wrong, c.what)
		}
	}
	return nil
}

// checks count what is wrong in what is kept for speed.
var checks = []struct{ what, query string }{
	{"the standing answers", `
		SELECT count(*) FROM (
			SELECT task, rater, max(id) AS last FROM answers GROUP BY task, rater) a
		FULL JOIN standing s ON s.task = a.task AND s.rater = a.rater
		WHERE s.answer IS NOT a.last
			OR s.choice <> (SELECT choice FROM answers WHERE id = a.last)`},
	{"the tasks", `
		SELECT count(*) FROM tasks t JOIN queues q ON q.id = t.queue
		LEFT JOIN (SELECT task, count(*) AS n FROM standing WHERE choice > 0 GROUP BY task) s
			ON s.task = t.id
		LEFT JOIN (SELECT task, count(*) AS n FROM leases GROUP BY task) l ON l.task = t.id
		WHERE t.answered <> coalesce(s.n, 0) OR t.used <> coalesce(s.n, 0) + coalesce(l.n, 0)
			OR t.open <> (t.gold > 0 OR t.used < q.raters)`},
	{"the places of the tasks", `
		SELECT count(*) FROM tasks t JOIN queues q ON q.id = t.queue
		WHERE t.place >= 0 AND t.place <> ` + placeOf + ` OR t.place < 0 AND t.picture IS NULL`},
	{"the queues", `
		SELECT count(*) FROM queues q LEFT JOIN (
			SELECT queue, count(*) AS n, sum(answered >= raters) AS complete
			FROM tasks t JOIN queues ON queues.id = t.queue GROUP BY queue) t ON t.queue = q.id
		WHERE q.tasks <> coalesce(t.n, 0) OR q.complete <> coalesce(t.complete, 0)`},
	{"the numbers of the raters", `
		SELECT count(*) FROM (SELECT * FROM rater_counts WHERE n <> 0) c FULL JOIN (
			SELECT t.queue, s.rater, s.choice, count(*) AS n, sum(a.taken) AS taken
			FROM standing s JOIN tasks t ON t.id = s.task JOIN answers a ON a.id = s.answer
			WHERE s.choice > 0 GROUP BY t.queue, s.rater, s.choice) s
			ON s.queue = c.queue AND s.rater = c.rater AND s.choice = c.choice
		WHERE c.n IS NOT s.n OR c.taken IS NOT s.taken`},
	{"the numbers of the prompts", `
		SELECT count(*) FROM (SELECT * FROM prompt_counts WHERE n <> 0) c FULL JOIN (
			SELECT t.queue, t.prompt, s.choice, count(*) AS n
			FROM standing s JOIN tasks t ON t.id = s.task
			WHERE s.choice > 0 GROUP BY t.queue, t.prompt, s.choice) s
			ON s.queue = c.queue AND s.prompt = c.prompt AND s.choice = c.choice
		WHERE c.n IS NOT s.n`},
}
