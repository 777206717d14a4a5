package report_test

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune/report"
)

func TestConfigOfFlags(t *testing.T) {
	f := flag.NewFlagSet("tune", flag.ContinueOnError)
	f.Int("steps", 3, "")
	f.Bool("resume", false, "")
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
