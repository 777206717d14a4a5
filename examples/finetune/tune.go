package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// A session is the run in hand.
type session struct {
	options
	progress *report.Progress
	print    io.Writer // results
	left     string    // what there is when it is stopped

	model              *pipeline.Pipeline
	samples, captioned []dataset.Sample  // with rewards; for pretraining. Pictures are read where they are encoded
	empty              dataset.Condition // the condition of the empty prompt
	fitting            fitting
	folder             report.Folder
	begun              finetune.Run
	hashes             map[string]string // of inputs, for config.json
}

func newSession() *session {
	return &session{progress: report.Stderr(), print: os.Stdout, left: "nothing was trained", hashes: map[string]string{}}
}

// unfinished is where in the run folder the result grows. It gets its name when it is whole.
const unfinished = "unfinished"

// mayChange are flags that a resumed run may have other values of: the rate of learning does not
// depend on how many updates there are.
var mayChange = []string{"out", "memory", "every", "steps"}

func (s *session) run(ctx context.Context) (err error) {
	s.folder = report.Folder(s.out)
	s.begun = finetune.Run{
		Folder: s.out, Resume: s.resume, Config: s.config, MayChange: mayChange,
		Command: report.Resume("finetune", s.args),
	}
	release, err := s.begun.Begin()
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(s.folder.Path(unfinished)), release())
	}()
	if s.model, err = pipeline.LoadFrozen(s.options.model); err != nil {
		return fmt.Errorf("-model: %w", err)
	}
	if s.model.UNet.Config.InChannels != s.model.VAE.Config.LatentChannels {
		return fmt.Errorf("-model %s: its UNet reads %d channels, a picture's latents are %d: only models that make pictures of prompts alone are tuned", s.options.model, s.model.UNet.Config.InChannels, s.model.VAE.Config.LatentChannels)
	}
	if err := s.read(ctx); err != nil {
		return err
	}
	if err := s.plan(ctx); err != nil {
		return err
	}
	if s.options.reward != "" {
		if err := s.score(ctx); err != nil {
			return err
		}
	}
	if err := s.encode(ctx); err != nil {
		return err
	}
	if err := s.model.LoadUNet(); err != nil {
		return fmt.Errorf("-model: %w", err)
	}
	s.hashes["unet"], s.hashes["data"] = nn.Hash(s.model.UNet), nn.Hash(s.data())
	debug.FreeOSMemory() // what reading has left over
	return s.tune(ctx)
}

// rewarded are the pictures to be weighted, as their file lists them.
func (s *session) rewarded() dataset.File {
	f := dataset.File{Path: s.options.samples}
	f.Check = func(sample dataset.Sample) error {
		if sample.File == "" {
			return errors.New("the line names no file")
		}
		if _, err := os.Stat(f.Picture(sample)); err != nil {
			return err
		}
		if s.options.reward != "" {
			return nil
		}
		if sample.Reward == nil {
			return errors.New("there is no reward; -reward gives one to every picture")
		}
		return s.checkReward(*sample.Reward)
	}
	return f
}

func (s *session) checkReward(r float64) error {
	if s.byReward && r < 0 {
		return fmt.Errorf("the reward is %v: -by-reward takes none below 0", r)
	}
	return nil
}

// pictures are the samples with their pictures.
func (s *session) pictures() dataset.Dataset {
	return dataset.WithImages(dataset.FromSlice(s.samples), filepath.Dir(s.options.samples))
}

// read reads prompts, captions and rewards, once, so that what is wrong with them is known before
// anything takes time.
func (s *session) read(ctx context.Context) (err error) {
	if s.samples, err = dataset.Collect(ctx, s.rewarded()); err != nil {
		return fmt.Errorf("-samples: %w", err)
	}
	if len(s.samples) == 0 {
		return fmt.Errorf("-samples: %s holds no pictures", s.options.samples)
	}
	if s.beta > 0 {
		if s.captioned, err = dataset.Collect(ctx, dataset.Folder{Path: s.pretrain}); err != nil {
			return fmt.Errorf("-pretrain: %w", err)
		}
	}
	for _, c := range s.captioned {
		if _, err := os.Stat(filepath.Join(s.pretrain, filepath.FromSlash(c.File))); err != nil {
			return fmt.Errorf("-pretrain: %w", err)
		}
	}
	if long := s.model.TooLong(s.prompts()); len(long) > 0 {
		s.progress.Printf("The text encoder reads %d tokens of a prompt and leaves out what follows. Longer prompts: %d, the first is %q.", s.model.Tokenizer.Length-2, len(long), long[0])
	}
	text, err := os.ReadFile(s.options.samples)
	s.hashes["samples"] = fmt.Sprintf("%x", sha256.Sum256(text))
	return err
}

// score gives the samples their rewards, and lets the reward and its CLIP go.
func (s *session) score(ctx context.Context) (err error) {
	encoder, err := tiny.CLIP()
	if s.clip != "" {
		encoder, err = clip.Load(s.clip)
	}
	if err != nil {
		return fmt.Errorf("-clip: %w", err)
	}
	defer func() {
		err = errors.Join(err, encoder.Close())
		debug.FreeOSMemory()
	}()
	learned, err := alignment.Load(s.options.reward, encoder)
	if err != nil {
		return fmt.Errorf("-reward: %w", err)
	}
	s.hashes["reward"] = learned.Hash()
	model := reward.Kept(learned, s.folder.Path("cache", "scores.jsonl"), s.hashes["reward"])
	bar := s.progress.Stage("score", len(s.samples))
	defer bar.End()
	var scored []dataset.Sample
	for sample, err := range reward.Scored(s.pictures(), model, 8).All(ctx) {
		if err != nil {
			return fmt.Errorf("-samples: %w", err)
		}
		if err := s.checkReward(*sample.Reward); err != nil {
			return fmt.Errorf("-samples: %s: %w", sample.File, err)
		}
		sample.Image = nil
		scored = append(scored, sample)
		bar.Add(1)
	}
	s.samples = scored
	return nil
}

// encode makes latents and conditions of all pictures and prompts, once. Then it saves what is not tuned, and lets the text encoder and the
// VAE go: their memory is the UNet's from here on.
func (s *session) encode(ctx context.Context) error {
	bar := s.progress.Stage("encode", len(s.samples)+len(s.captioned))
	defer bar.End()
	captioned := dataset.WithImages(dataset.FromSlice(s.captioned), s.pretrain)
	pictures := dataset.Join(s.pictures(), captioned)
	latents := s.model.Encode(pictures, pipeline.EncodeOptions{Cache: s.folder.Path("cache")})
	encoded, err := dataset.Collect(ctx, dataset.Map(latents, func(_ context.Context, sample dataset.Sample) (dataset.Sample, error) {
		sample.Image = nil
		bar.Add(1)
		return sample, nil
	}))
	if err != nil {
		return err
	}
	s.samples, s.captioned = encoded[:len(s.samples)], encoded[len(s.samples):]
	conditions, err := s.model.Conditions(ctx, "")
	if err != nil {
		return err
	}
	s.empty = conditions[""]
	s.hashes["text_encoder"], s.hashes["vae"] = nn.Hash(s.model.Text), nn.Hash(s.model.VAE)
	if err := os.RemoveAll(s.folder.Path(unfinished)); err != nil { // a killed process has left it
		return err
	}
	if s.rank == 0 {
		err = s.model.SaveFrozen(s.folder.Path(unfinished), kernels.Float32)
	} else {
		_, err = report.NewFolder(s.folder.Path(unfinished))
	}
	s.model.Text, s.model.VAE = nil, nil
	debug.FreeOSMemory()
	return err
}

// data is what is learned from: prompts, rewards and latents. Conditions are those of the prompts.
func (s *session) data() (all []kernels.Parameter) {
	for _, sample := range slices.Concat(s.samples, s.captioned) {
		name := fmt.Sprintf("%q", sample.Prompt)
		if sample.Reward != nil {
			name += fmt.Sprint(" ", *sample.Reward)
		}
		all = append(all, kernels.Parameter{Name: name, Value: sample.Latent})
	}
	return all
}

// network is what is tuned: the UNet, or pairs that are attached to it.
func (o options) network(u *unet.UNet2DCondition) (finetune.Network, *lora.Adapter, error) {
	if o.rank == 0 {
		return u, nil, nil
	}
	c := lora.Config{Rank: o.rank, Alpha: float64(o.rank), Seed: o.seed}
	if o.everything {
		c.Targets = lora.Everything
	}
	adapter, err := lora.New(u, c)
	return adapter, adapter, err
}

// tuner is Eq. 2 as the flags have it.
func (o options) tuner(n finetune.Network, schedule *diffusion.Schedule, own, pretrain dataset.Dataset, empty dataset.Condition) *finetune.Tuner {
	rate := optim.Constant(o.warmUp)
	t := &finetune.Tuner{
		Network: n, Schedule: schedule, Own: own, OwnBatch: o.batch, Terms: []finetune.Term{finetune.RewardWeighted{}},
		Updates: o.steps, LR: func(step int) float64 { return o.lr * rate(step) }, Clip: o.maxNorm, EMA: o.ema, MinSNR: o.minSNR, OwnLevels: schedule.Process.From(o.minTimestep), Seed: o.seed,
	}
	if o.byReward {
		t.Choose = finetune.ByReward{}
	}
	if o.beta > 0 {
		t.Pretrain, t.PretrainBatch = pretrain, o.pretrainBatch
		t.Terms = append(t.Terms, finetune.Pretraining{Beta: o.beta})
	}
	if o.dropout > 0 {
		t.Dropout, t.Unconditional = o.dropout, empty
	}
	return t
}

// tune trains and saves. What was trained is saved too where it ends early, whatever the reason.
func (s *session) tune(ctx context.Context) error {
	s.config["sha256"] = s.hashes
	if err := s.begun.Settle(); err != nil {
		return err
	}
	network, adapter, err := s.network(s.model.UNet)
	if err != nil {
		return err
	}
	if s.memory > 0 { // the collector's part of it
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(max(0, int64(s.memory)-s.fitting.Arena-s.fitting.Workspace)))
	}
	t := s.tuner(network, s.model.Schedule, dataset.FromSlice(s.samples), dataset.FromSlice(s.captioned), s.empty)
	t.Machine.ActivationBytes = s.fitting.activations
	stopped := context.AfterFunc(ctx, func() {
		s.progress.Printf("Stopping after this update; what was trained will be saved. Once more ends the program at once.")
	})
	defer stopped()
	saved := &finetune.Checkpoints{Trainer: t, Folder: s.out, Every: s.every, Resume: s.resume}
	run := &finetune.Record{Trainer: saved, Folder: s.out, Name: "tune", Config: s.config}
	result, err := run.Finish(ctx, func(name string) error {
		debug.FreeOSMemory()
		return s.save(name, adapter)
	})
	if result.Steps == 0 {
		return err
	}
	said := fmt.Sprintf("What %d updates have made is in %s", result.Steps, s.folder.Path(cmp.Or(result.Name, "checkpoints")))
	s.left = fmt.Sprintf("w%s; -resume goes on", said[1:])
	if err == nil {
		fmt.Fprintf(s.print, "\nThe tuned model is in %s.\n", s.folder.Path(result.Name))
	} else if ctx.Err() == nil {
		err = fmt.Errorf("%w\n%s; this goes on after the last checkpoint:\n\t%s", err, said, s.begun.Command)
	}
	return err
}

// save writes what was tuned and gives the result its name.
func (s *session) save(name string, adapter *lora.Adapter) error {
	dir := s.folder.Path(unfinished)
	if adapter == nil {
		if err := s.model.SaveUNet(dir, kernels.Float32); err != nil {
			return err
		}
		return s.folder.Rename(unfinished, name)
	}
	if err := adapter.Save(filepath.Join(dir, "pytorch_lora_weights.safetensors"), kernels.Float32); err != nil {
		return err
	}
	if s.kohya {
		if err := adapter.SaveKohya(filepath.Join(dir, "kohya.safetensors"), kernels.Float32); err != nil {
			return err
		}
	}
	return s.folder.Rename(unfinished, name)
}
