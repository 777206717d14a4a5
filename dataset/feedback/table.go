package feedback

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/kudos-ml/kudos/dataset"
)

// A Table is what raters say of pictures now: of each rater and picture at most one opinion, the
// last that was neither corrected nor taken back.
type Table struct {
	Pictures []string // IDs of the samples that raters can judge, in the order of the store
	Raters   []string // names, in the order of the store
	Opinions []Opinion
}

// An Opinion is one rater's of one picture. Opinions are in the order of the pictures, and those of
// one picture in the order of the raters.
type Opinion struct {
	Picture int // its place in Pictures
	Rater   int // its place in Raters
	Label   dataset.Label
}

// Ratings is the table in the form in which package measure compares raters: a row a picture, a
// column a rater, 1 for good, 0 for bad, and -1 where the rater has not judged the picture, or
// could not say.
func (t Table) Ratings() [][]int {
	ratings := make([][]int, len(t.Pictures))
	for i := range ratings {
		ratings[i] = make([]int, len(t.Raters))
		for r := range ratings[i] {
			ratings[i][r] = -1
		}
	}
	for _, o := range t.Opinions {
		switch o.Label {
		case dataset.Good:
			ratings[o.Picture][o.Rater] = 1
		case dataset.Bad:
			ratings[o.Picture][o.Rater] = 0
		}
	}
	return ratings
}

// counts returns of each picture how many opinions there are: good, bad and all.
func (t Table) counts() (good, bad, all []int) {
	good, bad, all = make([]int, len(t.Pictures)), make([]int, len(t.Pictures)),
		make([]int, len(t.Pictures))
	for _, o := range t.Opinions {
		all[o.Picture]++
		switch o.Label {
		case dataset.Good:
			good[o.Picture]++
		case dataset.Bad:
			bad[o.Picture]++
		}
	}
	return good, bad, all
}

// Table returns what raters say now.
func (s *Store) Table(ctx context.Context) (Table, error) {
	t, _, err := s.table(ctx)
	return t, err
}

// table is Table, and returns the IDs of the pictures' rows as well.
func (s *Store) table(ctx context.Context) (t Table, ids []int64, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		places := map[int64]int{} // of pictures, by their tasks
		rows, err := tx.QueryContext(ctx, `
			SELECT t.id, p.id, p.name FROM pictures p JOIN tasks t ON t.picture = p.id
			WHERE t.queue = ? ORDER BY p.id`, pictureQueue)
		err = each(rows, err, func(row scanner) error {
			var task, id int64
			var name string
			err := row.Scan(&task, &id, &name)
			places[task] = len(t.Pictures)
			t.Pictures, ids = append(t.Pictures, name), append(ids, id)
			return err
		})
		if err != nil {
			return err
		}
		raters := map[int64]int{}
		rows, err = tx.QueryContext(ctx, `SELECT id, name FROM raters ORDER BY id`)
		err = each(rows, err, func(row scanner) error {
			var id int64
			var name string
			err := row.Scan(&id, &name)
			raters[id] = len(t.Raters)
			t.Raters = append(t.Raters, name)
			return err
		})
		if err != nil {
			return err
		}
		// Tasks are in the order of their pictures, because each is made with its picture.
		rows, err = tx.QueryContext(ctx,
			`SELECT task, rater, choice FROM standing WHERE choice > 0 ORDER BY task, rater`)
		return each(rows, err, func(row scanner) error {
			var task, rater int64
			var o Opinion
			if err := row.Scan(&task, &rater, &o.Label); err != nil {
				return err
			}
			place, isPicture := places[task]
			if !isPicture {
				return nil // a pair
			}
			o.Picture, o.Rater = place, raters[rater]
			t.Opinions = append(t.Opinions, o)
			return nil
		})
	})
	return t, ids, err
}

// All is Labels with Majority. By it a Store is a dataset.Dataset.
func (s *Store) All(ctx context.Context) iter.Seq2[dataset.Sample, error] {
	return s.Labels(Majority{}).All(ctx)
}

// Labels is the dataset of all samples, in the order in which they were added, each with what its
// judgements amount to by an aggregation: Label, Judgements, Good, and Reward where the
// aggregation has one. Judgements is the number of those that say good or bad. A sample that nobody
// has judged stays as it was added. Source.Rater goes where a label of the raters' comes.
//
// What is judged while the dataset is ranged over is not in it until the next time.
func (s *Store) Labels(by Aggregator) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			verdicts, last, err := s.verdicts(ctx, by)
			if err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			for r, err := range s.rows(ctx, last) {
				if v, judged := verdicts[r.id]; judged && err == nil {
					r.sample.Label, r.sample.Good = v.Label, v.Good
					r.sample.Judgements = v.judgements
					r.sample.Source.Rater = ""
					if v.Reward != nil {
						r.sample.Reward = v.Reward
					}
				}
				if !yield(r.sample, err) || err != nil {
					return
				}
			}
		}
	})
}

// ReadLabels returns the samples of the store in a file that an aggregation labels good or bad, in
// the order of Labels, and closes the store again. It is an error if there is no such file, and one
// that wraps dataset.ErrNoLabels if nothing is labelled.
func ReadLabels(ctx context.Context, path string, by Aggregator) ([]dataset.Sample, error) {
	if _, err := os.Stat(path); err != nil { // Open would make it
		return nil, fmt.Errorf("feedback: %w", err)
	}
	s, err := Open(ctx, Config{Path: path})
	if err != nil {
		return nil, err
	}
	labelled, err := dataset.CollectLabelled(ctx, s.Labels(by))
	if errors.Is(err, dataset.ErrNoLabels) {
		err = fmt.Errorf("feedback: %s: %w", path, err)
	}
	return labelled, errors.Join(err, s.Close())
}

// A counted verdict is one with the number of judgements behind it.
type counted struct {
	Verdict
	judgements int
}

// verdicts returns what the judgements of each picture amount to, by the IDs of the rows, and the
// last of these IDs. Pictures that nobody has judged are not among them.
func (s *Store) verdicts(
	ctx context.Context, by Aggregator,
) (verdicts map[int64]counted, last int64, err error) {
	fail := func(err error) (map[int64]counted, int64, error) {
		return nil, 0, fmt.Errorf("feedback: %s: aggregation: %w", s.config.Path, err)
	}
	if by == nil {
		return fail(errNoAggregator)
	}
	err = s.read(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM pictures`).Scan(&last)
	})
	if err != nil {
		return nil, 0, err
	}
	t, ids, err := s.table(ctx)
	if err != nil {
		return nil, 0, err
	}
	all, err := by.Aggregate(ctx, t)
	if err != nil {
		return fail(err)
	}
	if len(all) != len(t.Pictures) {
		return fail(fmt.Errorf("%d verdicts on %d pictures", len(all), len(t.Pictures)))
	}
	verdicts = map[int64]counted{}
	good, bad, opinions := t.counts()
	for i, v := range all {
		n := good[i] + bad[i]
		switch {
		case opinions[i] == 0:
			continue
		case n == 0:
			v = Verdict{Label: dataset.Skip} // nobody could say
		case !(v.Good >= 0 && v.Good <= 1):
			return fail(fmt.Errorf("picture %q is good by %v", t.Pictures[i], v.Good))
		}
		verdicts[ids[i]] = counted{v, n}
	}
	return verdicts, last, nil
}

// Raw is the dataset of the judgements that stand, a sample each, in the order of the pictures. The
// ID is that of the answer, the Group that of the picture, and Source.Rater the rater's name.
// Judgements is 1 and Good is 1 or 0. Both are 0 for a Skip.
func (s *Store) Raw() dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			opinions, last, err := s.opinions(ctx)
			if err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			for r, err := range s.rows(ctx, last) {
				if err != nil {
					yield(r.sample, err)
					return
				}
				for len(opinions) > 0 && opinions[0].picture == r.id {
					if !yield(opinions[0].sample(r.sample), nil) {
						return
					}
					opinions = opinions[1:]
				}
			}
		}
	})
}

// A raw opinion is one as Raw has it.
type rawOpinion struct {
	picture int64 // its row's ID
	answer  string
	rater   string
	label   dataset.Label
}

// sample is what Raw yields for an opinion of a picture.
func (o rawOpinion) sample(of dataset.Sample) dataset.Sample {
	of.ID, of.Group, of.Source.Rater = o.answer, of.ID, o.rater
	of.Label, of.Judgements, of.Good = o.label, 0, 0
	switch o.label {
	case dataset.Good:
		of.Judgements, of.Good = 1, 1
	case dataset.Bad:
		of.Judgements = 1
	}
	return of
}

// opinions returns all opinions in the order of the pictures, and the ID of the last picture's row.
func (s *Store) opinions(ctx context.Context) (all []rawOpinion, last int64, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT t.picture, a.name, r.name, s.choice
			FROM standing s
			CROSS JOIN tasks t ON t.id = s.task
			CROSS JOIN answers a ON a.id = s.answer
			CROSS JOIN raters r ON r.id = s.rater
			WHERE s.choice > 0 AND t.queue = ? ORDER BY s.task, s.rater`, pictureQueue)
		return each(rows, err, func(row scanner) error {
			var o rawOpinion
			err := row.Scan(&o.picture, &o.answer, &o.rater, &o.label)
			all, last = append(all, o), o.picture
			return err
		})
	})
	return all, last, err
}
