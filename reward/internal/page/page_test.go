package page

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// site makes a site with a page for raters, one for the owner, and one that fails.
func site(t testing.TB, open bool, failure *error) (*Site, *feedback.Store, *bytes.Buffer) {
	t.Helper()
	store, err := feedback.Open(t.Context(), feedback.Config{
		Path: filepath.Join(t.TempDir(), "labels.db"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	var log bytes.Buffer
	s := New(Config{
		Name: "test", Store: store, Owner: "owner's", Open: open,
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, fstest.MapFS{"own.js": {Data: []byte("own")}})
	s.Rater("GET /{$}", func(w http.ResponseWriter, r *http.Request, rater string) error {
		_, err := fmt.Fprint(w, "rater ", rater)
		return err
	})
	s.Rater("POST /fail", func(w http.ResponseWriter, r *http.Request, rater string) error {
		var body any
		if err := ReadJSON(r, &body); err != nil {
			return err
		}
		return *failure
	})
	s.Owner("GET /overview", func(w http.ResponseWriter, r *http.Request) error {
		_, err := fmt.Fprint(w, "owner")
		return err
	})
	return s, store, &log
}

// A client sends requests from one address, with the cookies that it has been given.
type client struct {
	site    http.Handler
	address string
	cookies []*http.Cookie
	change  func(*http.Request)
}

func (c *client) do(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
	r.RemoteAddr = c.address + ":1234"
	for _, cookie := range c.cookies {
		r.AddCookie(cookie)
	}
	if c.change != nil {
		c.change(r)
	}
	w := httptest.NewRecorder()
	c.site.ServeHTTP(w, r)
	if got := w.Result().Cookies(); len(got) > 0 {
		c.cookies = got
	}
	return w
}

func (c *client) enter(t *testing.T, asked map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	body, err := json.Marshal(asked)
	require.NoError(t, err)
	return c.do("POST", "/enter", string(body))
}

func token(t testing.TB, store *feedback.Store, rater string) string {
	t.Helper()
	_, err := store.AddRater(t.Context(), rater)
	require.NoError(t, err)
	token, err := store.NewToken(t.Context(), rater)
	require.NoError(t, err)
	return token
}

func TestEnter(t *testing.T) {
	s, store, log := site(t, false, nil)
	anna := &client{site: s, address: "192.0.2.1"}

	// Whoever has not entered sees nothing, and a browser is led to where one enters.
	assert.Equal(t, http.StatusUnauthorized, anna.do("GET", "/", "").Code)
	anna.change = func(r *http.Request) { r.Header.Set("Accept", "text/html,*/*") }
	w := anna.do("GET", "/", "")
	assert.Equal(t, http.StatusSeeOther, w.Code)
	assert.Equal(t, "/enter", w.Header().Get("Location"))
	anna.change = nil

	first := token(t, store, "anna")
	w = anna.enter(t, map[string]string{"token": first})
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.JSONEq(t, `{"to":"/"}`, w.Body.String())
	require.Len(t, anna.cookies, 1)
	c := anna.cookies[0]
	assert.True(t, c.HttpOnly)
	assert.Equal(t, http.SameSiteStrictMode, c.SameSite)
	assert.False(t, c.Secure, "the test speaks no TLS")
	assert.Equal(t, "rater anna", anna.do("GET", "/", "").Body.String())
	assert.Equal(t, http.StatusUnauthorized, anna.do("GET", "/overview", "").Code,
		"a rater is not the owner")

	owner := &client{site: s, address: "192.0.2.2"}
	w = owner.enter(t, map[string]string{"token": "owner's"})
	assert.JSONEq(t, `{"to":"/overview"}`, w.Body.String())
	assert.Equal(t, "owner", owner.do("GET", "/overview", "").Body.String())
	assert.Equal(t, http.StatusUnauthorized, owner.do("GET", "/", "").Code,
		"the owner is no rater")

	// With TLS the cookie is for TLS alone.
	secure := &client{site: s, address: "192.0.2.3"}
	secure.change = func(r *http.Request) { r.TLS = &tls.ConnectionState{} }
	secure.enter(t, map[string]string{"token": first})
	assert.True(t, secure.cookies[0].Secure)

	// A token that was stolen is worth nothing after another was made.
	thief := &client{site: s, address: "192.0.2.4", cookies: anna.cookies}
	assert.Equal(t, http.StatusOK, thief.do("GET", "/", "").Code)
	token(t, store, "anna")
	assert.Equal(t, http.StatusUnauthorized, thief.do("GET", "/", "").Code)

	// Who tries tokens has to wait. Others do not.
	forger := &client{site: s, address: "192.0.2.5"}
	for i := range wrongBurst {
		w = forger.enter(t, map[string]string{"token": fmt.Sprint("forged", i)})
		require.Equal(t, http.StatusUnauthorized, w.Code)
	}
	ben := token(t, store, "ben")
	assert.Equal(t, http.StatusTooManyRequests,
		forger.enter(t, map[string]string{"token": ben}).Code)
	assert.Equal(t, http.StatusOK,
		(&client{site: s, address: "192.0.2.6"}).enter(t, map[string]string{"token": ben}).Code)

	assert.Equal(t, http.StatusUnauthorized,
		(&client{site: s, address: "192.0.2.7"}).enter(t, map[string]string{"name": "anna"}).Code,
		"a name is enough where the site is open alone")
	assert.NotContains(t, log.String(), first)
	assert.NotContains(t, log.String(), ben)
}

func TestOpen(t *testing.T) {
	s, store, log := site(t, true, nil)
	c := &client{site: s, address: "127.0.0.1"}
	_, err := store.AddRater(t.Context(), "Cleo")
	require.NoError(t, err)
	erased, err := store.Erase(t.Context(), "Cleo")
	require.NoError(t, err)
	for _, name := range []string{"", "  ", strings.Repeat("x", 101), "erased-9", erased} {
		w := c.enter(t, map[string]string{"name": name})
		assert.Equal(t, http.StatusBadRequest, w.Code, name)
	}
	require.Equal(t, http.StatusOK, c.enter(t, map[string]string{"name": " Anna  B "}).Code)
	assert.Equal(t, "rater Anna B", c.do("GET", "/", "").Body.String())

	// That nobody can be added now is no fault of the name, and where the store is nobody learns.
	require.NoError(t, store.Close())
	w := c.enter(t, map[string]string{"name": "Ben"})
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.NotContains(t, w.Body.String(), "labels.db")
	assert.Contains(t, log.String(), "labels.db")

	// By a name of an attacker's that leads here, nothing is answered.
	c.change = func(r *http.Request) { r.Host = "attacker.example:8080" }
	assert.Equal(t, http.StatusForbidden, c.do("GET", "/", "").Code)
	for host, local := range map[string]bool{
		"localhost": true, "LOCALHOST:80": true, "127.0.0.1:8080": true, "127.8.8.8": true,
		"[::1]:80": true, "::1": true, "192.0.2.1": false, "localhost.example": false, "": false,
		"127.0.0.1.example:80": false, "0.0.0.0": false,
	} {
		assert.Equal(t, local, Local(host), host)
	}
}

func TestHeaders(t *testing.T) {
	s, _, _ := site(t, false, nil)
	c := &client{site: s, address: "192.0.2.1"}
	for path, code := range map[string]int{
		"/enter": 200, "/shared/style.css": 200, "/own/own.js": 200, "/nowhere": 404, "/": 401,
		"/shared/../page.go": 307, "/own/..%2f..%2fpage.go": 404, "/shared/%2e%2e/page.go": 404,
	} {
		w := c.do("GET", path, "")
		assert.Equal(t, code, w.Code, path)
		h := w.Header()
		csp := h.Get("Content-Security-Policy")
		assert.Contains(t, csp, "default-src 'none'; script-src 'self'")
		assert.NotContains(t, csp, "unsafe")
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		if code == 401 {
			assert.Equal(t, "no-store", h.Get("Cache-Control"))
		}
	}

	// Another site's page cannot do anything here, even with a rater's cookie.
	from := map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 401}
	for site, code := range from {
		c.change = func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }
		assert.Equal(t, code, c.do("POST", "/fail", "{}").Code, site)
	}
	c.change = func(r *http.Request) { r.Header.Set("Origin", "http://attacker.example") }
	assert.Equal(t, 403, c.do("POST", "/fail", "{}").Code)
}

func TestFailures(t *testing.T) {
	var failure error
	s, store, log := site(t, false, &failure)
	c := &client{site: s, address: "192.0.2.1"}
	c.enter(t, map[string]string{"token": token(t, store, "anna")})
	for _, f := range []struct {
		err  error
		code int
		text string
	}{
		{fmt.Errorf("/secret: %w", feedback.ErrFull), 507, "the disk is full"},
		{fmt.Errorf("/secret: %w", feedback.ErrBusy), 503, "another program"},
		{errors.New("/secret"), 500, "the program's log"},
		{Wrong("no %s", "sense"), 400, "no sense"},
	} {
		failure = f.err
		log.Reset()
		w := c.do("POST", "/fail", "{}")
		assert.Equal(t, f.code, w.Code)
		assert.Contains(t, w.Body.String(), f.text)
		assert.NotContains(t, w.Body.String(), "secret")
		assert.Equal(t, f.code >= 500, strings.Contains(log.String(), "secret"), "what is logged")
	}
	assert.Equal(t, 400, c.do("POST", "/fail", "{").Code)
	assert.Equal(t, 413, c.do("POST", "/fail", `"`+strings.Repeat("x", maxBody)+`"`).Code)

	// One rater's haste is no other's.
	failure = nil
	last := 0
	for range 2 * burst {
		if last = c.do("POST", "/fail", "{}").Code; last != 200 {
			break
		}
	}
	assert.Equal(t, http.StatusTooManyRequests, last)
	other := &client{site: s, address: "192.0.2.1"}
	other.enter(t, map[string]string{"token": token(t, store, "ben")})
	assert.Equal(t, 200, other.do("POST", "/fail", "{}").Code)

	assert.JSONEq(t, `{"to":"/enter"}`, other.do("POST", "/leave", "{}").Body.String())
	assert.Equal(t, -1, other.cookies[0].MaxAge)
}

func TestPicture(t *testing.T) {
	w := httptest.NewRecorder()
	assert.Error(t, Picture(w, []byte("<html><script>alert(1)</script>")))
	// Whatever comes behind the first bytes of a picture, it is a picture.
	png := append([]byte("\x89PNG\r\n\x1a\n"), "<script>alert(1)</script>"...)
	require.NoError(t, Picture(w, png))
	assert.Equal(t, "image/png", w.Header().Get("Content-Type"))
	assert.Equal(t, png, w.Body.Bytes())
}
