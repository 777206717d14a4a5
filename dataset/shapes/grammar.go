package shapes

import (
	"slices"

	"github.com/kudos-ml/kudos/dataset"
)

// Side is the width and height of a picture in pixels.
const Side = 64

// Grammar returns the world's language: 8 kinds of things, 1 to 6 of them, 9 colours, 8
// backgrounds. Every call returns a new copy: a caller who changes it changes no other caller's,
// and neither what is drawn nor what the judge sees.
func Grammar() *dataset.Grammar {
	g := grammar
	g.Objects = slices.Clone(g.Objects)
	g.Counts = slices.Clone(g.Counts)
	g.Colours = slices.Clone(g.Colours)
	g.Backgrounds = slices.Clone(g.Backgrounds)
	return &g
}

var grammar = dataset.Grammar{
	Objects: []dataset.Object{
		{Name: "circle", Plural: "circles"},
		{Name: "square", Plural: "squares"},
		{Name: "triangle", Plural: "triangles"},
		{Name: "star", Plural: "stars"},
		{Name: "cross", Plural: "crosses"},
		{Name: "heart", Plural: "hearts"},
		{Name: "diamond", Plural: "diamonds"},
		{Name: "crescent", Plural: "crescents"},
	},
	Counts: []string{"one", "two", "three", "four", "five", "six"},
	Colours: []string{
		"red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "black",
	},
	Backgrounds: []string{
		"on the beach", "in the snow", "in the forest", "in the city",
		"on the sea", "in the desert", "on the moon", "in the lavender",
	},
}

// An rgb is a colour: red, green and blue, 0 to 255 each.
type rgb [3]float32

// colours are the colours of the things, in Grammar's order: saturated, and far from every
// background.
var colours = [...]rgb{
	{220, 28, 36}, {250, 130, 14}, {252, 226, 24}, {24, 156, 52}, {16, 206, 224},
	{32, 64, 222}, {132, 30, 176}, {252, 84, 176}, {18, 18, 22},
}

// backgrounds are the mean colours of the backgrounds, in Grammar's order: muted, and far from each
// other.
var backgrounds = [...]rgb{
	{224, 206, 162}, {238, 242, 247}, {98, 128, 88}, {150, 152, 157},
	{116, 160, 190}, {196, 146, 110}, {84, 84, 98}, {180, 160, 204},
}
