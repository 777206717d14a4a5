//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// Where it is asked for, quickstart runs on a disk that is as good as full.
func TestMain(m *testing.M) {
	commandtest.Main(m, func() {
		if n, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64); err == nil {
			signal.Ignore(syscall.SIGXFSZ)
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
				panic(err)
			}
		}
		main()
	})
}

// fileLimit is the environment variable with the bytes that no file of quickstart's can grow beyond.
const fileLimit = "FILE_LIMIT"

// samplesOf reads samples.jsonl and its pictures.
func samplesOf(t *testing.T, out string) []dataset.Sample {
	t.Helper()
	samples, err := dataset.Collect(t.Context(), dataset.File{Path: filepath.Join(out, "samples.jsonl"), Images: true})
	require.NoError(t, err)
	for _, s := range samples {
		require.NotNil(t, s.Image)
	}
	return samples
}

// whole checks that nothing in the folder is half-written.
func whole(t *testing.T, out string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), ".new") {
			err = fmt.Errorf("%s was left", path)
		}
		return err
	}))
	for _, name := range []string{"config.json", "report.json"} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if name == "report.json" && os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		require.True(t, json.Valid(text), "%s: %s", name, text)
	}
}

func TestStoppedWhileItGenerates(t *testing.T) {
	for _, s := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		t.Run(s.signal.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			c := commandtest.Start(t, "-out", out, "-samples", "5120")
			c.AwaitFile(t, filepath.Join(out, "samples.jsonl"))
			code, last := c.End(t, s.signal)
			require.Equal(t, s.code, code, c.Stderr.String())
			samples := samplesOf(t, out)
			for _, s := range samples {
				require.EqualValues(t, 1, s.Source.Guidance, "guided samples are not the model's own distribution")
			}
			n := len(samples)
			require.True(t, n >= batch && n < 5120 && n%batch == 0, "%d samples", n)
			require.NoFileExists(t, filepath.Join(out, "metrics.jsonl"))
			if s.signal == syscall.SIGINT {
				whole(t, out)
				require.Equal(t, "quickstart: stopped; what was finished is in "+out, last)
			}
		})
	}
}

func TestStoppedWhileItTunes(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	c := commandtest.Start(t, "-out", out, "-samples", "64", "-steps", "1000", "-beta", "0")
	c.AwaitFile(t, filepath.Join(out, "metrics.jsonl"))
	code, last := c.End(t, syscall.SIGINT)
	require.Equal(t, 130, code, c.Stderr.String())
	require.Equal(t, "quickstart: stopped; what was finished is in "+out, last)
	whole(t, out)

	samples := samplesOf(t, out)
	require.Len(t, samples, 64)
	for _, s := range samples {
		require.NotEqual(t, dataset.Unlabelled, s.Label)
		require.NotNil(t, s.Reward)
	}
	text, err := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		var m struct {
			Step *int
			Loss float64
		}
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		require.Equal(t, i, *m.Step)
		require.Positive(t, m.Loss)
	}
	text, err = os.ReadFile(filepath.Join(out, "report.json"))
	require.NoError(t, err)
	var r struct {
		Steps   int
		Stopped string
	}
	require.NoError(t, json.Unmarshal(text, &r))
	require.Equal(t, len(lines), r.Steps)
	require.NotEmpty(t, r.Stopped)
	require.FileExists(t, filepath.Join(out, "report.html"))
	require.NoDirExists(t, filepath.Join(out, "tuned"))

	s := &session{options: options{out: filepath.Join(t.TempDir(), "other")}}
	require.NoError(t, s.load(t.Context()))
	defer s.clip.Close()
	model, err := alignment.Load(filepath.Join(out, "reward"), s.clip)
	require.NoError(t, err)

	limitFiles(t, 150_000) // less than the head, more than what the testing package logs meanwhile
	dir := filepath.Join(t.TempDir(), "reward")
	require.ErrorContains(t, model.Save(dir), filepath.Join(dir, "head.safetensors"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "a reward that is not there says nothing")
}

// A full disk is one error that names the file, and no file is there in part.
func TestFullDisk(t *testing.T) {
	for file, limit := range map[string]int{
		"samples/00000.png":                    700,     // config.json is smaller
		"tuned/text_encoder/model.safetensors": 300_000, // all that comes before is
	} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			t.Setenv(fileLimit, strconv.Itoa(limit))
			c := commandtest.Start(t, "-out", out, "-samples", "64", "-steps", "1", "-beta", "0")
			code, last := c.Wait()
			require.Equal(t, 1, code, c.Stderr.String())
			require.Contains(t, last, filepath.Join(out, filepath.FromSlash(file)))
			require.Contains(t, last, syscall.EFBIG.Error())
			require.Equal(t, 1, strings.Count(c.Stderr.String(), "quickstart: "))
			require.NoFileExists(t, filepath.Join(out, filepath.FromSlash(file)))
			require.NoFileExists(t, filepath.Join(out, "tuned", "model_index.json"))
			whole(t, out)
			if limit > 700 {
				require.Len(t, samplesOf(t, out), 64)
			}
		})
	}
}

// limitFiles makes writes behind the first n bytes of a file fail until the test ends.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limited := before
	limited.Cur = n
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited))
	t.Cleanup(func() {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
		signal.Reset(syscall.SIGXFSZ)
	})
}

func TestLabelsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		`{"prompt":"a star","label":"good"}` + "\n" + `{"prompt":"a star","lable":"bad"}`: `labels.jsonl:2: bad JSON: json: unknown field "lable"`,
		`{"prompt":"a star","label":"skip"}`:                                              "labels.jsonl",
		"":                                                                                "no sample is labelled good or bad",
		`{"prompt":"a star"}` + "\n" + `{"prompt":"a dragon","label":"good"}`: `labels.jsonl:2: dataset: prompt "a dragon"`,
		`{"prompt":"a star","label":"good","file":"gone.png"}`:                "labels.jsonl:1: ",
	} {
		file, out := filepath.Join(dir, "labels.jsonl"), filepath.Join(dir, "out")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		err := run(t.Context(), options{out: out, labels: file})
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, file, text)
		require.NoDirExists(t, out, "it fails before anything is written")
	}
	err := run(t.Context(), options{out: dir, labels: filepath.Join(dir, "labels.jsonl")})
	require.ErrorContains(t, err, "give another -out")
	require.FileExists(t, filepath.Join(dir, "labels.jsonl"))
}

func TestRunFolder(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "thesis.txt")
	require.NoError(t, os.WriteFile(mine, []byte("x"), 0o644))
	s := &session{options: options{out: dir}}
	require.ErrorContains(t, s.load(t.Context()), "is not empty")
	s.clip.Close()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	// An earlier run's files go; others stay.
	for _, name := range append([]string{"config.json", ".samples.jsonl.123"}, runFiles...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o644))
	}
	require.NoError(t, s.load(t.Context()))
	s.clip.Close()
	entries, err = os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"config.json", "samples", "thesis.txt"}, names)
	require.DirExists(t, filepath.Join(dir, "samples"))
	whole(t, dir)
}

func TestAUCThatIsNoNumber(t *testing.T) {
	text, err := json.Marshal(map[string]comparison{"seen": {alignment.Comparison{Accuracy: alignment.Accuracy{N: 3, Accuracy: 1, AUC: math.NaN()}, CLIPAUC: math.NaN()}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"seen":{"n":3,"accuracy":1,"auc":null,"clip_auc":null}}`, string(text))
}
