package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"path/filepath"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A judge scores pictures.
type judge struct {
	*clip.Cache              // each picture is encoded once
	reward      reward.Model // nil: there is none
}

// loadJudge reads CLIP and the reward that was learned on it.
func (s *session) loadJudge() (*judge, error) {
	encoder, err := command.LoadCLIP(s.clip)
	if err != nil {
		return nil, err
	}
	cache, err := clip.OpenCache(encoder, filepath.Join(s.out, "features.safetensors"))
	if err != nil {
		return nil, err
	}
	j := &judge{Cache: cache}
	if s.reward != "" {
		if j.reward, err = alignment.Load(s.reward, cache); err != nil {
			return nil, errors.Join(fmt.Errorf("-reward: %w", err), j.Close())
		}
	}
	return j, nil
}

// A scored is an arm's pictures, without their pixels, with what is known of each.
type scored struct {
	arm
	samples  []dataset.Sample // with rewards, if there is a reward
	clip     []float64        // 100 times the cosine of CLIP's features of picture and prompt
	features [][]float64      // CLIP's
}

// append adds sample i of another.
func (a *scored) append(sample dataset.Sample, from *scored, i int) {
	a.samples, a.clip, a.features = append(a.samples, sample), append(a.clip, from.clip[i]), append(a.features, from.features[i])
}

// rewards of the samples; nil if there are none.
func (a *scored) rewards() []float64 {
	var out []float64
	for _, sample := range a.samples {
		if sample.Reward != nil {
			out = append(out, *sample.Reward)
		}
	}
	return out
}

// file is an arm's samples.jsonl.
func (s *session) file(arm string) dataset.File {
	return dataset.File{Path: s.folder.Path(arm, "samples.jsonl")}
}

// score scores all pictures, writes their rewards to the arms' samples.jsonl, and makes the arm best-of-n.
func (s *session) score(ctx context.Context) (all []*scored, err error) {
	j, err := s.loadJudge()
	if err != nil {
		return nil, err
	}
	defer j.Close()
	texts, err := j.texts(ctx, s.prompts)
	if err != nil {
		return nil, err
	}
	bar := s.progress.Stage("score", s.places()*(len(s.arms)+s.n-1))
	defer bar.End()
	of := s.arms
	if s.n > 1 {
		of = append(of[:len(of):len(of)], arm{name: candidates})
	}
	for _, a := range of {
		one, err := s.scoreArm(ctx, j, a, texts, bar)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		all = append(all, one)
	}
	if s.n > 1 {
		last := len(all) - 1
		if all[last], err = s.best(ctx, all[0], all[last]); err != nil {
			return nil, fmt.Errorf("%s: %w", s.bestOf().name, err)
		}
	}
	return all, nil
}

// texts are CLIP's features of prompts.
func (j *judge) texts(ctx context.Context, prompts []string) (map[string][]float64, error) {
	f, err := j.TextFeatures(ctx, prompts)
	if err != nil {
		return nil, err
	}
	rows, err := measure.Rows(f.Float32s(), f.Shape()[1])
	if err != nil {
		return nil, err
	}
	texts := map[string][]float64{}
	for i, p := range prompts {
		texts[p] = rows[i]
	}
	return texts, nil
}

// scoreArm scores the pictures of an arm.
func (s *session) scoreArm(ctx context.Context, j *judge, a arm, texts map[string][]float64, bar *report.Stage) (*scored, error) {
	const together = 16 // pictures in memory
	file, out := s.file(a.name), &scored{arm: a}
	file.Images = true
	var batch []dataset.Sample
	score := func() error {
		defer func() { batch = batch[:0] }()
		bar.Add(len(batch))
		return j.score(ctx, batch, texts, out)
	}
	for sample, err := range file.All(ctx) {
		if err != nil {
			return nil, err
		}
		if batch = append(batch, sample); len(batch) < together {
			continue
		}
		if err := score(); err != nil {
			return nil, err
		}
	}
	if err := score(); err != nil {
		return nil, err
	}
	if j.reward == nil {
		return out, nil
	}
	_, err := dataset.Write(ctx, file.Path, dataset.FromSlice(out.samples))
	return out, err
}

// score adds a batch of samples to out.
func (j *judge) score(ctx context.Context, batch []dataset.Sample, texts map[string][]float64, out *scored) error {
	if len(batch) == 0 {
		return nil
	}
	pictures := make([]image.Image, len(batch))
	for i, sample := range batch {
		pictures[i] = sample.Image
	}
	f, err := j.ImageFeatures(ctx, pictures)
	if err != nil {
		return err
	}
	rows, err := measure.Rows(f.Float32s(), f.Shape()[1])
	if err != nil {
		return err
	}
	var rewards []float64
	if j.reward != nil {
		if rewards, err = j.reward.Score(ctx, batch); err != nil {
			return err
		}
	}
	for i, sample := range batch {
		cosine, err := measure.Cosine(rows[i], texts[sample.Prompt])
		if err != nil {
			return fmt.Errorf("CLIP's features of %s: %w", sample.File, err)
		}
		sample.Image = nil
		if rewards != nil {
			sample.Reward = &rewards[i]
		}
		out.samples, out.clip, out.features = append(out.samples, sample), append(out.clip, 100*cosine), append(out.features, rows[i])
	}
	return nil
}

// best is the arm best-of-n: of the base's picture and the candidates in each place, the one that has the highest reward.
func (s *session) best(ctx context.Context, base, more *scored) (*scored, error) {
	places := s.places()
	var draws []dataset.Sample
	for i := range places {
		draws = append(draws, base.samples[i])
		for from := 0; from < len(more.samples); from += places {
			draws = append(draws, more.samples[from+i])
		}
	}
	byReward := reward.Func(func(_ context.Context, samples []dataset.Sample) (rewards []float64, err error) {
		return (&scored{samples: samples}).rewards(), nil
	})
	chosen, err := reward.BestOf(ctx, byReward, draws, s.n)
	if err != nil {
		return nil, err
	}
	out := &scored{arm: s.bestOf()}
	origin := func(sample dataset.Sample) (*scored, int) {
		if i := int(sample.Source.Index); i >= places {
			return more, i - places
		}
		return base, int(sample.Source.Index)
	}
	for _, sample := range chosen {
		from, i := origin(sample)
		out.append(sample, from, i)
	}
	_, err = dataset.WriteFolder(ctx, s.folder.Path(out.name), dataset.Map(dataset.FromSlice(chosen), func(ctx context.Context, sample dataset.Sample) (dataset.Sample, error) {
		from, _ := origin(sample)
		return s.file(from.name).Decode(ctx, sample)
	}))
	return out, err
}
