package command

import (
	"flag"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
)

func TestMachine(t *testing.T) {
	parse := func(args ...string) (m *Machine, config map[string]any, err error) {
		m = new(Machine)
		f := flag.NewFlagSet("mine", flag.ContinueOnError)
		f.SetOutput(io.Discard)
		m.Flags(f)
		err = m.Parse(f, args)
		return m, report.Config(f), err
	}
	m, config, err := parse()
	require.NoError(t, err)
	require.NotNil(t, m.Room)
	m.Room = nil
	require.Equal(t, kernels.Config{}, m.Config)
	require.Equal(t, "cpu", config["device"])
	require.Equal(t, "float32", config["precision"])
	require.NoError(t, m.Close())
	for _, text := range []string{"bf16", "bfloat16"} {
		m, config, err = parse("-precision", text, "-device", "cpu")
		require.NoError(t, err)
		m.Room = nil
		require.Equal(t, kernels.Config{Precision: kernels.BFloat16}, m.Config)
		require.Equal(t, "bfloat16", config["precision"])
	}
	for _, wrong := range []string{"gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", ""} {
		_, _, err = parse("-device", wrong)
		require.ErrorContains(t, err, "is no device: cpu, cuda and cuda:1 are", wrong)
	}
	_, _, err = parse("-precision", "fp16")
	require.ErrorContains(t, err, `"fp16" is no precision to compute in`)

	_, _, err = parse("-plain")
	require.ErrorContains(t, err, "not defined: -plain")

	// Which GPU it is is not of the results.
	if _, missing := cuda.Devices(); missing != nil {
		_, config, err = parse("-device", "cuda:1")
		require.ErrorContains(t, err, "-device cuda:1: "+missing.Error())
		require.Equal(t, "cuda", config["device"])
	}
}

// What is more than the machine has is refused before it is taken, but for training, which has a
// limit of its own.
func TestMachinesRoom(t *testing.T) {
	var m Machine
	f := flag.NewFlagSet("mine", flag.ContinueOnError)
	m.Flags(f)
	require.NoError(t, m.Parse(f, nil))
	has(t, 1<<20, true)
	require.NoError(t, m.Room(1<<20))
	require.EqualError(t, m.Room(3<<20), "this takes 3.00MiB of memory, and this machine, or the "+
		"cgroup of this process, has 1.00MiB free")
	has(t, 0, false)
	require.NoError(t, m.Room(1<<60), "where it is not known, it is tried")
	a, err := tuning(t)
	require.NoError(t, err)
	require.NotNil(t, a.Machine.Room)
	require.Nil(t, a.Tuner.Machine.Room)
}

// What computes a model computes its training, too.
func TestTrainingsMachine(t *testing.T) {
	a, err := tuning(t, "-precision", "bf16")
	require.NoError(t, err)
	require.Equal(t, kernels.BFloat16, a.Tuner.Machine.Precision)
	u, s, d := small(t)
	tuner, _, err := a.Trainer(u, s, d)
	require.NoError(t, err)
	require.Equal(t, kernels.BFloat16, tuner.Machine.Precision)
	_, missing := cuda.Devices()
	a, err = tuning(t, "-device", "cuda")
	if missing != nil {
		require.ErrorContains(t, err, "-device cuda: "+missing.Error())
		return
	}
	require.NoError(t, err)
	require.Same(t, a.Machine.Device, a.Tuner.Machine.Device)
	require.NoError(t, a.Close())
}

// Programs of models of full size use Winograd's algorithm unless they are to be plain, and say
// which.
func TestPlain(t *testing.T) {
	for _, k := range []struct {
		args            []string
		winograd, plain bool
	}{
		{nil, true, false},
		{[]string{"-plain"}, false, true},
		{[]string{"-plain=false"}, true, false},
		{[]string{"-plain=true"}, false, true},
	} {
		m, f := new(Machine), flag.NewFlagSet("mine", flag.ContinueOnError)
		m.Flags(f)
		m.PlainFlag(f)
		require.NoError(t, m.Parse(f, k.args))
		require.Equal(t, k.winograd, m.Winograd, k.args)
		require.Equal(t, k.plain, report.Config(f)["plain"], k.args)
	}
	f := flag.NewFlagSet("mine", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	new(Machine).PlainFlag(f)
	require.ErrorContains(t, f.Parse([]string{"-plain=maybe"}), `"maybe" is not true or false`)

	a, err := tuning(t)
	require.NoError(t, err)
	require.True(t, a.Tuner.Machine.Winograd)
	require.Equal(t, false, a.Run.Config["plain"])
	a, err = tuning(t, "-plain")
	require.NoError(t, err)
	require.False(t, a.Tuner.Machine.Winograd)
	require.Equal(t, true, a.Run.Config["plain"])
}

// A full is a device without hardware that has so much memory free.
type full struct {
	kernels.Device
	free int64
}

func (d full) Free() (int64, error) { return d.free, nil }
func (d full) String() string       { return "GPU" }

// Without -memory training takes what the device has free, and what does not fit that is said as it
// is with -memory.
func TestFitOnDevice(t *testing.T) {
	u, s, d := small(t)
	plan := func(free int64) (*Tuning, error) {
		a, err := tuning(t, "-steps", "2", "-batch", "2")
		require.NoError(t, err)
		a.Machine.Device = full{kernels.Planning(nil), free}
		a.Tuner.Machine = a.Machine.Config
		return a, a.Fit(t.Context(), io.Discard, u, s, d)
	}
	a, err := plan(1 << 40)
	require.NoError(t, err)
	require.Equal(t, "GPU", a.Planned.Device)
	require.Zero(t, a.Planned.Recomputed)
	b, err := plan(a.Planned.Total() - a.Planned.Activations/3)
	require.NoError(t, err)
	require.Positive(t, b.Planned.Recomputed)
	_, err = plan(1 << 10)
	require.ErrorAs(t, err, new(*finetune.FitError))
	require.ErrorContains(t, err, "-memory is 1.00KiB. It would fit with ")
}
