package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
)

// run runs the program and returns the lines that it prints.
func run(t *testing.T, args ...string) ([]string, error) {
	o, err := parse(args)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	err = o.bench(t.Context(), &out, report.Plain(io.Discard))
	return strings.Split(strings.TrimSpace(out.String()), "\n"), err
}

// What is printed is a line a case, for people or as JSON.
func TestBench(t *testing.T) {
	few := []string{
		"-run", "→(320|1280)/tokens=77.*/weight|miniature/step/.*[+]", "-count", "3",
		"-least", "1ms",
	}
	names, err := run(t, append(few, "-list", "-batch", "2")...)
	require.NoError(t, err)
	require.Equal(t, []string{
		"linear/768→320/tokens=77/batch=2/weight", "linear/768→1280/tokens=77/batch=2/weight",
		"miniature/step/batch=2+2",
	}, names)
	table, err := run(t, few...)
	require.NoError(t, err)
	require.Equal(t, "float32, median of 3, in brackets the quickest and the slowest", table[0])
	require.Regexp(t, `, \d+ cores, threads: \d+.*, peaks: .* GFLOP/s float32, .* bfloat16; `+
		`.* GB/s reading, .* copying, .* touching fresh memory$`, table[1])
	require.Len(t, table, 3+3)
	require.Contains(t, table[3], "GFLOP/s")
	require.Regexp(t, `pictures/s, first .*s, plan .*MiB \(touched in .*s\)`, table[5])

	lines, err := run(t, append(few, "-json", "-batch", "2", "-precision", "bf16")...)
	require.NoError(t, err)
	for i, text := range lines {
		var r cases.Result
		d := json.NewDecoder(bufio.NewReader(strings.NewReader(text)))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&r))
		require.Equal(t, names[i], r.Name)
		require.Equal(t, "cpu", r.Device)
		require.Equal(t, "bfloat16", r.Precision)
		require.Equal(t, cases.Here(), r.Machine)
		require.Equal(t, runtime.GOMAXPROCS(0), r.Threads)
		require.Len(t, r.Seconds, 3)
		require.Positive(t, r.First)
		require.Positive(t, r.Planned)
		if i == 0 {
			require.InEpsilon(t, 2*2*77*768*320, r.Flops*r.Median, 1e-12)
		} else if i == 2 {
			require.InEpsilon(t, 4, r.Items*r.Median, 1e-12)
			require.Positive(t, r.Touching)
		}
		require.Len(t, r.Shares, len(r.Peaks))
		for j, share := range r.Shares {
			require.InEpsilon(t, r.Flops*r.Median, share*r.Peaks[j]*r.Seconds[j], 1e-9)
		}
	}
	for want, args := range map[string][]string{
		"-run nothing matches no case": {"-run", "nothing"},
		"-run: error parsing regexp":   {"-run", "("},
		"-count 0 is below 1":          {"-count", "0"},
		"-least -1s is below 0":        {"-least", "-1s"},
		`"0" is no number`:             {"-batch", "1,0"},
		`"x" is no number`:             {"-threads", "x"},
		"-hold needs files":            {"-hold", "baseline.json", "one"},
		"nothing.jsonl":                {"-compare", "nothing.jsonl"},
		"has no file .txt with times":  {"-peers", "."},
	} {
		_, err := run(t, args...)
		require.ErrorContains(t, err, want)
	}
}

// Winograd's algorithm is the other way to compute a case, and said to be.
func TestWinograd(t *testing.T) {
	of := []string{"-run", "^miniature/conv/4→32/.*/forward", "-count", "1", "-least", "1ms"}
	of = append(of, "-json")
	var names []string
	for _, more := range [][]string{nil, {"-winograd"}, {"-winograd", "-precision", "bf16"}} {
		lines, err := run(t, append(of, more...)...)
		require.NoError(t, err)
		var r cases.Result
		require.NoError(t, json.Unmarshal([]byte(lines[0]), &r))
		_, how, _ := strings.Cut(identity(r), ", ")
		how, _, _ = strings.Cut(how, ", threads")
		names = append(names, how)
	}
	require.Equal(t, []string{
		"float32", "float32 with Winograd", "bfloat16 with Winograd",
	}, names)
}

// Each number of threads has its times, but for what all cores do whatever is asked for.
func TestThreads(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	lines, err := run(t, "-run", "→320/tokens=77.*/forward|AdamW", "-count", "1", "-least", "1ms",
		"-json", "-batch", "1,2", "-threads", fmt.Sprintf("%d,%d", all, all+1))
	require.NoError(t, err)
	var got []string
	for _, text := range lines {
		var r cases.Result
		require.NoError(t, json.Unmarshal([]byte(text), &r))
		got = append(got, fmt.Sprint(r.Name, " ", r.Threads-all))
	}
	require.Equal(t, []string{
		"linear/768→320/tokens=77/batch=1/forward 0", "AdamW/parameters=33554432 0",
		"linear/768→320/tokens=77/batch=2/forward 0",
		"linear/768→320/tokens=77/batch=1/forward 1", "linear/768→320/tokens=77/batch=2/forward 1",
	}, got)
}

// The short set is of cases that there are.
func TestShort(t *testing.T) {
	names, err := run(t, "-short", "-list")
	require.NoError(t, err)
	require.ElementsMatch(t, shortSet, names)
}

// Times are of runs, as many as take a while, and the first is apart.
func TestTime(t *testing.T) {
	runs, closed := 0, 0
	c := cases.Case{
		Name: "sleep", Flops: 100,
		Prepare: func(context.Context, kernels.Config) (*cases.Runner, error) {
			return &cases.Runner{
				Run: func() error {
					if runs++; runs == 1 {
						time.Sleep(100 * time.Millisecond)
					}
					time.Sleep(time.Millisecond)
					return nil
				},
				Close: func() error {
					closed++
					return nil
				},
			}, nil
		},
	}
	r, err := c.Time(t.Context(), cases.Options{Count: 3, Least: 20 * time.Millisecond})
	require.NoError(t, err)
	require.Len(t, r.Seconds, 3)
	require.GreaterOrEqual(t, r.First, 0.1)
	require.GreaterOrEqual(t, slices.Min(r.Seconds), 0.001)
	require.Less(t, slices.Min(r.Seconds), 0.1, "the first run is no part of it")
	require.InEpsilon(t, 100, r.Flops*r.Median, 1e-12)
	require.Greater(t, runs, 3, "short runs are repeated")
	require.Equal(t, 1, closed)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Time(ctx, cases.Options{Count: 1})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 2, closed)
}

// On a GPU nothing that is timed falls back to the processor.
func TestNothingOnTheHost(t *testing.T) {
	all := append(cases.Operations(1), cases.AdamW(1000))
	for _, c := range cases.Models(1) {
		if strings.HasPrefix(c.Name, "miniature") {
			all = append(all, c)
		}
	}
	for _, p := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
		m := kernels.Config{Device: kernels.Planning(nil), Precision: p}
		for _, c := range all {
			run, err := c.Prepare(t.Context(), m)
			require.NoError(t, err, c.Name)
			require.Empty(t, run.Plan.Host, c.Name)
			require.Positive(t, run.Plan.Steps, c.Name)
			require.NoError(t, run.Close())
		}
	}
}
