package label

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

// An answer is what a rater has said of a picture, as a page sends it. The page makes the ID, so
// that an answer that it sends twice is one.
type answer struct {
	ID      string `json:"id"`
	Picture string `json:"picture"`
	Label   string `json:"label"` // good, bad or skip; "" takes the last one back
	Reason  string `json:"reason"`
	Taken   int64  `json:"taken_ms"` // from seeing the picture to the answer
	Ago     int64  `json:"ago_ms"`   // since the answer, which may have waited for the network
}

// Bounds on what one request may hold.
const (
	maxAnswers = 200
	maxID      = 100
	maxReason  = 4000
	maxTaken   = 24 * time.Hour
	maxAgo     = 30 * 24 * time.Hour
)

// judgement is the answer as the store has it.
func (a answer) judgement(rater string, now time.Time) (feedback.Judgement, error) {
	var label dataset.Label
	var err error
	if a.Label != "" {
		label, err = dataset.ParseLabel(a.Label)
	}
	taken := time.Duration(a.Taken) * time.Millisecond
	ago := time.Duration(a.Ago) * time.Millisecond
	switch {
	case err != nil:
		return feedback.Judgement{}, err
	case a.ID == "" || len(a.ID) > maxID:
		return feedback.Judgement{}, errors.New("an answer's id has 1 to 100 letters")
	case len(a.Reason) > maxReason:
		return feedback.Judgement{}, errors.New("the reason is longer than 4000 bytes")
	}
	return feedback.Judgement{
		Answer: a.ID, Picture: a.Picture, Rater: rater, Label: label, Reason: a.Reason,
		Taken: min(max(taken, 0), maxTaken), At: now.Add(-min(max(ago, 0), maxAgo)),
	}, nil
}

// answers keeps what a rater has said, in order. done are the IDs of the answers that are on the
// disk. refused says of others why they never will be. Where something is in the way that may pass,
// such as a full disk, the request fails, and the page sends the answers again.
func (h *Handler) answers(w http.ResponseWriter, r *http.Request, rater string) error {
	var sent struct {
		Answers []answer `json:"answers"`
	}
	if err := page.ReadJSON(r, &sent); err != nil {
		return err
	}
	if len(sent.Answers) > maxAnswers {
		return page.Wrong("more than %d answers at once", maxAnswers)
	}
	done, refused := []string{}, map[string]string{}
	for _, a := range sent.Answers {
		j, err := a.judgement(rater, h.config.Now())
		if err != nil {
			refused[a.ID] = err.Error()
			continue
		}
		_, err = h.config.Store.Judge(r.Context(), j)
		switch {
		case errors.Is(err, feedback.ErrUnknown):
			refused[a.ID] = "the picture is not in the store, or there is nothing to take back"
		case errors.Is(err, feedback.ErrConflict):
			refused[a.ID] = "another answer has this id"
		case err != nil:
			return err
		default:
			done = append(done, a.ID)
			h.pace.add(h.config.Now())
		}
	}
	return page.WriteJSON(w, map[string]any{"done": done, "refused": refused})
}

// A pace is how fast judgements come in: their times, of the last minutes.
type pace struct {
	mu    sync.Mutex
	times []time.Time
}

// window is how far back a pace looks: long enough to even out a rater who looks twice, and short
// enough to see that one has left.
const window = 10 * time.Minute

func (p *pace) add(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune(now)
	p.times = append(p.times, now)
}

func (p *pace) prune(now time.Time) {
	old := 0
	for old < len(p.times) && now.Sub(p.times[old]) > window {
		old++
	}
	p.times = p.times[old:]
}

// perHour is how many judgements an hour there are at the pace of the last minutes. It is 0 with
// fewer than two.
func (p *pace) perHour(now time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune(now)
	if len(p.times) < 2 {
		return 0
	}
	span := now.Sub(p.times[0])
	return float64(len(p.times)) * float64(time.Hour) / float64(max(span, time.Second))
}
