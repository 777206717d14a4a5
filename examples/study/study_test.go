package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/study/studytest"
)

// The prompts of the tests: the first half were tuned on.
var (
	seen = []string{"two red circles", "one blue star", "a square in the forest", "three hearts",
		"a cyan cross"}
	unseen = []string{"four green circles", "two stars", "a yellow heart", "five crosses",
		"a square on the beach"}
)

// folders are a model's pictures beside the other's.
func folders(t *testing.T, dir string) {
	t.Helper()
	all := append(append([]string{}, seen...), unseen...)
	for i, model := range []string{"tuned", "base"} {
		right := []float64{0.95, 0.1}[i]
		pictures := studytest.Pictures(all, 4, right, uint64(1+i))
		_, err := dataset.WriteFolder(t.Context(), filepath.Join(dir, model), pictures)
		require.NoError(t, err)
	}
	text := strings.Join(unseen, "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "UNSEEN"), []byte(text), 0o644))
}

// The program serves a study, three raters answer it, and the report names the model that is
// better. What was answered before a signal is kept, and the rest is asked by the next run.
func TestStudy(t *testing.T) {
	dir := t.TempDir()
	folders(t, dir)
	args := []string{"-a", filepath.Join(dir, "tuned"), "-b", filepath.Join(dir, "base"),
		"-raters", "3", "-unseen", filepath.Join(dir, "UNSEEN"), "-addr", "127.0.0.1:0"}

	// One rater, then the others: two runs of the program.
	for _, names := range []string{"anna", "ben,cem"} {
		base, tokens, end := serve(t, append(args, "-invite", names))
		require.Len(t, tokens, 1+strings.Count(names, ","))
		var wait sync.WaitGroup
		for i, token := range tokens {
			wait.Go(func() {
				n, err := studytest.Rater{Token: token, Errs: 0.05, Seed: uint64(i)}.
					Answer(t.Context(), base)
				assert.NoError(t, err)
				assert.Equal(t, 2*(len(seen)+len(unseen)), n)
			})
		}
		wait.Wait()
		end()
	}

	out := filepath.Join(dir, "report")
	o, err := parse(append(args, "-report", out))
	require.NoError(t, err)
	var printed strings.Builder
	require.NoError(t, run(t.Context(), o, &printed))
	assert.Contains(t, printed.String(), "tuned is better")
	text, err := os.ReadFile(filepath.Join(out, "report.json"))
	require.NoError(t, err)
	type share struct{ Value, Low, High float64 }
	var report struct {
		ModelA    string `json:"model_a"`
		ModelB    string `json:"model_b"`
		Raters    int
		Questions []struct {
			Groups []struct {
				Name       string
				Pairs      int
				Difference share
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &report))
	assert.Equal(t, []any{"tuned", "base", 3}, []any{report.ModelA, report.ModelB, report.Raters})
	require.Len(t, report.Questions, 2)
	pairs := map[string]int{}
	for _, g := range report.Questions[0].Groups {
		pairs[g.Name] = g.Pairs
	}
	assert.Equal(t, map[string]int{
		"all": 10, "seen": 5, "unseen": 5, "count": 3, "colour": 2, "background": 2,
		"combination": 3,
	}, pairs)
	assert.Positive(t, report.Questions[0].Groups[0].Difference.Low)
	html, err := os.ReadFile(filepath.Join(out, "report.html"))
	require.NoError(t, err)
	assert.Contains(t, string(html), "tuned is better")
}

// serve starts the program, and returns where it is and the tokens of the raters' links. end is
// Ctrl-C, and waits for the program's end.
func serve(t *testing.T, args []string) (base string, tokens []string, end func()) {
	t.Helper()
	o, err := parse(args)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, o, write)
		write.CloseWithError(err)
		ended <- err
	}()
	link := regexp.MustCompile(`^(\w+) +(http://[^/]+)/enter#(\w+)$`)
	lines := bufio.NewScanner(read)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		if m := link.FindStringSubmatch(lines.Text()); m != nil && m[1] != "overview" {
			base, tokens = m[2], append(tokens, m[3])
		}
	}
	go func() {
		for lines.Scan() { // what it says in the end
		}
	}()
	return base, tokens, func() {
		cancel()
		assert.NoError(t, <-ended)
	}
}

func TestFlags(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "x", "a"), filepath.Join(dir, "y", "b")
	o, err := parse([]string{"-a", a, "-b", b})
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "study.db"), o.db)
	assert.Equal(t, []string{"x/a", "y/b"}, []string{o.side(a).Model, o.side(b).Model})
	for text, args := range map[string][]string{
		"-a and -b are required": {"-a", a},
		"-raters 0 must be":      {"-a", a, "-b", b, "-raters", "0"},
		"unexpected argument":    {"-a", a, "-b", b, "c"},
	} {
		_, err := parse(args)
		assert.ErrorContains(t, err, text)
	}
	for text, args := range map[string][]string{
		"there is no database": {"-report", dir},
		"-unseen: ":            {"-unseen", filepath.Join(dir, "none")},
		"-categories: ":        {"-categories", filepath.Join(dir, "none")},
	} {
		o, err := parse(append([]string{"-a", a, "-b", b}, args...))
		require.NoError(t, err)
		assert.ErrorContains(t, run(t.Context(), o, io.Discard), text)
	}

	file := filepath.Join(dir, "categories")
	require.NoError(t, os.WriteFile(file, []byte("animals\ta dog\n\ncars\ta red car\n"), 0o644))
	analysis, err := (&options{categories: file}).analysis(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "animals", analysis.Category("a dog"))
	analysis, err = new(options).analysis(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "count", analysis.Category("two circles"), "of the miniature's language")
}
