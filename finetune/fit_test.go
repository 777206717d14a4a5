package finetune

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels"
)

// planner is a Tuner of diffusers' network, whose numbers are not read, on one sample of zeros.
func planner(t *testing.T, asked *int) *Tuner {
	t.Helper()
	u, err := unet.NewFS(os.DirFS("../testdata/golden/shards/unet"))
	require.NoError(t, err)
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	}
	c := u.Config
	one := dataset.Sample{
		Reward: new(1.0), Latent: zeros(c.SampleSize, c.SampleSize, c.InChannels),
		Condition: dataset.Condition{Tokens: zeros(5, c.CrossAttentionDim.At(0))},
	}
	data := dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
		*asked++
		return func(yield func(dataset.Sample, error) bool) { yield(one, nil) }
	})
	tuner := &Tuner{
		Network: u, Schedule: schedule(t, false), Own: data, OwnBatch: 5,
		Pretrain: data, PretrainBatch: 4,
		Clip: 1, Updates: 2,
	}
	t.Cleanup(func() { require.NoError(t, tuner.Close()) })
	return tuner
}

// Training fits what it is to fit, with little left over, and computes no more again than that
// takes.
func TestFit(t *testing.T) {
	asked := 0
	fit := func(bytes int64) (kernels.Plan, error) {
		tuner := planner(t, &asked)
		plan, err := tuner.Fit(t.Context(), bytes)
		if err == nil {
			require.Equal(t, plan, tuner.Plan())
			again := planner(t, &asked)
			again.Machine.ActivationBytes = tuner.Machine.ActivationBytes
			want, err := again.Prepare(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, plan, "the bound makes another plan")
		}
		return plan, err
	}
	free, err := fit(math.MaxInt64)
	require.NoError(t, err)
	require.Zero(t, free.Recomputed)
	exact, err := fit(free.Total())
	require.NoError(t, err)
	require.Equal(t, free, exact)

	_, err = fit(1)
	var none *FitError
	require.ErrorAs(t, err, &none)
	least := none.Least
	require.Less(t, least.Total(), free.Total())
	require.Zero(t, none.Accumulate, "nothing fits a byte")
	at, err := fit(least.Total())
	require.NoError(t, err)
	require.LessOrEqual(t, at.Total(), least.Total())

	middle := (free.Total() + least.Total()) / 2
	some, err := fit(middle)
	require.NoError(t, err)
	require.LessOrEqual(t, some.Total(), middle)
	require.Greater(t, some.Total(), middle-middle/20, "memory is left over")
	require.Positive(t, some.Recomputed)
	require.Less(t, some.RecomputedCost, least.RecomputedCost)

	for i := range int64(8) {
		bytes := least.Total() + (free.Total()-least.Total())*i/8
		plan, err := fit(bytes)
		require.NoError(t, err)
		require.LessOrEqual(t, plan.Total(), bytes)
	}

	// What Accumulate makes fit is said, and it is true.
	asked = 0
	tuner := planner(t, &asked)
	tuner.Clip = 0
	tuner.Machine.ActivationBytes = 1 << 40
	_, err = tuner.Fit(t.Context(), 1)
	require.ErrorAs(t, err, &none)
	require.Equal(t, int64(1<<40), tuner.Machine.ActivationBytes, "what did not work stays")
	require.Equal(t, 2, asked, "each dataset is read once")
	tuner.Clip, tuner.OwnBatch = 1, 6 // halves are alike
	_, err = tuner.Fit(t.Context(), least.Total()*9/10)
	require.ErrorAs(t, err, &none)
	require.Equal(t, 2, none.Accumulate)
	require.ErrorContains(t, err, "with Accumulate 2 it would fit")
	tuner.Accumulate = none.Accumulate
	parts, err := tuner.Fit(t.Context(), least.Total()*9/10)
	require.NoError(t, err)
	require.Less(t, parts.Total(), least.Total())
}

// A Tuner that fits trains as one does that computes nothing again, bit for bit, on data that it
// reads once.
func TestFitTrains(t *testing.T) {
	losses := func(prepare func(*Tuner)) (all []float64) {
		asked := 0
		tuner := planner(t, &asked)
		for i, p := range tuner.Network.Trainable() {
			for k := range p.Value.Float32s() {
				p.Value.Float32s()[k] = float32((i*7+k*13)%17-8) / 100
			}
		}
		prepare(tuner)
		for step, err := range tuner.Steps(t.Context()) {
			require.NoError(t, err)
			all = append(all, step.Loss, step.GradNorm)
		}
		require.Equal(t, 2, asked)
		_, err := tuner.Fit(t.Context(), 1<<40)
		require.ErrorContains(t, err, "training, which has begun")
		return all
	}
	var free kernels.Plan
	want := losses(func(tuner *Tuner) {
		var err error
		free, err = tuner.Prepare(t.Context())
		require.NoError(t, err)
	})
	got := losses(func(tuner *Tuner) {
		_, err := tuner.Prepare(t.Context())
		require.NoError(t, err)
		plan, err := tuner.Fit(t.Context(), free.Total()-free.Activations/3)
		require.NoError(t, err)
		require.Positive(t, plan.Recomputed)
	})
	require.Equal(t, want, got)
}

// A context that is cancelled ends the search, and errors are the data's and the network's own.
func TestFitErrors(t *testing.T) {
	asked := 0
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	_, err := planner(t, &asked).Fit(ctx, 1<<40)
	require.ErrorIs(t, err, stop)
	bad := planner(t, &asked)
	bad.Updates = 0
	_, err = bad.Fit(t.Context(), 1<<40)
	require.EqualError(t, err, "finetune: 0 updates asked for")
	require.Zero(t, asked)
}

// A limited is a device without hardware that has so much memory.
type limited struct {
	kernels.Device
	has, taken, most int64
}

func (d *limited) Alloc(bytes int64) (kernels.DeviceMemory, error) {
	if d.taken+bytes > d.has {
		return nil, fmt.Errorf("%d bytes are asked for", bytes)
	}
	memory, err := d.Device.Alloc(bytes)
	d.taken += bytes
	d.most = max(d.most, d.taken)
	return &taken{memory, d, bytes}, err
}

func (d *limited) Free() (int64, error) { return d.has - d.taken, nil }
func (d *limited) String() string       { return "GPU" }

// A taken is a piece of its memory.
type taken struct {
	kernels.DeviceMemory
	of    *limited
	bytes int64
}

func (m *taken) Free() error {
	m.of.taken -= m.bytes
	return m.DeviceMemory.Free()
}

// On a device the plan is what is taken of its memory, and training fits where it would not without
// the bound.
func TestFitOnDevice(t *testing.T) {
	asked := 0
	for name, change := range map[string]func(*Tuner){
		"plain":      func(t *Tuner) { t.Clip = 0 },
		"average":    func(t *Tuner) { t.EMA = 0.5 },
		"accumulate": func(t *Tuner) { t.Accumulate = 2 },
		"bfloat16":   func(t *Tuner) { t.Machine.Precision = kernels.BFloat16 },
	} {
		t.Run(name, func(t *testing.T) {
			free := planner(t, &asked)
			device := &limited{Device: kernels.Planning(nil), has: math.MaxInt64}
			change(free)
			free.Machine.Device = device
			plan, err := free.Prepare(t.Context())
			require.NoError(t, err)
			for _, err := range free.Steps(t.Context()) {
				require.NoError(t, err)
				break
			}
			require.InEpsilon(t, plan.Total(), device.taken, 0.001)
			m := free.Memory()
			require.Equal(t, "GPU", m.Device)
			require.Zero(t, m.Data)
			require.Positive(t, m.Gradients)
			table := m.Table("", nil)
			require.Equal(t, "Planned peak memory of GPU", table.Title)
			require.NoError(t, free.Close())
			require.Zero(t, device.taken)

			device.has, device.most = plan.Total()*8/10, 0
			short := planner(t, &asked)
			change(short)
			short.Machine.Device = device
			_, err = short.Prepare(t.Context())
			require.ErrorContains(t, err, "bytes are asked for")
			require.ErrorContains(t, err, "kernels: a plan of ")
			device.has = 2*m.Optimizer/3 + 1
			_, err = short.Prepare(t.Context())
			require.ErrorContains(t, err, "optim: AdamW on GPU: ")
			device.has = plan.Total() * 8 / 10
			tuner := planner(t, &asked)
			change(tuner)
			tuner.Machine.Device = device
			room, err := device.Free()
			require.NoError(t, err)
			require.Equal(t, device.has, room, "what did not fit is freed")
			plan, err = tuner.Fit(t.Context(), room)
			require.NoError(t, err)
			require.Positive(t, plan.Recomputed)
			require.Equal(t, device.taken, device.most, "no other plan took memory")
			require.Same(t, device, tuner.Machine.Device)
		})
	}
}
