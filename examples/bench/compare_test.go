package main

import (
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/cases"
)

const kind = "AuthenticAMD family 25 model 17, 2 cores"

// reached is a result of a case by its shares. Peaks are steady.
func reached(name string, shares ...float64) cases.Result {
	r := cases.Result{
		Name: name, Device: "cpu", Precision: "float32", Machine: kind, Threads: 2, Shares: shares,
		Placement: "near",
		Share:     slices.Sorted(slices.Values(shares))[len(shares)/2],
	}
	for range shares {
		r.Seconds = append(r.Seconds, 1)
		r.Peaks = append(r.Peaks, 200e9)
	}
	return r
}

// disturb says that the last times of a result are disturbed.
func disturb(r cases.Result, times int) cases.Result {
	r.Disturbed = times
	return r
}

// far says that the cores of a result were far from each other.
func far(r cases.Result) cases.Result {
	r.Placement = "far"
	return r
}

// Slower and faster is what is beyond the spread of shares, by more than probes vary.
func TestJudge(t *testing.T) {
	was := reached("x", 0.70, 0.71, 0.69)
	for name, c := range map[string]struct {
		want        verdict
		before, now cases.Result
	}{
		"beyond the spread below": {slower, was, reached("x", 0.60, 0.66, 0.61)},
		"beyond the spread above": {faster, was, reached("x", 0.80, 0.72, 0.81)},
		"spreads that meet":       {same, was, reached("x", 0.60, 0.70, 0.61)},
		"less than probes vary":   {same, was, reached("x", 0.685, 0.688, 0.687)},
		"the same":                {same, was, was},
		"disturbed times left out": {
			slower, was, disturb(reached("x", 0.60, 0.61, 0.62, 0.75), 1),
		},
		"disturbed now":       {disturbed, was, disturb(reached("x", 0.2, 0.2, 0.2), 2)},
		"disturbed before":    {disturbed, disturb(was, 3), reached("x", 0.2, 0.2, 0.2)},
		"far from each other": {moved, was, far(reached("x", 0.2, 0.2, 0.2))},
		"no shares":           {unknown, was, cases.Result{Name: "x"}},
	} {
		require.Equal(t, c.want, judge(c.before, c.now), name)
	}
}

// What is compared are the cases that both have, of machines of a kind. That anything is slower is
// an error.
func TestCompare(t *testing.T) {
	before := []cases.Result{reached("a", 0.7), reached("b", 0.7), reached("gone", 0.7)}
	var out strings.Builder
	err := compare(&out, before, []cases.Result{reached("b", 0.8), reached("a", 0.7),
		reached("new", 0.1)})
	require.NoError(t, err)
	require.Equal(t, "\n"+
		"faster           b, float32, threads=2: 80.0 % of the peak, before 70.0 %\n"+
		"2 compared, 1 the same, 1 faster\n", out.String())

	out.Reset()
	err = compare(&out, before, []cases.Result{reached("a", 0.6), reached("b", 0.7)})
	require.EqualError(t, err, "1 of 2 cases are slower")
	require.Contains(t, out.String(), "slower           a, float32, threads=2: 60.0 %")

	other := reached("a", 0.7)
	other.Machine = "AuthenticAMD family 26 model 2, 2 cores"
	require.ErrorContains(t, compare(io.Discard, before, []cases.Result{other}), "are not compared")
	other = reached("a", 0.7)
	other.Threads = 1
	require.ErrorContains(t, compare(io.Discard, before, []cases.Result{other}),
		"none of the 3 times before is of a case of now")
}

// runsOf are runs of a case with these shares.
func runsOf(shares ...float64) (runs [][]cases.Result) {
	for _, s := range shares {
		runs = append(runs, []cases.Result{reached("a", s, s, s)})
	}
	return runs
}

// A case fails where it is well under the baseline in all runs, and where all were quiet.
func TestHold(t *testing.T) {
	known := baseline{kind + ", near": {"a, float32, threads=2": 0.8}}
	noisy := runsOf(0.5, 0.5, 0.5)
	noisy[1][0].Peaks[2] = 207e9
	near := runsOf(0.5, 0.5, 0.5)
	near[1][0].Peaks[2] = 205e9
	shaken := runsOf(0.5, 0.5, 0.5)
	shaken[2][0].Disturbed = 1
	elsewhere := runsOf(0.5, 0.5, 0.5)
	for i := range elsewhere {
		elsewhere[i][0].Machine = "arm64, 8 cores"
	}
	away, returned := runsOf(0.5, 0.5, 0.5), runsOf(0.5, 0.5, 0.5)
	for i := range away {
		away[i][0] = far(away[i][0])
	}
	returned[0] = away[0]
	returned[1] = away[1]
	gone := runsOf(0.5, 0.5, 0.5)
	gone[1] = away[1]
	missing := runsOf(0.5, 0.5, 0.5)
	missing[1] = nil
	for name, c := range map[string]struct {
		runs      [][]cases.Result
		fails     bool
		says, not string
	}{
		"as it was":                 {runs: runsOf(0.8, 0.81, 0.79), says: "1 of 1 cases are held"},
		"a little under":            {runs: runsOf(0.69, 0.69, 0.69), says: "1 of 1", not: "SLOW"},
		"well under in all":         {runs: runsOf(0.67, 0.6, 0.5), fails: true, says: "SLOW"},
		"once not":                  {runs: runsOf(0.5, 0.69, 0.5), says: "1 of 1", not: "SLOW"},
		"no number":                 {runs: runsOf(math.NaN(), 0.5), fails: true, says: "SLOW"},
		"another clock":             {runs: noisy, says: "held: the machine was not quiet"},
		"a clock within 3 %":        {runs: near, fails: true, says: "SLOW"},
		"disturbed within a run":    {runs: shaken, says: "held: the machine was not quiet"},
		"a kind without a baseline": {runs: elsewhere, says: "there is no baseline for this kind"},
		"far in all runs":           {runs: away, says: "there is no baseline for this kind"},
		"far in two runs":           {runs: returned, says: "there is no baseline for this kind"},
		"far in one run":            {runs: gone, says: "held: the machine was not quiet"},
		"not in all runs":           {runs: missing, says: "not in all runs"},
	} {
		var out strings.Builder
		err := hold(&out, known, c.runs)
		require.Equal(t, c.fails, err != nil, "%s: %v", name, err)
		require.Contains(t, out.String(), c.says, name)
		if c.not != "" {
			require.NotContains(t, out.String(), c.not, name)
		}
	}
	mixed := append(runsOf(0.8), elsewhere[0])
	require.ErrorContains(t, hold(io.Discard, known, mixed), "2 kinds of machines")
}

// What is recorded is what machines of the kind are held to. Other kinds stay.
func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "baseline.json")
	require.NoError(t, record(io.Discard, path, nil), "a file that is not there is made")
	require.NoError(t, os.WriteFile(path, []byte(`{"other": {"b": 0.5}}`), 0o666))
	require.NoError(t, record(io.Discard, path, []cases.Result{
		reached("a", 0.7004), reached("c", 0.9),
	}))
	b, err := readBaseline(path)
	require.NoError(t, err)
	require.Equal(t, baseline{
		"other":         {"b": 0.5},
		kind + ", near": {"a, float32, threads=2": 0.7, "c, float32, threads=2": 0.9},
	}, b)
	require.NoError(t, hold(io.Discard, b, runsOf(0.7, 0.7)))
	require.ErrorContains(t, hold(io.Discard, b, runsOf(0.5, 0.5)), "more than 15 % under")

	var out strings.Builder
	require.NoError(t, record(&out, path, []cases.Result{
		disturb(reached("a", 0.1), 1), {Name: "a", Machine: kind}, reached("c", 0.9),
	}))
	require.Contains(t, out.String(), "not recorded: a, float32, threads=2: a share of 0.100, "+
		"disturbed: 1 of 1 times\n")
	require.Contains(t, out.String(), "1 of 3 cases are recorded\n")
	again, err := readBaseline(path)
	require.NoError(t, err)
	require.Equal(t, b, again)
}

// A run is held to what it has recorded, through files and flags.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	times, kept := filepath.Join(dir, "times.jsonl"), filepath.Join(dir, "baseline.json")
	lines, err := run(t, "-run", "^linear/768→320/.*/forward", "-count", "2", "-least", "1ms",
		"-json")
	require.NoError(t, err)
	require.Len(t, lines, 1)
	require.NoError(t, os.WriteFile(times, []byte(lines[0]), 0o666))
	table, err := run(t, times)
	require.NoError(t, err)
	require.Contains(t, table[0], "linear/768→320/tokens=77/batch=1/forward")

	_, err = run(t, "-hold", kept, times, times)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(kept, []byte("{}"), 0o666))
	table, err = run(t, "-hold", kept, times, times, times)
	require.NoError(t, err)
	require.Contains(t, table[2], "no baseline for this kind of machine")
	recorded, err := run(t, "-record", kept, times)
	require.NoError(t, err)
	if recorded[len(recorded)-1] != "1 of 1 cases are recorded" {
		return // there is no peak, or the machine is busy
	}
	_, err = run(t, "-hold", kept, times, times, times)
	require.NoError(t, err)
	table, err = run(t, "-compare", times, times)
	require.NoError(t, err)
	require.Contains(t, table[len(table)-1], "1 compared, 1 the same")

	require.NoError(t, os.WriteFile(times, []byte(`{"name": 1}`), 0o666))
	_, err = run(t, times)
	require.ErrorContains(t, err, "time 1")
}

// What is committed is of cases that CI times.
func TestBaseline(t *testing.T) {
	b, err := readBaseline("testdata/baseline.json")
	require.NoError(t, err)
	for kind, shares := range b {
		require.Regexp(t, `, \d+ cores(, near|, far|, one core)?$`, kind)
		for of, share := range shares {
			name, _, _ := strings.Cut(of, ", ")
			require.Contains(t, shortSet, name)
			require.True(t, share > 0 && share < 10, of)
		}
	}
}
