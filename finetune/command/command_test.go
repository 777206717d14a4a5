package command

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
)

// tuning is one of a command line.
func tuning(t *testing.T, args ...string) (*Tuning, error) {
	t.Helper()
	tuning := New(flag.NewFlagSet("mine", flag.ContinueOnError))
	tuning.flags.SetOutput(io.Discard)
	return tuning, tuning.Parse(args)
}

// What flags say is in the fields, and in what is written of the run.
func TestParse(t *testing.T) {
	a, err := tuning(t, "-batch", "3", "-out", "there", "-memory", "2KiB", "-every", "7")
	require.NoError(t, err)
	require.Equal(t, 3, a.Tuner.PretrainBatch, "as many as -batch")
	require.Equal(t, 1e-5, a.LR)
	require.Equal(t, "there", a.Run.Folder)
	require.Equal(t, 7, a.Run.Every)
	require.True(t, a.Tuner.EMAWarmUp)
	require.Equal(t, "mine -batch 3 -out there -memory 2KiB -every 7 -resume", a.Run.Command)
	require.Equal(t, "mine", a.Run.Config["program"])
	require.EqualValues(t, 3, a.Run.Config["pretrain-batch"])
	require.EqualValues(t, 2048, a.Run.Config["memory"])
	a, err = tuning(t, "-lora-rank", "4")
	require.NoError(t, err)
	require.Equal(t, 1e-4, a.LR)
	a, err = tuning(t, "-beta", "0", "-lr", "1e-3", "-lora-rank", "4")
	require.NoError(t, err)
	require.Equal(t, 1e-3, a.LR)
	require.Zero(t, a.Tuner.PretrainBatch)
	for want, args := range map[string][]string{
		"-steps 0 must be":              {"-steps", "0"},
		"-lr 0 must be above 0":         {"-lr", "0"},
		"-ema 1 must be at least 0":     {"-ema", "1"},
		"-dropout NaN must be 0 to 1":   {"-dropout", "NaN"},
		"-max-grad-norm -1":             {"-max-grad-norm", "-1"},
		"-kohya needs -lora-rank":       {"-kohya"},
		"-baseline 1 must be at least":  {"-baseline", "1"},
		"-mix 0 must be above 0, and":   {"-mix", "0"},
		"-baseline makes weights below": {"-baseline", "0.3", "-by-reward"},
		"-lora-everything needs -lora":  {"-lora-everything"},
		"-pretrain-batch 2 needs -beta": {"-pretrain-batch", "2", "-beta", "0"},
		`unexpected argument "more"`:    {"more"},
		"flag provided but not defined": {"-mine"},
		"-lora-rank -1 must be 0 to ":   {"-lora-rank", "-1"},
	} {
		_, err := tuning(t, args...)
		require.ErrorContains(t, err, want)
	}
}

// small is a network that diffusers made, its schedule, and data of zeros.
func small(t *testing.T) (*unet.UNet2DCondition, *diffusion.Schedule, Data) {
	t.Helper()
	u, err := unet.LoadFS(os.DirFS("../../testdata/golden/shards/unet"))
	require.NoError(t, err)
	s, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	require.NoError(t, err)
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	}
	c := u.Config
	condition := dataset.Condition{Tokens: zeros(5, c.CrossAttentionDim.At(0))}
	one := dataset.Sample{
		Reward: new(0.5), Latent: zeros(c.SampleSize, c.SampleSize, c.InChannels),
		Condition: condition,
	}
	all := []dataset.Sample{one, one}
	return u, s, Data{Own: all, Pretrain: all, Unconditional: condition}
}

// Each flag is where it belongs in the Tuner.
func TestTrainer(t *testing.T) {
	u, s, d := small(t)
	a, err := tuning(
		t, "-warm-up", "2", "-lr", "1", "-by-reward", "-min-timestep", "300", "-seed", "5",
	)
	require.NoError(t, err)
	tuner, adapter, err := a.Trainer(u, s, d)
	require.NoError(t, err)
	require.Nil(t, adapter)
	require.Same(t, u, tuner.Network)
	require.Equal(t, []finetune.Term{finetune.RewardWeighted{}, finetune.Pretraining{Beta: 1}},
		tuner.Terms)
	require.Equal(t, finetune.ByReward{}, tuner.Choose)
	require.Equal(t, s.Process.From(300)(0), tuner.OwnLevels(0))
	require.Nil(t, tuner.PretrainLevels)
	require.Less(t, tuner.LR(0), 1.0)
	require.Equal(t, 1.0, tuner.LR(2))
	require.EqualValues(t, 5, tuner.Seed)
	require.Equal(t, 0.1, tuner.Dropout)
	require.False(t, tuner.Unconditional.IsZero())

	a, err = tuning(t, "-beta", "0", "-dropout", "0", "-lora-rank", "2")
	require.NoError(t, err)
	tuner, adapter, err = a.Trainer(u, s, d)
	require.NoError(t, err)
	require.Same(t, adapter, tuner.Network)
	require.Nil(t, tuner.Pretrain)
	require.Len(t, tuner.Terms, 1)
	require.Nil(t, tuner.Choose)
	pairs := len(adapter.Trainable())
	adapter.Detach()
	a.Everything = true
	_, adapter, err = a.Trainer(u, s, d)
	require.NoError(t, err)
	require.Greater(t, len(adapter.Trainable()), pairs)
}

// What Fit has found is what Train takes, and what was trained is saved in a folder that says so.
func TestTrain(t *testing.T) {
	for name, more := range map[string][]string{
		"all": nil, "pairs": {"-lora-rank", "2", "-kohya"},
	} {
		t.Run(name, func(t *testing.T) {
			u, s, d := small(t)
			dir := filepath.Join(t.TempDir(), "run")
			a, err := tuning(t, append([]string{"-steps", "2", "-batch", "2", "-out", dir},
				more...)...)
			require.NoError(t, err)
			a.Run.Progress = io.Discard
			release, err := a.Run.Begin()
			require.NoError(t, err)
			defer func() { require.NoError(t, release()) }()
			var table strings.Builder
			require.NoError(t, a.Fit(t.Context(), &table, u, s, d))
			require.Contains(t, table.String(), "Planned peak memory")
			require.Zero(t, a.Planned.Recomputed)
			free := a.Planned
			require.NoError(t, a.flags.Set("memory", "1KiB"))
			err = a.Fit(t.Context(), io.Discard, u, s, d)
			require.ErrorAs(t, err, new(*finetune.FitError))
			require.ErrorContains(t, err, "-memory is 1.00KiB. It would fit with ")
			a.Memory = report.Size(free.Total() - free.Activations/3)
			table.Reset()
			require.NoError(t, a.Fit(t.Context(), &table, u, s, d))
			require.Positive(t, a.Planned.Recomputed)
			require.Contains(t, table.String(), "To fit -memory ")

			left, err := a.Train(t.Context(), u, s, d, func(dir string) error {
				return os.WriteFile(filepath.Join(dir, "unet"), nil, 0o644)
			})
			require.NoError(t, err)
			tuned := filepath.Join(dir, "tuned")
			require.Equal(t, "what 2 updates have made is in "+tuned, left)
			entries, err := os.ReadDir(tuned)
			require.NoError(t, err)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			want := []string{"unet"}
			if a.Rank > 0 {
				want = []string{"kohya.safetensors", "pytorch_lora_weights.safetensors"}
			}
			require.Equal(t, want, names)
		})
	}
}

// What the rewards weigh is said with their signs, and refused where nothing can be learned.
func TestWeigh(t *testing.T) {
	samples := func(rewards ...float64) (all []dataset.Sample) {
		for i, r := range rewards {
			all = append(all, dataset.Sample{ID: fmt.Sprint(i), Reward: &r})
		}
		return all
	}
	var said strings.Builder
	tuned := &Tuning{Beta: 0.5}
	require.NoError(t, tuned.Weigh(&said, "x.jsonl", samples(-2.27, 0.5, 1.9, -0.3)))
	require.Equal(t, "4 rewards from -2.27 to 1.9, mean -0.0425; 2 are below 0 and push away from "+
		"their pictures. The reward term weighs 1.24, the mean of their sizes; beside it the "+
		"pretraining term weighs β = 0.5.\n", said.String())
	said.Reset()
	off := samples(0, 1, 0.5) // of the mean, 0.5, half
	require.NoError(t, (&Tuning{Baseline: 0.5}).Weigh(&said, "x.jsonl", off))
	require.Contains(t, said.String(), "3 rewards from -0.5 to 1.5, mean 0.5; 1 are below 0")
	for i, want := range []float64{-0.5, 1.5, 0.5} {
		require.InDelta(t, want, *off[i].Reward, 1e-15)
	}
	err := (&Tuning{Baseline: 0.5}).Weigh(&said, "x.jsonl", samples(1, -1))
	require.ErrorContains(t, err, "-baseline: x.jsonl: reward: the mean of 2 rewards is 0")
	said.Reset()
	require.NoError(t, (&Tuning{}).Weigh(&said, "x.jsonl", samples(0.5)))
	require.Contains(t, said.String(), "there is no pretraining term")
	err = tuned.Weigh(&said, "x.jsonl", samples(0, 0))
	require.EqualError(t, err, "x.jsonl: reward: all 2 rewards are 0: there is nothing to learn")
}
