package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
)

// has makes the machine have so much memory free until the test ends.
func has(t *testing.T, bytes int64, known bool) {
	was := freeMemory
	freeMemory = func() (int64, bool) { return bytes, known }
	t.Cleanup(func() { freeMemory = was })
}

// Without -memory training takes what the machine has: where that is little, activations are
// computed again, and where it is too little, it is refused with the flag that overrides.
func TestMachineMemory(t *testing.T) {
	u, s, d := small(t)
	fit := func(args ...string) (a *Tuning, table string, err error) {
		a, err = tuning(t, append(args, "-out", filepath.Join(t.TempDir(), "run"))...)
		require.NoError(t, err)
		var b strings.Builder
		err = a.Fit(t.Context(), &b, u, s, d)
		return a, b.String(), err
	}
	has(t, 0, false)
	a, _, err := fit()
	require.NoError(t, err, "where it is not known, it is tried")
	all := a.Planned
	require.Zero(t, all.Recomputed)

	has(t, all.Total()*20/19+64, true)
	a, _, err = fit()
	require.NoError(t, err)
	require.Equal(t, all, a.Planned)

	some := all.Total() - all.Activations/3
	has(t, some*20/19, true)
	a, table, err := fit()
	require.NoError(t, err)
	require.Positive(t, a.Planned.Recomputed)
	require.LessOrEqual(t, a.Planned.Total(), some)
	require.Contains(t, table, "To fit what is free, ")
	require.Zero(t, a.Memory, "it is as it was given")

	has(t, all.Total()/20, true)
	_, _, err = fit()
	require.ErrorAs(t, err, new(*finetune.FitError))
	require.ErrorContains(t, err, "-memory is not given, so it is what this machine, or the cgroup")
	require.ErrorContains(t, err, " -memory ")
	_, _, err = fit("-memory", report.Size(all.Total()).String())
	require.NoError(t, err, "who gives it knows better")
}

// A disk that has not the room for all that a run will write is said before anything is made, and
// what an earlier process has written needs no room any more.
func TestDiskRoom(t *testing.T) {
	u, s, d := small(t)
	defer func(was func(string) (int64, bool)) { file.Free = was }(file.Free)
	fit := func(dir string, free int64, args ...string) error {
		file.Free = func(string) (int64, bool) { return free, true }
		a, err := tuning(t, append(args, "-out", dir)...)
		require.NoError(t, err)
		return a.Fit(t.Context(), io.Discard, u, s, d)
	}
	parameters, cached := int64(0), int64(0)
	for _, p := range u.Trainable() {
		parameters += 4 * int64(p.Value.Size())
	}
	for range 2 { // own and pretraining samples share their one condition
		cached += 2 * 4 * int64(d.Own[0].Latent.Size())
	}
	cached += 4 * int64(d.Own[0].Condition.Tokens.Size())
	for name, c := range map[string]struct {
		args []string
		need int64
	}{
		"all weights": {nil, (3*3 + 1) * parameters},
		"an average":  {[]string{"-ema", "0.5"}, (3*4 + 1) * parameters},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			need := c.need + cached
			err := fit(dir, need-1, c.args...)
			require.ErrorContains(t, err, "checkpoints, cache and result need "+
				report.Size(need).String()+" on the disk of "+dir)
			require.NoDirExists(t, dir)
			require.NoError(t, fit(dir, need, c.args...))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "checkpoints"), 0o777))
			there := filepath.Join(dir, "checkpoints", "state")
			require.NoError(t, os.WriteFile(there, make([]byte, 1000), 0o666))
			require.NoError(t, fit(dir, need-1000, c.args...))
			require.Error(t, fit(dir, need-1001, c.args...))
		})
	}
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, fit(dir, parameters, "-lora-rank", "2", "-kohya"), "pairs are small")
}
