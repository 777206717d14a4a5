package study

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// leastID is how many letters a pair's ID has at least: those of rand.Text, 130 bits. Shorter ones
// might be guessed, and with them everything below.
const leastID = 26

// secret is what is known of a pair by those alone who know its ID.
func secret(id, what string) []byte {
	mac := hmac.New(sha256.New, []byte(id))
	mac.Write([]byte(what))
	return mac.Sum(nil)
}

// handle is how something of a pair is called outside.
func handle(id, what string) string {
	return base64.RawURLEncoding.EncodeToString(secret(id, what)[:16])
}

// swapped reports whether a rater sees B of a pair on the left.
func swapped(id, rater string) bool { return secret(id, "side "+rater)[0]&1 == 1 }

// A shape is a pair as it is shown: what stands for it, and its pictures in the order in which they
// are shown.
type shape struct {
	feedback.Pair
	name string
	sets [2][]shown // A's and B's
}

// A shown is a picture of a set.
type shown struct {
	id     string // in the store
	handle string
}

// newShape is an error if the pair's ID can be guessed.
func newShape(p feedback.Pair) (*shape, error) {
	if len(p.ID) < leastID {
		return nil, fmt.Errorf("study: pair %q of study %q: its ID can be guessed, and with it "+
			"which pictures are whose: Make draws IDs", p.ID, p.Study)
	}
	s := &shape{Pair: p, name: handle(p.ID, "pair")}
	for side, pictures := range [][]string{p.A, p.B} {
		for place, id := range pictures {
			h := handle(p.ID, fmt.Sprintf("picture %d %d", side, place))
			s.sets[side] = append(s.sets[side], shown{id, h})
		}
		// The order of random names is a random one. The model's may be by its reward.
		slices.SortFunc(s.sets[side], func(a, b shown) int {
			return cmp.Compare(a.handle, b.handle)
		})
	}
	return s, nil
}

// sides are the names of the pictures on the left and on the right for a rater.
func (s *shape) sides(rater string) (left, right []string) {
	names := [2][]string{}
	for side, set := range s.sets {
		for _, p := range set {
			names[side] = append(names[side], p.handle)
		}
	}
	if swapped(s.ID, rater) {
		return names[1], names[0]
	}
	return names[0], names[1]
}

// choices are what a page calls the choices.
var choices = []string{"", "left", "right", "tie", "both bad"}

// choice is what a rater's choice is in terms of A and B.
func (s *shape) choice(name, rater string) (feedback.Choice, error) {
	i := slices.Index(choices, name)
	if i < 0 {
		return 0, fmt.Errorf("the choice %.20q is none of left, right, tie and both bad", name)
	}
	return s.turn(feedback.Choice(i), rater), nil
}

// turn makes A of B and B of A for whoever sees them so.
func (s *shape) turn(c feedback.Choice, rater string) feedback.Choice {
	if !swapped(s.ID, rater) {
		return c
	}
	switch c {
	case feedback.A:
		return feedback.B
	case feedback.B:
		return feedback.A
	}
	return c
}
