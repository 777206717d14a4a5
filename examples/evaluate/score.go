package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// loadJudge reads CLIP, which encodes each picture once, and the reward that was learned on it; nil
// if there is none.
func (s *session) loadJudge() (*clip.Cache, reward.Model, error) {
	encoder, err := command.LoadCLIP(s.clip)
	if err != nil {
		return nil, nil, err
	}
	cache, err := clip.OpenCache(encoder, filepath.Join(s.out, "features.safetensors"))
	if err != nil || s.reward == "" {
		return cache, nil, err
	}
	model, err := alignment.Load(s.reward, cache)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("-reward: %w", err), cache.Close())
	}
	return cache, model, nil
}

// file is an arm's samples.jsonl.
func (s *session) file(arm string) dataset.File {
	return dataset.File{Path: s.folder.Path(arm, "samples.jsonl"), Images: true}
}

// score scores all pictures, writes their rewards to the arms' samples.jsonl, and makes the arm best-of-n.
func (s *session) score(ctx context.Context) (all []*evaluate.Arm, err error) {
	cache, model, err := s.loadJudge()
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	scorer := &evaluate.Scorer{CLIP: cache, Reward: model}
	bar := s.progress.Stage("score", s.places()*(len(s.arms)+s.n-1))
	defer bar.End()
	of := s.arms
	if s.n > 1 {
		of = append(of[:len(of):len(of)], arm{name: candidates})
	}
	for _, a := range of {
		file := s.file(a.name)
		count := func(_ context.Context, sample dataset.Sample) (dataset.Sample, error) {
			bar.Add(1)
			return sample, nil
		}
		one, err := scorer.Score(ctx, a.name, dataset.Map(file, count))
		if err == nil && model != nil {
			_, err = dataset.Write(ctx, file.Path, dataset.FromSlice(one.Samples))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		one.Title = a.title
		all = append(all, one)
	}
	if last := len(all) - 1; s.n > 1 {
		if all[last], err = s.best(ctx, all[0], all[last]); err != nil {
			return nil, fmt.Errorf("%s: %w", s.bestOf().name, err)
		}
	}
	return all, nil
}

// best is the arm best-of-n: of the base's picture and the candidates in each place, the one that has the highest reward.
func (s *session) best(ctx context.Context, base, more *evaluate.Arm) (*evaluate.Arm, error) {
	draws := []*evaluate.Arm{base}
	for from := 0; from < len(more.Samples); from += s.places() {
		draws = append(draws, more.Slice(from, from+s.places()))
	}
	best, choice, err := evaluate.BestOf(s.bestOf().name, evaluate.Reward, draws...)
	if err != nil {
		return nil, err
	}
	best.Title = s.bestOf().title
	place := 0
	read := func(ctx context.Context, sample dataset.Sample) (dataset.Sample, error) {
		from := draws[choice[place]].Name
		place++
		return s.file(from).Decode(ctx, sample)
	}
	pictures := dataset.Map(dataset.FromSlice(best.Samples), read)
	_, err = dataset.WriteFolder(ctx, s.folder.Path(best.Name), pictures)
	return best, err
}
