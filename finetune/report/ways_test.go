package report

import (
	"errors"
	"flag"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// tooLarge is what does not fit.
type tooLarge int64

func (e tooLarge) Error() string          { return "too large" }
func (e tooLarge) Needs() (int64, string) { return int64(e), "it takes much" }

// The ways that are enough alone are named, or else all together, or else with what limit they are;
// and the flags are as before.
func TestFitsWith(t *testing.T) {
	f := flag.NewFlagSet("p", flag.ContinueOnError)
	var memory Size
	f.Var(&memory, "memory", "")
	ema := f.Float64("ema", 0.5, "")
	clip := f.Float64("clip", 0, "")
	batch, other := f.Int("batch", 5, ""), f.Int("other", 3, "")
	takes := func() int64 { return int64(200**ema+100**clip) + int64(*batch*100+*other*10) }
	fit := func() error {
		if takes() > int64(memory) {
			return fmt.Errorf("no: %w", tooLarge(takes()))
		}
		return nil
	}
	require.Equal(t, int64(630), takes())
	halves := Halves(f, "batch", "other")
	require.Equal(t, []string{
		"-batch 3 -other 2", "-batch 2 -other 1", "-batch 1 -other 1",
	}, halves)
	ways := [][]string{{"-ema 0"}, {"-clip 0"}, halves}
	for limit, want := range map[Size]string{
		600: "-ema 0, with -batch 3 -other 2, or with -memory 630B",
		300: "-batch 1 -other 1, or with -memory 630B", // 2 and 1 take 310
		210: "-batch 1 -other 1, or with -memory 630B",
		110: "-ema 0 -batch 1 -other 1, or with -memory 630B",
		109: "-memory 630B, or with -memory 110B and -ema 0 -batch 1 -other 1",
	} {
		memory = limit
		err := FitsWith(f, "memory", fit, ways...)
		require.EqualError(t, err, fmt.Sprintf(
			"it takes much; -memory is %v. It would fit with %s", limit, want))
		require.ErrorAs(t, err, new(tooLarge))
		require.Equal(t, int64(630), takes(), "the flags were changed")
	}
	memory = 630
	require.NoError(t, FitsWith(f, "memory", fit, ways...))
	memory = 1
	err := FitsWith(f, "memory", fit, []string{"-clip 0"})
	require.EqualError(t, err, "it takes much; -memory is 1B. It would fit with -memory 630B")
	require.ErrorContains(t, FitsWith(f, "memory", fit, []string{"-batch x"}), "-batch x")
	*batch, *other = 1, 0
	require.Empty(t, Halves(f, "batch", "other"))

	// What else goes wrong is an error of its own, whenever it does.
	broken := errors.New("broken")
	for tried := range 3 {
		n := 0
		err := FitsWith(f, "memory", func() error {
			if n++; n > tried {
				return broken
			}
			return tooLarge(7)
		}, []string{"-ema 0"})
		require.Equal(t, broken, err)
		require.Equal(t, 0.5, *ema)
	}
}

func TestNeeds(t *testing.T) {
	f := flag.NewFlagSet("p", flag.ContinueOnError)
	f.String("model", "", "")
	f.String("out", "", "")
	f.Bool("kohya", false, "")
	f.Float64("beta", 1, "")
	require.NoError(t, f.Parse([]string{"-model", "m", "-kohya"}))
	require.NoError(t, Required(f, "model"))
	require.EqualError(t, Required(f, "out"), "-out is required")
	require.EqualError(t, Required(f, "model", "beta", "out"),
		"-model, -beta and -out are required")
	require.NoError(t, Needs(f, "beta", "model"))
	require.NoError(t, Needs(f, "out", "model"))
	require.EqualError(t, Needs(f, "kohya", "out"), "-kohya needs -out")
	require.EqualError(t, Needs(f, "model", "out"), "-model m needs -out")
	require.EqualError(t, Needs(f, "beta", "out"), "-beta 1 needs -out, and -beta 0 does not")
}
