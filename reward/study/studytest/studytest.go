// Package studytest stands in for the people and the models of a study, on the world of package
// shapes: Pictures are a model's, and a Rater answers a study over HTTP as a browser does. It knows
// nothing of package study but what the pages send.
package studytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
)

// Pictures are n pictures of each prompt by a model that is right with that probability. Where it
// is wrong, it shows another of the prompts, of which there must be two or more. seed alone decides
// them.
func Pictures(prompts []string, n int, right float64, seed uint64) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			r := rand.New(rand.NewPCG(seed, 0x70696374))
			var shown, said []string
			for i, p := range prompts {
				for range n {
					s := p
					if r.Float64() >= right {
						s = prompts[(i+1+r.IntN(len(prompts)-1))%len(prompts)]
					}
					shown, said = append(shown, s), append(said, p)
				}
			}
			i := 0
			for s, err := range shapes.Illustrate(shown, "study", seed).All(ctx) {
				if err == nil {
					s.Prompt, s.ID = said[i], ""
				}
				if i++; !yield(s, err) || err != nil {
					return
				}
			}
		}
	})
}

// A Rater looks at pictures as shapes.Judge does. Of two sets the one follows the prompt better
// that has more pictures which do. Where neither has one, both are bad, and where they have as
// many, it is a tie. How pictures look it cannot say: they look alike.
type Rater struct {
	Token string
	Errs  float64 // how often it says any of left, right and tie by chance
	Seed  uint64  // decides when, with the order of the queries
}

// Answer signs in at base, a URL without a slash at its end, and answers all that the study asks.
// It returns how many answers the program has kept.
func (r Rater) Answer(ctx context.Context, base string) (answers int, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return 0, err
	}
	v := &visit{base: base, client: &http.Client{Jar: jar}, seen: map[string]bool{}}
	if err := v.post(ctx, "/enter", map[string]string{"token": r.Token}, nil); err != nil {
		return 0, err
	}
	chance := rand.New(rand.NewPCG(r.Seed, 0x72617465))
	for {
		var page struct{ Next []query }
		if err := v.get(ctx, "/next?alignment=8&fidelity=8", &page); err != nil {
			return answers, err
		}
		if len(page.Next) == 0 {
			return answers, nil
		}
		var given []answer
		for _, q := range page.Next {
			choice, err := v.judge(ctx, q)
			if err != nil {
				return answers, err
			}
			if chance.Float64() < r.Errs {
				choice = []string{"left", "right", "tie"}[chance.IntN(3)]
			}
			given = append(given, answer{
				fmt.Sprintf("%s %s %s", r.Token[:8], q.Question, q.Pair), q.Pair, q.Question,
				choice, 900,
			})
		}
		var kept struct {
			Done    []string
			Refused map[string]string
		}
		err := v.post(ctx, "/votes", map[string]any{"answers": given}, &kept)
		if err == nil && len(kept.Done) != len(given) {
			err = fmt.Errorf("of %d answers %d were kept, and refused were %v", len(given),
				len(kept.Done), kept.Refused)
		}
		if err != nil {
			return answers, err
		}
		answers += len(kept.Done)
	}
}

type query struct {
	Pair, Question, Prompt string
	Left, Right            []string
}

type answer struct {
	ID       string `json:"id"`
	Pair     string `json:"pair"`
	Question string `json:"question"`
	Choice   string `json:"choice"`
	Taken    int    `json:"taken_ms"`
}

// A visit is a rater's, from sign-in on.
type visit struct {
	base   string
	client *http.Client
	seen   map[string]bool // by picture and prompt, whether it follows
}

// judge looks at both sets.
func (v *visit) judge(ctx context.Context, q query) (string, error) {
	if q.Question != "alignment" {
		return "tie", nil
	}
	var right [2]int
	for side, set := range [][]string{q.Left, q.Right} {
		for _, name := range set {
			follows, err := v.follows(ctx, name, q.Prompt)
			if err != nil {
				return "", err
			}
			if follows {
				right[side]++
			}
		}
	}
	switch {
	case right[0] > right[1]:
		return "left", nil
	case right[0] < right[1]:
		return "right", nil
	case right[0] == 0:
		return "both bad", nil
	}
	return "tie", nil
}

func (v *visit) follows(ctx context.Context, name, prompt string) (bool, error) {
	if follows, known := v.seen[name]; known {
		return follows, nil
	}
	body, err := v.do(ctx, http.MethodGet, "/picture/"+name, nil)
	if err != nil {
		return false, err
	}
	img, err := png.Decode(bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	label, err := shapes.Rater{}.Label(dataset.Sample{Prompt: prompt, Image: img})
	v.seen[name] = label == dataset.Good
	return v.seen[name], err
}

func (v *visit) get(ctx context.Context, path string, to any) error {
	body, err := v.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, to)
}

func (v *visit) post(ctx context.Context, path string, sent, to any) error {
	text, err := json.Marshal(sent)
	if err != nil {
		return err
	}
	body, err := v.do(ctx, http.MethodPost, path, text)
	if err != nil || to == nil {
		return err
	}
	return json.Unmarshal(body, to)
}

func (v *visit) do(ctx context.Context, method, path string, sent []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, v.base+path, bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	response, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, body)
	}
	return body, err
}
