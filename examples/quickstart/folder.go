package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// runFiles is what a run leaves beside config.json. Those that tell what is there come first, so that they go first.
var runFiles = []string{"report.html", "report.json", "metrics.jsonl", "samples.jsonl", "samples", "reward", "tuned", "controls"}

// open makes the run folder and writes config.json. What an earlier run left there goes: its labels would be read with
// this run's pictures. Nobody else's files are touched.
func (s *session) open() (err error) {
	entries, err := os.ReadDir(s.out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("-out: %w", err)
	}
	if s.folder, err = report.NewFolder(s.out); err != nil {
		return err
	}
	if _, err := os.Stat(s.folder.Path("config.json")); len(entries) > 0 && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("-out %s: the folder is not empty, and there is no run's config.json in it", s.out)
	}
	for _, name := range runFiles {
		unfinished, err := filepath.Glob(s.folder.Path("." + name + ".*")) // of a run that was killed
		if err != nil {
			return err
		}
		for _, path := range append(unfinished, s.folder.Path(name)) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(s.folder.Path("samples"), 0o755); err != nil {
		return err
	}
	return s.folder.JSON("config.json", s.config())
}

// config is what determines the run.
func (s *session) config() map[string]any {
	return map[string]any{
		"program": "quickstart", "seed": s.seed, "labels": s.labels, "samples": s.samples, "steps": s.steps, "beta": s.beta,
		"lr": s.lr, "eval": s.eval, "controls": s.controls,
		"sha256": map[string]string{
			"text_encoder": nn.Hash(s.base.Text), "unet": nn.Hash(s.base.UNet), "vae": nn.Hash(s.base.VAE), "clip": s.clip.Hash(),
		},
	}
}

// peoplesLabels reads the file of labels, so that what is wrong with it is known before anything takes time.
func (s *session) peoplesLabels(ctx context.Context) (dataset.Dataset, error) {
	in, err := inside(s.out, s.labels)
	if err != nil {
		return nil, err
	}
	if in {
		return nil, fmt.Errorf("-labels %s is in the folder -out, whose files this run replaces: give another -out", s.labels)
	}
	grammatical := func(sample dataset.Sample) error {
		_, err := shapes.Grammar().Parse(sample.Prompt)
		return err
	}
	samples, err := dataset.CollectLabelled(ctx, dataset.File{Path: s.labels, Images: true, Check: grammatical})
	if err != nil {
		return nil, err
	}
	return dataset.FromSlice(samples), nil
}

// inside reports whether a file is in a folder or below it.
func inside(folder, file string) (bool, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return false, err
	}
	if file, err = filepath.Abs(file); err != nil {
		return false, err
	}
	relative, err := filepath.Rel(folder, file)
	return err == nil && filepath.IsLocal(relative), nil
}
