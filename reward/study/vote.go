package study

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/internal/page"
)

// questions are those of a study, in the order in which they are asked.
var questions = []feedback.Question{feedback.Alignment, feedback.Fidelity}

// A query is one question about a pair, as a page has it.
type query struct {
	Pair     string   `json:"pair"` // what stands for it
	Question string   `json:"question"`
	Prompt   string   `json:"prompt"`
	Left     []string `json:"left"` // what stands for the pictures
	Right    []string `json:"right"`
}

// A said is a query with the rater's answer.
type said struct {
	query
	Choice string `json:"choice"`
}

// A vote is an answer as a page sends it. The page makes the ID, so that one that it sends twice is
// one.
type vote struct {
	ID       string `json:"id"`
	Pair     string `json:"pair"`
	Question string `json:"question"`
	Choice   string `json:"choice"`   // left, right, tie or both bad; "" takes the last one back
	Taken    int64  `json:"taken_ms"` // from seeing the pictures to the answer
	Ago      int64  `json:"ago_ms"`   // since the answer, which may have waited for the network
}

// Bounds on what one request may ask for or hold.
const (
	maxNext  = 60
	maxLast  = 50
	maxVotes = 200
	maxID    = 100
	maxTaken = 24 * time.Hour
	maxAgo   = 30 * 24 * time.Hour
)

// next answers with queries: up to so many of each question as the request says. At first it has
// what the rater has answered, as far as the page wants it to take it back.
func (h *Handler) next(w http.ResponseWriter, r *http.Request, rater string) error {
	last, err := page.Count(r, "last", maxLast)
	if err != nil {
		return err
	}
	answer := struct {
		Rater string  `json:"rater"`
		Voted int     `json:"voted"` // by the rater, if the page asks for the last; else 0
		Asked int     `json:"asked"` // queries that there are
		Open  int     `json:"open"`  // queries that want more raters
		Next  []query `json:"next"`
		Last  []said  `json:"last"` // the newest first
	}{Rater: rater, Next: []query{}, Last: []said{}}
	if last > 0 {
		if answer.Voted, answer.Last, err = h.last(r.Context(), rater, last); err != nil {
			return err
		}
	}
	for _, q := range questions {
		n, err := page.Count(r, q.String(), maxNext)
		if err != nil {
			return err
		}
		pairs, err := h.config.Store.NextPairs(r.Context(), rater, h.config.Study, q, n)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if s := h.shapes[handle(p.Pair.ID, "pair")]; s != nil { // not there: added since New
				answer.Next = append(answer.Next, s.query(q, rater))
			}
		}
	}
	counts, err := h.counts(r.Context())
	if err != nil {
		return err
	}
	for _, c := range counts {
		answer.Asked += c.Pairs
		answer.Open += c.Pairs - c.Complete
	}
	return page.WriteJSON(w, answer)
}

// query is a question about the pair as a rater's page has it.
func (s *shape) query(q feedback.Question, rater string) query {
	left, right := s.sides(rater)
	return query{s.name, q.String(), s.Prompt, left, right}
}

// last returns how many votes of a rater stand, and the last n, the newest first.
func (h *Handler) last(
	ctx context.Context, rater string, n int,
) (voted int, all []said, err error) {
	votes, err := h.config.Store.StandingVotes(ctx, h.config.Study)
	if err != nil {
		return 0, nil, err
	}
	all = []said{}
	for _, v := range slices.Backward(votes) {
		if v.Rater != rater {
			continue
		}
		voted++
		if s := h.shapes[handle(v.Pair, "pair")]; s != nil && len(all) < n {
			all = append(all, said{s.query(v.Question, rater), choices[s.turn(v.Choice, rater)]})
		}
	}
	return voted, all, nil
}

// counts are how far the questions are.
func (h *Handler) counts(ctx context.Context) (all []feedback.StudyCounts, err error) {
	o, err := h.config.Store.Overview(ctx)
	for _, c := range o.Studies {
		if c.Study == h.config.Study {
			all = append(all, c)
		}
	}
	return all, err
}

// votes keeps what a rater has answered, in order. done are the IDs of the answers that are on the
// disk. refused says of others why they never will be. Where something is in the way that may pass,
// such as a full disk, the request fails, and the page sends the answers again.
func (h *Handler) votes(w http.ResponseWriter, r *http.Request, rater string) error {
	var sent struct {
		Answers []vote `json:"answers"`
	}
	if err := page.ReadJSON(r, &sent); err != nil {
		return err
	}
	if len(sent.Answers) > maxVotes {
		return page.Wrong("more than %d answers at once", maxVotes)
	}
	done, refused := []string{}, map[string]string{}
	for _, v := range sent.Answers {
		kept, err := h.read(v, rater)
		if err != nil {
			refused[v.ID] = err.Error()
			continue
		}
		_, err = h.config.Store.Vote(r.Context(), kept)
		switch {
		case errors.Is(err, feedback.ErrUnknown):
			refused[v.ID] = "the pair is not in the study, or there is nothing to take back"
		case errors.Is(err, feedback.ErrConflict):
			refused[v.ID] = "another answer has this id"
		case err != nil:
			return err
		default:
			done = append(done, v.ID)
		}
	}
	return page.WriteJSON(w, map[string]any{"done": done, "refused": refused})
}

// read is a vote as the store has it.
func (h *Handler) read(v vote, rater string) (feedback.Vote, error) {
	s := h.shapes[v.Pair]
	question, err := feedback.ParseQuestion(v.Question)
	switch {
	case v.ID == "" || len(v.ID) > maxID:
		return feedback.Vote{}, errors.New("an answer's id has 1 to 100 letters")
	case s == nil:
		return feedback.Vote{}, errors.New("the pair is not in the study")
	case err != nil:
		return feedback.Vote{}, errors.New("the question is neither alignment nor fidelity")
	}
	choice, err := s.choice(v.Choice, rater)
	if err != nil {
		return feedback.Vote{}, err
	}
	taken := time.Duration(v.Taken) * time.Millisecond
	ago := time.Duration(v.Ago) * time.Millisecond
	return feedback.Vote{
		Answer: v.ID, Study: s.Study, Pair: s.ID, Question: question, Rater: rater, Choice: choice,
		Taken: min(max(taken, 0), maxTaken), At: h.config.Now().Add(-min(max(ago, 0), maxAgo)),
	}, nil
}
