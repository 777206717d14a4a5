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
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/label"
)

// pictures makes a store with n pictures, each of the prompts in turn having as many.
func pictures(t *testing.T, n int, prompts ...string) *feedback.Store {
	t.Helper()
	return picturesIn(t, t.TempDir(), n, prompts...)
}

// picturesIn is pictures in a folder.
func picturesIn(t *testing.T, dir string, n int, prompts ...string) *feedback.Store {
	t.Helper()
	store, err := feedback.Open(t.Context(), feedback.Config{Path: filepath.Join(dir, "labels.db")})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, store.Check(context.Background()))
		assert.NoError(t, store.Close())
	})
	var samples []dataset.Sample
	for i := range n {
		img := image.NewRGBA(image.Rect(0, 0, 256, 256))
		for y := range 256 {
			for x := range 256 {
				dx, dy, r := x-60-2*i, y-128, 30+i
				c := color.RGBA{uint8(230 - 3*i), uint8(210 - x/8), uint8(190 + y/8), 255}
				if dx*dx+dy*dy < r*r {
					c = color.RGBA{uint8(4 * i), uint8(255 - 4*i), 120, 255}
				}
				img.SetRGBA(x, y, c)
			}
		}
		file := fmt.Sprintf("%02d.png", i)
		var out bytes.Buffer
		require.NoError(t, png.Encode(&out, img))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), out.Bytes(), 0o600))
		samples = append(samples, dataset.Sample{
			ID: file, Prompt: prompts[i*len(prompts)/n], File: file,
		})
	}
	_, err = store.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	return store
}

var prompts = []string{
	"a green disc on sand", "two discs, of which one is not there", "a disc <b>in bold</b>",
	`a disc "quoted" & <script>document.title = "run"</script>`, "ein Kreis, größer als üblich",
}

// enter goes to the page of a rater.
func enter(t *testing.T, b *tab, store *feedback.Store, base, rater string) {
	t.Helper()
	_, err := store.AddRater(t.Context(), rater)
	require.NoError(t, err)
	token, err := store.NewToken(t.Context(), rater)
	require.NoError(t, err)
	b.run(chromedp.Navigate(base + "/enter#" + token))
	b.until(shownNow)
}

// now is the picture that is marked, and shownNow says that it is there to be judged.
const (
	now      = `document.querySelector("figure.now")?.dataset.id`
	shownNow = `document.querySelector("figure.now img")?.complete`
)

// A pressing is what was said of a picture, "" for what was taken back.
type pressing struct{ Picture, Label string }

// wish is what a rater thinks of a picture: good, bad, or rarely neither.
func wish(rater, picture string) string {
	h := fnv.New32a()
	h.Write([]byte(rater + picture))
	switch v := h.Sum32() % 20; {
	case v == 0:
		return "skip"
	case v < 11:
		return "good"
	}
	return "bad"
}

// said are the judgements in an exported store by rater, in order.
func said(t *testing.T, store *feedback.Store) map[string][]pressing {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, store.Export(t.Context(), &out))
	all := map[string][]pressing{}
	for line := range strings.Lines(out.String()) {
		var l struct {
			Judgement *struct{ Rater, Picture, Label string }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		if j := l.Judgement; j != nil {
			all[j.Rater] = append(all[j.Rater], pressing{j.Picture, j.Label})
		}
	}
	return all
}

// A hand says good, bad or skip of the marked picture, or takes the last one back.
type hand func(b *tab, what string)

func keyboard(b *tab, what string) {
	b.press(map[string]string{"good": "a", "bad": "x", "skip": " ", "undo": kb.Backspace}[what])
}

func finger(b *tab, what string) {
	switch what {
	case "good":
		b.swipe("#stage figure.now", 160, 10)
	case "bad":
		b.swipe("#stage figure.now", -160, -10)
	default:
		b.swipe(fmt.Sprintf("button[data-act=%s]", what), 0, 0) // a tap
	}
}

// work labels all pictures as a rater, with all that can come between. It returns what was said.
func work(b *tab, rater string, n int, by hand) (all []pressing) {
	done := map[string]bool{}
	reloaded, before := false, 0
	judge := func(label string) string {
		b.until(shownNow)
		id := b.text(now)
		by(b, label)
		all = append(all, pressing{id, label})
		b.until(now + " !== " + fmt.Sprintf("%q", id))
		return id
	}
	for len(done) < n {
		switch i := len(done); {
		case i == 20 && !reloaded: // a reload goes on, and can take back what was said before
			b.until(`document.getElementById("network").textContent === "All is kept."`)
			b.run(chromedp.Reload())
			reloaded = true
			b.until(shownNow)
			last := all[len(all)-1]
			by(b, "undo")
			all = append(all, pressing{last.Picture, ""})
			b.until(now + " === " + fmt.Sprintf("%q", last.Picture))
			delete(done, last.Picture)
		case i == 30:
			b.until(`document.getElementById("network").textContent === "All is kept."`)
			b.offline(true)
			before = len(all)
		case i == 40:
			waiting := b.text(`document.getElementById("network").textContent`)
			assert.GreaterOrEqual(b.t, len(all)-before, 10)
			assert.Contains(b.t, waiting, fmt.Sprintf("%d answers wait", len(all)-before))
			b.offline(false)
			b.until(`document.getElementById("network").textContent === "All is kept."`)
		}
		b.until(shownNow)
		id := b.text(now)
		require.False(b.t, done[id], "%s has %s a second time", rater, id)
		want := wish(rater, id)
		if len(done)%7 == 3 && len(done) != 40 { // a slip, taken back
			judge(map[string]string{"good": "bad", "bad": "good", "skip": "good"}[want])
			by(b, "undo")
			all = append(all, pressing{id, ""})
			b.until(now + " === " + fmt.Sprintf("%q", id))
		}
		judge(want)
		done[id] = true
	}
	b.until(`document.getElementById("network").textContent === "All is kept."`)
	b.until(`!document.getElementById("nothing").hidden`)
	return all
}

// Two raters at once label sixty pictures. They err, undo, reload, and lose the network for ten
// answers. What the store exports is what was pressed, in that order.
func TestLabel(t *testing.T) {
	for _, how := range []struct {
		name     string
		by       hand
		together int
		with     chromedp.Action
	}{
		{"keyboard", keyboard, 1, window(1280, 800)},
		{"touch", finger, 3, phone()},
	} {
		t.Run(how.name, func(t *testing.T) {
			const n = 60
			store := pictures(t, n, prompts...)
			require.NoError(t, store.SetRaters(t.Context(), "", 2))
			require.NoError(t, store.SetTogether(t.Context(), how.together))
			pages, err := label.New(label.Config{Store: store})
			require.NoError(t, err)
			defer pages.Close()
			base := serve(t, pages)
			raters := []string{"anna", "ben"}
			pressed := make(map[string][]pressing)
			var mu sync.Mutex
			var group sync.WaitGroup
			for _, rater := range raters {
				b := newTab(t, how.with)
				enter(t, b, store, base, rater)
				group.Go(func() {
					all := work(b, rater, n, how.by)
					mu.Lock()
					defer mu.Unlock()
					pressed[rater] = all
				})
			}
			group.Wait()
			if t.Failed() {
				return
			}
			exported := said(t, store)
			for _, rater := range raters {
				require.Greater(t, len(pressed[rater]), n)
				assert.Equal(t, pressed[rater], exported[rater], rater)
			}
			good := 0
			for s, err := range store.Raw().All(t.Context()) {
				require.NoError(t, err)
				assert.Equal(t, wish(s.Source.Rater, s.Group), s.Label.String())
				good++
			}
			assert.Equal(t, 2*n, good)
		})
	}
}
