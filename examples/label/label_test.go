//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/internal/picture"
)

func TestWrongFlags(t *testing.T) {
	dir := t.TempDir()
	prompts := filepath.Join(dir, "prompts.txt")
	require.NoError(t, os.WriteFile(prompts, []byte("a dog\n"), 0o644))
	for want, args := range map[string][]string{
		"give one of -images, -samples and -prompts": {},
		"give one of -images":                        {"-images", dir, "-samples", "a"},
		"give one of -images, ":                      {"-images", dir, "-prompts", prompts},
		`unexpected argument "dog"`:                  {"-images", dir, "dog"},
		"-model paints -prompts; there are none":     {"-images", dir, "-model", "m"},
		"-clip is what -train learns on":             {"-images", dir, "-clip", "c"},
		"-new-links are for the raters of -invite":   {"-images", dir, "-new-links"},
		"-raters 0":                        {"-images", dir, "-raters", "0"},
		"-together 0":                      {"-images", dir, "-together", "0"},
		"-n 0":                             {"-prompts", prompts, "-n", "0"},
		"-steps 0":                         {"-prompts", prompts, "-steps", "0"},
		"-prompts: dataset: open gone.txt": {"-prompts", "gone.txt"},
	} {
		_, err := parse(t.Context(), args)
		assert.ErrorContains(t, err, want, args)
	}
	for _, c := range []struct {
		db, out  string
		guidance float32
		args     []string
	}{
		{"pics/labels.db", "", 2, []string{"-images", "pics"}},
		{"a/b/labels.db", "", 2, []string{"-samples", "a/b/c.jsonl"}},
		{"x.db", "", 2, []string{"-samples", "a/b/c.jsonl", "-db", "x.db"}},
		{"o/labels.db", "o", 2, []string{"-prompts", prompts, "-out", "o"}},
		{"o/labels.db", "o", 7.5, []string{"-prompts", prompts, "-model", "m", "-out", "o"}},
		{"o/labels.db", "o", 3,
			[]string{"-prompts", prompts, "-model", "m", "-out", "o", "-guidance", "3"}},
	} {
		o, err := parse(t.Context(), c.args)
		require.NoError(t, err)
		assert.Equal(t, filepath.FromSlash(c.db), o.db)
		assert.EqualValues(t, c.guidance, o.Guidance)
	}
	// What is wrong is found before anything is served.
	const free = "127.0.0.1:0"
	pictures := folder(t, 1)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"is reached by other machines", []string{"-images", pictures, "-addr", ":0"}},
		{"-db: feedback: ", []string{"-images", pictures, "-db", filepath.Join(dir, "no", "x.db")}},
		{"not inside the database's", []string{"-images", pictures, "-db", dir + "/x.db"}},
		{"no such file", []string{"-images", filepath.Join(dir, "gone")}},
		{"-gold: ", []string{"-images", pictures, "-gold", "gone.jsonl"}},
		{"-categories: ", []string{"-images", pictures, "-categories", "gone.txt"}},
		{"-invite: ", []string{"-images", pictures, "-invite", "erased-1", "-addr", free}},
		{"-clip: ", []string{"-images", pictures, "-train", "-clip", "gone", "-addr", free}},
		{"-model: ", []string{
			"-prompts", prompts, "-model", "gone/", "-addr", free, "-out", filepath.Join(dir, "o"),
		}},
	} {
		o, err := parse(t.Context(), c.args)
		require.NoError(t, err)
		assert.ErrorContains(t, run(t.Context(), o), c.want, c.args)
	}
}

// Names are printed without what would command a terminal.
func TestInvites(t *testing.T) {
	s := serve(t, "-images", folder(t, 1), "-invite", "anna\x1b[2J, ben")
	require.NotContains(t, s.Said.String(), "\x1b")
	require.NotEmpty(t, s.links[`anna\x1b[2J`])
	require.NotEmpty(t, s.links["ben"])
	s.interrupt(t)
}

// Two people label pictures of the miniature. The program is stopped, and goes on: on another port
// with the cookies that they have, and with no picture twice.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	model, err := tiny.Load()
	require.NoError(t, err)
	_, err = dataset.WriteFolder(t.Context(), dir, model.Generate(pipeline.Request{
		Prompts: []string{"two green circles", "one red star"}, PerPrompt: 3, Steps: 2,
		Guidance: 2, Seed: 1,
	}))
	require.NoError(t, err)
	args := []string{"-images", dir, "-invite", "anna, ben"}
	first := serve(t, args...)
	require.NotContains(t, first.links, "label", "who has no link is not let in")
	anna := first.enter(t, "anna", first.links["anna"])
	ben := first.enter(t, "ben", first.links["ben"])
	judged := map[string]string{}
	judge := func(v *visitor, p shown, label string) {
		require.Empty(t, judged[p.ID], "%s is judged twice", p.ID)
		judged[p.ID] = v.name + " " + label
		v.say(p.ID, label)
	}
	pictures := anna.next(3)
	require.Len(t, pictures, 3)
	want, err := os.ReadFile(filepath.Join(dir, "samples", pictures[0].ID+".png"))
	require.NoError(t, err)
	status, got, err := anna.do("GET", pictures[0].Image, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, want, got)
	judge(anna, pictures[0], "good")
	judge(anna, pictures[1], "bad")
	judge(ben, ben.next(1)[0], "skip")
	first.interrupt(t)
	require.Contains(t, first.Said.String(), filepath.Join(dir, "labels.db"))
	require.NoFileExists(t, filepath.Join(dir, "labels.db-wal"), "it was closed")
	all, _ := kept(t, filepath.Join(dir, "labels.db"))
	require.Len(t, all, 3)
	for _, j := range all {
		require.Equal(t, judged[j.Picture], j.Rater+" "+j.Label.String())
	}

	second := serve(t, args...)
	for _, name := range []string{"anna", "ben"} {
		require.Equal(t, "has a link; -new-links makes another", second.links[name])
	}
	anna.base, ben.base = second.base, second.base
	for len(judged) < 6 {
		for _, v := range []*visitor{anna, ben} {
			for _, p := range v.next(1) {
				judge(v, p, "good")
			}
		}
	}
	require.Empty(t, anna.next(10))
	// The owner's link is this start's alone.
	_, text, err := first.visit(t, second.base, first.links["overview"])
	require.NoError(t, err)
	require.Contains(t, text, "not valid any more")
	var o struct{ Pictures, Complete, Judged int }
	second.enter(t, "owner", second.links["overview"]).get("/overview.json", &o)
	require.Equal(t, []int{6, 6, 6}, []int{o.Pictures, o.Complete, o.Judged})
	second.interrupt(t)

	third := serve(t, append(args, "-new-links")...)
	anna.base = third.base
	status, _, err = anna.do("GET", "/next?n=1", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status, "an earlier link has ended")
	require.Empty(t, third.enter(t, "anna", third.links["anna"]).next(1))
	third.interrupt(t)
	all, _ = kept(t, filepath.Join(dir, "labels.db"))
	require.Len(t, all, 6)
}

// visit tries to enter pages by a link.
func (s *served) visit(t *testing.T, base, link string) (status int, text string, err error) {
	t.Helper()
	_, token, _ := strings.Cut(link, "#")
	v := &visitor{t: t, base: base}
	status, body, err := v.do("POST", "/enter", map[string]string{"token": token})
	return status, string(body), err
}

// Pictures are labelled while others are painted. After an interrupt the rest is painted, and all
// of them are what one run would have painted.
func TestPaints(t *testing.T) {
	dir := t.TempDir()
	prompts, out := filepath.Join(dir, "prompts.txt"), filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(prompts, []byte("two green circles\none red star\n"), 0o644))
	args := []string{"-prompts", prompts, "-n", "5", "-steps", "4", "-batch", "2", "-out", out}
	painted := func() int { return len(written(t, out)) }
	first := serve(t, args...)
	anna := first.enter(t, "anna", "")
	judged := map[string]bool{}
	judgeOne := func() {
		time.Sleep(25 * time.Millisecond) // fewer requests than the program thinks too many
		for _, p := range anna.next(1) {
			require.False(t, judged[p.ID])
			judged[p.ID] = true
			anna.say(p.ID, "good")
		}
	}
	first.Await(t, func() bool {
		judgeOne()
		return len(judged) >= 2
	})
	code, last := first.End(t, syscall.SIGINT)
	there := painted()
	require.Less(t, there, 10, "it was judged while it was painted")
	require.GreaterOrEqual(t, there, len(judged))
	require.Equal(t, 130, code)
	require.Equal(t, "label: stopped; what was said is in "+filepath.Join(out, "labels.db"), last)
	before := written(t, out)

	second := serve(t, args...)
	anna.base = second.base
	second.Await(t, func() bool {
		judgeOne()
		return len(judged) == 10
	})
	second.interrupt(t)
	require.Equal(t, before, written(t, out)[:there], "what was there stays")
	model, err := tiny.Load()
	require.NoError(t, err)
	want, err := dataset.Collect(t.Context(), model.Generate(pipeline.Request{
		Prompts: []string{"two green circles", "one red star"}, PerPrompt: 5, Steps: 4,
		Guidance: 2, Seed: 1, Batch: 2,
	}))
	require.NoError(t, err)
	got := written(t, out)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, picture.FromImage(want[i].Image).Pix, picture.FromImage(got[i].Image).Pix)
		require.Equal(t, want[i].Prompt, got[i].Prompt)
	}
	all, _ := kept(t, filepath.Join(out, "labels.db"))
	require.Len(t, all, 10)
}

// written are the pictures of a folder.
func written(t *testing.T, out string) []dataset.Sample {
	t.Helper()
	file := dataset.File{Path: filepath.Join(out, "samples.jsonl"), Images: true}
	samples, err := dataset.Collect(t.Context(), file)
	require.NoError(t, err)
	return samples
}

// Everybody is asked about gold pictures, and the overview says who is right.
func TestGold(t *testing.T) {
	dir := folder(t, 8)
	gold := filepath.Join(t.TempDir(), "gold.jsonl")
	_, err := dataset.Write(t.Context(), gold, dataset.FromSlice([]dataset.Sample{
		{ID: "003.png", Prompt: "prompt 1", Label: dataset.Good},
		{ID: "004.png", Prompt: "prompt 0", Label: dataset.Bad},
	}))
	require.NoError(t, err)
	s := serve(t, "-samples", filepath.Join(dir, "samples.jsonl"), "-gold", gold)
	for _, name := range []string{"anna", "ben"} {
		v := s.enter(t, name, "")
		seen := map[string]bool{}
		for i := 0; i < 8; i++ {
			for _, p := range v.next(1) {
				seen[p.ID] = true
				v.say(p.ID, map[string]string{"anna": "good", "ben": "skip"}[name])
			}
		}
		require.True(t, seen["003.png"] && seen["004.png"], "%s: %v", name, seen)
	}
	var o struct {
		Gold   int
		Raters []struct {
			Name        string
			Gold, Right int
		}
	}
	s.enter(t, "owner", s.links["overview"]).get("/overview.json", &o)
	require.Equal(t, 2, o.Gold)
	require.Len(t, o.Raters, 2)
	require.Equal(t, "anna", o.Raters[0].Name)
	require.Equal(t, []int{2, 1}, []int{o.Raters[0].Gold, o.Raters[0].Right})
	require.Zero(t, o.Raters[1].Right)
	s.interrupt(t)
	lost := dataset.FromSlice([]dataset.Sample{{ID: "nowhere", Prompt: "a", Label: dataset.Good}})
	_, err = dataset.Write(t.Context(), gold, lost)
	require.NoError(t, err)
	o2, err := parse(t.Context(), []string{"-images", dir, "-gold", gold})
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), o2), `-gold: feedback: `)
}

// A reward is learned of what was said so far, and says of which pictures it is least sure.
func TestTrain(t *testing.T) {
	dir := t.TempDir()
	n := 0
	_, err := dataset.WriteFolder(t.Context(), dir, dataset.Map(tiny.Pretraining(1, 40),
		func(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
			s.ID, s.Label = fmt.Sprintf("%02d", n), dataset.Unlabelled
			n++
			return s, nil
		}))
	require.NoError(t, err)
	s := serve(t, "-images", dir, "-train")
	anna, owner := s.enter(t, "anna", ""), s.enter(t, "owner", s.links["overview"])
	type line struct {
		Reward struct {
			Possible, Running, Order bool
			Failed                   string
			Right                    *struct{ N int }
		}
	}
	var o line
	learn := func() {
		status, text, err := owner.do("POST", "/train", map[string]any{})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "%s", text)
		s.Await(t, func() bool {
			o = line{}
			owner.get("/overview.json", &o)
			time.Sleep(10 * time.Millisecond)
			return !o.Reward.Running
		})
	}
	learn()
	require.True(t, o.Reward.Possible)
	require.NotEmpty(t, o.Reward.Failed, "of no labels nothing can be learned")
	for i := range 30 {
		for _, p := range anna.next(1) {
			anna.say(p.ID, []string{"good", "bad"}[i%2])
		}
	}
	learn()
	require.Empty(t, o.Reward.Failed)
	require.NotNil(t, o.Reward.Right)
	require.Positive(t, o.Reward.Right.N)
	require.True(t, o.Reward.Order)
	status, text, err := owner.do("POST", "/order", map[string]bool{"uncertain": true})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", text)
	require.NotEmpty(t, anna.next(1))
	s.interrupt(t)
	require.FileExists(t, filepath.Join(dir, "features.safetensors"), "they are kept")
}

// Two programs serve one database at once. Nobody gets a picture twice, and nothing is lost.
func TestTwoServers(t *testing.T) {
	const n = 60
	dir := folder(t, n)
	servers := []*served{serve(t, "-images", dir), serve(t, "-images", dir)}
	var mu sync.Mutex
	judged := map[string]bool{}
	var group sync.WaitGroup
	for i := range 4 {
		v := servers[i%2].enter(t, fmt.Sprint("rater ", i), "")
		group.Go(func() {
			for {
				next := v.next(1)
				if len(next) == 0 {
					return
				}
				mu.Lock()
				assert.False(t, judged[next[0].ID], "twice")
				judged[next[0].ID] = true
				mu.Unlock()
				v.say(next[0].ID, "good")
			}
		})
	}
	group.Wait()
	require.Len(t, judged, n)
	for _, s := range servers {
		// Each sees what was said to the other one.
		var o struct{ Judged, Complete int }
		s.enter(t, "owner", s.links["overview"]).get("/overview.json", &o)
		require.Equal(t, []int{n, n}, []int{o.Judged, o.Complete})
	}
	servers[0].interrupt(t)
	v := servers[1].enter(t, "late", "") // the other one goes on
	v.say("000.png", "bad")
	servers[1].interrupt(t)
	all, _ := kept(t, filepath.Join(dir, "labels.db"))
	require.Len(t, all, n+1)
}
