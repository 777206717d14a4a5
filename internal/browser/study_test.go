package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/study"
)

// compared makes a study of n prompts. A's pictures are red and B's blue. How green they are is the
// number of the prompt, so that whoever sees one knows what is shown.
func compared(t *testing.T, n, raters int) *feedback.Store {
	t.Helper()
	dir := t.TempDir()
	store, err := feedback.Open(t.Context(), feedback.Config{Path: filepath.Join(dir, "study.db")})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, store.Check(context.Background()))
		assert.NoError(t, store.Close())
	})
	side := func(model string, of func(i, k int) color.RGBA) study.Side {
		var samples []dataset.Sample
		folder := filepath.Join(dir, model)
		require.NoError(t, os.Mkdir(folder, 0o755))
		for i := range n {
			for k := range 4 {
				img := image.NewRGBA(image.Rect(0, 0, 128, 128))
				for p := range 128 * 128 {
					img.SetRGBA(p%128, p/128, of(i, k))
				}
				var out bytes.Buffer
				require.NoError(t, png.Encode(&out, img))
				file := fmt.Sprintf("%02d-%d.png", i, k)
				require.NoError(t, os.WriteFile(filepath.Join(folder, file), out.Bytes(), 0o644))
				samples = append(samples, dataset.Sample{
					ID: file, Prompt: fmt.Sprint("prompt ", i), File: file,
				})
			}
		}
		return study.Side{Model: model, Pictures: dataset.FromSlice(samples), Folder: folder}
	}
	made, err := study.Make(t.Context(), store, study.Design{
		Study: "study", Raters: raters,
		A: side("new", func(i, k int) color.RGBA {
			return color.RGBA{200, uint8(7 * i), uint8(20 * k), 255}
		}),
		B: side("base", func(i, k int) color.RGBA {
			return color.RGBA{uint8(20 * k), uint8(7 * i), 200, 255}
		}),
	})
	require.NoError(t, err)
	require.Equal(t, n, made.Pairs)
	return store
}

// asked is what the page asks: the question, the prompt, and whose set is on the left. It is null
// until all pictures are there.
const asked = `(() => {
	const all = [...document.querySelectorAll("#stage img")];
	if (all.length !== 8 || !all.every((img) => img.complete && img.naturalWidth > 0)) return null;
	const canvas = document.createElement("canvas");
	canvas.width = canvas.height = 1;
	const draw = canvas.getContext("2d");
	draw.drawImage(document.querySelector("#left img"), 0, 0, 1, 1);
	const [r, g, b] = draw.getImageData(0, 0, 1, 1).data;
	return { Question: document.getElementById("asked").className, Prompt: Math.round(g / 7),
		Left: r > b ? "a" : "b" };
})()`

// A query is what the page asks.
type query struct {
	Question string
	Prompt   int
	Left     string
}

// A vote is what was said, "" for what was taken back.
type vote struct {
	Question string
	Prompt   int
	Choice   string
}

// preferred is what a rater thinks: a, b, tie or both bad.
func preferred(rater string, q query) string {
	h := fnv.New32a()
	fmt.Fprint(h, rater, q.Question, q.Prompt)
	return []string{"a", "b", "tie", "both bad", "a", "b"}[h.Sum32()%6]
}

// side is where a choice is on the page.
func (q query) side(choice string) string {
	switch choice {
	case "a", "b":
		return map[bool]string{true: "left", false: "right"}[choice == q.Left]
	}
	return choice
}

func arrows(b *tab, what string) {
	b.press(map[string]string{
		"left": kb.ArrowLeft, "right": kb.ArrowRight, "tie": kb.ArrowDown, "both bad": kb.ArrowUp,
		"undo": kb.Backspace,
	}[what])
}

func taps(b *tab, what string) { b.swipe(fmt.Sprintf("button[data-act=%q]", what), 0, 0) }

// now is what the page asks, and is not one of before.
func (b *tab) next(before ...query) (q query) {
	b.t.Helper()
	text := "null"
	b.until(fmt.Sprintf("(() => { const q = %s; return q && !%s.includes(JSON.stringify(q)); })()",
		asked, quoted(before)))
	text = b.text("JSON.stringify(" + asked + ")")
	require.NoError(b.t, json.Unmarshal([]byte(text), &q))
	return q
}

// quoted is a JavaScript array of queries as JSON.
func quoted(all []query) string {
	texts := []string{}
	for _, q := range all {
		text, _ := json.Marshal(q)
		texts = append(texts, string(text))
	}
	array, _ := json.Marshal(texts)
	return string(array)
}

// compare answers n queries, with all that can come between. It returns what was said and how often
// A was on the left.
func compare(b *tab, rater string, n int, by hand) (all []vote, left int) {
	kept := `document.getElementById("network").textContent === "All is kept."`
	say := func(q query, choice string) {
		by(b, q.side(choice))
		all = append(all, vote{q.Question, q.Prompt, choice})
	}
	undo := func(q query) {
		by(b, "undo")
		all = append(all, vote{q.Question, q.Prompt, ""})
		b.until(fmt.Sprintf("JSON.stringify(%s) === %s[0]", asked, quoted([]query{q})))
	}
	seen := map[string]bool{}
	var last query
	for i := 0; i < n; i++ {
		q := b.next(last)
		switch i {
		case 20: // a reload goes on, and can take back what was said before
			b.until(kept)
			b.run(chromedp.Reload())
			q = b.next()
			undo(last)
			say(last, preferred(rater, last))
			q = b.next(last)
		case 30:
			b.until(kept)
			b.offline(true)
		case 34:
			waiting := b.text(`document.getElementById("network").textContent`)
			assert.Contains(b.t, waiting, "answers wait")
			b.offline(false)
			b.until(kept)
		}
		id := fmt.Sprint(q.Question, q.Prompt)
		require.False(b.t, seen[id], "%s is asked %s a second time", rater, id)
		seen[id] = true
		if q.Left == "a" {
			left++
		}
		if i%9 == 4 { // a slip, taken back
			say(q, map[bool]string{true: "b", false: "a"}[preferred(rater, q) == "a"])
			b.until(fmt.Sprintf("JSON.stringify(%s) !== %s[0]", asked, quoted([]query{q})))
			undo(q)
		}
		say(q, preferred(rater, q))
		last = q
	}
	b.until(kept)
	b.until(`!document.getElementById("nothing").hidden`)
	return all, left
}

// Two raters at once compare all pairs of a study, by keyboard and by touch, with slips, a reload
// and no network for a while. The votes in the store are what was pressed, on whichever side the
// sets were, and the sides are balanced.
func TestStudy(t *testing.T) {
	for _, how := range []struct {
		name string
		by   hand
		with chromedp.Action
	}{
		{"keyboard", arrows, window(1280, 800)},
		{"touch", taps, phone()},
	} {
		t.Run(how.name, func(t *testing.T) {
			const n = 30
			store := compared(t, n, 2)
			pages, err := study.New(t.Context(), study.Config{Store: store, Study: "study"})
			require.NoError(t, err)
			defer pages.Close()
			base := serve(t, pages)
			pressed := map[string][]vote{}
			left := 0
			var mu sync.Mutex
			var group sync.WaitGroup
			for _, rater := range []string{"anna", "ben"} {
				b := newTab(t, how.with)
				link, err := study.Invite(t.Context(), store, base, rater, false)
				require.NoError(t, err)
				b.run(chromedp.Navigate(link))
				group.Go(func() {
					all, l := compare(b, rater, 2*n, how.by)
					mu.Lock()
					defer mu.Unlock()
					pressed[rater] = all
					left += l
				})
			}
			group.Wait()
			if t.Failed() {
				return
			}
			prompts := map[string]int{}
			pairs, err := store.Pairs(t.Context(), "study")
			require.NoError(t, err)
			for _, p := range pairs {
				var i int
				_, err := fmt.Sscanf(p.Prompt, "prompt %d", &i)
				require.NoError(t, err)
				prompts[p.ID] = i
			}
			kept := map[string][]vote{}
			for v, err := range store.Votes(t.Context()) {
				require.NoError(t, err)
				kept[v.Rater] = append(kept[v.Rater],
					vote{v.Question.String(), prompts[v.Pair], v.Choice.String()})
			}
			assert.Equal(t, pressed, kept)
			// Of 60 pairs and raters, each twice. By chance 1 of 300,000 studies is outside.
			assert.Greater(t, left, 2*12)
			assert.Less(t, left, 2*48)
		})
	}
}

// The pages of a study are there to be looked at too.
func TestLooksOfStudy(t *testing.T) {
	store := compared(t, 12, 9)
	for _, rater := range []string{"anna", "ben", "cleo"} {
		_, err := store.AddRater(t.Context(), rater)
		require.NoError(t, err)
		pairs, err := store.Pairs(t.Context(), "study")
		require.NoError(t, err)
		for i, p := range pairs {
			for _, q := range []feedback.Question{feedback.Alignment, feedback.Fidelity} {
				_, err := store.Vote(t.Context(), feedback.Vote{
					Study: "study", Pair: p.ID, Question: q, Rater: rater,
					Choice: feedback.Choice(1 + (i+len(rater))%3),
				})
				require.NoError(t, err)
			}
		}
	}
	pages, err := study.New(t.Context(), study.Config{Store: store, Study: "study", Owner: "owner"})
	require.NoError(t, err)
	defer pages.Close()
	base := serve(t, pages)
	link, err := study.Invite(t.Context(), store, base, "dora", false)
	require.NoError(t, err)
	b := newTab(t)
	b.run(chromedp.Navigate(link))
	b.next()
	looks(b, "study")
	b.run(chromedp.Navigate(study.Link(base, "owner")))
	b.until(`document.title.includes("verview")`)
	b.until(`document.querySelectorAll("td").length > 5`)
	looks(b, "study-overview")
}
