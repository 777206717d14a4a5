package examples_test

import (
	"context"
	"image"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// What is forgotten is an error that says so, and comes before anything takes time.
func TestNil(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	model, err := tiny.Load()
	require.NoError(t, err)
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	cache, err := clip.OpenCache(encoder, filepath.Join(dir, "features"))
	require.NoError(t, err)
	store, err := feedback.Open(ctx, feedback.Config{Path: filepath.Join(dir, "labels.db")})
	require.NoError(t, err)
	defer store.Close()
	var none *pipeline.Pipeline
	one := dataset.FromSlice([]dataset.Sample{{Prompt: "a"}})
	of := func(d dataset.Dataset) error {
		_, err := dataset.Collect(ctx, d)
		return err
	}
	same := func(_ context.Context, s dataset.Sample) (dataset.Sample, error) { return s, nil }
	failing := func(_ any, err error) error { return err }
	rewarded := dataset.FromSlice([]dataset.Sample{{Prompt: "a", Reward: new(float64)}})
	weighed := func(t reward.Transform) error { return of(reward.Weigh(rewarded, t)) }
	key := func(dataset.Sample) string { return "" }
	latents := tensor.New(tensor.WithShape(1, 16, 16, 4), tensor.Of(tensor.Float32))
	sampled := func(n diffusion.Network, s *diffusion.Schedule, x *tensor.Dense) error {
		for _, sampler := range []string{"ddim", "ddpm", "pndm", "euler", "euler_a", "dpmpp_2m"} {
			by, err := diffusion.ParseSampler(sampler)
			require.NoError(t, err)
			o := diffusion.SampleOptions{Steps: 2, Noise: diffusion.SeededNoise(1, 0)}
			if _, err := diffusion.Last(by.Sample(ctx, n, s, x, o)); err == nil {
				return nil
			}
		}
		_, err := diffusion.Last(diffusion.FlowEuler(ctx, n, nil, x, diffusion.SampleOptions{}))
		return err
	}
	network := func(x *tensor.Dense, _ float64) (*tensor.Dense, error) { return x, nil }
	compiled := func(d diffusion.Denoiser) error {
		return failing(diffusion.Compile(d, latents.Shape(), dataset.Condition{}))
	}
	tuned := func(terms ...finetune.Term) error {
		own := model.Encode(reward.Scored(tiny.Pretraining(1, 2), shapes.Rater{}, 2),
			pipeline.EncodeOptions{})
		return failing((&finetune.Tuner{
			Network: model.UNet, Schedule: model.Schedule, Own: own, Updates: 1, Terms: terms,
		}).Prepare(ctx))
	}
	without := func(c interface {
		ImageFeatures(context.Context, []image.Image) (*tensor.Dense, error)
	}) error {
		return failing(c.ImageFeatures(ctx, []image.Image{nil}))
	}
	run := finetune.Run{Folder: filepath.Join(dir, "run")}
	record := &finetune.Record{Trainer: finetune.Func(nil), Folder: filepath.Join(dir, "record")}
	request := pipeline.Request{Prompts: []string{"a"}}
	for name, err := range map[string]error{
		"Collect":        of(nil),
		"Func":           of(dataset.Func(nil)),
		"Map":            of(dataset.Map(nil, same)),
		"Keep":           of(dataset.Keep(nil)),
		"Join":           of(dataset.Join(one, nil)),
		"Scored":         of(reward.Scored(nil, reward.Func(nil), 8)),
		"Scored, model":  of(reward.Scored(one, nil, 8)),
		"Scored, Func":   of(reward.Scored(one, reward.Func(nil), 8)),
		"Weigh":          of(reward.Weigh(nil, reward.Standardize)),
		"Give":           reward.Give(ctx, nil, []dataset.Sample{{Prompt: "a"}}),
		"Encode":         of(model.Encode(nil, pipeline.EncodeOptions{})),
		"Encode, none":   of(none.Encode(one, pipeline.EncodeOptions{})),
		"Generate, none": of(none.Generate(request)),
		"Save, none":     none.Save(filepath.Join(dir, "model"), 0),
		"WriteFolder":    failing(dataset.WriteFolder(ctx, filepath.Join(dir, "folder"), nil)),
		"Write":          failing(dataset.Write(ctx, filepath.Join(dir, "a.jsonl"), nil)),
		"picture":        without(encoder),
		"cached picture": without(cache),
		"OpenCache":      failing(clip.OpenCache(nil, filepath.Join(dir, "none"))),
		"Load":           failing(alignment.Load(dir, nil)),
		"Each":           finetune.Each(ctx, nil, nil),
		"Record.Finish":  failing(record.Finish(ctx, nil)),
		"Run.Finish":     failing(run.Finish(ctx, finetune.Func(nil), nil)),
		"Models":         failing((&evaluate.Models{}).Check(ctx)),
		"Map, f":         of(dataset.Map(one, nil)),
		"Filter":         of(dataset.Filter(one, nil)),
		"Cycle":          of(dataset.Cycle(nil)),
		"Cycle, epoch":   of(dataset.Cycle(func(uint64) dataset.Dataset { return nil })),
		"Label":          (&dataset.Gallery{Folder: dir}).Label(ctx, "a", nil),
		"Weigh, t":       weighed(nil),
		"Balanced, t":    weighed(reward.Balanced(nil, key)),
		"Balanced, key":  weighed(reward.Balanced(reward.Raw, nil)),
		"Within, t":      weighed(reward.Within(nil, key)),
		"Within, key":    weighed(reward.Within(reward.Raw, nil)),
		"PerPrompt":      weighed(reward.PerPrompt(nil)),
		"Shuffled":       weighed(reward.Shuffled(nil, 1)),
		"reward.Func":    failing(reward.Func(nil).Score(ctx, nil)),
		"LoadFS":         failing(pipeline.LoadFS(nil)),
		"Clone":          failing(none.Clone()),
		"Compile":        compiled(nil),
		"Compile, Func":  compiled(diffusion.Func(nil)),
		"Guide":          compiled(diffusion.Guide(nil, dataset.Condition{}, 2)),
		"Network":        sampled(nil, model.Schedule, latents),
		"Schedule":       sampled(network, nil, latents),
		"latents":        sampled(network, model.Schedule, nil),
		"Term":           tuned(nil),
		"NewTerm":        tuned(finetune.NewTerm("mine", nil)),
		"Do":             run.Do(ctx, nil),
		"Folder.Write":   report.Folder(dir).Write("a", nil),
		"KFold":          failing((&alignment.KFold{Folds: 2}).Run(ctx)),
		"Aggregate":      failing(feedback.AggregatorFunc(nil).Aggregate(ctx, feedback.Table{})),
		"Labels":         of(store.Labels(nil)),
		"AddRecords":     failing(store.AddRecords(ctx, nil, nil)),
	} {
		require.Error(t, err, name)
	}
	// What is only told of something need not be there.
	require.NoError(t, of(dataset.Watched(one, nil)))
	require.NoError(t, of(dataset.Checked(one, nil)))
	settled, err := model.Settle(pipeline.Request{Prompts: []string{"a"}, Guidance: 1, Steps: 1})
	require.NoError(t, err)
	require.NoError(t, of(model.Generate(settled.Watched(nil))))
}
