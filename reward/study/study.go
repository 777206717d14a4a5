package study

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

//go:embed assets
var embedded embed.FS

// assets are the pages, with their scripts and styles.
var assets = func() fs.FS {
	files, err := fs.Sub(embedded, "assets")
	if err != nil {
		panic(err) // the name is in the directive above
	}
	return files
}()

// A Config says what a Handler asks whom.
type Config struct {
	Store *feedback.Store
	Study string // as Make has made it
	// Owner is the token with which the overview is entered. With "" nobody sees it.
	Owner string
	// Open lets whoever gives a name be the rater of that name. Such a Handler answers on this
	// machine's own addresses alone. Otherwise a rater needs a token: feedback.Store.NewToken.
	Open bool
	// Analysis is what the overview shows. Its Study is that of the Config.
	Analysis Analysis
	// Log is told of requests that fail through no fault of who asked. nil is nobody.
	Log *slog.Logger
	// Now is the clock. nil is time.Now.
	Now func() time.Time
}

// A Handler is the pages of one study, for raters and for its owner.
type Handler struct {
	config  Config
	site    *page.Site
	gallery gallery

	shapes   map[string]*shape // by their names, and by the names of their pictures
	pictures map[string]*shape

	behind  *page.Background
	analyst page.Analyst[analysed]
}

// New makes a Handler for the pairs that the study has now. Close ends what runs behind its pages.
// A study without pairs is an error that wraps feedback.ErrUnknown.
func New(ctx context.Context, c Config) (*Handler, error) {
	if c.Store == nil {
		return nil, errors.New("study: there is no store")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Analysis.Study = c.Study
	pairs, err := c.Store.Pairs(ctx, c.Study)
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("study: study %q: %w", c.Study, feedback.ErrUnknown)
	}
	h := &Handler{
		config: c, gallery: gallery{read: c.Store.ReadPicture},
		shapes: make(map[string]*shape), pictures: make(map[string]*shape),
	}
	for _, p := range pairs {
		s, err := newShape(p)
		if err != nil {
			return nil, err
		}
		h.shapes[s.name] = s
		for _, set := range s.sets {
			for _, p := range set {
				h.pictures[p.handle] = s
			}
		}
	}
	h.behind = page.NewBackground()
	h.analyst = page.Analyst[analysed]{
		Make: h.analyse, On: h.behind, Log: c.Log, Clock: c.Now,
	}
	h.site = page.New(page.Config{
		Name: "study", Store: c.Store, Owner: c.Owner, Open: c.Open, Log: c.Log,
	}, assets)
	h.site.Rater("GET /{$}", func(w http.ResponseWriter, r *http.Request, _ string) error {
		return page.HTML(w, assets, "study.html")
	})
	h.site.Rater("GET /next", h.next)
	h.site.Rater("POST /votes", h.votes)
	h.site.Rater("GET /picture/{name}", h.picture)
	h.site.Owner("GET /overview", func(w http.ResponseWriter, r *http.Request) error {
		return page.HTML(w, assets, "overview.html")
	})
	h.site.Owner("GET /overview.json", h.overview)
	h.site.Owner("GET /report.json", h.report)
	return h, nil
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.site.ServeHTTP(w, r) }

// Close ends what runs behind the pages, and waits for its end. The store stays open.
func (h *Handler) Close() error {
	return h.behind.Close()
}

// picture answers with a picture.
func (h *Handler) picture(w http.ResponseWriter, r *http.Request, _ string) error {
	name := r.PathValue("name")
	s := h.pictures[name]
	if s == nil {
		return &page.Error{Status: http.StatusNotFound, Text: "no picture has this address"}
	}
	file, err := h.gallery.file(r.Context(), s, name)
	if err != nil {
		return err
	}
	return page.Picture(w, file)
}
