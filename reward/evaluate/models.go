package evaluate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
)

// Models are compared on pictures that they make of the same prompts and from the same noise, and
// with the best of n pictures of the first of them, the base.
//
//	hashes, err := m.Check(ctx)
//	…
//	err = m.Paint(ctx)
//	…
//	r, arms, err := m.Score(ctx, scorer)
//
// In Folder every arm has a folder of its name, as dataset.WriteFolder writes it. The pictures that
// best-of-n chooses from, beside the base's own, are in the folder candidates.
//
// A process that dies may be followed by another with the same Models. What is there is not made
// again. In the end the files are bit for bit those that one process would have left.
type Models struct {
	Arms []ArmReport // the base first; see Add
	// Load reads an arm's model, with its adapter merged. One model is in memory at a time.
	Load func(a ArmReport) (*pipeline.Pipeline, error)
	// Request has the prompts, how many pictures an arm has of each, and how they are made.
	Request  pipeline.Request
	BestOf   int              // n; 0 and 1 leave best-of-n out
	Folder   string           // for the pictures; it is made if it is not there
	Progress *report.Progress // required; report.Plain(io.Discard) shows nothing
}

// Add adds an arm: a model, with an adapter unless lora is empty. The first is called base, and
// those after it tuned, tuned_2 and so on.
func (m *Models) Add(model, lora string) {
	a := ArmReport{Name: "base", Model: model, LoRA: lora}
	a.Title = "base"
	switch i := len(m.Arms); {
	case i == 1:
		a.Name, a.Title = "tuned", "tuned"
	case i > 1:
		a.Name, a.Title = fmt.Sprint("tuned_", i), fmt.Sprint("tuned ", i)
	}
	a.Samples = a.Name + "/samples.jsonl"
	m.Arms = append(m.Arms, a)
}

// Check reads every model once, so that what is wrong with one is known before anything takes time.
// It writes nothing. By the base it settles what Request leaves open, as Pipeline.SettleFlags does.
// A model whose pictures cannot be made from the base's noise is an error. Errors begin with the
// arm's name.
//
// It returns the hashes of what was read, by the arms' names: those of Pipeline.Hashes, and lora,
// the hash of the adapter's file, which is empty without one.
func (m *Models) Check(ctx context.Context) (map[string]map[string]string, error) {
	if m.Progress == nil || m.Load == nil || len(m.Arms) == 0 {
		return nil, errors.New("evaluate: the Models have no Progress, no Load or no Arms")
	}
	bar := m.Progress.Stage("check", len(m.Arms))
	defer bar.End()
	hashes := map[string]map[string]string{}
	var base, latents [3]int // height, width and channels
	for i := range m.Arms {
		a := &m.Arms[i]
		p, err := m.Load(*a)
		if err == nil && i == 0 {
			m.Request, err = p.SettleFlags(m.Request)
		}
		if err == nil {
			latents = latentsOf(p, m.Request)
			if i == 0 {
				base = latents
			}
			if latents != base {
				err = fmt.Errorf("its latents are %v for %d×%d pixels, the base's %v: they cannot "+
					"have the same noise", latents, m.Request.Width, m.Request.Height, base)
			}
		}
		if err = errors.Join(err, context.Cause(ctx)); err != nil {
			return nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		parts := p.Hashes()
		if parts["lora"], err = report.Hash(a.LoRA); err != nil {
			return nil, err
		}
		a.UNet, hashes[a.Name] = parts["unet"], parts
		debug.FreeOSMemory() // the model's, for the next one
		bar.Add(1)
	}
	return hashes, nil
}

// latentsOf are the height, width and channels of what a model makes the pictures of a request
// from.
func latentsOf(p *pipeline.Pipeline, r pipeline.Request) [3]int {
	factor, channels := p.VAE.Factor(), p.VAE.Config.LatentChannels
	if p.UNet != nil {
		channels = p.UNet.Config.InChannels
	}
	return [3]int{r.Height / factor, r.Width / factor, channels}
}

// candidates is the folder of the pictures that best-of-n chooses from beside the base's own: one
// in the place of each of the base's, then another.
const candidates = "candidates"

// Paint makes those pictures that are not there yet. Check comes before it. A picture that is there
// and is not what it was is an error: see dataset.Verify.
func (m *Models) Paint(ctx context.Context) error {
	arms := len(m.Arms) + max(1, m.BestOf) - 1
	there, err := file.Size(m.Folder)
	if err == nil {
		bytes := max(0, m.Request.DiskBytes(m.places()*arms)-there)
		err = report.Folder(m.Folder).Room(bytes, "the pictures")
	}
	if err != nil {
		return fmt.Errorf("evaluate: %w", err)
	}
	for i, a := range m.Arms {
		draws := 1
		if i == 0 {
			draws = max(1, m.BestOf)
		}
		if err := m.paint(ctx, a, draws); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		debug.FreeOSMemory() // as above
	}
	return nil
}

// places is how many pictures an arm has.
func (m *Models) places() int { return len(m.Request.Prompts) * m.Request.PerPrompt }

// paint makes an arm's pictures, and draws-1 more in the place of each for best-of-n.
func (m *Models) paint(ctx context.Context, a ArmReport, draws int) error {
	r := m.Request
	there, err := dataset.Verify(ctx, filepath.Join(m.Folder, a.Name))
	if err != nil {
		return err
	}
	var more []dataset.Sample
	if draws > 1 {
		if more, err = dataset.Verify(ctx, filepath.Join(m.Folder, candidates)); err != nil {
			return err
		}
	}
	if len(there) >= m.places() && len(more) >= (draws-1)*m.places() {
		return nil
	}
	p, err := m.Load(a)
	if err != nil {
		return err
	}
	printf := m.Progress.Printf
	if a.Name != m.Arms[0].Name {
		printf = nil // it was said of the base
	}
	if r, err = p.SettlePrompts(ctx, r, printf); err != nil {
		return err
	}
	others := r
	r.Skip, others.Skip, others.First = len(there), len(more), r.First+uint64(m.places())
	all, parts := append(r.Draws(1), others.Draws(draws-1)...), 0
	for _, d := range all {
		parts += d.Parts()
	}
	bar := m.Progress.Stage(a.Name, parts)
	defer bar.End()
	name := a.Name
	for _, d := range all {
		pictures := dataset.Map(p.Generate(d.Watched(bar.Add)), unnamed)
		if _, err := dataset.WriteFolder(ctx, filepath.Join(m.Folder, name), pictures); err != nil {
			return err
		}
		name = candidates
	}
	return nil
}

// unnamed is a sample without an ID: its file is named by its number in the run.
func unnamed(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
	s.ID = ""
	return s, nil
}

// Score scores the pictures that Paint has made and compares the arms, the best of n among them. A
// best of n needs by.Reward, and all of it by.CLIP. In the Report, CLIP and Reward are the caller's
// to fill in. The arms are what Report.Page takes, with Folder as dir.
func (m *Models) Score(ctx context.Context, by *Scorer) (*Report, []*Arm, error) {
	r := &Report{
		Prompts: len(m.Request.Prompts), PerPrompt: m.Request.PerPrompt, BestOf: max(1, m.BestOf),
		Sampler: m.Request.Sampler.Name, Steps: m.Request.Steps, Eta: m.Request.Eta,
		Guidance: m.Request.Guidance, Negative: m.Request.Negative,
		Width: m.Request.Width, Height: m.Request.Height, Seed: m.Request.Seed,
		Arms: append([]ArmReport(nil), m.Arms...),
	}
	if r.Width != r.Height {
		less := 1 - float64(min(r.Width, r.Height))/float64(max(r.Width, r.Height))
		m.Progress.Printf("Pictures are not square: CLIP reads the middle, without %.0f %% of "+
			"them at the sides.", 100*less)
	}
	bar := m.Progress.Stage("score", m.places()*(len(m.Arms)+r.BestOf-1))
	defer bar.End()
	var arms []*Arm
	for _, a := range m.Arms {
		arm, err := by.ScoreFolder(ctx, m.Folder, a.Name, bar.Add)
		if err != nil {
			return nil, nil, err
		}
		arm.Title, arms = a.Title, append(arms, arm)
	}
	if r.BestOf > 1 {
		best := m.Arms[0]
		best.Name, best.Title = fmt.Sprint("best_of_", r.BestOf), fmt.Sprint("best of ", r.BestOf)
		best.Samples = best.Name + "/samples.jsonl"
		r.Arms = append(r.Arms, best)
		more, err := by.ScoreFolder(ctx, m.Folder, candidates, bar.Add)
		if err != nil {
			return nil, nil, err
		}
		arm, err := BestOfFolder(ctx, m.Folder, best.Name, arms[0], more)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", best.Name, err)
		}
		arm.Title, arms = best.Title, append(arms, arm)
	}
	found, err := Summarize(arms, Pairs(len(arms), r.BestOf > 1), r.Seed)
	if err != nil {
		return nil, nil, err
	}
	for i, one := range found.Arms {
		r.Arms[i].Summary = one
	}
	r.Differences = found.Differences
	return r, arms, nil
}
