package feedback

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

var scale = flag.Int("scale", 0, "pictures of TestScale, of which each has ten judgements")

// TestScale fills a store and measures what people wait for:
//
//	go test -run TestScale -v -timeout 60m ./dataset/feedback -scale 100000
func TestScale(t *testing.T) {
	if *scale == 0 {
		t.Skip("without -scale")
	}
	s := newStore(t)
	require.NoError(t, os.WriteFile(filepath.Join(s.folder, "a.png"), pngOf("a"), 0o644))
	took := func(what string, f func()) time.Duration {
		start := time.Now()
		f()
		d := time.Since(start)
		t.Logf("%-44s %12v", what, d.Round(10*time.Microsecond))
		return d
	}
	samples := make([]dataset.Sample, *scale)
	for i := range samples {
		samples[i] = dataset.Sample{
			ID: fmt.Sprintf("picture %d", i), Prompt: fmt.Sprintf("prompt %d", i%997),
			File:   "a.png",
			Source: dataset.Source{Model: "tiny", Sampler: "ddim", Steps: 50, Seed: 1},
		}
	}
	took("pictures are added", func() {
		_, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
		require.NoError(t, err)
	})
	const raters = 50
	for i := range raters {
		s.raters(fmt.Sprint("rater ", i))
	}
	s.raters("newcomer", "thorough")
	require.NoError(t, s.SetRaters(t.Context(), "", 12))
	r := rand.New(rand.NewPCG(1, 0))
	took("judgements are added", func() {
		for i := 0; i < *scale; i += batch {
			require.NoError(t, s.write(t.Context(), func(w *work) error {
				for p := i; p < min(*scale, i+batch); p++ {
					for _, rater := range r.Perm(raters)[:10] {
						label := dataset.Good // of every other picture, and one of five errs
						if (p%2 == 0) != (r.IntN(5) == 0) {
							label = dataset.Bad
						}
						_, err := s.judge(t.Context(), w, Judgement{
							Answer: fmt.Sprintf("%d by %d", p, rater), Picture: samples[p].ID,
							Rater: fmt.Sprint("rater ", rater), Label: label,
							Taken: 3 * time.Second, At: s.time,
						})
						if err != nil {
							return err
						}
					}
				}
				return nil
			}))
		}
	})
	took("one rater judges everything", func() {
		require.NoError(t, s.write(t.Context(), func(w *work) error {
			for _, p := range samples {
				_, err := s.judge(t.Context(), w, Judgement{
					Picture: p.ID, Rater: "thorough", Label: dataset.Good,
				})
				if err != nil {
					return err
				}
			}
			return nil
		}))
	})
	for _, f := range []string{"labels.db", "labels.db-wal"} {
		if info, err := os.Stat(filepath.Join(s.folder, f)); err == nil {
			t.Logf("%-44s %8d MiB", f, info.Size()>>20)
		}
	}
	took("it is closed", func() { require.NoError(t, s.Close()) })
	took("it is opened", s.open)
	// The worst case: everything is open still, and nothing is left for the rater.
	nothing := took("nothing for who judged everything", func() { s.next("thorough", 1) })
	again := took("and again", func() { s.next("thorough", 1) })
	first := took("the first picture for who judged a fifth", func() { s.next("rater 7", 1) })
	newest := took("the first picture for a newcomer", func() { s.next("newcomer", 1) })
	took("three of a prompt are put together", func() {
		require.NoError(t, s.SetTogether(t.Context(), 3))
	})
	took("a hundred are gold", func() {
		for _, p := range samples[:100] {
			require.NoError(t, s.SetGold(t.Context(), p.ID, dataset.Good))
		}
	})
	put := make([]string, *scale/10)
	for i := range put {
		put[i] = samples[10*i].ID
	}
	took("a tenth is put first", func() { require.NoError(t, s.First(t.Context(), put)) })
	passed := took("nothing for who judged everything", func() { s.next("thorough", 1) })
	reordered := took("the next for who judged a fifth", func() { s.next("rater 8", 1) })
	last := took("the last 20 of who judged everything", func() {
		all, err := s.Last(t.Context(), "thorough", 20)
		require.NoError(t, err)
		require.Len(t, all, 20)
	})
	var next, judge []time.Duration
	for i := range 300 {
		rater := fmt.Sprint("rater ", i%raters)
		start := time.Now()
		ids := s.next(rater, 1)
		next = append(next, time.Since(start))
		start = time.Now()
		s.say(fmt.Sprint("later ", i), rater, ids[0], dataset.Good)
		judge = append(judge, time.Since(start))
	}
	slices.Sort(next)
	slices.Sort(judge)
	t.Logf("next: median %v, 99 %% %v, most %v", next[150], next[297], next[299])
	t.Logf("judge: median %v, 99 %% %v, most %v", judge[150], judge[297], judge[299])
	counts := took("the overview", func() {
		_, err := s.Overview(t.Context())
		require.NoError(t, err)
	})
	took("the prompts", func() {
		_, err := s.Prompts(t.Context())
		require.NoError(t, err)
	})
	s.advance(time.Hour) // all leases have expired
	expired := took("the next where leases have expired", func() { s.next("newcomer", 2) })
	for _, by := range []Aggregator{Majority{}, DawidSkene{Smoothing: 1}} {
		took(fmt.Sprintf("labels by %T", by), func() {
			for _, err := range s.Labels(by).All(t.Context()) {
				require.NoError(t, err)
			}
		})
	}
	took("raw judgements", func() {
		for _, err := range s.Raw().All(t.Context()) {
			require.NoError(t, err)
		}
	})
	took("export", func() { require.NoError(t, s.Export(t.Context(), io.Discard)) })
	took("backup", func() {
		require.NoError(t, s.Backup(t.Context(), filepath.Join(s.folder, "backup.db")))
	})
	took("check", func() { require.NoError(t, s.Check(t.Context())) })
	require.Less(t, nothing, time.Second)
	require.Less(t, passed, time.Second)
	require.Less(t, reordered, 20*time.Millisecond)
	require.Less(t, last, 20*time.Millisecond)
	require.Less(t, again, 20*time.Millisecond)
	require.Less(t, first, 20*time.Millisecond)
	require.Less(t, next[297], 20*time.Millisecond)
	require.Less(t, newest, 20*time.Millisecond)
	require.Less(t, expired, 20*time.Millisecond)
	require.Less(t, counts, time.Second)
}
