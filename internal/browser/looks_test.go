package browser

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/label"
)

// looks shows a page on a phone and on a desk, light and dark, and looks for what people with
// disabilities could not use.
func looks(b *tab, name string) {
	for _, size := range []struct {
		name string
		as   chromedp.Action
	}{{"360", phone()}, {"1280", window(1280, 800)}} {
		for _, colours := range []string{"light", "dark"} {
			b.run(size.as, scheme(colours), chromedp.Evaluate("scrollTo(0, 0)", nil))
			what := fmt.Sprintf("%s-%s-%s", name, size.name, colours)
			b.shoot(what)
			b.axe(what)
			// Nothing is wider than the window.
			assert.Equal(b.t, "true", b.text("document.documentElement.scrollWidth <= innerWidth"),
				"%s scrolls to the side", what)
		}
	}
}

// What is judged by people who err, with one who says the opposite.
func judged(t *testing.T, store *feedback.Store) {
	t.Helper()
	require.NoError(t, store.SetGold(t.Context(), "03.png", dataset.Good))
	for r, rater := range []string{"anna", "ben", "cleo", "dora"} {
		_, err := store.AddRater(t.Context(), rater)
		require.NoError(t, err)
		for i := range 24 - 2*r {
			is := dataset.Good
			if (i%3 == 0) != (i%7 == r || r == 3) {
				is = dataset.Bad
			}
			_, err := store.Judge(t.Context(), feedback.Judgement{
				Rater: rater, Picture: fmt.Sprintf("%02d.png", i), Label: is, Taken: 1.8e9,
			})
			require.NoError(t, err)
		}
	}
}

// Pages are to be looked at: go -C internal/browser test -run Looks -args -screenshots DIR
func TestLooks(t *testing.T) {
	store := pictures(t, 24, prompts...)
	judged(t, store)
	pages, err := label.New(label.Config{
		Store: store, Owner: "owner",
		Category: func(prompt string) string {
			return map[bool]string{true: "long"}[len(prompt) > 30]
		},
		Train: func(context.Context, dataset.Dataset) (label.Reward, error) {
			return label.Reward{Right: 18, N: 24, Uncertain: []string{"05.png"}}, nil
		},
	})
	require.NoError(t, err)
	defer pages.Close()
	base := serve(t, pages)
	b := newTab(t)

	b.run(chromedp.Navigate(base + "/"))
	b.until(`document.title === "Enter"`)
	looks(b, "enter")
	enter(t, b, store, base, "emil")
	looks(b, "label-one")
	assert.Equal(t, "Label pictures", b.text("document.title"), "no prompt is run")
	b.press("z")
	b.until(`document.getElementById("zoomed").open`)
	looks(b, "label-zoom")
	b.press("z")
	b.until(`!document.getElementById("zoomed").open`)
	b.run(chromedp.Click("#open-keys", chromedp.ByQuery))
	looks(b, "label-keys")

	require.NoError(t, store.SetTogether(t.Context(), 3))
	b.run(chromedp.Reload())
	b.until(shownNow)
	b.until(`document.querySelectorAll("figure img").length === 3`)
	b.press("a")
	b.until(`document.querySelector("figcaption.good")`)
	looks(b, "label-three")

	b.run(chromedp.Navigate(base + "/enter#owner"))
	b.until(`document.querySelectorAll("#agreement td").length > 3`)
	b.run(chromedp.Click("#train", chromedp.ByQuery))
	b.until(`document.getElementById("reward").textContent.includes("75 %")`)
	looks(b, "overview")
	b.run(chromedp.Evaluate("scrollTo(0, 1e6)", nil))
	b.shoot("overview-end")

	open, err := label.New(label.Config{Store: store, Open: true})
	require.NoError(t, err)
	defer open.Close()
	base = serve(t, open)
	b.run(network.ClearBrowserCookies(), chromedp.Navigate(base+"/"))
	b.until(`document.getElementById("name")`)
	looks(b, "name")
	b.run(chromedp.SendKeys("#name", "Frieda\r", chromedp.ByQuery))
	b.until(shownNow)
	assert.Contains(t, b.text(`document.getElementById("progress").textContent`), "Frieda")
}

// Keys can be changed, and stay changed. One that another thing has moves.
func TestKeys(t *testing.T) {
	store := pictures(t, 12, prompts...)
	pages, err := label.New(label.Config{Store: store})
	require.NoError(t, err)
	defer pages.Close()
	b := newTab(t, window(1000, 700))
	enter(t, b, store, serve(t, pages), "anna")
	change := func(what, key string) {
		b.run(chromedp.Click("#open-keys", chromedp.ByQuery))
		b.run(chromedp.Click(fmt.Sprintf("[aria-label='Change the key for %s']", what),
			chromedp.ByQuery))
		b.press(key)
	}
	heard := func(text string) {
		b.until(fmt.Sprintf("document.getElementById('key-heard').textContent.includes(%q)", text))
	}
	change("Good", "j")
	heard("j is Good now.")
	b.run(chromedp.Click("#keys button.main", chromedp.ByQuery))
	change("Bad", "j")
	heard("j is the only key for Good")
	b.run(chromedp.Click("#keys button.main", chromedp.ByQuery))
	b.run(chromedp.Reload())
	b.until(shownNow)
	first := b.text(now)
	b.press("a") // it is no key any more
	b.press("j")
	b.until(now + fmt.Sprintf(" !== %q", first))
	b.until(`document.getElementById("network").textContent === "All is kept."`)
	assert.Equal(t, map[string][]pressing{"anna": {{first, "good"}}}, said(t, store))

	// A key that is held down is one answer, and one in a field of text is none.
	second := b.text(now)
	b.run(chromedp.Evaluate(`for (let i = 0; i < 9; i++) document.dispatchEvent(
		new KeyboardEvent("keydown", { key: "j", repeat: i > 0, bubbles: true }))`, nil))
	b.until(now + fmt.Sprintf(" !== %q", second))
	b.press("r")
	b.until(`document.activeElement.id === "reason"`)
	b.run(chromedp.SendKeys("#reason", "jjj x\r", chromedp.ByQuery))
	b.until(`document.activeElement.id !== "reason"`)
	third := b.text(now)
	b.press("x")
	b.until(now + fmt.Sprintf(" !== %q", third))
	b.until(`document.getElementById("network").textContent === "All is kept."`)
	assert.Equal(t, []pressing{{first, "good"}, {second, "good"}, {third, "bad"}},
		said(t, store)["anna"])
	last, err := store.Last(t.Context(), "anna", 1)
	require.NoError(t, err)
	assert.Equal(t, "jjj x", last[0].Reason)
}

// A page whose rater has another link by now says so and stops asking. What was said waits.
func TestSignedOut(t *testing.T) {
	store := pictures(t, 2, "a disc")
	pages, err := label.New(label.Config{Store: store})
	require.NoError(t, err)
	defer pages.Close()
	var asked atomic.Int64
	base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/next" {
			asked.Add(1)
		}
		pages.ServeHTTP(w, r)
	}))
	b := newTab(t, window(1000, 700))
	enter(t, b, store, base, "anna")
	_, err = store.NewToken(t.Context(), "anna")
	require.NoError(t, err)
	b.press("a")
	b.press("a")
	b.until(`document.getElementById("problem").textContent.includes("not signed in")`)
	b.until(`document.getElementById("network").textContent.startsWith("2 answers wait.")`)
	before := asked.Load()
	time.Sleep(7 * time.Second) // it would have asked twice
	assert.Equal(t, before, asked.Load())
	again, err := label.Invite(t.Context(), store, base, "anna", true)
	require.NoError(t, err)
	b.run(chromedp.Navigate(again))
	b.until(`document.getElementById("network")?.textContent === "All is kept."`)
	assert.Len(t, said(t, store)["anna"], 2)
}
