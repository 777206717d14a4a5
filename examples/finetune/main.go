// Command finetune tunes a Stable Diffusion of yours by pictures with rewards, by Eq. 2 of Lee et
// al. 2023.
//
//	go run ./examples/finetune -model DIR -samples FILE.jsonl -pretrain DIR -out DIR
//
// The pictures, usually the model's own, have rewards in their file, or get them of a reward that
// examples/reward learned. The pretraining term reads a folder of captioned pictures. Before
// anything takes time all pictures are looked at, and it says what of them is cut away (see
// pipeline.Pipeline.Frame: a model's own are not cut) and how much memory training will take.
//
// It leaves a folder: tuned/, a pipeline folder or, with -lora-rank, a LoRA file that diffusers
// loads; config.json, metrics.jsonl, report.json and report.html. Stopped by Ctrl-C after step N,
// it saves what was trained as stopped-after-N/ instead of tuned/.
//
// However it ends, by Ctrl-C, a full disk or a crash, the same command with -resume goes on. What
// was encoded and scored is in the folder's cache/, what was trained in checkpoints/, and the
// result is bit for bit what it would have been.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// A session is the run in hand.
type session struct {
	base, samples, reward, clip, pretrain string // flags

	*command.Tuning
	flags    *flag.FlagSet
	progress *report.Progress
	print    io.Writer // results
	left     string    // what there is when it is stopped

	model  *pipeline.Pipeline
	all    []dataset.Sample // those with rewards, then captioned ones; pictures stay where they are
	own    int              // those with rewards
	empty  dataset.Condition
	hashes map[string]string // of inputs, for config.json
}

func newSession() *session {
	s := &session{progress: report.Stderr(), print: report.Stdout(), left: "nothing was trained"}
	s.hashes = map[string]string{}
	f := flag.NewFlagSet("finetune", flag.ContinueOnError)
	f.StringVar(&s.base, "model", "",
		"`folder` that diffusers wrote, checkpoint file, or ORG/NAME in the Hugging Face cache "+
			"(required); it is only read")
	f.StringVar(&s.samples, "samples", "",
		"JSONL `file` of pictures with prompts and rewards, such as examples/generate writes "+
			"(required); go doc ./dataset File has the format")
	f.StringVar(&s.reward, "reward", "",
		"`folder` of a reward that examples/reward learned, which scores the pictures; without it "+
			"-samples has their rewards")
	f.StringVar(&s.clip, "clip", "", "`folder` or ORG/NAME of -reward's CLIP, or the miniature's")
	f.StringVar(&s.pretrain, "pretrain", "",
		"`folder` of captioned pictures for the pretraining term: NAME.txt beside each, "+
			"metadata.jsonl or .csv, or samples.jsonl; go doc ./dataset Folder has the rules")
	s.flags, s.Tuning = f, command.New(f)
	s.Guarded()
	return s
}

func (s *session) parse(args []string) error {
	err := cmp.Or(
		s.Parse(args),
		report.Required(s.flags, "model", "samples", "out"),
		report.Needs(s.flags, "clip", "reward"),
		report.Needs(s.flags, "beta", "pretrain"),
		report.Needs(s.flags, "pretrain", "beta"),
		report.Needs(s.flags, "guard-judge", "reward"),
	)
	s.Run.Command = report.Resume("go run ./examples/finetune", args)
	return err
}

func main() {
	s := newSession()
	report.Main("finetune", func(ctx context.Context) error {
		if err := s.parse(os.Args[1:]); err != nil {
			return err
		}
		debug.SetGCPercent(10) // by default there may be as much garbage as weights, which stay
		return s.run(ctx)
	}, func() string { return s.left })
}

// run does one thing after another, so that what is wrong is known before anything takes time.
func (s *session) run(ctx context.Context) (err error) {
	release, err := s.Run.Begin()
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer func() { err = errors.Join(s.Run.GoesOn(ctx, err), release(), s.Close()) }()
	for _, do := range []func(context.Context) error{s.read, s.plan, s.score, s.encode, s.tune} {
		if err := do(ctx); err != nil {
			return err
		}
		debug.FreeOSMemory() // what it has left over
	}
	return nil
}

// check says what is wrong with a picture that is to have a reward.
func (s *session) check(x dataset.Sample) error {
	switch {
	case s.reward == "" && x.Reward == nil:
		return errors.New("there is no reward; -reward gives one to every picture")
	case s.reward == "" && s.ByReward && *x.Reward < 0:
		return fmt.Errorf("the reward is %v: -by-reward takes none below 0", *x.Reward)
	}
	return nil
}

// read reads the model but for its UNet's numbers, prompts, captions and rewards.
func (s *session) read(ctx context.Context) (err error) {
	if s.model, err = pipeline.LoadTunable(s.base); err != nil {
		return fmt.Errorf("-model: %w", err)
	}
	s.model.Machine = s.Machine.Config
	s.all, err = dataset.Collect(ctx, dataset.File{Path: s.samples, Check: s.check})
	if s.own = len(s.all); err == nil && s.own == 0 {
		err = fmt.Errorf("%s holds no pictures", s.samples)
	}
	if err != nil {
		return fmt.Errorf("-samples: %w", err)
	}
	if s.Beta > 0 {
		captioned, err := dataset.Collect(ctx, command.Folder(s.pretrain, s.progress.Printf))
		if err != nil {
			return fmt.Errorf("-pretrain: %w", err)
		}
		s.all = append(s.all, captioned...)
	}
	dir := filepath.Dir(s.samples)
	if err = s.Look(ctx, s.progress, s.model, s.data(s.all), dir, s.pretrain); err != nil {
		return err
	}
	s.hashes["samples"], err = report.Hash(s.samples)
	return err
}

// data are samples of which the first are those with rewards.
func (s *session) data(all []dataset.Sample) command.Data {
	return command.Data{Own: all[:s.own], Pretrain: all[s.own:], Unconditional: s.empty}
}

// plan says what memory training will take, and refuses to begin what does not fit.
func (s *session) plan(ctx context.Context) error {
	s.empty = s.model.Blank().Condition
	blank := s.data(s.model.Blanks(s.all))
	return s.Fit(ctx, s.print, s.model.UNet, s.model.Schedule, blank)
}

// collect goes through samples, and keeps all of them but their pictures.
func (s *session) collect(ctx context.Context, name string, n int, d dataset.Dataset) (
	[]dataset.Sample, error,
) {
	bar := s.progress.Stage(name, n)
	defer bar.End()
	return dataset.Collect(ctx, dataset.WithoutImages(dataset.Watched(d, bar.Add)))
}

// pictures are the samples with rewards, and their pictures.
func (s *session) pictures() dataset.Dataset {
	return dataset.WithImages(dataset.FromSlice(s.all[:s.own]), filepath.Dir(s.samples))
}

// score gives rewards, if a learned one is to, which it then lets go, and says what they weigh.
func (s *session) score(ctx context.Context) (err error) {
	if s.reward == "" {
		return s.Weigh(s.print, s.samples, s.all[:s.own])
	}
	encoder, err := tiny.LoadCLIP(s.clip)
	if err != nil {
		return fmt.Errorf("-clip: %w", err)
	}
	encoder.Machine = s.Machine.Config
	defer func() { err = errors.Join(err, encoder.Close()) }()
	learned, err := alignment.Load(s.reward, encoder)
	if err != nil {
		return fmt.Errorf("-reward: %w", err)
	}
	s.hashes["reward"] = learned.Hash()
	if err = s.Judged(ctx, s.base, learned, encoder, s.all[:s.own], s.hashes); err != nil {
		return err
	}
	file := filepath.Join(s.Run.Folder, "cache", "scores.jsonl")
	scored := reward.Scored(s.pictures(), reward.Kept(learned, file, learned.Hash()), 8)
	rewarded, err := s.collect(ctx, "score", s.own, scored)
	if err != nil {
		return fmt.Errorf("-samples: %w", err)
	}
	copy(s.all, rewarded)
	return s.Weigh(s.print, s.samples, s.all[:s.own])
}

// encode makes latents and conditions of pictures and prompts, once, and saves what is not tuned.
func (s *session) encode(ctx context.Context) (err error) {
	captioned := dataset.WithImages(dataset.FromSlice(s.all[s.own:]), s.pretrain)
	cache := pipeline.EncodeOptions{Cache: filepath.Join(s.Run.Folder, "cache")}
	latents := s.model.Encode(dataset.Join(s.pictures(), captioned), cache)
	if s.all, err = s.collect(ctx, "encode", len(s.all), latents); err != nil {
		return err
	}
	dir := s.Run.Unfinished()
	if s.Rank > 0 {
		dir = "" // pairs are saved alone
	}
	frozen, err := s.model.Freeze(ctx, dir, kernels.Float32)
	s.empty = frozen.Unconditional
	maps.Copy(s.hashes, frozen.Hashes)
	s.hashes["data"] = finetune.DataHash(s.all)
	return err
}

// tune trains and saves. What was trained is saved too where it ends early, whatever the reason.
func (s *session) tune(ctx context.Context) error {
	s.Run.Config["sha256"] = s.hashes
	if err := s.Run.Settle(); err != nil {
		return err
	}
	save := func(dir string) error { return s.SaveUNet(s.model, s.base, dir) }
	left, err := s.Train(ctx, s.model.UNet, s.model.Schedule, s.data(s.all), save)
	if left != "" {
		s.left = left + "; -resume goes on"
	}
	if err == nil {
		fmt.Fprintf(s.print, "\nThe tuned model is in %s.\n", filepath.Join(s.Run.Folder, "tuned"))
	}
	return err
}
