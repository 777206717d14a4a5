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
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
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
	var none *pipeline.Pipeline
	one := dataset.FromSlice([]dataset.Sample{{Prompt: "a"}})
	of := func(d dataset.Dataset) error {
		_, err := dataset.Collect(ctx, d)
		return err
	}
	same := func(_ context.Context, s dataset.Sample) (dataset.Sample, error) { return s, nil }
	failing := func(_ any, err error) error { return err }
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
	} {
		require.Error(t, err, name)
	}
}
