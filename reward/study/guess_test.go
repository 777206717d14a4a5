package study

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"math/rand/v2"
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
	"github.com/kudos-ml/kudos/internal/picture"
)

// The guesser's world: so many pairs, of which it knows the truth of the first half, and has to
// guess the other. Each rater gets some, so that none asks for more than a rater may.
const (
	guessed     = 400
	guessPairs  = 2 * guessed
	guessRaters = 14
	guessSet    = 2
	// Both models paint these, each as often as the other.
	guessPictures = 100
)

// A guessStudy is a study of two models that paint alike and keep their pictures differently: files
// of one are paletted and have notes, those of the other have 16 bits and no compression.
type guessStudy struct {
	*Handler
	store   *feedback.Store
	cookies []*http.Cookie // of each rater
}

func newGuessStudy(t *testing.T) *guessStudy {
	t.Helper()
	dir := t.TempDir()
	store, err := feedback.Open(t.Context(), feedback.Config{Path: filepath.Join(dir, "study.db")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	g := &guessStudy{store: store}
	r := rand.New(rand.NewPCG(11, 0))
	var samples []dataset.Sample
	names := func(i int) [2]string {
		return [2]string{fmt.Sprintf("tuned-%d.png", i), fmt.Sprintf("base-%d.png", i)}
	}
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range guessPictures {
		for side, file := range keptBy(t, r) {
			name := names(i)[side]
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, file, 0o644))
			if side == 0 {
				require.NoError(t, os.Chtimes(path, old, old))
			}
			samples = append(samples, dataset.Sample{ID: name, Prompt: "prompt", File: name})
		}
	}
	var pairs []feedback.Pair
	for i := range guessPairs {
		p := feedback.Pair{
			Study: "s", Prompt: fmt.Sprint("prompt ", i), ModelA: "tuned", ModelB: "base",
		}
		for range leastID { // as rand.Text has it, but of a seed
			p.ID += string("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[r.IntN(32)])
		}
		for range guessSet {
			p.A = append(p.A, names(r.IntN(guessPictures))[0])
			p.B = append(p.B, names(r.IntN(guessPictures))[1])
		}
		pairs = append(pairs, p)
	}
	_, err = store.Add(t.Context(), dataset.FromSlice(samples), dir)
	require.NoError(t, err)
	require.NoError(t, store.AddPairs(t.Context(), pairs...))
	require.NoError(t, store.SetRaters(t.Context(), "s", 1))
	g.renew(t)
	for i := range guessRaters {
		_, err := store.AddRater(t.Context(), fmt.Sprint("r", i))
		require.NoError(t, err)
		token, err := store.NewToken(t.Context(), fmt.Sprint("r", i))
		require.NoError(t, err)
		w := g.do(http.MethodPost, "/enter", fmt.Sprintf(`{"token":%q}`, token), -1)
		require.Equal(t, http.StatusOK, w.Code)
		g.cookies = append(g.cookies, w.Result().Cookies()[0])
	}
	return g
}

// renew makes a handler, as a program that begins anew does.
func (g *guessStudy) renew(t *testing.T) {
	t.Helper()
	var err error
	g.Handler, err = New(t.Context(), Config{Store: g.store, Study: "s"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
}

// keptBy is a picture of a few colours as each of the models keeps it.
func keptBy(t *testing.T, r *rand.Rand) [2][]byte {
	t.Helper()
	palette := color.Palette{}
	for range 4 {
		palette = append(palette, color.NRGBA{
			uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255,
		})
	}
	img := image.NewPaletted(image.Rect(0, 0, 8, 8), palette)
	for i := range img.Pix {
		img.Pix[i] = uint8(r.IntN(4))
	}
	deep := image.NewNRGBA64(img.Rect)
	draw.Draw(deep, deep.Rect, img, image.Point{}, draw.Src)
	var a, b bytes.Buffer
	require.NoError(t, picture.EncodePNG(&a, img, picture.Text{Key: "parameters", Value: "tuned"}))
	encoder := png.Encoder{CompressionLevel: png.NoCompression}
	require.NoError(t, encoder.Encode(&b, deep))
	return [2][]byte{a.Bytes(), b.Bytes()}
}

func (g *guessStudy) do(method, path, body string, rater int) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if rater >= 0 {
		r.AddCookie(g.cookies[rater])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// A record is all that a rater's browser is sent of a query.
type record struct {
	query    query
	place    int // among those that came together
	pictures [2][]*httptest.ResponseRecorder
	aLeft    bool // the truth
}

// read has all raters read all that they are sent.
func (g *guessStudy) read(t *testing.T) (all []record) {
	t.Helper()
	for rater := range guessRaters {
		w := g.do(http.MethodGet, fmt.Sprint("/next?alignment=", maxNext), "", rater)
		require.Equal(t, http.StatusOK, w.Code)
		var page struct{ Next []query }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
		for place, q := range page.Next {
			rec := record{query: q, place: place}
			for side, names := range [][]string{q.Left, q.Right} {
				for _, name := range names {
					w := g.do(http.MethodGet, "/picture/"+name, "", rater)
					require.Equal(t, http.StatusOK, w.Code)
					rec.pictures[side] = append(rec.pictures[side], w)
				}
			}
			s := g.pictures[q.Left[0]]
			rec.aLeft = slices.ContainsFunc(s.sets[0], func(p shown) bool {
				return p.handle == q.Left[0]
			})
			all = append(all, rec)
		}
	}
	require.Len(t, all, guessPairs)
	r := rand.New(rand.NewPCG(12, 0)) // no rater is in one half alone
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// features are what the guesser looks at, each −1, 0 or 1.
func (r record) features() (all []float64) {
	compare := func(of func(side int) string) {
		all = append(all, float64(strings.Compare(of(0), of(1))))
	}
	size := func(of func(side int) float64) {
		all = append(all, float64(min(1, max(-1, of(0)-of(1)))))
	}
	parity := func(n int) { all = append(all, float64(2*(n&1)-1)) }

	names := [][]string{r.query.Left, r.query.Right}
	all = append(all, 1) // A may be on one side more often
	for k := range guessSet {
		compare(func(s int) string { return names[s][k] })
		for s := range 2 {
			parity(int(names[s][k][0]))
			parity(int(names[s][k][len(names[s][k])-1]))
		}
		// The files, byte by byte as far as they say how they were made, and as a whole.
		compare(func(s int) string { return string(r.pictures[s][k].Body.Bytes()[:33]) })
		size(func(s int) float64 { return float64(r.pictures[s][k].Body.Len()) })
		compare(func(s int) string { return chunks(r.pictures[s][k].Body.Bytes()) })
		hash := func(s int) string {
			h := sha256.Sum256(r.pictures[s][k].Body.Bytes())
			return string(h[:])
		}
		compare(hash)
		parity(int(hash(0)[0]))
		parity(int(hash(1)[0]))
		// The headers: their names, their values but for the length, and each by itself.
		header := func(s int) http.Header { return r.pictures[s][k].Result().Header }
		size(func(s int) float64 { return float64(len(header(s))) })
		compare(func(s int) string {
			h := header(s).Clone()
			h.Del("Content-Length")
			return fmt.Sprint(h)
		})
		for _, name := range []string{"Etag", "Last-Modified", "Content-Type", "Content-Length",
			"Content-Disposition", "Date"} {
			compare(func(s int) string { return header(s).Get(name) })
		}
	}
	size(func(s int) (n float64) {
		for _, p := range r.pictures[s] {
			n += float64(p.Body.Len())
		}
		return n
	})
	sorted := func(s int) bool { return slices.IsSorted(names[s]) }
	size(func(s int) float64 { return map[bool]float64{true: 1}[sorted(s)] })
	parity(r.place)
	parity(int(r.query.Pair[0]))
	parity(int(r.query.Pair[len(r.query.Pair)-1]))
	parity(len(r.query.Prompt))
	parity(int(r.query.Prompt[len(r.query.Prompt)-1]))
	all = append(all, float64(strings.Compare(r.query.Pair, names[0][0])),
		float64(strings.Compare(r.query.Pair, names[1][0])))
	return all
}

// chunks are the kinds of the chunks of a PNG file.
func chunks(file []byte) (kinds string) {
	for at := 8; at+8 <= len(file); {
		n := int(file[at])<<24 | int(file[at+1])<<16 | int(file[at+2])<<8 | int(file[at+3])
		kinds += string(file[at+4 : at+8])
		at += n + 12
	}
	return kinds
}

// right learns on the first half which features say what, by naive Bayes, and returns of how many
// of the second half it is right about which side is A's.
func right(all []record) (n int) {
	known, asked := all[:guessed], all[guessed:]
	var counts [2][][3]float64 // [truth][feature][value]
	at := func(aLeft bool) int { return map[bool]int{true: 1}[aLeft] }
	for _, r := range known {
		for i, v := range r.features() {
			truth := at(r.aLeft)
			if i == len(counts[truth]) {
				counts[truth] = append(counts[truth], [3]float64{1, 1, 1})
			}
			counts[truth][i][int(v)+1]++
		}
	}
	total := func(truth, i int) float64 {
		return counts[truth][i][0] + counts[truth][i][1] + counts[truth][i][2]
	}
	for _, r := range asked {
		odds := 0.0
		for i, v := range r.features() {
			k := int(v) + 1
			odds += math.Log(counts[1][i][k] / total(1, i) / (counts[0][i][k] / total(0, i)))
		}
		odds += math.Log(total(1, 0) / total(0, 0))
		if odds > 0 == r.aLeft {
			n++
		}
	}
	return n
}

// Whoever reads all that is sent guesses which side is whose as well as a coin: 170 to 230 of 400
// are three standard deviations. The guesser finds what is wrong on purpose.
func TestGuess(t *testing.T) {
	g := newGuessStudy(t)
	all := g.read(t)
	left := 0
	for _, r := range all {
		if r.aLeft {
			left++
		}
	}
	assert.InDelta(t, guessed, left, 43, "A is on each side as often: three standard deviations")
	n := right(all)
	t.Logf("right in %d of %d", n, guessed)
	assert.True(t, 170 <= n && n <= 230, "right in %d of %d", n, guessed)

	for _, leak := range []struct {
		name string
		make func()
	}{
		{"files as they are", func() {
			g.gallery.ready = make(map[string]*ready)
			for _, s := range g.shapes {
				r := &ready{made: make(chan struct{}), files: make(map[string][]byte)}
				close(r.made)
				for _, p := range slices.Concat(s.sets[0], s.sets[1]) {
					file, err := g.store.ReadPicture(t.Context(), p.id)
					require.NoError(t, err)
					r.files[p.handle] = file
				}
				g.gallery.ready[s.ID] = r
			}
		}},
		{"names in order, of a third of the pairs", func() {
			for _, s := range g.shapes {
				for side, set := range s.sets {
					for i := range set {
						if secret(s.ID, "leak")[0] < 85 {
							set[i].handle = fmt.Sprint(side) + set[i].handle[1:]
						}
						g.pictures[set[i].handle] = s
					}
				}
			}
		}},
	} {
		t.Run(leak.name, func(t *testing.T) {
			g.renew(t)
			leak.make()
			n := right(g.read(t))
			t.Logf("right in %d of %d", n, guessed)
			assert.Greater(t, n, 230)
		})
	}
}
