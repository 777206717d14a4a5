package cases

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
)

// A time between probes that do not agree is taken again, as often as there are times, and told
// apart if that does not help.
func TestSample(t *testing.T) {
	of := func(count int, probes ...probed) (r Result, left int) {
		samples, err := clock{}.sample(t.Context(), Options{Count: count},
			func() error { return nil },
			func() probed {
				p := probes[0]
				probes = probes[1:]
				return p
			})
		require.NoError(t, err)
		Case{Flops: 10}.summarize(&r, Options{}, samples)
		require.Len(t, r.Seconds, count)
		return r, len(probes)
	}
	sampled := func(count int, peaks ...float64) (r Result, left int) {
		var all []probed
		for _, p := range peaks {
			all = append(all, probed{p, "near"})
		}
		return of(count, all...)
	}
	r, left := sampled(3, 100, 101, 102, 100)
	require.Zero(t, r.Disturbed)
	require.Zero(t, left)
	require.Equal(t, []float64{100.5, 101.5, 101}, r.Peaks)
	for i, share := range r.Shares {
		require.InEpsilon(t, 10/r.Seconds[i]/r.Peaks[i], share, 1e-12)
	}

	r, left = sampled(3, 100, 100, 80, 100, 100, 100)
	require.Zero(t, r.Disturbed, "two were taken again")
	require.Zero(t, left)
	require.Equal(t, []float64{100, 100, 100}, r.Peaks)

	r, left = sampled(2, 100, 80, 80, 100, 80)
	require.Equal(t, 1, r.Disturbed)
	require.Zero(t, left)
	require.Equal(t, []float64{80, 90}, r.Peaks, "the calm one is first")

	near, far := probed{100, "near"}, probed{100, "far"}
	r, left = of(2, near, near, far, far, near)
	require.Equal(t, 1, r.Disturbed, "one of two stayed where the first was")
	require.Zero(t, left)
	require.Equal(t, "near", r.Placement)
	r, left = of(2, near, far, far, far)
	require.Zero(t, r.Disturbed)
	require.Zero(t, left)
	require.Equal(t, "far", r.Placement)

	taken := probed{100, busy}
	r, _ = of(1, taken, taken, taken)
	require.Equal(t, 1, r.Disturbed)

	r, _ = sampled(1, 0, 0)
	require.Zero(t, r.Disturbed)
	require.Empty(t, r.Shares, "no peak is known")
	require.Zero(t, r.Share)
}

// Peaks are of what decides a case.
func TestPeak(t *testing.T) {
	p, err := kernels.NewProbe(kernels.NewWorkers(1))
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	o := Options{Probe: p}
	require.Equal(t, p.Arithmetic(kernels.Float32) > 0, Case{Flops: 1}.probe(o).peak > 0)
	require.Positive(t, Case{}.probe(o).peak)
	require.Zero(t, Case{Flops: 1}.probe(Options{}))
	require.Empty(t, Case{}.probe(o).placement, "one worker is near itself")
	for seconds, want := range map[float64]string{
		0: "", 40e-9: "one core", 90e-9: "near", 480e-9: "far", 1e-4: busy,
	} {
		require.Equal(t, want, Placement(seconds))
	}
}
