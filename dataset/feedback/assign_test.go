package feedback

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// next returns the IDs of the next pictures for a rater.
func (s *testStore) next(rater string, n int) (ids []string) {
	s.t.Helper()
	all, err := s.Next(s.t.Context(), rater, n)
	require.NoError(s.t, err)
	for _, a := range all {
		ids = append(ids, a.Sample.ID)
	}
	return ids
}

// A rater who works alone gets every picture once, and the prompts take turns.
func TestPromptsTakeTurns(t *testing.T) {
	s := newStore(t)
	samples := s.add(2, "a dog", "a cat", "a wolf")
	extra := s.pictures(4, "an owl")
	for i := range extra {
		extra[i].ID = fmt.Sprintf("owl %d", i)
	}
	_, err := s.Add(t.Context(), dataset.FromSlice(extra), "")
	require.NoError(t, err)
	s.raters("anna")
	prompts := map[string]int{}
	seen := map[string]bool{}
	for i := range 10 {
		all, err := s.Next(t.Context(), "anna", 1)
		require.NoError(t, err)
		require.Len(t, all, 1)
		sample := all[0].Sample
		require.False(t, seen[sample.ID])
		require.Equal(t, s.time.UTC().Truncate(time.Millisecond).Add(10*time.Minute), all[0].Until)
		seen[sample.ID] = true
		prompts[sample.Prompt]++
		if i == 3 || i == 7 {
			require.Len(t, slices.Collect(maps.Keys(prompts)), 4)
			require.Equal(t, (i+1)/4, prompts["an owl"], "all prompts as often")
		}
		s.say("", "anna", sample.ID, dataset.Good)
	}
	require.Empty(t, s.next("anna", 1))
	require.Equal(t, samples[0].ID, "p0")
	s.advance(time.Hour)
	require.Empty(t, s.next("anna", 1))
	_, err = s.Next(t.Context(), "nobody", 1)
	require.ErrorIs(t, err, ErrUnknown)
}

// Pictures that come later are not forgotten by raters who were through.
func TestPicturesComeLater(t *testing.T) {
	s := newStore(t)
	s.raters("anna")
	require.Empty(t, s.next("anna", 1))
	s.add(1, "a dog")
	require.Equal(t, []string{"p0"}, s.next("anna", 5))
}

func TestLeases(t *testing.T) {
	s := newStore(t)
	s.add(3, "a dog")
	s.raters("anna", "ben", "cleo")
	require.NoError(t, s.SetRaters(t.Context(), "", 1))
	require.Equal(t, []string{"p0"}, s.next("anna", 1))
	require.Equal(t, []string{"p0", "p1"}, s.next("anna", 2), "the same again, and one more")
	require.Equal(t, []string{"p2"}, s.next("ben", 2), "what is left")
	require.Empty(t, s.next("cleo", 1))

	s.advance(9 * time.Minute)
	require.Equal(t, []string{"p0"}, s.next("anna", 1), "renewed")
	s.advance(time.Minute)
	// Those of p1 and p2 have expired.
	o, err := s.Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, o.Leased)
	require.Equal(t, []string{"p1"}, s.next("cleo", 1))
	require.Equal(t, []string{"p2"}, s.next("ben", 1), "ben comes back, and nobody has taken it")
	require.Equal(t, []string{"p0"}, s.next("anna", 2))
	require.NoError(t, s.Check(t.Context()))
	_, err = s.Erase(t.Context(), "ben")
	require.NoError(t, err)
	require.Equal(t, []string{"p1", "p2"}, s.next("cleo", 2), "ben will not come back")

	// anna judges p1 after all, and cleo does too: both count.
	s.say("", "anna", "p1", dataset.Good)
	s.say("", "cleo", "p1", dataset.Bad)
	require.Equal(t, 2, s.collect(s)[1].Judgements)
	require.NoError(t, s.Check(t.Context()))
}

// What was taken over from a rater is given to that rater again if more are wanted.
func TestTakenOverAndWantedStill(t *testing.T) {
	s := newStore(t)
	s.add(2, "a dog")
	s.raters("anna", "ben")
	require.NoError(t, s.SetRaters(t.Context(), "", 2))
	require.Equal(t, []string{"p0", "p1"}, s.next("anna", 2))
	s.advance(time.Hour)
	require.Equal(t, []string{"p0"}, s.next("ben", 1))
	s.say("", "ben", "p0", dataset.Good)
	s.say("", "anna", "p1", dataset.Good)
	require.Equal(t, []string{"p0"}, s.next("anna", 1))
	require.NoError(t, s.Check(t.Context()))
}

func TestUndo(t *testing.T) {
	s := newStore(t)
	s.add(3, "a dog")
	s.raters("anna", "ben")
	require.NoError(t, s.SetRaters(t.Context(), "", 1))
	require.Equal(t, []string{"p0", "p1"}, s.next("anna", 2))
	s.say("0", "anna", "p1", dataset.Bad)
	s.say("1", "anna", "p0", dataset.Bad)
	back, err := s.Undo(t.Context(), "anna", "undo")
	require.NoError(t, err)
	require.Equal(t, "p0", back.Picture)
	require.Equal(t, "1", back.Supersedes)
	again, err := s.Undo(t.Context(), "anna", "undo")
	require.NoError(t, err)
	require.Equal(t, back, again, "a repeated request takes one judgement back")
	require.Equal(t, []string{"p2"}, s.next("ben", 3), "p0 is anna's")
	require.Equal(t, []string{"p0"}, s.next("anna", 1), "to judge again")
	_, err = s.Undo(t.Context(), "anna", "another")
	require.NoError(t, err)
	require.Equal(t, []string{"p1", "p0"}, s.next("anna", 2), "what was taken back last is first")
	_, err = s.Undo(t.Context(), "anna", "one more")
	require.ErrorIs(t, err, ErrUnknown)
	require.NoError(t, s.Check(t.Context()))
	require.Equal(t, "another", s.say("2", "anna", "p1", dataset.Good).Supersedes)
}

// Many ask at once, and no picture is judged by more than are wanted.
func TestRatersDoNotCollide(t *testing.T) {
	s := newStore(t)
	s.add(6, "a dog", "a cat", "a wolf")
	const raters = 6
	var wait sync.WaitGroup
	for i := range raters {
		name := fmt.Sprintf("rater %d", i)
		s.raters(name)
		wait.Go(func() {
			for {
				all, err := s.Next(t.Context(), name, 1+i%2)
				if err != nil || len(all) == 0 {
					s.noError(err)
					return
				}
				for _, a := range all {
					_, err := s.Judge(t.Context(), Judgement{
						Rater: name, Picture: a.Sample.ID, Label: dataset.Good,
					})
					s.noError(err)
				}
			}
		})
	}
	wait.Wait()
	for _, sample := range s.collect(s) {
		require.Equal(t, 3, sample.Judgements)
	}
	require.Len(t, s.all(), 3*18)
	require.NoError(t, s.Check(t.Context()))
	o, err := s.Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, 18, o.Complete)
}

// noError fails the test, from whatever goroutine, and lets the goroutine go on.
func (s *testStore) noError(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// Whatever happens in whatever order, what is kept for speed is right, no picture is with more
// raters than are wanted, and in the end each is judged by as many as are wanted or can.
func TestAnythingInAnyOrder(t *testing.T) {
	raters := []string{"anna", "ben", "cleo", "dan"}
	rapid.Check(t, func(r *rapid.T) {
		s := newStore(t)
		defer s.Close()
		s.hasty()
		s.raters(raters...)
		s.add(3, "a dog", "a cat")
		wanted, pictures, answers := 3, 6, 0
		late := false // judged without a lease: then more may judge than are wanted
		label := rapid.SampledFrom([]dataset.Label{dataset.Good, dataset.Bad, dataset.Skip})
		judge := func(rater, picture string, l dataset.Label) {
			answers++
			_, err := s.Judge(t.Context(), Judgement{
				Answer: fmt.Sprint(answers), Rater: rater, Picture: picture, Label: l,
				Taken: time.Duration(answers) * time.Second,
			})
			require.NoError(r, err)
		}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			rater := rapid.SampledFrom(raters).Draw(r, "rater")
			switch rapid.IntRange(0, 23).Draw(r, "what") {
			case 0:
				samples := s.pictures(pictures+2, "a dog", "a cat")[pictures:]
				n, err := s.Add(t.Context(), dataset.FromSlice(samples[:2]), "")
				require.NoError(r, err)
				pictures += n
			case 1:
				next := rapid.IntRange(1, len(raters)).Draw(r, "wanted")
				late = late || next < wanted
				wanted = next
				require.NoError(r, s.SetRaters(t.Context(), "", wanted))
			case 2, 3:
				answers++
				_, err := s.Undo(t.Context(), rater, fmt.Sprint(answers))
				if err != nil {
					require.ErrorIs(r, err, ErrUnknown)
				}
			case 4:
				late = true
				n := rapid.IntRange(0, pictures-1).Draw(r, "picture")
				judge(rater, fmt.Sprintf("p%d", n), label.Draw(r, "label"))
			case 5, 6, 7, 8, 9:
				s.advance(7 * time.Minute)
			case 10:
				k := rapid.IntRange(1, 4).Draw(r, "together")
				require.NoError(r, s.SetTogether(t.Context(), k))
			case 11:
				n := rapid.IntRange(0, pictures-1).Draw(r, "picture")
				answer := rapid.SampledFrom([]dataset.Label{0, dataset.Good, dataset.Bad})
				gold := answer.Draw(r, "gold")
				late = late || gold == dataset.Unlabelled
				require.NoError(r, s.SetGold(t.Context(), fmt.Sprintf("p%d", n), gold))
			case 12:
				ids := rapid.SliceOfN(rapid.IntRange(0, pictures-1), 0, 4).Draw(r, "first")
				names := make([]string, len(ids))
				for i, n := range ids {
					names[i] = fmt.Sprintf("p%d", n)
				}
				require.NoError(r, s.First(t.Context(), names))
			default:
				for _, id := range s.next(rater, rapid.IntRange(1, 3).Draw(r, "n")) {
					if rapid.Bool().Draw(r, "judge") {
						judge(rater, id, label.Draw(r, "label"))
					}
				}
			}
			require.NoError(r, s.read(t.Context(), func(tx *sql.Tx) error {
				var most, passed int
				err := tx.QueryRow(`SELECT coalesce(max(used), 0) FROM tasks WHERE gold = 0`).
					Scan(&most)
				require.NoError(r, err)
				if !late {
					require.LessOrEqual(r, most, wanted)
				}
				err = tx.QueryRow(passedBy).Scan(&passed)
				require.NoError(r, err)
				require.Zero(r, passed, "what is free for a rater is not before the rater's cursor")
				return recount(t.Context(), tx)
			}))
		}
		s.advance(time.Hour)
		for working := true; working; {
			working = false
			for _, rater := range raters {
				for _, id := range s.next(rater, 2) {
					judge(rater, id, dataset.Good)
					working = true
				}
			}
		}
		require.NoError(r, s.Check(t.Context()))
		o, err := s.Overview(t.Context())
		require.NoError(r, err)
		require.Equal(r, pictures, o.Complete)
		require.Zero(r, o.Leased)
		s.requireGold(r, o, len(raters))
	})
}

// passedBy counts the tasks that are free for raters and that they would never be given.
const passedBy = `
	SELECT count(*) FROM cursors c JOIN tasks t ON t.queue = c.queue AND t.place < c.place
	WHERE t.open
		AND NOT EXISTS (SELECT 1 FROM standing s
			WHERE s.task = t.id AND s.rater = c.rater AND s.choice > 0)
		AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.task = t.id AND l.rater = c.rater)`

// requireGold fails unless all raters have judged all gold pictures, and the numbers of an overview
// are what the table of opinions says.
func (s *testStore) requireGold(t require.TestingT, o Overview, raters int) {
	table, err := s.Table(s.t.Context())
	require.NoError(t, err)
	gold, n := map[string]dataset.Label{}, 0
	require.NoError(t, s.read(s.t.Context(), func(tx *sql.Tx) error {
		rows, err := tx.Query(`
			SELECT p.name, t.gold, t.answered FROM tasks t JOIN pictures p ON p.id = t.picture
			WHERE t.gold > 0`)
		return each(rows, err, func(row scanner) error {
			var name string
			var label dataset.Label
			var answered int
			err := row.Scan(&name, &label, &answered)
			require.Equal(t, raters, answered, name)
			gold[name], n = label, n+1
			return err
		})
	}))
	require.Equal(t, n, o.Gold)
	asked, right := map[string]int{}, map[string]int{}
	for _, opinion := range table.Opinions {
		known, rater := gold[table.Pictures[opinion.Picture]], table.Raters[opinion.Rater]
		if known != dataset.Unlabelled && opinion.Label != dataset.Skip {
			asked[rater]++
			if opinion.Label == known {
				right[rater]++
			}
		}
	}
	for _, r := range o.Raters {
		require.Equal(t, []int{asked[r.Rater], right[r.Rater]}, []int{r.Gold, r.Right}, r.Rater)
	}
}

func TestOverview(t *testing.T) {
	s := newStore(t)
	s.add(2, "a dog", "a cat")
	s.raters("anna", "ben", "cleo")
	require.NoError(t, s.SetRaters(t.Context(), "", 2))
	require.ErrorIs(t, s.SetRaters(t.Context(), "none", 2), ErrUnknown)
	require.Error(t, s.SetRaters(t.Context(), "", 0))
	for i, c := range []struct {
		rater, picture string
		label          dataset.Label
	}{
		{"anna", "p0", dataset.Good}, {"ben", "p0", dataset.Bad}, {"anna", "p1", dataset.Skip},
		{"anna", "p2", dataset.Good}, {"ben", "p2", dataset.Good}, {"anna", "p2", dataset.Bad},
	} {
		_, err := s.Judge(t.Context(), Judgement{
			Rater: c.rater, Picture: c.picture, Label: c.label,
			Taken: time.Duration(i+1) * time.Second,
		})
		require.NoError(t, err)
	}
	s.next("cleo", 1)
	require.NoError(t, s.SetGold(t.Context(), "p0", dataset.Good))
	o, err := s.Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, Overview{
		Pictures: 4, Wanted: 2, Together: 1, Gold: 1, Complete: 2, Leased: 1,
		Counts: Counts{Good: 2, Bad: 2, Skip: 1},
		Raters: []RaterCounts{
			{"anna", Counts{Good: 1, Bad: 1, Skip: 1}, 10 * time.Second, 1, 1},
			{"ben", Counts{Good: 1, Bad: 1}, 7 * time.Second, 1, 0},
			{Rater: "cleo"},
		},
	}, o)
	require.Equal(t, 5, o.Counts.Total())
	prompts, err := s.Prompts(t.Context())
	require.NoError(t, err)
	require.Equal(t, []PromptCounts{
		{"a dog", 2, Counts{Good: 2, Bad: 2}}, {"a cat", 2, Counts{Skip: 1}},
	}, prompts)

	// A number that is wrong is found.
	for _, wrong := range []string{
		`UPDATE rater_counts SET n = n + 1`, `UPDATE prompt_counts SET n = 0`,
		`UPDATE queues SET complete = 9`, `UPDATE queues SET tasks = 9`,
		`UPDATE tasks SET used = used + 1`, `UPDATE tasks SET open = 0`,
		`UPDATE tasks SET place = place + 1`, `UPDATE tasks SET turn = turn + 1 WHERE id = 2`,
		`UPDATE tasks SET gold = 1 WHERE open = 0`,
		`UPDATE standing SET choice = 3`, `DELETE FROM standing`, `DELETE FROM leases`,
	} {
		tx, err := s.pool.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.Exec(wrong)
		require.NoError(t, err, wrong)
		err = recount(t.Context(), tx)
		require.ErrorContains(t, err, "not what the answers amount to", wrong)
		require.NoError(t, tx.Rollback())
	}
	require.NoError(t, s.Check(t.Context()))
	_, err = s.writer.conn.ExecContext(t.Context(), `UPDATE queues SET complete = 9`)
	require.NoError(t, err)
	require.ErrorContains(t, s.Check(t.Context()), "1 of the queues are not what")
}
