package study

import (
	"context"
	"net/http"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

// A questionLine is what the overview says of a question at once.
type questionLine struct {
	Question string `json:"question"`
	Pairs    int    `json:"pairs"`
	Complete int    `json:"complete"`
	Wanted   int    `json:"wanted"`
	Votes    Votes  `json:"votes"`
}

// overview answers with how far the study is, and with the last analysis.
func (h *Handler) overview(w http.ResponseWriter, r *http.Request) error {
	counts, err := h.counts(r.Context())
	if err != nil {
		return err
	}
	lines, votes := []questionLine{}, 0
	for _, c := range counts {
		l := questionLine{c.Question.String(), c.Pairs, c.Complete, c.Wanted,
			Votes{c.A, c.B, c.Tie, c.BothBad}}
		lines = append(lines, l)
		votes += l.Votes.Total()
	}
	return page.WriteJSON(w, map[string]any{
		"study": h.config.Study, "questions": lines, "analysis": h.analyst.Latest(votes),
	})
}

// report answers with the analysis of what there is now.
func (h *Handler) report(w http.ResponseWriter, r *http.Request) error {
	result, err := Analyse(r.Context(), h.config.Store, h.config.Analysis)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", `attachment; filename="report.json"`)
	return page.WriteJSON(w, result)
}

// An analysed is an analysis as the overview has it.
type analysed struct {
	Verdict string      `json:"verdict"`
	Result  *Result     `json:"result"`
	Raters  []raterLine `json:"raters"`
}

// A raterLine is what one rater has said.
type raterLine struct {
	Name    string  `json:"name"`
	Votes   Votes   `json:"votes"`
	Left    int     `json:"left"` // votes for the left set; −1 of a rater who was erased
	Seconds float64 `json:"seconds"`
}

// analyse looks at all votes.
func (h *Handler) analyse(ctx context.Context) (made analysed, err error) {
	if made.Result, err = Analyse(ctx, h.config.Store, h.config.Analysis); err != nil {
		return made, err
	}
	made.Verdict = made.Result.Verdict()
	made.Raters, err = h.raters(ctx)
	return made, err
}

// raters says what each rater has said, in the order in which they have begun.
func (h *Handler) raters(ctx context.Context) ([]raterLine, error) {
	votes, err := h.config.Store.StandingVotes(ctx, h.config.Study)
	if err != nil {
		return nil, err
	}
	erased, err := erasedRaters(ctx, h.config.Store)
	if err != nil {
		return nil, err
	}
	all, index := []raterLine{}, make(map[string]int)
	for _, v := range votes {
		i, known := index[v.Rater]
		if !known {
			i = len(all)
			index[v.Rater] = i
			all = append(all, raterLine{Name: v.Rater})
		}
		r := &all[i]
		r.Votes.add(v.Choice)
		r.Seconds += v.Taken.Seconds()
		if v.Choice == feedback.A || v.Choice == feedback.B {
			if (v.Choice == feedback.B) == swapped(v.Pair, v.Rater) {
				r.Left++
			}
		}
	}
	for i := range all {
		if erased[all[i].Name] {
			all[i].Left = -1
		}
		all[i].Seconds /= float64(all[i].Votes.Total())
	}
	return all, nil
}
