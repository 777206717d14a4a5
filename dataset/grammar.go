package dataset

import (
	"fmt"
	"slices"
	"strings"
)

// A Grammar is the set of prompts of the form
//
//	<number> [<colour> [colored]] <object(s)> [<background>]
//
// of Lee et al. 2023: "two dogs", "a green colored dog", "a dog in the forest", "two green dogs in
// the city". It is data. All words are in lower case, with single spaces between them. The number
// is "a" or "an" where a prompt does not claim one.
type Grammar struct {
	Objects     []Object
	Counts      []string // the words for 1, 2, 3, …
	Colours     []string
	Backgrounds []string // with their preposition: "in the city"
	// Colored is the word that Render puts after the colour where the colour is all that a prompt
	// claims. "" puts none. Parse takes prompts with the word and without it.
	Colored string
}

// An Object is a noun and its plural.
type Object struct{ Name, Plural string }

// A Claim is what a prompt says: an object and up to three attributes. The zero value of an
// attribute says that the prompt does not claim it.
type Claim struct {
	Object     string // the singular noun
	Count      int    // 0: not claimed, "a"
	Colour     string
	Background string
}

// A Category says which attributes a prompt claims.
type Category string

// The paper's four categories, and prompts that claim no attribute at all.
const (
	Plain       Category = "plain"
	Count       Category = "count"
	Colour      Category = "colour"
	Background  Category = "background"
	Combination Category = "combination" // two attributes or more
)

// Categories lists the paper's four categories in its order. Every call returns a new slice.
func Categories() []Category { return []Category{Count, Colour, Background, Combination} }

// Category returns the category of c.
func (c Claim) Category() Category {
	category, n := Plain, 0
	if c.Count != 0 {
		category, n = Count, n+1
	}
	if c.Colour != "" {
		category, n = Colour, n+1
	}
	if c.Background != "" {
		category, n = Background, n+1
	}
	if n > 1 {
		return Combination
	}
	return category
}

// Render returns the prompt that claims c. It is an error if c has a word, or a count, that g does
// not have.
func (g *Grammar) Render(c Claim) (string, error) {
	if err := g.check(c); err != nil {
		return "", err
	}
	o := g.Objects[g.object(c.Object)]
	noun := o.Name
	if c.Count > 1 {
		noun = o.Plural
	}
	var words []string
	if c.Count > 0 {
		words = append(words, g.Counts[c.Count-1])
	}
	if c.Colour != "" {
		words = append(words, c.Colour)
		if g.Colored != "" && c.Category() == Colour {
			words = append(words, g.Colored)
		}
	}
	words = append(words, noun)
	if c.Background != "" {
		words = append(words, c.Background)
	}
	if c.Count == 0 {
		words = append([]string{article(words[0])}, words...)
	}
	return strings.Join(words, " "), nil
}

func (g *Grammar) check(c Claim) error {
	if g.object(c.Object) < 0 {
		return g.noObject(c.Object)
	}
	if c.Count < 0 || c.Count > len(g.Counts) {
		return fmt.Errorf("dataset: count %d is not in the grammar (1 to %d)",
			c.Count, len(g.Counts))
	}
	if c.Colour != "" && !slices.Contains(g.Colours, c.Colour) {
		return fmt.Errorf("dataset: colour %q is not in the grammar (%s)",
			c.Colour, strings.Join(g.Colours, ", "))
	}
	if c.Background != "" && !slices.Contains(g.Backgrounds, c.Background) {
		return fmt.Errorf("dataset: background %q is not in the grammar (%s)",
			c.Background, strings.Join(g.Backgrounds, ", "))
	}
	return nil
}

// object returns the index of an object by its singular noun, and −1 if there is none.
func (g *Grammar) object(name string) int {
	return slices.IndexFunc(g.Objects, func(o Object) bool { return o.Name == name })
}

// noObject is the error for an object that the grammar does not have.
func (g *Grammar) noObject(name string) error {
	var names []string
	for _, o := range g.Objects {
		names = append(names, o.Name)
	}
	return fmt.Errorf("dataset: object %q is not in the grammar (%s)",
		name, strings.Join(names, ", "))
}

func article(word string) string {
	if word != "" && strings.ContainsRune("aeiou", rune(word[0])) {
		return "an"
	}
	return "a"
}

// Parse returns what a prompt claims. It is the inverse of Render. Case and extra spaces do not
// matter. The error of a prompt outside the grammar is a *PromptError, which names the words that
// do not fit.
func (g *Grammar) Parse(prompt string) (Claim, error) {
	fail := func(part, words string) (Claim, error) {
		return Claim{}, &PromptError{Prompt: prompt, Words: words, Part: part}
	}
	var c Claim
	number, rest, _ := strings.Cut(strings.Join(strings.Fields(strings.ToLower(prompt)), " "), " ")
	if i := slices.Index(g.Counts, number); i >= 0 {
		c.Count = i + 1
	} else if number != "a" && number != "an" {
		return fail("number", number)
	}
	if g.parseNoun(&c, rest) { // before colours are looked for: "an orange" has none
		return c, nil
	}
	rest, c.Colour = g.cutColour(rest)
	if g.parseNoun(&c, rest) {
		return c, nil
	}
	for _, b := range g.Backgrounds {
		if before, ok := strings.CutSuffix(rest, " "+b); ok {
			return fail("object", before)
		}
	}
	for _, o := range g.Objects {
		for _, noun := range []string{o.Name, o.Plural} {
			if after, ok := cutWord(rest, noun); ok && after != "" {
				return fail("background", after)
			}
		}
	}
	return fail("object", rest)
}

// parseNoun reads an object and, if there is one, a background into c. It reports whether the words
// are just that.
func (g *Grammar) parseNoun(c *Claim, words string) bool {
	for _, o := range g.Objects {
		noun := o.Name
		if c.Count > 1 {
			noun = o.Plural
		}
		background, ok := cutWord(words, noun)
		if ok && (background == "" || slices.Contains(g.Backgrounds, background)) {
			c.Object, c.Background = o.Name, background
			return true
		}
	}
	return false
}

// cutColour splits a leading colour, with or without the word Colored, from words.
func (g *Grammar) cutColour(words string) (rest, colour string) {
	for _, colour := range g.Colours {
		if rest, ok := cutWord(words, colour); ok {
			if g.Colored != "" {
				if after, ok := cutWord(rest, g.Colored); ok {
					rest = after
				}
			}
			return rest, colour
		}
	}
	return words, ""
}

// cutWord removes a leading word, or several, and the space behind it. ok is false if s does not
// begin with the whole word.
func cutWord(s, word string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, word)
	if !ok || rest != "" && rest[0] != ' ' {
		return s, false
	}
	return strings.TrimPrefix(rest, " "), true
}

// Claims returns all claims of a category, object by object. Those of Combination claim all three
// attributes.
func (g *Grammar) Claims(category Category) []Claim {
	counts, colours, backgrounds := []int{0}, []string{""}, []string{""}
	if category == Count || category == Combination {
		counts = counts[:0]
		for i := range g.Counts {
			counts = append(counts, i+1)
		}
	}
	if category == Colour || category == Combination {
		colours = g.Colours
	}
	if category == Background || category == Combination {
		backgrounds = g.Backgrounds
	}
	var claims []Claim
	for _, o := range g.Objects {
		for _, count := range counts {
			for _, colour := range colours {
				for _, background := range backgrounds {
					claims = append(claims, Claim{o.Name, count, colour, background})
				}
			}
		}
	}
	return claims
}

// Split divides a grammar by its objects: unseen has those that are named, and seen has all others.
// Both have all other words, which they share with g. A name that is no object of g is an error.
func (g *Grammar) Split(objects ...string) (seen, unseen Grammar, err error) {
	for _, name := range objects {
		if g.object(name) < 0 {
			return seen, unseen, g.noObject(name)
		}
	}
	seen, unseen = *g, *g
	seen.Objects, unseen.Objects = nil, nil
	for _, o := range g.Objects {
		if slices.Contains(objects, o.Name) {
			unseen.Objects = append(unseen.Objects, o)
		} else {
			seen.Objects = append(seen.Objects, o)
		}
	}
	return seen, unseen, nil
}
