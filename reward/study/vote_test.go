package study

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
)

// A small is a study of a few pairs with its pages.
type small struct {
	*Handler
	t       *testing.T
	store   *feedback.Store
	dir     string
	cookies map[string]*http.Cookie
}

// picture writes a picture of one colour.
func (s *small) picture(name string, w, h int, c color.Color) {
	s.t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if filepath.Ext(name) == ".jpg" {
		require.NoError(s.t, jpeg.Encode(&b, img, nil))
	} else {
		require.NoError(s.t, png.Encode(&b, img))
	}
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path, b.Bytes(), 0o644))
}

func side(dir, model string, prompts ...string) Side {
	var samples []dataset.Sample
	for i, p := range prompts {
		name := fmt.Sprintf("%d.png", i)
		if _, err := os.Stat(filepath.Join(dir, model, name)); err != nil {
			name = fmt.Sprintf("%d.jpg", i)
		}
		samples = append(samples, dataset.Sample{ID: name, File: name, Prompt: p})
	}
	folder := filepath.Join(dir, model)
	return Side{Model: model, Pictures: dataset.FromSlice(samples), Folder: folder}
}

// newSmall has pairs of two pictures of each model, red ones of A and blue ones of B, and two
// raters.
func newSmall(t *testing.T, pairs int) *small {
	t.Helper()
	s := &small{t: t, dir: t.TempDir(), cookies: map[string]*http.Cookie{}}
	var err error
	s.store, err = feedback.Open(t.Context(), feedback.Config{
		Path: filepath.Join(s.dir, "study.db"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.store.Close()) })
	var prompts []string
	for i := range 2 * pairs {
		s.picture(fmt.Sprintf("tuned/%d.png", i), 16, 8, color.NRGBA{255, 0, 0, 255})
		s.picture(fmt.Sprintf("base/%d.jpg", i), 32, 16, color.NRGBA{0, 0, 255, 255})
		prompts = append(prompts, fmt.Sprint("prompt ", i/2))
	}
	made, err := Make(t.Context(), s.store, Design{
		Study: "s", A: side(s.dir, "tuned", prompts...), B: side(s.dir, "base", prompts...), Set: 2,
		Raters: 2,
	})
	require.NoError(t, err)
	require.Equal(t, Made{Pairs: pairs, New: pairs, Prompts: pairs}, made)
	s.Handler, err = New(t.Context(), Config{Store: s.store, Study: "s", Owner: "the owner's"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	for _, name := range []string{"anna", "ben"} {
		_, err := s.store.AddRater(t.Context(), name)
		require.NoError(t, err)
		token, err := s.store.NewToken(t.Context(), name)
		require.NoError(t, err)
		s.enter(name, token)
	}
	s.enter("owner", "the owner's")
	return s
}

func (s *small) enter(name, token string) {
	s.t.Helper()
	w := s.do("", http.MethodPost, "/enter", fmt.Sprintf(`{"token":%q}`, token))
	require.Equal(s.t, http.StatusOK, w.Code)
	s.cookies[name] = w.Result().Cookies()[0]
}

func (s *small) do(who, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if c := s.cookies[who]; c != nil {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// A nextPage is what /next answers with.
type nextPage struct {
	Rater              string
	Voted, Asked, Open int
	Next               []query
	Last               []said
}

func (s *small) next(who, parameters string) (p nextPage) {
	s.t.Helper()
	w := s.do(who, http.MethodGet, "/next?"+parameters, "")
	require.Equal(s.t, http.StatusOK, w.Code, w.Body)
	require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &p))
	return p
}

// vote sends answers, and returns what became of them.
func (s *small) vote(who string, votes ...vote) (done []string, refused map[string]string) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"answers": votes})
	require.NoError(s.t, err)
	w := s.do(who, http.MethodPost, "/votes", string(text))
	require.Equal(s.t, http.StatusOK, w.Code, w.Body)
	var kept struct {
		Done    []string
		Refused map[string]string
	}
	require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &kept))
	return kept.Done, kept.Refused
}

// red reports whether a picture is A's.
func (s *small) red(who, name string) bool {
	s.t.Helper()
	w := s.do(who, http.MethodGet, "/picture/"+name, "")
	require.Equal(s.t, http.StatusOK, w.Code, w.Body)
	img, err := png.Decode(w.Body)
	require.NoError(s.t, err)
	assert.Equal(s.t, image.Pt(16, 8), img.Bounds().Size(), "the size of the smallest")
	assert.IsType(s.t, &image.RGBA{}, img, "8-bit RGB without alpha")
	r, _, b, _ := img.At(3, 3).RGBA()
	return r > b
}

// Who chooses the side that shows A's pictures has voted for A, whichever side it is.
func TestVotes(t *testing.T) {
	const pairs = 12 // that all are on one side with both raters is as likely as 10⁻⁷
	s := newSmall(t, pairs)
	var aLeft []bool
	n := 0
	for _, who := range []string{"anna", "ben"} {
		p := s.next(who, "alignment=20&fidelity=11")
		assert.Equal(t, who, p.Rater)
		assert.Equal(t, 2*pairs, p.Asked)
		require.Len(t, p.Next, 2*pairs-1)
		sides := map[string][]string{}
		for i, q := range p.Next {
			assert.Equal(t, []string{"alignment", "fidelity"}[i/pairs], q.Question)
			require.Len(t, q.Left, 2)
			require.Len(t, q.Right, 2)
			assert.True(t, slices.IsSorted(q.Left) && slices.IsSorted(q.Right), "by their names")
			red := s.red(who, q.Left[0])
			assert.Equal(t, red, s.red(who, q.Left[1]))
			assert.NotEqual(t, red, s.red(who, q.Right[0]))
			assert.NotEqual(t, red, s.red(who, q.Right[1]))
			if both := sides[q.Pair]; both != nil {
				assert.Equal(t, both, q.Left, "the same for both questions")
			}
			sides[q.Pair] = q.Left
			aLeft = append(aLeft, red)
			choice := map[bool]string{true: "left", false: "right"}[red]
			done, refused := s.vote(who, vote{
				ID: fmt.Sprint(who, i), Pair: q.Pair, Question: q.Question, Choice: choice,
				Taken: 1500,
			})
			assert.Equal(t, []string{fmt.Sprint(who, i)}, done)
			assert.Empty(t, refused)
			n++
		}
		assert.Len(t, s.next(who, "alignment=20&fidelity=20").Next, 1, "one was not asked for")
	}
	assert.Contains(t, aLeft, true)
	assert.Contains(t, aLeft, false)
	votes, err := s.store.StandingVotes(t.Context(), "s")
	require.NoError(t, err)
	require.Len(t, votes, n)
	for _, v := range votes {
		assert.Equal(t, feedback.A, v.Choice)
		assert.Equal(t, int64(1500), v.Taken.Milliseconds())
	}

	// What a rater has said comes back as it was said. An answer that is sent again is one.
	p := s.next("anna", "last=2")
	assert.Equal(t, 2*pairs-1, p.Voted)
	require.Len(t, p.Last, 2)
	for _, l := range p.Last {
		want := map[bool]string{true: "left", false: "right"}[s.red("anna", l.Left[0])]
		assert.Equal(t, want, l.Choice)
	}
	again := vote{ID: "anna22", Pair: p.Last[0].Pair, Question: p.Last[0].Question,
		Choice: p.Last[0].Choice, Taken: 1500}
	done, _ := s.vote("anna", again)
	assert.Equal(t, []string{"anna22"}, done)

	// To take an answer back gives the query again.
	undo := vote{ID: "undo", Pair: p.Last[0].Pair, Question: p.Last[0].Question}
	done, refused := s.vote("anna", undo)
	assert.Equal(t, []string{"undo"}, done, refused)
	assert.Equal(t, 2*pairs-2, s.next("anna", "last=1").Voted)
	back := s.next("anna", "fidelity=10").Next
	assert.True(t, slices.ContainsFunc(back, func(q query) bool { return q.Pair == undo.Pair }))
	bad := vote{ID: "bad", Pair: undo.Pair, Question: "fidelity", Choice: "both bad"}
	done, _ = s.vote("anna", bad)
	require.Equal(t, []string{"bad"}, done)
	assert.Equal(t, "both bad", s.next("anna", "last=1").Last[0].Choice)
	require.NoError(t, s.store.Check(t.Context()))
}

func TestRefused(t *testing.T) {
	s := newSmall(t, 3)
	q := s.next("anna", "alignment=1").Next[0]
	good := vote{ID: "x", Pair: q.Pair, Question: "alignment", Choice: "tie"}
	change := func(f func(*vote)) vote {
		v := good
		f(&v)
		return v
	}
	for text, v := range map[string]vote{
		"1 to 100 letters":      change(func(v *vote) { v.ID = strings.Repeat("x", 101) }),
		"not in the study":      change(func(v *vote) { v.Pair = "../" + v.Pair }),
		"neither alignment":     change(func(v *vote) { v.Question = "beauty" }),
		"none of left, right":   change(func(v *vote) { v.Choice = "a" }),
		"nothing to take back":  change(func(v *vote) { v.Choice = "" }),
		"none of left, right, ": change(func(v *vote) { v.Choice = strings.Repeat("x", 1000) }),
	} {
		done, refused := s.vote("anna", v)
		assert.Empty(t, done, text)
		assert.Contains(t, refused[v.ID], text)
	}
	done, _ := s.vote("anna", good)
	assert.Equal(t, []string{"x"}, done)
	other := change(func(v *vote) { v.Choice = "left" })
	done, refused := s.vote("anna", other)
	assert.Empty(t, done)
	assert.Contains(t, refused["x"], "another answer")

	for path, code := range map[string]int{
		"/next?alignment=-1": 400, "/next?fidelity=1000": 400, "/next?last=x": 400,
		"/picture/nothing": 404, "/picture/..%2fstudy.db": 404, "/overview": 401,
		"/overview.json": 401, "/report.json": 401,
	} {
		assert.Equal(t, code, s.do("anna", http.MethodGet, path, "").Code, path)
	}
	for _, path := range []string{"/", "/next", "/picture/" + q.Left[0]} {
		assert.Equal(t, 401, s.do("", http.MethodGet, path, "").Code, path)
		assert.Equal(t, 401, s.do("owner", http.MethodGet, path, "").Code, path)
	}
	many := make([]vote, maxVotes+1)
	text, err := json.Marshal(map[string]any{"answers": many})
	require.NoError(t, err)
	assert.Equal(t, 400, s.do("anna", http.MethodPost, "/votes", string(text)).Code)
}

// What a rater is sent names neither the models nor their files.
func TestNothingNamed(t *testing.T) {
	s := newSmall(t, 3)
	q := s.next("anna", "alignment=1").Next[0]
	for _, path := range []string{"/", "/next?alignment=9&fidelity=9&last=9", "/own/study.js",
		"/own/study.css", "/shared/queue.js", "/shared/keys.js", "/shared/style.css",
		"/picture/" + q.Left[0], "/picture/" + q.Right[1], "/picture/nothing"} {
		w := s.do("anna", http.MethodGet, path, "")
		for _, name := range []string{"tuned", "base/", ".png", ".jpg", `"base"`} {
			assert.NotContains(t, w.Body.String()+fmt.Sprint(w.Result().Header), name, path)
		}
	}
}

// A picture that is gone, or was changed, fails for its pair, whichever of its pictures is asked
// for, and works again when it is back.
func TestPictureGone(t *testing.T) {
	s := newSmall(t, 3)
	name := filepath.Join(s.dir, "tuned", "0.png")
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.Remove(name))
	failed := 0
	queries := s.next("anna", "alignment=9").Next
	ask := func(code int) (n int) {
		for _, q := range queries {
			for _, p := range slices.Concat(q.Left, q.Right) {
				w := s.do("anna", http.MethodGet, "/picture/"+p, "")
				assert.NotContains(t, w.Body.String(), "0.png")
				if w.Code == code {
					n++
				}
			}
		}
		return n
	}
	failed = ask(http.StatusInternalServerError)
	assert.Equal(t, 4, failed, "the four of one pair")
	require.NoError(t, os.WriteFile(name, content, 0o644))
	assert.Equal(t, 12, ask(http.StatusOK))
}

func TestOverview(t *testing.T) {
	s := newSmall(t, 3)
	for _, who := range []string{"anna", "ben"} {
		for i, q := range s.next(who, "alignment=9").Next {
			s.vote(who, vote{ID: fmt.Sprint(who, i), Pair: q.Pair, Question: "alignment",
				Choice: "left", Taken: 2000})
		}
	}
	var o struct {
		Study     string
		Questions []questionLine
		Analysis  *struct {
			Answers int
			Found   struct {
				Verdict string
				Raters  []raterLine
				Result  struct {
					ModelA    string `json:"model_a"`
					Questions []struct{ Groups []struct{ Pairs int } }
				}
			}
		}
	}
	look := func() {
		w := s.do("owner", http.MethodGet, "/overview.json", "")
		require.Equal(t, http.StatusOK, w.Code)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &o))
	}
	require.Eventually(t, func() bool { look(); return o.Analysis != nil },
		30*time.Second, time.Millisecond)
	assert.Equal(t, "s", o.Study)
	require.Len(t, o.Questions, 2)
	assert.Equal(t, 3, o.Questions[0].Complete)
	assert.Equal(t, 6, o.Questions[0].Votes.A+o.Questions[0].Votes.B)
	assert.Equal(t, 6, o.Analysis.Answers)
	assert.Equal(t, "tuned", o.Analysis.Found.Result.ModelA)
	assert.Equal(t, 3, o.Analysis.Found.Result.Questions[0].Groups[0].Pairs)
	require.Len(t, o.Analysis.Found.Raters, 2)
	assert.Equal(t, 3, o.Analysis.Found.Raters[0].Left)
	assert.InDelta(t, 2.0, o.Analysis.Found.Raters[1].Seconds, 1e-9)
	w := s.do("owner", http.MethodGet, "/report.json", "")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), `"model_b":"base"`)
}
