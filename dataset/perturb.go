package dataset

import (
	"fmt"
	"math/rand/v2"
)

// Perturb returns n prompts that are wrong where the one given is right. Each changes the colour,
// the count, the object or the background to another word of the grammar (Lee et al. 2023, §4.2).
// What changes is chosen evenly, by r, among what the prompt says. All results differ from the
// prompt and from each other. When the prompts with one change are used up, two things change, and
// so on.
//
// A prompt that g does not have is a *PromptError. It is an error too if there are fewer than n
// such prompts.
func (g *Grammar) Perturb(prompt string, n int, r *rand.Rand) ([]string, error) {
	claim, err := g.Parse(prompt)
	if err != nil {
		return nil, err
	}
	layers := [][]Claim{{claim}}
	seen := map[Claim]bool{claim: true}
	var out []string
	for len(out) < n {
		groups := g.changes(layers[len(layers)-1], seen)
		var layer []Claim
		for len(groups) > 0 {
			i := r.IntN(len(groups))
			j := r.IntN(len(groups[i]))
			c := groups[i][j]
			layer = append(layer, c)
			groups[i][j] = groups[i][len(groups[i])-1]
			groups[i] = groups[i][:len(groups[i])-1]
			if len(groups[i]) == 0 {
				groups[i] = groups[len(groups)-1]
				groups = groups[:len(groups)-1]
			}
			if len(out) < n {
				text, err := g.Render(c)
				if err != nil {
					return nil, err
				}
				out = append(out, text)
			}
		}
		if len(layer) == 0 {
			return nil, fmt.Errorf("dataset: prompt %q has only %d perturbations, not %d",
				prompt, len(out), n)
		}
		layers = append(layers, layer)
	}
	return out, nil
}

// changes returns the claims that differ in one word from one of those given and are not in seen.
// It adds them to seen. They are grouped by what changes.
func (g *Grammar) changes(claims []Claim, seen map[Claim]bool) [][]Claim {
	var groups [4][]Claim
	add := func(group int, c Claim) {
		if !seen[c] {
			seen[c] = true
			groups[group] = append(groups[group], c)
		}
	}
	for _, claim := range claims {
		for _, o := range g.Objects {
			c := claim
			c.Object = o.Name
			add(0, c)
		}
		for i := range g.Counts {
			c := claim
			c.Count = i + 1
			if claim.Count != 0 {
				add(1, c)
			}
		}
		for _, colour := range g.Colours {
			c := claim
			c.Colour = colour
			if claim.Colour != "" {
				add(2, c)
			}
		}
		for _, background := range g.Backgrounds {
			c := claim
			c.Background = background
			if claim.Background != "" {
				add(3, c)
			}
		}
	}
	var out [][]Claim
	for _, group := range groups {
		if len(group) > 0 {
			out = append(out, group)
		}
	}
	return out
}
