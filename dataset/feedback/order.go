package feedback

import (
	"context"
	"fmt"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
)

// SetTogether says that k pictures of a prompt come one after another before the next prompt has
// its turn. Lee et al. 2023 show three pictures of a prompt at once. Without it k is 1. What
// was judged before stays as it is.
func (s *Store) SetTogether(ctx context.Context, k int) error {
	if k < 1 {
		return fmt.Errorf("feedback: %s: %d pictures together", s.config.Path, k)
	}
	return s.write(ctx, func(w *work) error { return w.setTogether(ctx, k) })
}

func (w *work) setTogether(ctx context.Context, k int) error {
	err := w.exec(ctx, `UPDATE queues SET together = ? WHERE id = ?`, k, pictureQueue)
	if err == nil {
		err = w.exec(ctx, takeTurns+`tasks.place >= 0`, pictureQueue)
	}
	if err == nil {
		err = w.exec(ctx, `DELETE FROM cursors WHERE queue = ?`, pictureQueue)
	}
	return err
}

// takeTurns is the beginning of what gives tasks of a queue the places of their turns.
const takeTurns = `
	UPDATE tasks SET place = ` + placeOf + ` FROM queues
	WHERE queues.id = tasks.queue AND tasks.queue = ? AND `

// First puts pictures before all others, in the order given: each rater is given those of them that
// the rater has not judged, as far as more raters are wanted, and then the rest by turns. What was
// put first before, and is not named now, goes back to its turn. So nil takes the order back. Of an
// ID that is named twice the first counts. An ID that is not in the store, or has no picture, is an
// error that wraps ErrUnknown, and changes nothing.
func (s *Store) First(ctx context.Context, ids []string) error {
	return s.write(ctx, func(w *work) error {
		err := w.exec(ctx, takeTurns+`tasks.place < 0`, pictureQueue)
		if err != nil {
			return err
		}
		for i, id := range slices.Backward(ids) {
			var task int64
			err := w.row(ctx, `
				UPDATE tasks SET place = ?
				WHERE queue = ? AND picture = (SELECT id FROM pictures WHERE name = ?)
				RETURNING id`, i-len(ids), pictureQueue, id).Scan(&task)
			if err != nil {
				return known(err, "picture", id)
			}
		}
		return w.exec(ctx, `DELETE FROM cursors WHERE queue = ?`, pictureQueue)
	})
}

// SetGold says that the answer of a picture is known: Good or Bad. From then on every rater is
// given the picture at its turn, however many have judged it. RaterCounts says of each rater how
// often that answer was given. Unlabelled makes it a picture like others again. What raters say of
// it counts either way. A picture that is not in the store is an error that wraps ErrUnknown.
func (s *Store) SetGold(ctx context.Context, picture string, label dataset.Label) error {
	return s.write(ctx, func(w *work) error { return w.setGold(ctx, picture, label) })
}

// AddGold is SetGold for all samples of d that are labelled good or bad, which are found by their
// IDs: all of them or, after an error, none. It returns how many there are. If there are none, the
// error wraps dataset.ErrNoLabels.
func (s *Store) AddGold(ctx context.Context, d dataset.Dataset) (n int, err error) {
	labelled, err := dataset.CollectLabelled(ctx, d)
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, func(w *work) error {
		for _, sample := range labelled {
			if err := w.setGold(ctx, sample.ID, sample.Label); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(labelled), nil
}

func (w *work) setGold(ctx context.Context, picture string, label dataset.Label) error {
	if label > dataset.Bad {
		return fmt.Errorf("the answer of gold picture %q is %v", picture, label)
	}
	var place int64
	err := w.row(ctx, `
		UPDATE tasks SET gold = ?1,
			open = ?1 > 0 OR used < (SELECT raters FROM queues WHERE queues.id = queue)
		WHERE queue = ?2 AND picture = (SELECT id FROM pictures WHERE name = ?3)
		RETURNING place`, label, pictureQueue, picture).Scan(&place)
	if err != nil {
		return known(err, "picture", picture)
	}
	return w.lookFrom(ctx, pictureQueue, place)
}
