package study_test

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/reward/study"
	"github.com/kudos-ml/kudos/reward/study/studytest"
)

// prompts are n different ones of the world of shapes.
func prompts(t *testing.T, n int) (all []string) {
	t.Helper()
	g := shapes.Grammar()
	for _, c := range g.Claims(dataset.Combination) {
		if len(all) == n {
			break
		}
		if c.Count > 1 && (c.Count+len(c.Colour)+len(c.Background))%3 == 0 {
			p, err := g.Render(c)
			require.NoError(t, err)
			all = append(all, p)
		}
	}
	require.Len(t, all, n)
	return all
}

// open opens a store in a folder of its own.
func open(t *testing.T) (*feedback.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := feedback.Open(t.Context(), feedback.Config{Path: filepath.Join(dir, "study.db")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	return store, dir
}

// made makes a study of two models that are right so often.
func made(
	t *testing.T, store *feedback.Store, dir string, all []string, a, b float64, raters int,
) {
	t.Helper()
	d := study.Design{Study: "test", Raters: raters}
	for i, s := range []*study.Side{&d.A, &d.B} {
		folder := filepath.Join(dir, []string{"tuned", "base"}[i])
		right := []float64{a, b}[i]
		pictures := studytest.Pictures(all, 4, right, uint64(1+i))
		_, err := dataset.WriteFolder(t.Context(), folder, pictures)
		require.NoError(t, err)
		*s = study.Side{
			Model: filepath.Base(folder), Pictures: dataset.Folder{Path: folder}, Folder: folder,
		}
	}
	m, err := study.Make(t.Context(), store, d)
	require.NoError(t, err)
	require.Equal(t, study.Made{Pairs: len(all), New: len(all), Prompts: len(all)}, m)
}

// answered has raters answer a study, all at once, of which each errs in a fifth of its answers.
func answered(t *testing.T, store *feedback.Store, raters int) {
	t.Helper()
	pages, err := study.New(t.Context(), study.Config{Store: store, Study: "test"})
	require.NoError(t, err)
	server := httptest.NewServer(pages)
	defer server.Close()
	defer pages.Close()
	var wait sync.WaitGroup
	for i := range raters {
		name := fmt.Sprint("rater ", i)
		_, err := store.AddRater(t.Context(), name)
		require.NoError(t, err)
		token, err := store.NewToken(t.Context(), name)
		require.NoError(t, err)
		wait.Go(func() {
			_, err := studytest.Rater{Token: token, Errs: 0.2, Seed: uint64(i)}.
				Answer(t.Context(), server.URL)
			assert.NoError(t, err)
		})
	}
	wait.Wait()
}

// Pictures of two models are shown to raters over HTTP. A model that follows prompts better is
// found to, and of two that are the same none is.
func TestChain(t *testing.T) {
	const n, raters = 10, 3
	all := prompts(t, n)
	for _, c := range []struct {
		name   string
		a, b   float64
		better int
	}{{"worse", 0.1, 0.9, -1}, {"the same", 0.5, 0.5, 0}} {
		t.Run(c.name, func(t *testing.T) {
			store, dir := open(t)
			made(t, store, dir, all, c.a, c.b, raters)
			answered(t, store, raters)
			unseen := all[:n/2]
			r, err := study.Analyse(t.Context(), store, study.Analysis{
				Study: "test", Seed: 1,
				Category: func(p string) string {
					return shapes.Grammar().Category(dataset.Sample{Prompt: p})
				},
				Unseen: func(p string) bool { return slices.Contains(unseen, p) },
			})
			require.NoError(t, err)
			require.Equal(t, raters, r.Raters)
			require.NoError(t, store.Check(t.Context()))
			alignment, fidelity := r.Questions[0], r.Questions[1]
			require.Equal(t, n*raters, alignment.Votes.Total(), "each asked each, and none twice")
			require.Equal(t, n*raters, fidelity.Votes.Total())
			require.Equal(t, n, alignment.Groups[0].Pairs)
			t.Log(r.Verdict())
			assert.Equal(t, c.better, alignment.Groups[0].Better(), "%+v", alignment.Groups[0])
			assert.Zero(t, fidelity.Groups[0].Better(), "%+v", fidelity.Groups[0])
			var names []string
			for _, g := range alignment.Groups {
				names = append(names, g.Name)
			}
			assert.Equal(t, []string{"all", "combination", "unseen", "seen"}, names)
			assert.True(t, 0 < alignment.Left.Value && alignment.Left.Value < 1, alignment.Left)

			page, err := r.Page(t.Context(), store)
			require.NoError(t, err)
			var html strings.Builder
			require.NoError(t, page.WriteHTML(&html))
			assert.Contains(t, html.String(), "tuned against base")
			assert.Equal(t, 2*n, strings.Count(html.String(), "data:image/"))
		})
	}
}
