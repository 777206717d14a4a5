//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"image"
	"io/fs"
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
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/picture"
)

// Where it is asked for, quickstart runs on a disk that is as good as full.
func TestMain(m *testing.M) {
	if err := os.Setenv(few, "4"); err != nil { // for the programs that tests start
		panic(err)
	}
	commandtest.Main(m, func() {
		if n, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64); err == nil {
			signal.Ignore(syscall.SIGXFSZ)
			limit := syscall.Rlimit{Cur: n, Max: n}
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
				panic(err)
			}
		}
		commandtest.Dies()
		inLittleTime()
	})
}

// stopped is what quickstart says when it is, before the folder's name.
const stopped = "quickstart: stopped; what was finished is in "

// fileLimit is the environment variable with the bytes that no file of quickstart's can grow
// beyond.
const fileLimit = "FILE_LIMIT"

// samplesOf reads samples.jsonl and its pictures.
func samplesOf(t *testing.T, out string) []dataset.Sample {
	t.Helper()
	file := dataset.File{Path: filepath.Join(out, "samples.jsonl"), Images: true}
	samples, err := dataset.Collect(t.Context(), file)
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
	out := filepath.Join(t.TempDir(), "run")
	c := commandtest.Start(t, "-out", out, "-samples", "5120")
	c.AwaitFile(t, filepath.Join(out, "samples.jsonl"))
	code, last := c.End(t, syscall.SIGINT)
	require.Equal(t, 130, code, c.Stderr.String())
	samples := samplesOf(t, out)
	for _, s := range samples {
		require.EqualValues(t, 1, s.Source.Guidance,
			"guided samples are not the model's own distribution")
	}
	n := len(samples)
	require.True(t, n >= batch && n < 5120 && n%batch == 0, "%d samples", n)
	require.NoFileExists(t, filepath.Join(out, "metrics.jsonl"))
	whole(t, out)
	require.Equal(t, stopped+out+"; -resume goes on", last)
}

func TestStoppedWhileItTunes(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	c := commandtest.Start(t, "-out", out, "-samples", "64", "-steps", "1000", "-beta", "0")
	c.AwaitFile(t, filepath.Join(out, "metrics.jsonl"))
	code, last := c.End(t, syscall.SIGINT)
	require.Equal(t, 130, code, c.Stderr.String())
	require.Equal(t, stopped+out+"; -resume goes on", last)
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
}

// A full disk is one error that names the file, and no file is there in part.
func TestFullDisk(t *testing.T) {
	for file, limit := range map[string]int{
		"cache":       700,     // config.json is smaller
		"reward":      150_000, // less than the head
		"checkpoints": 300_000, // all that comes before is
	} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			t.Setenv(fileLimit, strconv.Itoa(limit))
			c := commandtest.Start(t, "-out", out, "-samples", "64", "-steps", "1", "-beta", "0")
			code, last := c.Wait()
			require.Equal(t, 1, code, c.Stderr.String())
			said := c.Stderr.String()
			require.Contains(t, said, filepath.Join(out, file)+string(filepath.Separator))
			require.Contains(t, said, syscall.EFBIG.Error())
			require.Equal(t, 1, strings.Count(said, "quickstart: "))
			require.Contains(t, last, "\tgo run ./examples/quickstart -out "+out)
			require.Contains(t, last, " -resume")
			entries, err := os.ReadDir(filepath.Join(out, file))
			require.NoError(t, err)
			require.Empty(t, entries)
			require.NoDirExists(t, filepath.Join(out, "tuned"))
			whole(t, out)
			if limit > 700 {
				require.Len(t, samplesOf(t, out), 64)
			}
		})
	}
}

func TestLabelsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	good := `{"prompt":"a star","label":"good","file":"a.png"}` + "\n"
	black := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	require.NoError(t, picture.WritePNG(filepath.Join(dir, "a.png"), black))
	for _, c := range []struct{ text, want string }{
		{
			good + `{"prompt":"a star","lable":"bad"}`,
			`labels.jsonl:2: there is no field "lable"`,
		},
		{`{"prompt":"a star","label":"skip"}`, "labels.jsonl"},
		{"", "no sample is labelled good or bad"},
		{good + good, "labels.jsonl: alignment: 2 of 2 labels are good: both kinds are needed"},
		{
			`{"prompt":"a star"}` + "\n" + `{"prompt":"a dragon","label":"good"}`,
			`labels.jsonl:2: dataset: prompt "a dragon"`,
		},
		{`{"prompt":"a star","label":"good","file":"gone.png"}`, "labels.jsonl:1: "},
		{
			good + `{"prompt":"a circle","label":"bad"}`,
			`sample labels.jsonl:2 ("a circle") has a label and no picture`,
		},
	} {
		text, want := c.text, c.want
		file, out := filepath.Join(dir, "labels.jsonl"), filepath.Join(dir, "out")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		err := begin(t, "-out", out, "-labels", file)
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, file, text)
		require.NoDirExists(t, out, "it fails before anything is written")
	}
	labels := filepath.Join(dir, "labels.jsonl")
	right := `{"prompt":"a star","label":"good","file":"a.png"}` + "\n" +
		`{"prompt":"a circle","label":"bad","file":"a.png"}` + "\n"
	require.NoError(t, os.WriteFile(labels, []byte(right), 0o644))
	err := begin(t, "-out", dir, "-labels", labels)
	require.ErrorIs(t, err, fs.ErrExist, "labels are not mixed with a run")
	require.FileExists(t, labels)
}

// begin starts the program in this process.
func begin(t *testing.T, args ...string) error {
	t.Helper()
	s, err := parse(args)
	require.NoError(t, err)
	if err := s.load(t.Context()); err != nil {
		return err
	}
	defer s.trial.CLIP.Close()
	return s.run.Do(t.Context(), func() error { return s.method(t.Context()) })
}

// A folder that holds something is left as it is: others' files, and, without -resume, a run.
func TestRunFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	names := func() (all []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	write("thesis.txt", "x")
	for _, resume := range []string{"-resume=false", "-resume"} {
		require.ErrorIs(t, begin(t, "-out", dir, resume), fs.ErrExist)
		require.Equal(t, []string{"thesis.txt"}, names())
	}
	write("config.json", `{"program": "quickstart", "seed": 2}`)
	var exists *finetune.RunExistsError
	err := begin(t, "-out", dir, "-steps", "3")
	require.ErrorAs(t, err, &exists)
	require.Equal(t, "go run ./examples/quickstart -out "+dir+" -steps 3 -resume", exists.Command)
	var different *finetune.DifferentRunError
	require.ErrorAs(t, begin(t, "-out", dir, "-resume"), &different)
	require.Contains(t, different.Differences, "seed was 2 and is 1")
	require.Equal(t, []string{"config.json", "thesis.txt"}, names())
}
