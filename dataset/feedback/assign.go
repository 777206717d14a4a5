package feedback

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/kudos-ml/kudos/dataset"
)

// An Assignment is a picture that a rater has to judge.
type Assignment struct {
	Sample dataset.Sample // as it was added
	// Until is when the lease expires. From then on the picture may be given to another rater. A
	// judgement that comes later counts all the same.
	Until time.Time
}

// SetRaters says by how many raters each picture is to be judged, or each pair of a study. The
// study "" is the pictures. Without it the number is 3, the least for which a majority can outvote
// one who errs. A study that is not there is an error that wraps ErrUnknown.
func (s *Store) SetRaters(ctx context.Context, study string, raters int) error {
	if raters < 1 {
		return fmt.Errorf("feedback: %s: %d raters", s.config.Path, raters)
	}
	return s.write(ctx, func(w *work) error { return w.setRaters(ctx, study, raters) })
}

func (w *work) setRaters(ctx context.Context, study string, raters int) error {
	queues, err := w.queues(ctx, study)
	if err != nil {
		return err
	}
	for _, q := range queues {
		err := w.exec(ctx, `
			UPDATE tasks SET open = gold > 0 OR used < ? WHERE queue = ?`, raters, q)
		if err == nil {
			err = w.exec(ctx, `
				UPDATE queues SET raters = ?1, complete =
					(SELECT count(*) FROM tasks WHERE queue = ?2 AND answered >= ?1)
				WHERE id = ?2`, raters, q)
		}
		if err == nil {
			err = w.exec(ctx, `DELETE FROM cursors WHERE queue = ?`, q)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// queues returns the IDs of the queues of a study.
func (w *work) queues(ctx context.Context, study string) (ids []int64, err error) {
	err = w.rows(ctx, func(row scanner) error {
		var id int64
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM queues WHERE study = ?`, study)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("study %q: %w", study, ErrUnknown)
	}
	return ids, err
}

// Next returns up to n pictures for a rater to judge, and keeps them for the rater until their
// leases expire. Those that the rater has already come first, and their leases are renewed. So a
// page that is loaded again has the same pictures again, and one that asks for two can load the
// next while the first is judged. No pictures means that there is nothing to do for the rater now:
// what is left was judged by the rater, or is with others.
//
// Never do more raters have a picture than are wanted (see SetRaters), whoever asks at the same
// moment; a gold picture alone is given to everyone (see SetGold). Pictures are finished one after
// another. They take turns by their prompts (see SetTogether), so that at any time all prompts have
// about as many judgements. What was put first (see First) comes before all turns, and a picture
// whose lease has expired before what nobody has. An unknown rater is an error that wraps
// ErrUnknown.
func (s *Store) Next(ctx context.Context, rater string, n int) (next []Assignment, err error) {
	err = s.write(ctx, func(w *work) error {
		id, err := w.raterID(ctx, rater)
		if err != nil {
			return err
		}
		tasks, err := s.lease(ctx, w, pictureQueue, id, n)
		if err != nil {
			return err
		}
		until := moment(s.expiry())
		for _, t := range tasks {
			var name, line string
			err := w.row(ctx, `
				SELECT p.name, p.sample FROM tasks t JOIN pictures p ON p.id = t.picture
				WHERE t.id = ?`, t).Scan(&name, &line)
			if err != nil {
				return err
			}
			sample, err := decode(line, "picture "+name)
			if err != nil {
				return err
			}
			next = append(next, Assignment{Sample: sample, Until: until})
		}
		return nil
	})
	return next, err
}

// lease gives a rater up to n tasks of a queue: what the rater has, what others let expire, and
// what is new.
func (s *Store) lease(
	ctx context.Context, w *work, queue, rater int64, n int,
) (tasks []int64, err error) {
	for _, more := range []func(context.Context, *work, int64, int64, int) ([]int64, error){
		s.renew, s.takeOver, s.advanceTo,
	} {
		if len(tasks) >= n {
			break
		}
		found, err := more(ctx, w, queue, rater, n-len(tasks))
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, found...)
	}
	return tasks, nil
}

// renew prolongs the leases that a rater has, up to n. What the rater took back comes first.
func (s *Store) renew(
	ctx context.Context, w *work, queue, rater int64, n int,
) ([]int64, error) {
	held, err := w.places(ctx, `
		SELECT t.id, t.place FROM leases l JOIN tasks t ON t.id = l.task
		LEFT JOIN standing s ON s.task = l.task AND s.rater = l.rater
		WHERE l.rater = ? AND l.queue = ?
		ORDER BY s.answer IS NULL, s.answer DESC, t.place, t.prompt, t.id LIMIT ?`, rater, queue, n)
	if err != nil {
		return nil, err
	}
	for _, h := range held {
		err := w.exec(ctx, `UPDATE leases SET expires = ? WHERE task = ? AND rater = ?`,
			s.expiry(), h.task, rater)
		if err != nil {
			return nil, err
		}
	}
	return tasksOf(held), nil
}

// free is the condition that a rater ?2 has neither answered a task t nor has it to answer.
const free = `
	NOT EXISTS (SELECT 1 FROM standing s WHERE s.task = t.id AND s.rater = ?2 AND s.choice > 0)
	AND NOT EXISTS (SELECT 1 FROM leases m WHERE m.task = t.id AND m.rater = ?2)`

// takeOver gives a rater tasks that others had for too long. They may get them again if they come
// back.
func (s *Store) takeOver(
	ctx context.Context, w *work, queue, rater int64, n int,
) ([]int64, error) {
	expired, err := w.places(ctx, `
		SELECT DISTINCT t.id, t.place FROM leases l JOIN tasks t ON t.id = l.task
		WHERE l.queue = ?1 AND l.expires <= ?3 AND `+free+`
		ORDER BY t.place, t.prompt, t.id LIMIT ?4`, queue, rater, s.now(), n)
	if err != nil {
		return nil, err
	}
	for _, e := range expired {
		var from int64
		err := w.row(ctx, `
			SELECT rater FROM leases WHERE task = ? AND expires <= ? ORDER BY expires LIMIT 1`,
			e.task, s.now()).Scan(&from)
		if err == nil {
			err = w.exec(ctx, `
				UPDATE leases SET rater = ?, expires = ? WHERE task = ? AND rater = ?`,
				rater, s.expiry(), e.task, from)
		}
		if err == nil {
			err = w.exec(ctx, `
				UPDATE cursors SET place = min(place, ?) WHERE queue = ? AND rater = ?`,
				e.place, queue, from)
		}
		if err != nil {
			return nil, err
		}
	}
	return tasksOf(expired), nil
}

// advanceTo gives a rater the next tasks in the queue that are open.
func (s *Store) advanceTo(
	ctx context.Context, w *work, queue, rater int64, n int,
) ([]int64, error) {
	var cursor int64
	err := w.row(ctx, `
		SELECT coalesce((SELECT place FROM cursors WHERE queue = ? AND rater = ?), ?)`,
		queue, rater, int64(math.MinInt64)).Scan(&cursor)
	if err != nil {
		return nil, err
	}
	fresh, err := w.places(ctx, `
		SELECT t.id, t.place FROM tasks t
		WHERE t.queue = ?1 AND t.open AND t.place >= ?3 AND `+free+`
		ORDER BY t.place, t.prompt, t.id LIMIT ?4`, queue, rater, cursor, n)
	if err != nil {
		return nil, err
	}
	for _, f := range fresh {
		err := w.exec(ctx, `INSERT INTO leases (task, rater, queue, expires) VALUES (?, ?, ?, ?)`,
			f.task, rater, queue, s.expiry())
		if err != nil {
			return nil, err
		}
		if _, err := w.advance(ctx, f.task, 1, 0); err != nil {
			return nil, err
		}
	}
	next := int64(math.MaxInt64)
	if len(fresh) == n {
		next = fresh[n-1].place
	}
	if next != cursor {
		err = w.exec(ctx, `
			INSERT INTO cursors (queue, rater, place) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET place = excluded.place`, queue, rater, next)
	}
	return tasksOf(fresh), err
}

// placed is a task and where it comes in its queue.
type placed struct{ task, place int64 }

// places runs a query for tasks with their places.
func (w *work) places(ctx context.Context, query string, args ...any) (all []placed, err error) {
	err = w.rows(ctx, func(row scanner) error {
		var p placed
		err := row.Scan(&p.task, &p.place)
		all = append(all, p)
		return err
	}, query, args...)
	return all, err
}

func tasksOf(all []placed) []int64 {
	tasks := make([]int64, len(all))
	for i, p := range all {
		tasks[i] = p.task
	}
	return slices.Clip(tasks)
}

// Undo takes back the last judgement of a rater that stands, and gives the picture to the rater
// again. answer is the ID of this act, as Judgement.Answer is: the same one again does nothing
// more. It returns the judgement that takes back; what it took back is in Supersedes. If there is
// nothing to take back, the error wraps ErrUnknown.
func (s *Store) Undo(ctx context.Context, rater, answer string) (j Judgement, err error) {
	err = s.write(ctx, func(w *work) error {
		id, err := w.raterID(ctx, rater)
		if err != nil {
			return err
		}
		j = Judgement{Answer: answer, Rater: rater}
		// A repeated request names the same picture again.
		err = w.row(ctx, `
			SELECT p.name FROM answers a JOIN tasks t ON t.id = a.task
			JOIN pictures p ON p.id = t.picture WHERE a.name = ?`, answer).Scan(&j.Picture)
		if errors.Is(err, sql.ErrNoRows) {
			err = w.row(ctx, `
				SELECT p.name FROM answers a
				CROSS JOIN tasks t ON t.id = a.task
				CROSS JOIN standing s ON s.task = t.id AND s.rater = a.rater AND s.answer = a.id
				CROSS JOIN pictures p ON p.id = t.picture
				WHERE a.rater = ? AND a.choice > 0 ORDER BY a.id DESC LIMIT 1`, id).
				Scan(&j.Picture)
			err = known(err, "a judgement of rater", rater)
		}
		if err != nil {
			return err
		}
		j, err = s.judge(ctx, w, j)
		return err
	})
	return j, err
}
