package feedback

import (
	"context"
	"hash/fnv"
	"strconv"
)

// A task is a row of the table of that name, or is to become one.
type task struct {
	id      int64
	queue   int64
	prompt  int64
	picture *int64
	pair    *int64
	rank    int64 // how many tasks of its prompt come before it
}

// turn is where a task comes in its queue if each comes alone: the first of each prompt come first,
// the prompts in an order that has nothing to do with the one in which they were added, then the
// second of each, and so on. So all prompts are judged about equally often at any time.
func (t task) turn() int64 {
	h := fnv.New32a()
	h.Write([]byte(strconv.FormatInt(t.prompt, 10)))
	return t.rank<<32 | int64(mix(h.Sum32()))
}

// mix spreads the bits of a hash whose inputs are alike (the end of MurmurHash3, Appleby 2011).
func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// placeOf is, in SQL, the place of a task that is not put before the others: its rank within the
// prompt, which is in the upper bits of its turn, counts in steps of as many as come together.
// Tasks of one prompt that come together have the same place.
const placeOf = `(((turn >> 32) / together) << 32 | (turn & 0xffffffff))`

// addTask adds a task to its queue. It may come before what raters have been given.
func (w *work) addTask(ctx context.Context, t task) error {
	var place int64
	err := w.row(ctx, `
		INSERT INTO tasks (queue, prompt, picture, pair, turn, place)
		SELECT id, ?2, ?3, ?4, turn, `+placeOf+`
		FROM (SELECT *, ?5 AS turn FROM queues WHERE id = ?1) RETURNING place`,
		t.queue, t.prompt, t.picture, t.pair, t.turn()).Scan(&place)
	if err == nil {
		err = w.exec(ctx, `UPDATE queues SET tasks = tasks + 1 WHERE id = ?`, t.queue)
	}
	if err == nil {
		err = w.lookFrom(ctx, t.queue, place)
	}
	return err
}

// lookFrom has all raters look for work in a queue from a place on, if they are further.
func (w *work) lookFrom(ctx context.Context, queue, place int64) error {
	return w.exec(ctx, `UPDATE cursors SET place = ?1 WHERE queue = ?2 AND place > ?1`,
		place, queue)
}

// advance adds to the numbers of raters who use a task, and who have answered it.
func (w *work) advance(ctx context.Context, id int64, used, answered int) (t task, err error) {
	t.id = id
	var now, wanted int
	err = w.row(ctx, `
		UPDATE tasks SET used = used + ?2, answered = answered + ?3,
			open = gold > 0
				OR used + ?2 < (SELECT raters FROM queues WHERE queues.id = queue)
		WHERE id = ?1
		RETURNING queue, prompt, answered, (SELECT raters FROM queues WHERE queues.id = queue)`,
		id, used, answered).Scan(&t.queue, &t.prompt, &now, &wanted)
	if err != nil || answered == 0 {
		return t, err
	}
	switch before := now - answered; {
	case before < wanted && now >= wanted:
		err = w.exec(ctx, `UPDATE queues SET complete = complete + 1 WHERE id = ?`, t.queue)
	case before >= wanted && now < wanted:
		err = w.exec(ctx, `UPDATE queues SET complete = complete - 1 WHERE id = ?`, t.queue)
	}
	return t, err
}

// pictureTask returns the ID of the task to judge a picture.
func (w *work) pictureTask(ctx context.Context, name string) (id int64, err error) {
	err = w.row(ctx, `
		SELECT t.id FROM tasks t JOIN pictures p ON p.id = t.picture
		WHERE t.queue = ? AND p.name = ?`, pictureQueue, name).Scan(&id)
	return id, known(err, "picture", name)
}

// expiry is when a lease that is given now expires.
func (s *Store) expiry() int64 { return s.now() + s.config.Lease.Milliseconds() }
