package finetune

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// shaped returns pretraining samples with latents of these heights and widths.
func shaped(sizes ...[2]int) []dataset.Sample {
	samples := made(len(sizes), false)
	for i, size := range sizes {
		samples[i].Latent = dense(size[0], size[1], channels)
		rng.Normal(samples[i].Latent.Float32s(), 7, "shaped", 0, uint64(i))
	}
	return samples
}

var several = [][2]int{{1, 2}, {2, 3}, {1, 2}, {4, 1}, {2, 3}, {2, 3}, {1, 2}}

// Pretraining samples of several shapes take turns, a step's being of one. Loss, gradients and
// parameters are those of Eq. 2 by hand, whatever is done with the gradients, and however the step
// is divided.
func TestShapesByHand(t *testing.T) {
	for name, change := range map[string]func(*Tuner){
		"as they appear": func(*Tuner) {},
		"clipped":        func(t *Tuner) { t.Clip = 0.3 },
		"in parts":       func(t *Tuner) { t.Accumulate = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			own, pretrain := made(5, true), shaped(several...)
			l := newLine()
			tuner := tuner(t, l)
			tuner.Pretrain, tuner.Updates = dataset.FromSlice(pretrain), 8
			change(tuner)
			byID := map[string]dataset.Sample{}
			for _, s := range pretrain {
				byID[s.ID] = s
			}
			adam := &handAdam{beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.01}
			p, met := l.vector(), map[shape]bool{}
			for step, err := range tuner.Steps(t.Context()) {
				require.NoError(t, err)
				var samples []dataset.Sample
				for i := range tuner.OwnBatch {
					at := step.Index*tuner.OwnBatch + i
					samples = append(samples, inOrder(own, "model order", tuner.Seed, at))
				}
				for _, id := range step.IDs[tuner.OwnBatch:] {
					s := byID[id]
					require.Equal(t, shapeOf(byID[step.IDs[tuner.OwnBatch]]), shapeOf(s))
					met[shapeOf(s)] = true
					samples = append(samples, s)
				}
				b := batchOf(tuner, step.Index, samples)
				loss := func(p []float64) float64 {
					reward, pretraining := b.terms(p, 0.7)
					return reward + pretraining
				}
				reward, pretraining := b.terms(p, 0.7)
				want := map[string]float64{"reward": reward, "pretraining": pretraining}
				require.InDeltaMapValues(t, want, step.Terms, 2e-6)
				require.InEpsilon(t, loss(p), step.Loss, 1e-6)
				g := slope(p, loss)
				length := norm(g)
				require.InEpsilon(t, length, step.GradNorm, 2e-6)
				if tuner.Clip > 0 {
					for i := range g {
						g[i] *= min(1, tuner.Clip/(length+1e-6))
					}
				}
				adam.step(p, g, step.LR)
				require.InDeltaSlice(t, p, l.vector(), 5e-6, "step %d", step.Index)
			}
			require.Len(t, met, 3)
		})
	}
}

// A pass has every sample, and none more often than to fill up a step; what a step sees depends on
// nothing but seed, step and size.
func TestByShape(t *testing.T) {
	samples := shaped(several...)
	picks, err := byShape{"x"}.Among(samples, 3)
	require.NoError(t, err)
	for _, n := range []int{1, 2, 3, 5} {
		perPass := map[int]int{1: 7, 2: 5, 3: 3, 5: 3}[n] // 3, 3 and 1 samples
		var orders []string
		for pass := range 3 {
			seen, order := map[int]int{}, ""
			for i := range perPass {
				got := picks(pass*perPass+i, n)
				require.Len(t, got, n)
				for _, p := range got {
					require.Equal(t, shapeOf(samples[got[0].Sample]), shapeOf(samples[p.Sample]))
					seen[p.Sample]++
				}
				order += fmt.Sprint(got)
			}
			require.Len(t, seen, 7, "%d a step", n)
			for i, times := range seen {
				if several[i] != [2]int{4, 1} {
					require.LessOrEqual(t, times, 2)
				}
			}
			orders = append(orders, order)
		}
		require.NotEqual(t, orders[0], orders[1])
		require.NotEqual(t, orders[1], orders[2])
	}
	again, err := byShape{"x"}.Among(samples, 3)
	require.NoError(t, err)
	require.Equal(t, picks(11, 2), again(11, 2))
	other, err := byShape{"x"}.Among(samples, 4)
	require.NoError(t, err)
	same := 0
	for step := range 10 {
		if fmt.Sprint(picks(step, 2)) == fmt.Sprint(other(step, 2)) {
			same++
		}
	}
	require.Less(t, same, 10)
}

// All shapes together take the memory of the largest.
func TestShapesShareMemory(t *testing.T) {
	plan := func(sizes ...[2]int) kernels.Plan {
		tuner := tuner(t, newLine())
		tuner.Pretrain = dataset.FromSlice(shaped(sizes...))
		got, err := tuner.Prepare(t.Context())
		require.NoError(t, err)
		return got
	}
	large := plan([2]int{30, 20}, [2]int{30, 20})
	all := plan([2]int{1, 9}, [2]int{30, 20}, [2]int{8, 4}, [2]int{20, 20}, [2]int{1, 2})
	require.Equal(t, large.Arena, all.Arena)
	require.Equal(t, large.Workspace, all.Workspace)
	require.Equal(t, large.Weights, all.Weights)
}

// Training that is taken up again sees what it would have seen.
func TestShapesResume(t *testing.T) {
	run := func(breakAt int) []float64 {
		l := newLine()
		begin := func() *Tuner {
			tuner := tuner(t, l)
			tuner.Pretrain, tuner.Updates = dataset.FromSlice(shaped(several...)), 9
			return tuner
		}
		first := begin()
		for step, err := range first.Steps(t.Context()) {
			require.NoError(t, err)
			if step.Index == breakAt {
				break
			}
		}
		state, err := first.State(t.Context())
		require.NoError(t, err)
		second := begin()
		require.NoError(t, second.Restore(t.Context(), state))
		for _, err := range second.Steps(t.Context()) {
			require.NoError(t, err)
		}
		return l.vector()
	}
	require.Equal(t, run(8), run(3))
}
