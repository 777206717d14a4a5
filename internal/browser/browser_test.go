package browser

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

var (
	screenshots = flag.String("screenshots", "", "`folder` to leave pictures of the pages in")
	axeFile     = flag.String("axe", "", "`file` axe.min.js of axe-core, which looks for what "+
		"people with disabilities could not use")
)

// patience is how long a page may take for anything. A machine that is busy takes its time.
const patience = time.Minute

// A tab is one person's browser. What goes wrong in a page fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// newTab starts a browser, which ends with the test, or skips where there is none.
func newTab(t *testing.T, actions ...chromedp.Action) *tab {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no Chromium: apt install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(patience))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Run(ctx))
	b := &tab{t, ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		if e, ok := event.(*runtime.EventExceptionThrown); ok {
			t.Errorf("the page has failed: %v", e.ExceptionDetails)
		}
	})
	b.run(actions...)
	return b
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Run(ctx, actions...))
}

// text is what a JavaScript expression is.
func (b *tab) text(expression string) (s string) {
	b.t.Helper()
	b.run(chromedp.Evaluate("String("+expression+")", &s))
	return s
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	var is bool
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if b.run(chromedp.Evaluate("!!("+expression+")", &is)); is {
			return
		}
	}
	b.t.Fatalf("it never came to %s; the page says: %s", expression,
		b.text("document.body.innerText"))
}

// press presses a key. What it writes comes with the event that it goes down, as from a keyboard:
// a page that prevents this event is not written into.
func (b *tab) press(key string) {
	b.t.Helper()
	for _, r := range key {
		down := (*input.DispatchKeyEventParams)(nil)
		for _, event := range kb.Encode(r) {
			switch event.Type {
			case input.KeyChar:
				down.Text, down.UnmodifiedText = event.Text, event.UnmodifiedText
			case input.KeyUp:
				b.run(down, event)
			default:
				down = event
			}
		}
	}
}

// offline takes the network away, or gives it back.
func (b *tab) offline(is bool) {
	b.t.Helper()
	b.run(network.Enable(), network.EmulateNetworkConditions(is, 0, -1, -1))
}

// swipe moves a finger over the middle of an element by so many CSS pixels.
func (b *tab) swipe(selector string, dx, dy float64) {
	b.t.Helper()
	var at struct{ X, Y float64 }
	b.run(chromedp.Evaluate(fmt.Sprintf(`(() => {
		const r = document.querySelector(%q).getBoundingClientRect();
		return { X: r.left + r.width / 2, Y: r.top + Math.min(r.height / 2, 150) };
	})()`, selector), &at))
	touch := func(kind input.TouchType, points ...*input.TouchPoint) {
		b.run(input.DispatchTouchEvent(kind, points))
	}
	touch(input.TouchStart, &input.TouchPoint{X: at.X, Y: at.Y})
	for i := 1.0; i <= 4 && dx != 0; i++ {
		touch(input.TouchMove, &input.TouchPoint{X: at.X + dx*i/4, Y: at.Y + dy*i/4})
	}
	touch(input.TouchEnd)
}

// phone is a telephone's window of 360 by 740 CSS pixels, for fingers.
func phone() chromedp.Action {
	return chromedp.Tasks{
		emulation.SetDeviceMetricsOverride(360, 740, 2, true),
		emulation.SetTouchEmulationEnabled(true).WithMaxTouchPoints(2),
	}
}

// window is a window on a desk.
func window(width, height int64) chromedp.Action {
	return chromedp.Tasks{
		emulation.SetDeviceMetricsOverride(width, height, 1, false),
		emulation.SetTouchEmulationEnabled(false),
	}
}

// scheme asks pages for light or for dark.
func scheme(name string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name},
	})
}

// shoot leaves a picture of the page, if it is asked for.
func (b *tab) shoot(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	var png []byte
	b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		png, err = page.CaptureScreenshot().Do(ctx)
		return err
	}))
	require.NoError(b.t, os.MkdirAll(*screenshots, 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644))
}

// axe looks for what people with disabilities could not use, and fails for what is serious.
func (b *tab) axe(what string) {
	b.t.Helper()
	if *axeFile == "" {
		return
	}
	script, err := os.ReadFile(*axeFile)
	require.NoError(b.t, err)
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	b.run(chromedp.Evaluate(string(script)+"; 0", nil))
	b.run(chromedp.Evaluate(`axe.run().then((r) => r.violations.map((v) => ({
		ID: v.id, Impact: v.impact, Help: v.help,
		Nodes: v.nodes.map((n) => ({ HTML: n.html, FailureSummary: n.failureSummary })),
	})))`, &found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true)
	}))
	for _, f := range found {
		text := fmt.Sprintf("%s: axe: %s: %s (%s): %v", what, f.Impact, f.Help, f.ID, f.Nodes)
		if f.Impact == "serious" || f.Impact == "critical" {
			b.t.Error(text)
		} else {
			b.t.Log(text)
		}
	}
}

// serve serves pages on this machine, and returns their address.
func serve(t *testing.T, pages http.Handler) string {
	t.Helper()
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}
