package feedback

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// A Question is what raters are asked of a pair. Lee et al. 2023 (§5.2) ask both, one after the
// other.
type Question uint8

// The questions of a study.
const (
	Alignment Question = 1 + iota // which pictures follow the prompt better
	Fidelity                      // which pictures look better, whatever the prompt
)

// questions are those of every study.
var questions = []Question{Alignment, Fidelity}

// String returns "alignment" or "fidelity".
func (q Question) String() string {
	switch q {
	case Alignment:
		return "alignment"
	case Fidelity:
		return "fidelity"
	}
	return fmt.Sprintf("Question(%d)", uint8(q))
}

// ParseQuestion returns the question that is named "alignment" or "fidelity". Any other name is an
// error.
func ParseQuestion(name string) (Question, error) {
	for _, q := range questions {
		if q.String() == name {
			return q, nil
		}
	}
	return 0, fmt.Errorf("question %q is neither alignment nor fidelity", name)
}

// A Choice is what a rater says of a pair.
type Choice uint8

// The choices. The zero Choice takes a vote back.
const (
	A       Choice = 1 + iota // the pictures of A are better
	B                         // the pictures of B are better
	Tie                       // both are as good
	BothBad                   // both are bad
)

// choiceNames are the choices' names, by their numbers.
var choiceNames = []string{"", "a", "b", "tie", "both bad"}

// String returns "a", "b", "tie" or "both bad", and "" for the zero Choice.
func (c Choice) String() string {
	if int(c) < len(choiceNames) {
		return choiceNames[c]
	}
	return fmt.Sprintf("Choice(%d)", uint8(c))
}

// ParseChoice returns the choice that is named "a", "b", "tie" or "both bad", or "" for the zero
// Choice. Any other name is an error.
func ParseChoice(name string) (Choice, error) {
	if i := slices.Index(choiceNames, name); i >= 0 {
		return Choice(i), nil
	}
	return 0, fmt.Errorf("choice %q is none of a, b, tie and both bad", name)
}

// A Pair is two sets of pictures for one prompt, usually of two models. Raters do not see which is
// which.
type Pair struct {
	Study  string // what the pair belongs to; not ""
	ID     string // no other pair of the study has it
	Prompt string
	ModelA string
	ModelB string
	A, B   []string // IDs of samples in the store
}

// A PairAssignment is a pair that a rater has to vote on.
type PairAssignment struct {
	Pair     Pair
	Question Question
	// Swapped says that B is to be shown first, on the left. The pair and the rater decide it: half
	// of the raters see B first, and each sees the pair in the same order for both questions.
	Swapped bool
	Until   time.Time // as in Assignment
}

// A Vote is what a rater says of a pair.
type Vote struct {
	Answer   string // as in Judgement
	Study    string
	Pair     string // the pair's ID
	Question Question
	Rater    string
	// Choice is in terms of A and B, however the pair was shown. The zero Choice takes the vote
	// back, and gives the pair to the rater again.
	Choice     Choice
	Reason     string
	Taken      time.Duration // as in Judgement
	At         time.Time     // as in Judgement
	Supersedes string        // as in Judgement
}

// AddPairs adds pairs to their studies, all or none. A study is there with its first pair. The same
// pair again is passed over. Another one under the ID of a pair is an error that wraps ErrConflict.
// A picture that is not in the store is one that wraps ErrUnknown.
func (s *Store) AddPairs(ctx context.Context, pairs ...Pair) error {
	return s.write(ctx, func(w *work) error {
		for _, p := range pairs {
			if err := w.addPair(ctx, p); err != nil {
				return fmt.Errorf("pair %q of study %q: %w", p.ID, p.Study, err)
			}
		}
		return nil
	})
}

func (w *work) addPair(ctx context.Context, p Pair) error {
	switch {
	case p.Study == "" || p.ID == "":
		return errors.New("it has no study or no ID")
	case p.Prompt == "" || len(p.A) == 0 || len(p.B) == 0:
		return errors.New("it has no prompt, or no pictures on a side")
	}
	switch kept, err := w.pair(ctx, p.Study, p.ID); {
	case err == nil && kept.Pair.is(p):
		return nil
	case err == nil:
		return ErrConflict
	case !errors.Is(err, ErrUnknown):
		return err
	}
	prompt, _, err := w.prompt(ctx, p.Prompt)
	if err != nil {
		return err
	}
	id, err := w.insert(ctx, `
		INSERT INTO pairs (study, name, prompt, model_a, model_b) VALUES (?, ?, ?, ?, ?)`,
		p.Study, p.ID, prompt, p.ModelA, p.ModelB)
	if err != nil {
		return err
	}
	for side, names := range [][]string{p.A, p.B} {
		for place, name := range names {
			picture, err := w.pictureID(ctx, name)
			if err == nil {
				err = w.exec(ctx, `
					INSERT INTO sides (pair, side, place, picture) VALUES (?, ?, ?, ?)`,
					id, side, place, picture)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, q := range questions {
		queue, err := w.queue(ctx, p.Study, q)
		if errors.Is(err, ErrUnknown) {
			queue, err = w.insert(ctx,
				`INSERT INTO queues (study, question, raters) VALUES (?, ?, 3)`, p.Study, q)
		}
		if err != nil {
			return err
		}
		t := task{queue: queue, prompt: prompt, pair: &id}
		err = w.row(ctx, `
			SELECT count(*) FROM tasks WHERE queue = ? AND prompt = ? AND pair IS NOT NULL`,
			queue, prompt).Scan(&t.rank)
		if err == nil {
			err = w.addTask(ctx, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// is reports whether two pairs are the same.
func (p Pair) is(q Pair) bool {
	return p.Study == q.Study && p.ID == q.ID && p.Prompt == q.Prompt && p.ModelA == q.ModelA &&
		p.ModelB == q.ModelB && slices.Equal(p.A, q.A) && slices.Equal(p.B, q.B)
}

// queue returns the ID of the queue of a question.
func (w *work) queue(ctx context.Context, study string, q Question) (id int64, err error) {
	err = w.row(ctx, `SELECT id FROM queues WHERE study = ? AND question = ?`, study, q).Scan(&id)
	return id, known(err, fmt.Sprintf("%v in study", q), study)
}

// A keptPair is a pair with the ID of its row.
type keptPair struct {
	id int64
	Pair
}

// pair returns a pair of a study.
func (w *work) pair(ctx context.Context, study, name string) (p keptPair, err error) {
	p.Study, p.ID = study, name
	err = w.row(ctx, `
		SELECT pairs.id, prompts.prompt, model_a, model_b
		FROM pairs JOIN prompts ON prompts.id = pairs.prompt WHERE study = ? AND name = ?`,
		study, name).Scan(&p.id, &p.Prompt, &p.ModelA, &p.ModelB)
	if err != nil {
		return p, known(err, "pair", name)
	}
	return p, w.rows(ctx, func(row scanner) error {
		var side int
		var picture string
		err := row.Scan(&side, &picture)
		to := []*[]string{&p.A, &p.B}[side]
		*to = append(*to, picture)
		return err
	}, `SELECT side, name FROM sides JOIN pictures ON pictures.id = picture
		WHERE pair = ? ORDER BY side, place`, p.id)
}

// Pairs returns the pairs of a study, in the order in which they were added: none of one that is
// not there.
func (s *Store) Pairs(ctx context.Context, study string) (all []Pair, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT p.name, prompts.prompt, p.model_a, p.model_b, s.side, pictures.name
			FROM pairs p JOIN prompts ON prompts.id = p.prompt
			JOIN sides s ON s.pair = p.id JOIN pictures ON pictures.id = s.picture
			WHERE p.study = ? ORDER BY p.id, s.side, s.place`, study)
		return each(rows, err, func(row scanner) error {
			p := Pair{Study: study}
			var side int
			var picture string
			err := row.Scan(&p.ID, &p.Prompt, &p.ModelA, &p.ModelB, &side, &picture)
			if k := len(all) - 1; k < 0 || all[k].ID != p.ID {
				all = append(all, p)
			}
			last := &all[len(all)-1]
			to := []*[]string{&last.A, &last.B}[side]
			*to = append(*to, picture)
			return err
		})
	})
	return all, err
}

// NextPairs returns up to n pairs of a study for a rater to vote on, for one of the questions. It
// gives pairs as Next gives pictures.
func (s *Store) NextPairs(
	ctx context.Context, rater, study string, q Question, n int,
) (next []PairAssignment, err error) {
	err = s.write(ctx, func(w *work) error {
		id, err := w.raterID(ctx, rater)
		if err != nil {
			return err
		}
		queue, err := w.queue(ctx, study, q)
		if err != nil {
			return err
		}
		tasks, err := s.lease(ctx, w, queue, id, n)
		if err != nil {
			return err
		}
		until := moment(s.expiry())
		for _, t := range tasks {
			var name string
			err := w.row(ctx, `
				SELECT name FROM tasks t JOIN pairs p ON p.id = t.pair WHERE t.id = ?`, t).
				Scan(&name)
			if err != nil {
				return err
			}
			p, err := w.pair(ctx, study, name)
			if err != nil {
				return err
			}
			next = append(next, PairAssignment{
				Pair: p.Pair, Question: q, Swapped: swapped(p.id, id), Until: until,
			})
		}
		return nil
	})
	return next, err
}

// swapped reports whether a rater sees B of a pair first.
func swapped(pair, rater int64) bool { return mix(mix(uint32(pair))+uint32(rater))&1 == 1 }

// Vote keeps a vote, and returns it as it is kept. What holds of Judge holds of it.
func (s *Store) Vote(ctx context.Context, v Vote) (Vote, error) {
	err := s.write(ctx, func(w *work) (err error) {
		v, err = s.vote(ctx, w, v)
		return err
	})
	return v, err
}

func (s *Store) vote(ctx context.Context, w *work, v Vote) (Vote, error) {
	if v.Choice > BothBad {
		return v, fmt.Errorf("a vote says %v", v.Choice)
	}
	rater, err := w.raterID(ctx, v.Rater)
	if err != nil {
		return v, err
	}
	queue, err := w.queue(ctx, v.Study, v.Question)
	if err != nil {
		return v, err
	}
	a := answer{
		name: v.Answer, rater: rater, choice: uint8(v.Choice), reason: v.Reason, taken: v.Taken,
	}
	err = w.row(ctx, `
		SELECT t.id FROM pairs p JOIN tasks t ON t.pair = p.id AND t.queue = ?
		WHERE p.study = ? AND p.name = ?`, queue, v.Study, v.Pair).Scan(&a.task)
	if err != nil {
		return v, known(err, "pair", v.Pair)
	}
	if !v.At.IsZero() {
		a.at = v.At.UnixMilli()
	}
	if a, err = s.record(ctx, w, a); err != nil {
		return v, err
	}
	v.Answer, v.Reason, v.Taken, v.At = a.name, a.reason, a.taken, moment(a.at)
	v.Supersedes, err = w.answerName(ctx, a.supersedes)
	return v, err
}

// Votes yields all votes in the order in which they were kept, those that others have taken the
// place of too.
func (s *Store) Votes(ctx context.Context) iter.Seq2[Vote, error] {
	return paged(ctx, s, votes, scanVote)
}

// StandingVotes returns the votes on a study that stand, in the order in which they were kept:
// those that nothing has taken the place of and that were not taken back.
func (s *Store) StandingVotes(ctx context.Context, study string) (all []Vote, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, voteColumns+`
			JOIN standing s ON s.answer = a.id AND s.task = a.task AND s.rater = a.rater
			WHERE p.study = ? AND a.choice > 0 ORDER BY a.id`, study)
		return each(rows, err, func(row scanner) error {
			v, _, err := scanVote(row)
			all = append(all, v)
			return err
		})
	})
	return all, err
}

// votes is the query for all votes.
const votes = voteColumns + `
	WHERE a.id > ? ORDER BY a.id LIMIT ?`

// voteColumns is the beginning of queries for what scanVote takes.
const voteColumns = `
	SELECT a.id, a.name, p.study, p.name, q.question, r.name, a.choice, a.reason, a.taken, a.at,
		coalesce(b.name, '')
	FROM answers a
	CROSS JOIN tasks t ON t.id = a.task
	CROSS JOIN pairs p ON p.id = t.pair
	CROSS JOIN queues q ON q.id = t.queue
	CROSS JOIN raters r ON r.id = a.rater
	LEFT JOIN answers b ON b.id = a.supersedes`

func scanVote(row scanner) (v Vote, id int64, err error) {
	var taken, at int64
	err = row.Scan(&id, &v.Answer, &v.Study, &v.Pair, &v.Question, &v.Rater, &v.Choice, &v.Reason,
		&taken, &at, &v.Supersedes)
	v.Taken, v.At = time.Duration(taken)*time.Millisecond, moment(at)
	return v, id, err
}
