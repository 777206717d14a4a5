package label

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A training is how the learning of a reward stands, and the order that it offers.
type training struct {
	mu        sync.Mutex
	running   bool
	begun     time.Time
	failed    string
	reward    *Reward
	ended     time.Time
	uncertain bool // the pictures that the reward is least sure of come first
}

// line is what the overview says of it.
func (t *training) line(h *Handler) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := h.config.Now()
	line := map[string]any{
		"possible": h.config.Train != nil, "running": t.running, "failed": t.failed,
		"uncertain_first": t.uncertain, "order": t.reward != nil && t.reward.Uncertain != nil,
	}
	if t.running {
		line["for_s"] = age(now, t.begun)
	}
	if t.reward != nil {
		line["right"] = shareOf(measure.NewRate(t.reward.Right, t.reward.N))
		line["age_s"] = age(now, t.ended)
	}
	return line
}

// startTraining learns a reward from the labels that there are, behind the page.
func (h *Handler) startTraining(w http.ResponseWriter, r *http.Request) error {
	t := &h.train
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case h.config.Train == nil:
		return page.Wrong("no reward can be learned here")
	case t.running:
		return &page.Error{Status: http.StatusConflict, Text: "a reward is being learned already"}
	}
	t.running, t.begun, t.failed = true, h.config.Now(), ""
	h.behind.Go(func(ctx context.Context) {
		labels := h.config.Store.Labels(feedback.DawidSkene{Smoothing: 1})
		reward, err := h.config.Train(ctx, labels)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.running, t.ended = false, h.config.Now()
		if err != nil {
			t.failed = err.Error()
			return
		}
		t.reward = &reward
	})
	return page.WriteJSON(w, map[string]any{})
}

// order puts the pictures first of which the reward is least sure, or takes that back.
func (h *Handler) order(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		Uncertain bool `json:"uncertain"`
	}
	if err := page.ReadJSON(r, &asked); err != nil {
		return err
	}
	t := &h.train
	t.mu.Lock()
	defer t.mu.Unlock()
	var first []string
	if asked.Uncertain {
		if t.reward == nil || t.reward.Uncertain == nil {
			return page.Wrong("there is no reward yet that says of which pictures it is unsure")
		}
		first = t.reward.Uncertain
	}
	if err := h.config.Store.First(r.Context(), first); err != nil {
		return err
	}
	t.uncertain = asked.Uncertain
	return page.WriteJSON(w, map[string]any{})
}
