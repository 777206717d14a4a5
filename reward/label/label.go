package label

import (
	"context"
	"embed"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/kudos-ml/kudos/dataset"
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

// A Config says what a Handler shows to whom.
type Config struct {
	Store *feedback.Store
	// Owner is the token with which the overview is entered. With "" nobody sees it.
	Owner string
	// Open lets whoever gives a name be the rater of that name. Such a Handler answers on this
	// machine's own addresses alone. Otherwise a rater needs a token: feedback.Store.NewToken.
	Open bool
	// Category names the category of a prompt, for the overview. nil is none.
	Category func(prompt string) string
	// Train learns a reward from labels, at the owner's wish. nil is none.
	Train func(ctx context.Context, labels dataset.Dataset) (Reward, error)
	// Log is told of requests that fail through no fault of who asked. nil is nobody.
	Log *slog.Logger
	// Now is the clock. nil is time.Now.
	Now func() time.Time
}

// A Reward is what Train has learned, as far as the overview shows it.
type Reward struct {
	Right, N  int      // held-out pictures, and how many of them it is right about
	Uncertain []string // IDs of the pictures, those first that it is least sure of; nil: unknown
}

// A Handler is the pages for raters and their owner.
type Handler struct {
	config Config
	site   *page.Site
	pace   pace
	train  training
	behind *page.Background

	analyst page.Analyst[analysis]
}

// New makes a Handler. Close ends what runs behind its pages.
func New(c Config) (*Handler, error) {
	if c.Store == nil {
		return nil, errors.New("label: there is no store")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	h := &Handler{config: c, behind: page.NewBackground()}
	h.analyst = page.Analyst[analysis]{
		Make: h.analyse, On: h.behind, Log: c.Log, Clock: c.Now,
	}
	h.site = page.New(page.Config{
		Name: "label", Store: c.Store, Owner: c.Owner, Open: c.Open, Log: c.Log,
	}, assets)
	h.site.Rater("GET /{$}", func(w http.ResponseWriter, r *http.Request, _ string) error {
		return page.HTML(w, assets, "label.html")
	})
	h.site.Rater("GET /next", h.next)
	h.site.Rater("POST /answers", h.answers)
	h.site.Rater("GET /picture/{id}", func(w http.ResponseWriter, r *http.Request, _ string) error {
		return h.picture(w, r)
	})
	h.site.Owner("GET /overview", func(w http.ResponseWriter, r *http.Request) error {
		return page.HTML(w, assets, "overview.html")
	})
	h.site.Owner("GET /overview/picture/{id}", h.picture)
	h.site.Owner("GET /overview.json", h.overview)
	h.site.Owner("GET /labels.jsonl", h.labels)
	h.site.Owner("GET /everything.jsonl", h.everything)
	h.site.Owner("POST /train", h.startTraining)
	h.site.Owner("POST /order", h.order)
	return h, nil
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.site.ServeHTTP(w, r) }

// Close ends what runs behind the pages, and waits for its end. The store stays open.
func (h *Handler) Close() error { return h.behind.Close() }

// link is the path of a picture. The picture's ID is in it as one word.
func link(prefix, id string) string {
	return prefix + "/picture/" + base64.RawURLEncoding.EncodeToString([]byte(id))
}

// picture answers with the bytes of a picture in the store. What they are the store has looked at.
func (h *Handler) picture(w http.ResponseWriter, r *http.Request) error {
	id, err := base64.RawURLEncoding.DecodeString(r.PathValue("id"))
	if err != nil {
		return page.Wrong("no picture has this address")
	}
	content, err := h.config.Store.ReadPicture(r.Context(), string(id))
	if errors.Is(err, feedback.ErrUnknown) {
		return &page.Error{Status: http.StatusNotFound, Text: "the picture is not in the store"}
	}
	if err != nil {
		return err
	}
	return page.Picture(w, content)
}

// A shown is a picture as a page has it.
type shown struct {
	ID     string `json:"id"`
	Prompt string `json:"prompt"`
	Image  string `json:"image"`
}

// A said is a judgement as a page has it.
type said struct {
	shown
	Label string `json:"label"`
}

// Upper bounds of what a page may ask for at once.
const (
	maxNext = 100
	maxLast = 50
)

// next answers with pictures to judge, with what the rater has judged, and at first with the last
// of it, which can still be taken back.
func (h *Handler) next(w http.ResponseWriter, r *http.Request, rater string) error {
	n, err := page.Count(r, "n", maxNext)
	if err != nil {
		return err
	}
	last, err := page.Count(r, "last", maxLast)
	if err != nil {
		return err
	}
	ctx := r.Context()
	// First what was judged: Next may take some of what it gives from the end of it.
	judged, err := h.config.Store.Last(ctx, rater, last)
	if err != nil {
		return err
	}
	pictures, err := h.config.Store.Next(ctx, rater, n)
	if err != nil {
		return err
	}
	overview, err := h.config.Store.Overview(ctx)
	if err != nil {
		return err
	}
	answer := struct {
		Rater    string  `json:"rater"`
		Together int     `json:"together"`
		Judged   int     `json:"judged"`   // by the rater
		Complete int     `json:"complete"` // by all raters together
		Pictures int     `json:"pictures"`
		Next     []shown `json:"next"`
		Last     []said  `json:"last"` // the newest first
	}{
		Rater: rater, Together: overview.Together,
		Complete: overview.Complete, Pictures: overview.Pictures,
		Next: make([]shown, 0, len(pictures)), Last: make([]said, 0, len(judged)),
	}
	for _, c := range overview.Raters {
		if c.Rater == rater {
			answer.Judged = c.Counts.Total()
		}
	}
	for _, p := range pictures {
		s := p.Sample
		answer.Next = append(answer.Next, shown{s.ID, s.Prompt, link("", s.ID)})
	}
	for _, j := range judged {
		sample, err := h.config.Store.Picture(ctx, j.Picture)
		if err != nil {
			return err
		}
		answer.Last = append(answer.Last,
			said{shown{j.Picture, sample.Prompt, link("", j.Picture)}, j.Label.String()})
	}
	return page.WriteJSON(w, answer)
}
