// Package page is what the pages for raters have in common: who may see them, what a browser may do
// with them, how a request ends, and the style, the sign-in and the queue of answers that they
// share.
//
// # Who may see what
//
// A rater is whoever has the rater's token (feedback.Store.NewToken), and the owner is whoever has
// the owner's. A link carries a token behind its #, which no browser sends to a server: the page
// that it leads to sends the token once, and gets a cookie that scripts cannot read. A site that is
// open asks for a name instead and takes whoever gives it for that rater. It answers on this
// machine's own addresses alone.
//
// # What a browser may do
//
// Scripts and styles come from the site's own files. No page can be put into another one. Nothing
// is asked of another host. A request that changes something and comes from another site is refused
// (http.CrossOriginProtection).
package page

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

//go:embed assets
var assets embed.FS

// A Config says whose pages a Site's are.
type Config struct {
	Name  string // of the site, of letters: two sites on one host need two
	Store *feedback.Store
	Owner string // the owner's token; "" lets nobody see the owner's pages
	Open  bool   // whoever gives a name is the rater of that name
	Log   *slog.Logger
}

// A Site gives requests to its pages.
type Site struct {
	config  Config
	owner   [sha256.Size]byte
	mux     *http.ServeMux
	handler http.Handler
	rates   limits // of raters
	failed  limits // tokens that were wrong, by address
}

// How much a rater may ask for: more than the fastest hand needs, with pictures that are fetched
// ahead, and less than would keep others from their work. Wrong tokens are counted by address.
const (
	perSecond     = 50
	burst         = 500
	wrongPerMin   = 20
	wrongBurst    = 20
	maxBody       = 1 << 20
	cookieSeconds = 365 * 24 * 3600
)

// New makes a site. files are its own: templates are not among them. Those at its root are served
// to anybody, as are the ones that all sites share.
func New(c Config, files fs.FS) *Site {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Site{
		config: c, owner: sha256.Sum256([]byte(c.Owner)), mux: http.NewServeMux(),
		rates:  limits{every: time.Second / perSecond, burst: burst},
		failed: limits{every: time.Minute / wrongPerMin, burst: wrongBurst},
	}
	shared, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the name is in the directive above
	}
	for prefix, files := range map[string]fs.FS{"shared": shared, "own": files} {
		s.mux.Handle("GET /"+prefix+"/",
			cached(http.StripPrefix("/"+prefix+"/", http.FileServerFS(files))))
	}
	s.Handle("GET /enter", s.enterPage)
	s.Handle("POST /enter", s.enter)
	s.Handle("POST /leave", s.leave)
	s.handler = s.protect(http.NewCrossOriginProtection().Handler(s.mux))
	return s
}

// ServeHTTP answers a request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// policy is the Content-Security-Policy of every answer.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// protect sets the headers that bound what a browser does, and refuses what an open site must not
// answer: a request to a name that is not this machine's own. By such a name the page of an
// attacker could speak to it (DNS rebinding).
func (s *Site) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if s.config.Open && !Local(r.Host) {
			http.Error(w, "this page is for this machine alone: open it as http://127.0.0.1",
				http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// cached lets a browser keep files, if it asks each time whether they are others by now.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, no-cache")
		next.ServeHTTP(w, r)
	})
}

// Local reports whether a host, with or without a port, is this machine by a name that no other
// machine can have.
func Local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// An Error is an answer to a request that cannot be done.
type Error struct {
	Status int
	Text   string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Wrong is an Error for a request that makes no sense.
func Wrong(format string, args ...any) error {
	return &Error{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// Handle answers a pattern of http.ServeMux for anybody. An error that f returns becomes the
// answer: JSON, {"error": …}.
func (s *Site) Handle(pattern string, f func(http.ResponseWriter, *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// Rater answers a pattern for raters.
func (s *Site) Rater(
	pattern string, f func(w http.ResponseWriter, r *http.Request, rater string) error,
) {
	s.Handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
		rater, err := s.rater(r)
		if err != nil {
			return err
		}
		if !s.rates.allow(rater) {
			return &Error{http.StatusTooManyRequests, "more requests than a rater can need"}
		}
		return f(w, r, rater)
	})
}

// Owner answers a pattern for the owner.
func (s *Site) Owner(pattern string, f func(http.ResponseWriter, *http.Request) error) {
	s.Handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
		cookie, err := r.Cookie(s.cookie("owner"))
		if err != nil || !s.owns(cookie.Value) {
			return &Error{http.StatusUnauthorized, "this page is for whoever began the program"}
		}
		return f(w, r)
	})
}

// HTML answers with a page that is a file of the program's own.
func HTML(w http.ResponseWriter, files fs.FS, name string) error {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(text) // if it fails, whoever asked has gone
	return nil
}

// rater returns the rater whose token a request has.
func (s *Site) rater(r *http.Request) (string, error) {
	cookie, err := r.Cookie(s.cookie("rater"))
	if err != nil {
		return "", &Error{http.StatusUnauthorized, "nobody has signed in"}
	}
	return s.raterOf(r, cookie.Value)
}

// raterOf returns the rater of a token. An address from which too many wrong ones came has to wait.
func (s *Site) raterOf(r *http.Request, token string) (string, error) {
	address, _, _ := net.SplitHostPort(r.RemoteAddr)
	if s.failed.spent(address) {
		return "", &Error{http.StatusTooManyRequests, "too many wrong tokens: wait a minute"}
	}
	rater, err := s.config.Store.RaterOf(r.Context(), token)
	if errors.Is(err, feedback.ErrUnknown) {
		s.failed.allow(address)
		return "", &Error{
			http.StatusUnauthorized, "the link is not valid any more: ask for another",
		}
	}
	return rater.Name, err
}

// owns reports whether a token is the owner's. How long it takes does not depend on the token.
func (s *Site) owns(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return s.config.Owner != "" && subtle.ConstantTimeCompare(hash[:], s.owner[:]) == 1
}

// cookie is the name of a cookie. Cookies are a host's, whatever the port.
func (s *Site) cookie(of string) string { return "kudos-" + s.config.Name + "-" + of }

// enterPage asks for a token or a name.
func (s *Site) enterPage(w http.ResponseWriter, r *http.Request) error {
	if s.config.Open {
		return HTML(w, assets, "assets/name.html")
	}
	return HTML(w, assets, "assets/enter.html")
}

// enter takes a token or a name, gives a cookie, and says where to go on.
func (s *Site) enter(w http.ResponseWriter, r *http.Request) error {
	var asked struct{ Token, Name string }
	if err := ReadJSON(r, &asked); err != nil {
		return err
	}
	ctx, of, to := r.Context(), "rater", "/"
	switch token := asked.Token; {
	case s.owns(token):
		of, to = "owner", "/overview"
	case token != "":
		if _, err := s.raterOf(r, token); err != nil {
			return err
		}
	case s.config.Open:
		rater, err := s.named(ctx, asked.Name)
		if err != nil {
			return err
		}
		if asked.Token, err = s.config.Store.NewToken(ctx, rater); err != nil {
			return err
		}
	default:
		return &Error{http.StatusUnauthorized, "the link you were given is needed to enter"}
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.cookie(of), Value: asked.Token, Path: "/", MaxAge: cookieSeconds,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	return WriteJSON(w, map[string]string{"to": to})
}

// named adds the rater of a name, or finds the one of it.
func (s *Site) named(ctx context.Context, name string) (string, error) {
	name = strings.Join(strings.Fields(name), " ")
	switch {
	case name == "" || len(name) > 100:
		return "", Wrong("a name has 1 to 100 letters")
	case strings.HasPrefix(name, "erased-"):
		return "", Wrong("the name is that of someone who was erased")
	}
	rater, err := s.config.Store.AddRater(ctx, name)
	return rater.Name, err
}

// leave takes the cookies back.
func (s *Site) leave(w http.ResponseWriter, r *http.Request) error {
	for _, of := range []string{"rater", "owner"} {
		http.SetCookie(w, &http.Cookie{
			Name: s.cookie(of), Path: "/", MaxAge: -1,
			HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
		})
	}
	return WriteJSON(w, map[string]string{"to": "/enter"})
}

// fail answers a request that has failed. Whoever asks for a page and has not entered is led to
// where one enters. What went wrong inside is logged and not told.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := status(err)
	if status == http.StatusUnauthorized && r.Method == http.MethodGet &&
		strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, "/enter", http.StatusSeeOther)
		return
	}
	if status >= 500 {
		s.config.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": text})
}

// status is how HTTP says an error, with what is told of it.
func status(err error) (int, string) {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known.Status, known.Text
	case errors.Is(err, feedback.ErrFull):
		return http.StatusInsufficientStorage, "the disk is full: nothing is lost, but make room"
	case errors.Is(err, feedback.ErrBusy):
		return http.StatusServiceUnavailable, "another program is writing to the database"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "the request was given up"
	}
	return http.StatusInternalServerError, "something went wrong: the program's log says what"
}

// Count reads a number from the query of a request: 0 to most, and 0 if it is not there.
func Count(r *http.Request, name string, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, Wrong("%s is to be a number from 0 to %d", name, most)
	}
	return n, nil
}

// ReadJSON reads the body of a request, which must be one JSON value with known fields.
func ReadJSON(r *http.Request, to any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(to)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &Error{http.StatusRequestEntityTooLarge, "the request is too large"}
	}
	if err != nil {
		return Wrong("the request is no JSON that is known here: %v", err)
	}
	return nil
}

// WriteJSON answers a request with a JSON value.
func WriteJSON(w http.ResponseWriter, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Write(text) // if it fails, whoever asked has gone
	return nil
}

// limits are token buckets by key.
type limits struct {
	every time.Duration
	burst int

	mu   sync.Mutex
	each map[string]*rate.Limiter
}

// maxKeys bounds what keys take of memory. Beyond it all begin anew.
const maxKeys = 10_000

func (l *limits) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each == nil || len(l.each) >= maxKeys {
		l.each = make(map[string]*rate.Limiter)
	}
	if l.each[key] == nil {
		l.each[key] = rate.NewLimiter(rate.Every(l.every), l.burst)
	}
	return l.each[key]
}

// allow takes one of what a key may do, and reports whether there was one.
func (l *limits) allow(key string) bool { return l.of(key).Allow() }

// spent reports whether a key has used up what it may do.
func (l *limits) spent(key string) bool { return l.of(key).Tokens() < 1 }

// Picture answers with a picture. Its kind is that of its first bytes, whatever else is in it.
func Picture(w http.ResponseWriter, content []byte) error {
	kind := http.DetectContentType(content)
	switch kind {
	case "image/png", "image/jpeg", "image/webp":
	default:
		return errors.New("a picture is neither PNG nor JPEG nor WebP")
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Header().Set("Cache-Control", "private, max-age=86400, immutable")
	w.Write(content) // if it fails, whoever asked has gone
	return nil
}
