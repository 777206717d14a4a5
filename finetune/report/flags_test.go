package report_test

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune/report"
)

func TestConfigOfFlags(t *testing.T) {
	f := flag.NewFlagSet("tune", flag.ContinueOnError)
	f.Int("steps", 3, "")
	f.Bool("resume", false, "")
	f.String("out", "runs", "")
	f.Float64("lr", 0.1, "")
	size := report.Size(5)
	f.Var(&size, "memory", "")
	f.Func("model", "", func(string) error { return nil })
	require.NoError(t, f.Parse([]string{"-steps", "4", "-resume", "-model", "x"}))
	require.Equal(t, map[string]any{
		"program": "tune", "steps": 4, "lr": 0.1, "memory": int64(5), "model": "",
	}, report.Config(f))
}

func TestResume(t *testing.T) {
	args := make([]string, 2, 3)
	copy(args, []string{"-out", "my runs"})
	require.Equal(t, "tune -out 'my runs' -resume", report.Resume("tune", args))
	require.Equal(t, []string{"-out", "my runs", ""}, args[:3], "arguments stay as they are")
	require.Equal(t, "tune -resume -out x", report.Resume("tune", []string{"-resume", "-out", "x"}))
}

// The command that began a run is the one that resumes it without -resume.
func TestBegin(t *testing.T) {
	for _, args := range [][]string{
		{"-out", "my runs"}, {"-resume", "-out", "my runs"}, {"-out", "my runs", "--resume=true"},
	} {
		require.Equal(t, "tune -out 'my runs'", report.Begin("tune", args))
	}
	require.Equal(t, "tune -resumes -note 'the -resume'",
		report.Begin("tune", []string{"-resumes", "-note", "the -resume"}))
}

// Every setting is in the command, as it is.
func TestSettled(t *testing.T) {
	require.Equal(t, "tune -controls=false -lr=0.1 '-note=two words' -steps=3",
		report.Settled("tune", map[string]any{
			"program": "tune", "steps": 3, "lr": 0.1, "controls": false, "note": "two words",
			"labels": "", "sha256": map[string]string{"a": "b"},
		}))
}

func TestLimits(t *testing.T) {
	check := func(limit report.Limit, args ...string) error {
		f := flag.NewFlagSet("tune", flag.ContinueOnError)
		f.Float64("x", 0, "")
		f.Int("n", 3, "")
		require.NoError(t, f.Parse(args))
		for _, name := range []string{"x", "n"} {
			require.Equal(t, len(args) > 0 && args[0] == "-"+name, report.Given(f)[name])
		}
		return report.Check(f, report.AtLeast(-1e9, "n"), limit)
	}
	for _, c := range []struct {
		limit   report.Limit
		in, out []string
		want    string
	}{
		{report.AtLeast(0, "x"), []string{"0", "5", "16777216"},
			[]string{"-1", "NaN", "+Inf", "1.6777217e+07"}, "0 to 16777216"},
		{report.Above(0, 1, "x"), []string{"1e-12", "1"}, []string{"0", "NaN", "-Inf", "1.5"},
			"above 0, and at most 1"},
		{report.Within(0, 1, "x"), []string{"0", "1"}, []string{"1.5", "-0.5", "NaN"}, "0 to 1"},
		{report.Between(0, 1, "x"), []string{"0.5"}, []string{"0", "1", "NaN"},
			"between 0 and 1"},
		{report.From(0, 1, "x"), []string{"0", "0.99"}, []string{"1", "-0.5", "NaN"},
			"at least 0 and below 1"},
	} {
		for _, v := range c.in {
			require.NoError(t, check(c.limit, "-x", v))
		}
		for _, v := range c.out {
			require.EqualError(t, check(c.limit, "-x", v), "-x "+v+" must be "+c.want)
		}
	}
	for _, v := range []string{"1e-300", "-1e-13"} {
		require.EqualError(t, check(report.Within(-1, 1, "x"), "-x", v),
			"-x "+v+" is nearer to 0 than 1e-12, and would do nothing")
	}
	require.EqualError(t, check(report.AtLeast(4, "x", "n"), "-x", "4"),
		"-n 3 must be 4 to 16777216")
	require.NoError(t, check(report.Multiple(4, 8, "n"), "-n", "12"))
	for _, n := range []string{"10", "4"} {
		require.EqualError(t, check(report.Multiple(4, 8, "n"), "-n", n),
			"-n "+n+" must be a multiple of 4, 8 to 16777216")
	}
	require.EqualError(t, check(report.AtLeast(0, "x"), "-x", "1", "more"),
		`unexpected argument "more"`)
	require.Panics(t, func() { _ = check(report.AtLeast(0, "none")) })
}

func TestHash(t *testing.T) {
	name := filepath.Join(t.TempDir(), "labels")
	_, err := report.Hash(name)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte("abc"), 0o644))
	sum, err := report.Hash(name)
	require.NoError(t, err)
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sum)
	// Of a folder: echo -n '"file" SUM' | sha256sum, with a line end.
	dir := filepath.Dir(name)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "below"), 0o755))
	folder, err := report.Hash(dir)
	require.NoError(t, err)
	line := fmt.Sprintf("%q %s\n", filepath.Base(name), sum)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(line))), folder)
	below := filepath.Join(dir, "below", "adapter_config.json")
	require.NoError(t, os.WriteFile(below, []byte("{}"), 0o644))
	adapters, err := report.Hash(dir)
	require.NoError(t, err)
	require.NotEqual(t, folder, adapters, "the adapter below counts")
	// What a name in the cache stands for.
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	repo := filepath.Join(cache, "models--some--lora")
	require.NoError(t, os.CopyFS(filepath.Join(repo, "snapshots", "abc"), os.DirFS(dir)))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("abc"), 0o666))
	cached, err := report.Hash("some/lora")
	require.NoError(t, err)
	require.Equal(t, adapters, cached)
	sum, err = report.Hash("")
	require.NoError(t, err)
	require.Empty(t, sum)
}

func TestStages(t *testing.T) {
	var shown strings.Builder
	s := report.NewStages()
	s.Progress = report.Plain(&shown)
	require.NoError(t, s.Do("paint", 2, func(bar *report.Stage) error {
		bar.Add(2)
		time.Sleep(time.Millisecond)
		return nil
	}))
	full := errors.New("the disk is full")
	err := s.Do("score", 3, func(*report.Stage) error { return full })
	require.ErrorIs(t, err, full)
	require.EqualError(t, err, "score: the disk is full")
	require.GreaterOrEqual(t, s.Seconds["paint"], 0.001)
	require.Contains(t, s.Seconds, "score")
	done := s.Time("tune")
	time.Sleep(time.Millisecond)
	done()
	require.GreaterOrEqual(t, s.Seconds["tune"], 0.001)
	require.Contains(t, shown.String(), "paint: 2 in ")
	require.Contains(t, shown.String(), "score: stopped at 0 of 3")
}
