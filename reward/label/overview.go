package label

import (
	"math"
	"net/http"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A raterLine is what the overview says of a rater at once.
type raterLine struct {
	Name    string      `json:"name"`
	Good    int         `json:"good"`
	Bad     int         `json:"bad"`
	Skip    int         `json:"skip"`
	Seconds page.Number `json:"seconds"` // for a judgement, on the average
	Gold    int         `json:"gold"`    // pictures with a known answer
	Right   int         `json:"right"`   // of them
}

// overview answers with how far the work is, and with the last analysis. One that is older than the
// judgements is made anew behind the page.
func (h *Handler) overview(w http.ResponseWriter, r *http.Request) error {
	now := h.config.Now()
	o, err := h.config.Store.Overview(r.Context())
	if err != nil {
		return err
	}
	perHour := h.pace.perHour(now)
	// Some pictures may have more judgements than are wanted, gold ones all have.
	left := max(o.Pictures*o.Wanted-o.Counts.Total(), o.Pictures-o.Complete)
	hoursLeft := math.NaN()
	switch {
	case left == 0:
		hoursLeft = 0
	case perHour > 0:
		hoursLeft = float64(left) / perHour
	}
	raters := make([]raterLine, len(o.Raters))
	for i, c := range o.Raters {
		raters[i] = raterLine{
			Name: c.Rater, Good: c.Counts.Good, Bad: c.Counts.Bad, Skip: c.Counts.Skip,
			Seconds: page.Number(c.Taken.Seconds() / float64(c.Counts.Total())),
			Gold:    c.Gold, Right: c.Right,
		}
	}
	return page.WriteJSON(w, map[string]any{
		"pictures": o.Pictures, "wanted": o.Wanted, "complete": o.Complete, "leased": o.Leased,
		"gold": o.Gold, "judged": o.Counts.Total(), "skipped": o.Counts.Skip, "left": left,
		"good":   shareOf(measure.NewRate(o.Counts.Good, o.Counts.Good+o.Counts.Bad)),
		"raters": raters, "per_hour": perHour, "hours_left": page.Number(hoursLeft),
		"analysis": h.analyst.Latest(o.Counts.Total()), "reward": h.train.line(h),
	})
}

// A share is a value with its 95 % interval.
type share struct {
	Value page.Number `json:"value"`
	Low   page.Number `json:"low"`
	High  page.Number `json:"high"`
	N     int         `json:"n"`
}

func shareOf(r measure.Rate) share {
	return share{page.Number(r.Rate), page.Number(r.Low), page.Number(r.High), r.N}
}

// labels answers with the samples and their labels by majority, in the form of dataset.File.
func (h *Handler) labels(w http.ResponseWriter, r *http.Request) error {
	download(w, "labels.jsonl")
	for s, err := range h.config.Store.Labels(feedback.Majority{}).All(r.Context()) {
		if err == nil {
			err = dataset.Encode(w, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// everything answers with all that the store has.
func (h *Handler) everything(w http.ResponseWriter, r *http.Request) error {
	download(w, "everything.jsonl")
	return h.config.Store.Export(r.Context(), w)
}

func download(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/jsonl; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// age is how long ago something was, in seconds.
func age(now, then time.Time) float64 { return now.Sub(then).Seconds() }
