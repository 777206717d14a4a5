//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

func TestMain(m *testing.M) { commandtest.Main(m, main) }

// A served is the program, and where its pages are.
type served struct {
	*commandtest.Program
	base  string
	links map[string]string // by what the program has printed before them
}

// serve starts the program on a free port, and waits until it serves.
func serve(t *testing.T, args ...string) *served {
	t.Helper()
	s := &served{links: map[string]string{}}
	s.Program = commandtest.Start(t, append(args, "-addr", "127.0.0.1:0")...)
	s.Await(t, func() bool { return strings.Contains(s.Said.String(), "Ctrl-C ends it.") })
	for line := range strings.Lines(s.Said.String()) {
		if of, link, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			s.links[of] = strings.TrimSpace(link)
		}
	}
	var ok bool
	s.base, _, ok = strings.Cut(s.links["overview"], "/enter#")
	require.True(t, ok, s.Said.String())
	return s
}

// interrupt is Ctrl-C.
func (s *served) interrupt(t *testing.T) {
	t.Helper()
	code, _ := s.End(t, syscall.SIGINT)
	require.Zero(t, code, s.Stderr.String())
	require.Contains(t, s.Said.String(), "\nWhat was said is in ")
}

// A visitor is someone's browser, as far as the program can tell.
type visitor struct {
	http.Client
	t    *testing.T
	base string
	n    int // answers
	name string
}

// enter is a visitor who has entered by a link, or by a name where there is none.
func (s *served) enter(t *testing.T, name, link string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := http.Client{Jar: jar, Timeout: time.Minute}
	v := &visitor{Client: client, t: t, base: s.base, name: name}
	_, token, _ := strings.Cut(link, "#")
	said := map[string]string{"token": token}
	if link == "" {
		said = map[string]string{"name": name}
	}
	status, text, err := v.do("POST", "/enter", said)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", text)
	return v
}

func (v *visitor) do(method, path string, body any) (status int, text []byte, err error) {
	sent, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	r, err := http.NewRequest(method, v.base+path, bytes.NewReader(sent))
	if err != nil {
		return 0, nil, err
	}
	answer, err := v.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

// get asks for JSON.
func (v *visitor) get(path string, to any) {
	v.t.Helper()
	status, text, err := v.do("GET", path, nil)
	require.NoError(v.t, err)
	require.Equal(v.t, http.StatusOK, status, "%s", text)
	require.NoError(v.t, json.Unmarshal(text, to))
}

// A shown is a picture that the program gives to a rater.
type shown struct{ ID, Prompt, Image string }

func (v *visitor) next(n int) []shown {
	v.t.Helper()
	var answer struct{ Next []shown }
	v.get(fmt.Sprint("/next?n=", n), &answer)
	return answer.Next
}

// answer sends one judgement, as a page does, and reports whether the program has kept it.
func (v *visitor) answer(id, picture, label string) (status int, text string, err error) {
	status, body, err := v.do("POST", "/answers", map[string]any{"answers": []any{map[string]any{
		"id": id, "picture": picture, "label": label, "taken_ms": 700, "ago_ms": 0,
	}}})
	var kept struct{ Done []string }
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(body, &kept)
		if err == nil && (len(kept.Done) != 1 || kept.Done[0] != id) {
			err = fmt.Errorf("not kept: %s", body)
		}
	}
	return status, string(body), err
}

// say judges a picture, which the program must keep.
func (v *visitor) say(picture, label string) {
	v.t.Helper()
	v.n++
	status, text, err := v.answer(fmt.Sprintf("%s-%s-%d", v.name, v.base, v.n), picture, label)
	require.NoError(v.t, err)
	require.Equal(v.t, http.StatusOK, status, text)
}

// folder is one of n small pictures, of two prompts in turn, as generate leaves it.
func folder(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, n)
	return dir
}

func fill(t *testing.T, dir string, n int) {
	t.Helper()
	samples := make([]dataset.Sample, n)
	for i := range samples {
		file := fmt.Sprintf("%03d.png", i)
		img := image.NewRGBA(image.Rect(0, 0, 4, 4))
		img.Set(1, 1, color.RGBA{uint8(i), uint8(i >> 8), 200, 255})
		var out bytes.Buffer
		require.NoError(t, png.Encode(&out, img))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), out.Bytes(), 0o644))
		samples[i] = dataset.Sample{ID: file, Prompt: fmt.Sprint("prompt ", i%2), File: file}
	}
	_, err := dataset.Write(t.Context(), filepath.Join(dir, "samples.jsonl"),
		dataset.FromSlice(samples))
	require.NoError(t, err)
}

// kept are the judgements of a store that nobody has open, in which nothing contradicts anything
// else. It returns how long the store took to open.
func kept(t *testing.T, db string) (all []feedback.Judgement, opened time.Duration) {
	t.Helper()
	begin := time.Now()
	store, err := feedback.Open(t.Context(), feedback.Config{Path: db})
	require.NoError(t, err)
	opened = time.Since(begin)
	require.NoError(t, store.Check(t.Context()))
	for j, err := range store.Judgements(t.Context()) {
		require.NoError(t, err)
		all = append(all, j)
	}
	require.NoError(t, store.Close())
	return all, opened
}
