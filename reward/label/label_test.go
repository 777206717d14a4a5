package label

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

// A bench is a handler over a store of pictures, and a clock.
type bench struct {
	t     testing.TB
	store *feedback.Store
	pages *Handler
	dir   string

	mu  sync.Mutex
	now time.Time
}

// clock is what time it is.
func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// newBench has n pictures of n/each prompts.
func newBench(t testing.TB, n, each int, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	b.store, err = feedback.Open(t.Context(), feedback.Config{
		Path: filepath.Join(b.dir, "labels.db"), Now: b.clock,
	})
	require.NoError(t, err)
	var samples []dataset.Sample
	for i := range n {
		file := fmt.Sprintf("%03d.png", i)
		img := image.NewRGBA(image.Rect(0, 0, 8, 8))
		img.Set(1, 1, color.RGBA{uint8(i), 100, 200, 255})
		var out bytes.Buffer
		require.NoError(t, png.Encode(&out, img))
		require.NoError(t, os.WriteFile(filepath.Join(b.dir, file), out.Bytes(), 0o600))
		samples = append(samples, dataset.Sample{
			ID: "id/" + file, Prompt: fmt.Sprintf("prompt %d", i/each), File: file,
		})
	}
	added, err := b.store.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	require.Equal(t, n, added)
	c := Config{Store: b.store, Owner: "owner's", Now: b.clock}
	if change != nil {
		change(&c)
	}
	b.pages, err = New(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, b.pages.Close())
		assert.NoError(t, b.store.Check(context.Background()))
		assert.NoError(t, b.store.Close())
	})
	return b
}

// A caller is someone with cookies.
type caller struct {
	*bench
	cookies []*http.Cookie
}

func (b *bench) caller(token string) *caller {
	b.t.Helper()
	c := &caller{bench: b}
	w := c.do("POST", "/enter", map[string]string{"token": token})
	require.Equal(b.t, http.StatusOK, w.Code, w.Body)
	c.cookies = w.Result().Cookies()
	return c
}

func (b *bench) rater(name string) *caller {
	b.t.Helper()
	_, err := b.store.AddRater(b.t.Context(), name)
	require.NoError(b.t, err)
	token, err := b.store.NewToken(b.t.Context(), name)
	require.NoError(b.t, err)
	return b.caller(token)
}

func (c *caller) do(method, path string, body any) *httptest.ResponseRecorder {
	text, err := json.Marshal(body)
	require.NoError(c.t, err)
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, bytes.NewReader(text))
	for _, cookie := range c.cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	c.pages.ServeHTTP(w, r)
	return w
}

// get asks for JSON.
func get[T any](c *caller, path string) (answer T) {
	c.t.Helper()
	w := c.do("GET", path, nil)
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &answer))
	return answer
}

// A taken is what /next answers.
type taken struct {
	Rater                                string
	Together, Judged, Complete, Pictures int
	Next                                 []shown
	Last                                 []said
}

// A kept is what /answers answers.
type kept struct {
	Done    []string
	Refused map[string]string
}

func (c *caller) say(answers ...answer) (k kept) {
	c.t.Helper()
	w := c.do("POST", "/answers", map[string]any{"answers": answers})
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &k))
	return k
}

func TestLabel(t *testing.T) {
	b := newBench(t, 6, 3, nil)
	require.NoError(t, b.store.SetTogether(t.Context(), 3))
	require.NoError(t, b.store.SetRaters(t.Context(), "", 1))
	anna := b.rater("anna")
	next := get[taken](anna, "/next?n=4&last=5")
	assert.Equal(t, "anna", next.Rater)
	assert.Equal(t, []int{3, 0, 0, 6},
		[]int{next.Together, next.Judged, next.Complete, next.Pictures})
	require.Len(t, next.Next, 4)
	assert.Empty(t, next.Last)
	assert.Equal(t, next.Next[0].Prompt, next.Next[2].Prompt, "three of a prompt come together")
	assert.NotEqual(t, next.Next[0].Prompt, next.Next[3].Prompt)

	// A picture is the file that was added.
	w := anna.do("GET", next.Next[0].Image, nil)
	require.Equal(t, http.StatusOK, w.Code)
	want, err := os.ReadFile(filepath.Join(b.dir, strings.TrimPrefix(next.Next[0].ID, "id/")))
	require.NoError(t, err)
	assert.Equal(t, want, w.Body.Bytes())
	assert.Equal(t, "image/png", w.Header().Get("Content-Type"))

	// One request may have answers that wait, in order: a label, its correction, another.
	p := next.Next
	k := anna.say(
		answer{ID: "1", Picture: p[0].ID, Label: "good", Reason: "nice", Taken: 1500, Ago: 60_000},
		answer{ID: "2", Picture: p[0].ID, Label: ""},
		answer{ID: "3", Picture: p[0].ID, Label: "bad"},
		answer{ID: "4", Picture: p[1].ID, Label: "skip", Taken: -1, Ago: -5},
	)
	assert.Equal(t, kept{Done: []string{"1", "2", "3", "4"}, Refused: map[string]string{}}, k)
	// The same request again, as after an answer that did not arrive, changes nothing.
	assert.Equal(t, k, anna.say(
		answer{ID: "1", Picture: p[0].ID, Label: "good", Reason: "nice", Taken: 1500, Ago: 90_000},
		answer{ID: "2", Picture: p[0].ID, Label: ""},
		answer{ID: "3", Picture: p[0].ID, Label: "bad"},
		answer{ID: "4", Picture: p[1].ID, Label: "skip"},
	))
	var all []feedback.Judgement
	for j, err := range b.store.Judgements(t.Context()) {
		require.NoError(t, err)
		all = append(all, j)
	}
	require.Len(t, all, 4)
	assert.Equal(t, feedback.Judgement{
		Answer: "1", Picture: p[0].ID, Rater: "anna", Label: dataset.Good, Reason: "nice",
		Taken: 1500 * time.Millisecond, At: b.now.Add(-time.Minute),
	}, all[0])
	assert.Equal(t, []dataset.Label{dataset.Good, dataset.Unlabelled, dataset.Bad, dataset.Skip},
		[]dataset.Label{all[0].Label, all[1].Label, all[2].Label, all[3].Label})
	assert.Equal(t, b.now, all[3].At, "what has a time in the future is now")

	// A page that is loaded again has what can be taken back, and goes on where it was.
	again := get[taken](anna, "/next?n=2&last=5")
	assert.Equal(t, 2, again.Judged)
	assert.Equal(t, []said{{p[1], "skip"}, {p[0], "bad"}}, again.Last)
	assert.Equal(t, []shown{p[2], p[3]}, again.Next)

	// What will never be taken is refused by name, and what is beside it is kept.
	k = anna.say(
		answer{ID: "1", Picture: p[1].ID, Label: "good"},
		answer{ID: "5", Picture: "nowhere", Label: "good"},
		answer{ID: "6", Picture: p[2].ID, Label: "excellent"},
		answer{ID: "7", Picture: p[2].ID, Label: ""},
		answer{ID: "8", Picture: p[2].ID, Label: "good", Reason: strings.Repeat("x", maxReason+1)},
		answer{ID: strings.Repeat("9", maxID+1), Picture: p[2].ID, Label: "good"},
		answer{Picture: p[2].ID, Label: "good"},
		answer{ID: "10", Picture: p[2].ID, Label: "good"},
	)
	assert.Equal(t, []string{"10"}, k.Done)
	assert.Len(t, k.Refused, 7)
	for id, why := range k.Refused {
		assert.NotContains(t, why, b.dir, id)
	}

	// Another rater gets what is left, and nothing that anna has.
	ben := b.rater("ben")
	for _, p := range get[taken](ben, "/next?n=10").Next {
		assert.NotContains(t, []string{next.Next[0].ID, next.Next[1].ID, next.Next[2].ID,
			next.Next[3].ID}, p.ID)
	}
}

// No address leads to a file that is not a picture of the store.
func TestNoPathFromRequest(t *testing.T) {
	b := newBench(t, 1, 1, nil)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "secret.png"), []byte("secret"), 0o600))
	anna, owner := b.rater("anna"), b.caller("owner's")
	for _, id := range []string{
		"../labels.db", "secret.png", "../../etc/passwd", "id/../secret.png", "", "\x00",
	} {
		for _, c := range []*caller{anna, owner} {
			for _, prefix := range []string{"", "/overview"} {
				w := c.do("GET", link(prefix, id), nil)
				assert.NotEqual(t, http.StatusOK, w.Code, id)
				assert.NotContains(t, w.Body.String(), "secret")
			}
		}
		k := anna.say(answer{ID: "x" + id, Picture: id, Label: "good"})
		assert.Empty(t, k.Done)
	}
	for _, path := range []string{
		"/picture/..%2f..%2flabels.db", "/picture/../labels.db", "/own/../labels.db",
		"/own/..%2f..%2flabel.go", "/shared/..%2fpage.go", "/labels.db", "/picture/%00",
		"/next?n=../../1", "/next?n=-1", "/next?n=1000000", "/next?last=1e9",
	} {
		assert.GreaterOrEqual(t, anna.do("GET", path, nil).Code, 300, path)
	}
	// A file that has been changed since it was added is not shown.
	p := get[taken](anna, "/next?n=1").Next[0]
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "000.png"), []byte("<script>"), 0o600))
	w := anna.do("GET", p.Image, nil)
	assert.GreaterOrEqual(t, w.Code, 400)
	assert.NotContains(t, w.Body.String(), "script")
}

// Who is not a rater gets nothing, and a rater nothing of the owner's.
func TestWhoMay(t *testing.T) {
	b := newBench(t, 1, 1, nil)
	anna, owner, nobody := b.rater("anna"), b.caller("owner's"), &caller{bench: b}
	p := get[taken](anna, "/next?n=1").Next[0]
	for _, f := range []struct {
		method, path string
		rater, owner int
	}{
		{"GET", "/", 200, 401},
		{"GET", "/next?n=1", 200, 401},
		{"GET", p.Image, 200, 401},
		{"POST", "/answers", 200, 401},
		{"GET", "/overview", 401, 200},
		{"GET", "/overview.json", 401, 200},
		{"GET", link("/overview", p.ID), 401, 200},
		{"GET", "/labels.jsonl", 401, 200},
		{"GET", "/everything.jsonl", 401, 200},
		{"POST", "/train", 401, 400}, // there is no Train
		{"POST", "/order", 401, 200},
	} {
		assert.Equal(t, 401, nobody.do(f.method, f.path, map[string]any{}).Code, f.path)
		assert.Equal(t, f.rater, anna.do(f.method, f.path, map[string]any{}).Code, f.path)
		assert.Equal(t, f.owner, owner.do(f.method, f.path, map[string]any{}).Code, f.path)
	}
}

// Raters who ask at the same moments never get the same picture, and each picture is judged by as
// many as are wanted.
func TestRatersNeverCollide(t *testing.T) {
	b := newBench(t, 60, 4, nil)
	require.NoError(t, b.store.SetRaters(t.Context(), "", 2))
	var mu sync.Mutex
	judged := map[string][]string{}
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		rater := b.rater(name)
		group.Go(func() {
			for i := 0; ; i++ {
				next := get[taken](rater, "/next?n=3").Next
				if len(next) == 0 {
					return
				}
				for _, p := range next {
					id := fmt.Sprint(name, i, p.ID)
					k := rater.say(answer{ID: id, Picture: p.ID, Label: "good"})
					mu.Lock()
					assert.Len(t, k.Done, 1)
					judged[p.ID] = append(judged[p.ID], name)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	assert.Len(t, judged, 60)
	for id, by := range judged {
		assert.Len(t, by, 2, id)
		assert.NotEqual(t, by[0], by[1], id)
	}
}

// A seen is what the overview answers, as far as it is looked at here.
type seen struct {
	Pictures, Wanted, Complete, Judged, Skipped, Left, Gold int

	Good      share
	PerHour   float64  `json:"per_hour"`
	HoursLeft *float64 `json:"hours_left"`
	Raters    []raterLine
	Analysis  *page.Analysis[analysis]
	Reward    struct {
		Possible, Running, Order bool
		Failed                   string
		Right                    *share
		UncertainFirst           bool `json:"uncertain_first"`
	}
}

// look returns the overview once it has an analysis of all judgements.
func (c *caller) look() (o seen) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		o = get[seen](c, "/overview.json")
		if o.Analysis == nil || o.Analysis.Answers != o.Judged {
			c.pass(time.Minute) // an analysis is looked at for a while
			return false
		}
		return true
	}, 30*time.Second, 5*time.Millisecond)
	return o
}

func TestOverview(t *testing.T) {
	b := newBench(t, 12, 6, func(c *Config) {
		c.Category = func(prompt string) string {
			return map[string]string{"prompt 0": "first"}[prompt]
		}
	})
	owner := b.caller("owner's")
	o := get[seen](owner, "/overview.json")
	assert.Equal(t, []int{12, 3, 0, 0, 36},
		[]int{o.Pictures, o.Wanted, o.Complete, o.Judged, o.Left})
	assert.Nil(t, o.HoursLeft, "nobody knows")

	require.NoError(t, b.store.SetGold(t.Context(), "id/000.png", dataset.Good))
	// Four raters: two see what is there, good in the first eight, one errs once, one says the
	// opposite of everything.
	labels := map[string]func(i int) bool{
		"anna": func(i int) bool { return i < 8 },
		"ben":  func(i int) bool { return i < 8 },
		"cleo": func(i int) bool { return i < 7 },
		"dora": func(i int) bool { return i >= 8 },
	}
	names := []string{"anna", "ben", "cleo", "dora"}
	for _, name := range names {
		rater := b.rater(name)
		for i := range 12 {
			b.pass(time.Second)
			label := "bad"
			if labels[name](i) {
				label = "good"
			}
			k := rater.say(answer{ID: fmt.Sprint(name, i), Picture: fmt.Sprintf("id/%03d.png", i),
				Label: label, Taken: 2000})
			require.Len(t, k.Done, 1)
		}
	}
	o = owner.look()
	assert.Equal(t, []int{12, 48, 0, 1}, []int{o.Complete, o.Judged, o.Left, o.Gold})
	assert.InDelta(t, (8+8+7+4)/48.0, float64(o.Good.Value), 1e-12)
	require.NotNil(t, o.HoursLeft)
	assert.Zero(t, *o.HoursLeft)
	require.Len(t, o.Raters, 4)
	assert.Equal(t, raterLine{Name: "cleo", Good: 7, Bad: 5, Seconds: 2, Gold: 1, Right: 1},
		o.Raters[2])
	assert.Equal(t, 0, o.Raters[3].Right)

	a := o.Analysis.Found
	require.Len(t, a.Categories, 2)
	assert.Equal(t, "first", a.Categories[0].Name)
	assert.InDelta(t, 18/24.0, float64(a.Categories[0].Value), 1e-12) // dora says bad of all six
	assert.Equal(t, "other", a.Categories[1].Name)
	assert.InDelta(t, (2+2+1+4)/24.0, float64(a.Categories[1].Value), 1e-12)
	require.Len(t, a.Agreement, 3)
	// Of six pairs a picture, dora's three differ; on picture 7 cleo sides with dora: 2 agree.
	assert.InDelta(t, (11*3+2)/72.0, float64(a.Agreement[0].Value), 1e-12)
	for _, m := range a.Agreement {
		assert.Less(t, float64(m.Low), float64(m.Value), m.Name)
		assert.Greater(t, float64(m.High), float64(m.Value), m.Name)
	}
	require.Len(t, a.Pairs, 6)
	assert.Equal(t, pairing{A: "anna", B: "ben", Kappa: 1, N: 12}, a.Pairs[0])
	require.Len(t, a.Raters, 4)
	for i, name := range names {
		assert.Equal(t, name, a.Raters[i].Name)
		assert.Equal(t, name == "dora", a.Raters[i].Differs, name)
	}
	assert.EqualValues(t, 0, a.Raters[3].With.Value)
	require.NotEmpty(t, a.Disputed)
	assert.Equal(t, "id/007.png", a.Disputed[0].ID, "two say good of it and two bad")

	// What can be downloaded is what was said.
	w := owner.do("GET", "/labels.jsonl", nil)
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Len(t, lines, 12)
	assert.Contains(t, lines[0], `"good"`)
	assert.Contains(t, lines[11], `"bad"`)
	assert.Contains(t, w.Header().Get("Content-Disposition"), "labels.jsonl")
	everything := owner.do("GET", "/everything.jsonl", nil)
	assert.Equal(t, 48, strings.Count(everything.Body.String(), `{"judgement":`))
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	assert.Zero(t, p.perHour(now))
	for range 61 {
		p.add(now)
		now = now.Add(2 * time.Second)
	}
	// 61 in 122 seconds.
	assert.InDelta(t, 1800, p.perHour(now), 1e-9)
	// Whoever stops is seen to be slower, and in the end forgotten.
	assert.InDelta(t, 61*3600/422.0, p.perHour(now.Add(5*time.Minute)), 1e-9)
	assert.Zero(t, p.perHour(now.Add(time.Hour)))
}

func TestTrain(t *testing.T) {
	gate := make(chan error)
	b := newBench(t, 4, 1, func(c *Config) {
		c.Train = func(ctx context.Context, labels dataset.Dataset) (Reward, error) {
			samples, err := dataset.Collect(ctx, labels)
			if err != nil {
				return Reward{}, err
			}
			select {
			case err = <-gate:
			case <-ctx.Done():
				return Reward{}, ctx.Err()
			}
			return Reward{Right: 3, N: len(samples), Uncertain: []string{
				"id/002.png", "id/000.png", "id/003.png", "id/001.png",
			}}, err
		}
	})
	require.NoError(t, b.store.SetRaters(t.Context(), "", 1))
	owner, anna := b.caller("owner's"), b.rater("anna")
	assert.True(t, get[seen](owner, "/overview.json").Reward.Possible)
	assert.Equal(t, 400, owner.do("POST", "/order", map[string]bool{"uncertain": true}).Code)

	train := func() { assert.Equal(t, 200, owner.do("POST", "/train", struct{}{}).Code) }
	wait := func() (o seen) {
		require.Eventually(t, func() bool {
			o = get[seen](owner, "/overview.json")
			return !o.Reward.Running
		}, 10*time.Second, time.Millisecond)
		return o
	}
	train()
	assert.True(t, get[seen](owner, "/overview.json").Reward.Running)
	assert.Equal(t, 409, owner.do("POST", "/train", struct{}{}).Code)
	gate <- errors.New("too few labels")
	assert.Equal(t, "too few labels", wait().Reward.Failed)
	train()
	gate <- nil
	o := wait()
	assert.Empty(t, o.Reward.Failed)
	require.NotNil(t, o.Reward.Right)
	assert.EqualValues(t, 0.75, o.Reward.Right.Value)
	assert.True(t, o.Reward.Order)

	require.Equal(t, 200, owner.do("POST", "/order", map[string]bool{"uncertain": true}).Code)
	assert.True(t, get[seen](owner, "/overview.json").Reward.UncertainFirst)
	for _, want := range []string{"id/002.png", "id/000.png"} {
		p := get[taken](anna, "/next?n=1").Next[0]
		assert.Equal(t, want, p.ID)
		anna.say(answer{ID: want, Picture: p.ID, Label: "good"})
	}
	require.Equal(t, 200, owner.do("POST", "/order", map[string]bool{"uncertain": false}).Code)
	assert.False(t, get[seen](owner, "/overview.json").Reward.UncertainFirst)

	train() // and Close ends it
}
