package dataset

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadPrompts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{
			"a.txt", "\ufefftwo dogs\r\n\n  a cat, \"sitting\" \n",
			[]string{"two dogs", `a cat, "sitting"`},
		},
		{"utf16.txt", inUTF16("two dogs\r\n犬 🐕\r\n"), []string{"two dogs", "犬 🐕"}},
		{"mac.txt", "two dogs\r\r{red|blue} hat\r", []string{"two dogs", "{red|blue} hat"}},
		{"dos.txt", "a\r\n\u200b\r\n\x1a", []string{"a"}},
		{"joined.txt", "\ufeffa\n\ufeffb", []string{"a", "b"}},
		{"b.JSONL", inUTF16(`{"prompt":"a"}` + "\r\n"), []string{"a"}},
		{"a.jsonl", `{"prompt":"a, b"}` + "\n" + `{"id":"2","prompt":"c"}`, []string{"a, b", "c"}},
	} {
		got, err := ReadPrompts(t.Context(), write(c.name, c.text))
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, c := range []struct{ name, text, want string }{
		{"blank.txt", " \n\n", " holds no prompt"},
		{"blank.jsonl", " \n\n", " holds no prompt"},
		{"latin1.txt", "a dog\n\nein gr\xfcner Hund\n", ":3: the line is not UTF-8"},
		{"long.txt", strings.Repeat("a ", 1<<20), ":1: the line has more than 1048576 bytes"},
		{"json.txt", "a\n" + `{"prompt":"b"}`, ":2: the line is JSON, not a prompt"},
		{"a.json", `["a"]`, ": prompts are not read from .json"},
		{"a.CSV", "prompt\na", ": prompts are not read from .csv"},
		{"a.toml", "[prompt]\nprompt = 'a'", ": prompts are not read from .toml"},
		{"a.yaml", "- a\n", ": prompts are not read from .yaml"},
		{"web.txt", "<!DOCTYPE html>", ":1: the file is a web page"},
		{"half.jsonl", `{"prompt":"a \\ud83d \ud83d"}`, `:1: \ud83d is half a character`},
		{"utf16.txt", "a\x00 \x00d\x00", ":1: the line holds a zero byte"},
		{"wrong.jsonl", `{"prompt":"a"}` + "\n" + `{"prompt":""}`, ":2: the prompt is missing"},
	} {
		file := write(c.name, c.text)
		_, err := ReadPrompts(t.Context(), file)
		require.ErrorContains(t, err, "dataset: "+file+c.want)
	}
	_, err := ReadPrompts(t.Context(), filepath.Join(dir, "gone.txt"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestReadCategories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "categories.txt")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o644)) }
	write("\ufeffcount\t two dogs\r\n\n colour\ta green dog, \"sitting\" \n")
	category, err := ReadCategories(file)
	require.NoError(t, err)
	for prompt, want := range map[string]string{
		"two dogs": "count", `a green dog, "sitting"`: "colour", "a cat": "", "": "",
	} {
		require.Equal(t, want, category(prompt), prompt)
	}
	write("count\ttwo dogs\na cat\n")
	_, err = ReadCategories(file)
	require.ErrorContains(t, err, "dataset: "+file+":2: there is no category, tab and prompt")
	write("count\ttwo dogs\r\rcount\ttwo dogs\rcolour\ttwo dogs\r")
	_, err = ReadCategories(file)
	require.ErrorContains(t, err, ":4: an earlier line has the prompt in category \"count\"")
	write("count\tzwei H\xfcndchen\n")
	_, err = ReadCategories(file)
	require.ErrorContains(t, err, file+":1: the line is not UTF-8")
	_, err = ReadCategories(file + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestSplitPrompts(t *testing.T) {
	var samples []Sample
	for i := range 60 {
		samples = append(samples, Sample{ID: fmt.Sprint(i), Prompt: fmt.Sprintf("prompt %d", i%20)})
	}
	rest, heldOut, err := SplitPrompts(samples, 0.25, 1)
	require.NoError(t, err)
	require.Len(t, heldOut, 3*5)
	require.Len(t, rest, 3*15)
	require.Len(t, Prompts(heldOut), 5)
	for _, p := range Prompts(heldOut) {
		require.NotContains(t, Prompts(rest), p)
	}
	byPlace := func(a, b Sample) int {
		return slices.IndexFunc(samples, same(a)) - slices.IndexFunc(samples, same(b))
	}
	require.True(t, slices.IsSortedFunc(rest, byPlace) && slices.IsSortedFunc(heldOut, byPlace),
		"the order changed")

	// Another order of the samples, or fewer of them, holds out the same prompts; another seed
	// others.
	back := slices.Clone(samples[20:])
	slices.Reverse(back)
	_, again, err := SplitPrompts(back, 0.25, 1)
	require.NoError(t, err)
	require.Equal(t, Prompts(heldOut), Prompts(again))
	_, other, err := SplitPrompts(samples, 0.25, 2)
	require.NoError(t, err)
	require.NotEqual(t, Prompts(heldOut), Prompts(other))

	for share, want := range map[float64]int{0: 1, 0.01: 1, 0.5: 10, 1: 18} {
		_, heldOut, err := SplitPrompts(samples, share, 1)
		require.NoError(t, err)
		require.Len(t, Prompts(heldOut), want, share)
	}
	_, _, err = SplitPrompts(samples[:2], 0.5, 1)
	require.ErrorContains(t, err, "of 2 prompts; at least 3")
	_, _, err = SplitPrompts(samples, -0.1, 1)
	require.ErrorContains(t, err, "share of -0.1")
}

// Both kinds of labels are on both sides, whatever the seed, and what is left can be split again.
func TestSplitPromptsByLabel(t *testing.T) {
	var samples []Sample
	for i := range 60 {
		s := Sample{ID: fmt.Sprint(i), Prompt: fmt.Sprintf("prompt %d", i%20), Label: Good}
		if p := i % 20; p == 3 || p == 8 || p == 13 {
			s.Label = Bad
		}
		samples = append(samples, s)
	}
	kinds := func(of []Sample) map[Label]int {
		prompts := map[Label]map[string]bool{Good: {}, Bad: {}}
		for _, s := range of {
			prompts[s.Label][s.Prompt] = true
		}
		return map[Label]int{Good: len(prompts[Good]), Bad: len(prompts[Bad])}
	}
	for seed := range uint64(20) {
		rest, heldOut, err := SplitPrompts(samples, 0.2, seed)
		require.NoError(t, err)
		require.Equal(t, map[Label]int{Good: 3, Bad: 1}, kinds(heldOut), seed)
		require.Equal(t, map[Label]int{Good: 14, Bad: 2}, kinds(rest), seed)
	}
	for i := range samples {
		if samples[i].Prompt == "prompt 8" {
			samples[i].Label = Skip
		}
	}
	_, _, err := SplitPrompts(samples, 0.2, 1)
	require.EqualError(t, err, "dataset: of 20 prompts, 17 have pictures labelled good and 2 have "+
		"pictures labelled bad; at least 3 must have either: to learn from, to stop early by, to "+
		"test on")
}

func same(a Sample) func(Sample) bool { return func(b Sample) bool { return a.ID == b.ID } }

func TestOtherPrompts(t *testing.T) {
	others := OtherPrompts([]string{"c", "a", "b", "a", "d"})
	seen := map[string]int{}
	for seed := range uint64(300) {
		wrong, err := others("b", 2, rand.New(rand.NewPCG(seed, 0)))
		require.NoError(t, err)
		require.Len(t, wrong, 2)
		require.NotEqual(t, wrong[0], wrong[1])
		for _, p := range wrong {
			seen[p]++
		}
	}
	require.Len(t, seen, 3)
	require.NotContains(t, seen, "b")
	for p, n := range seen { // 200 of 300 on average, ± 8
		require.InDelta(t, 200, n, 35, p)
	}
	wrong, err := others("b", 9, rand.New(rand.NewPCG(1, 0)))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"a", "c", "d"}, wrong)
}

func TestDraw(t *testing.T) {
	g := &Grammar{
		Objects: []Object{{"dog", "dogs"}, {"wolf", "wolves"}}, Counts: []string{"one", "two"},
		Colours: []string{"green"}, Backgrounds: []string{"in the city"},
	}
	prompts, err := g.Draw("test", 1, 40)
	require.NoError(t, err)
	for i, p := range prompts {
		require.Equal(t, string(Categories()[i%4]), g.Category(Sample{Prompt: p}))
	}
	more, err := g.Draw("test", 1, 80)
	require.NoError(t, err)
	require.Equal(t, prompts, more[:40])
	other, err := g.Draw("another", 1, 40)
	require.NoError(t, err)
	require.NotEqual(t, prompts, other)
	require.Empty(t, g.Category(Sample{Prompt: "three cats"}))
	_, err = (&Grammar{}).Draw("test", 1, 1)
	require.ErrorContains(t, err, "no prompts of the category count")
}
