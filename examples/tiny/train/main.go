// Command train makes every weight of the miniature from scratch. It learns the merges of the
// tokenizer on the prompt grammar. It trains CLIP to match drawn pictures with true captions, the
// autoencoder to compress the pictures, and the UNet to denoise their latents. The UNet trains
// first under true captions, which teach it the words, and then under captions that are often
// wrong. There is a checkpoint every minute. The same command goes on where it was stopped.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

type options struct {
	Out      string `help:"Folder of the finished model." default:"examples/tiny/model"`
	Work     string `help:"Folder of checkpoints and curves." default:"runs/tiny"`
	Seed     uint64 `help:"Decides every random draw." default:"1"`
	Drawings int    `help:"Pictures to draw and train on." default:"32768"`

	CLIP int `help:"Steps of CLIP, 128 pairs each." name:"clip" default:"2000"`
	VAE  int `help:"Steps of the autoencoder, 12 pictures each." name:"vae" default:"3800"`
	UNet int `help:"Steps of the UNet, 64 latents each." name:"unet" default:"7500"`

	UNetLR    float64 `help:"The UNet's learning rate at its peak." name:"unet-lr" default:"1e-3"`
	Mislead   int     `help:"${mislead}" default:"800"`
	MisleadLR float64 `help:"Their learning rate at its peak." name:"mislead-lr" default:"5e-4"`

	Start string        `help:"${start}"`
	For   time.Duration `help:"Stop after this long, as Ctrl-C does; 0 does not."`
}

// longHelp is what does not fit into a line above.
var longHelp = kong.Vars{
	"mislead": "Steps of the UNet after these, on captions that are often wrong.",
	"start": "Folder of a finished model to go on from, for as many steps; " +
		"empty begins with random weights.",
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("Make the miniature's weights from scratch."), longHelp)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.For)
		defer cancel()
	}
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) error {
	if err := os.MkdirAll(o.Work, 0o777); err != nil {
		return err
	}
	curve, err := file.OpenLog(filepath.Join(o.Work, "curves.jsonl"))
	if err != nil {
		return err
	}
	defer curve.Close()
	began := time.Now()
	drawings, err := corpus(o.Seed, o.Drawings)
	if err != nil {
		return err
	}
	slog.Info("drawn", "pictures", len(drawings),
		"seconds", time.Since(began).Seconds(), "cores", runtime.GOMAXPROCS(0))

	encoder, err := o.trainCLIP(ctx, drawings, curve)
	if err != nil {
		return err
	}
	coder, err := o.trainVAE(ctx, drawings, curve)
	if err != nil {
		return err
	}
	schedule, err := diffusion.NewSchedule(noiseConfig())
	if err != nil {
		return err
	}
	p := &pipeline.Pipeline{
		Name:      "tiny",
		Tokenizer: encoder.Tokenizer,
		Text:      encoder.Model.Text,
		VAE:       coder,
		Schedule:  schedule,
	}
	if err := o.trainUNet(ctx, p, drawings, curve); err != nil {
		return err
	}
	slog.Info("finished", "out", o.Out, "minutes", time.Since(began).Minutes())
	return errors.Join(
		p.Save(o.Out, kernels.Float16),
		encoder.Save(filepath.Join(o.Out, "clip"), kernels.Float16),
	)
}

func (o options) checkpoint(name string) string {
	return filepath.Join(o.Work, name+".safetensors")
}

// start loads a part of the model that training is to begin with, if there is one.
func (o options) start(part any, folder, file string) error {
	if o.Start == "" {
		return nil
	}
	f, err := weights.Open(filepath.Join(o.Start, folder, file))
	if err != nil {
		return err
	}
	defer f.Close()
	return weights.Load(part, f, weights.Names{})
}

func (o options) trainCLIP(
	ctx context.Context, drawings []drawing, curve *file.Log,
) (*clip.Encoder, error) {
	texts, err := prompts()
	if err != nil {
		return nil, err
	}
	tokens, err := tokenizer.Train(texts, 300)
	if err != nil {
		return nil, err
	}
	tokens.Length = textLength
	m, err := clip.NewModel(clipConfig(tokens))
	if err != nil {
		return nil, err
	}
	nn.Init(m, o.Seed)
	sines(m.Vision)
	speak(m.Text)
	if err := o.start(m, "clip", "model.safetensors"); err != nil {
		return nil, err
	}
	t := newMatching(o.Seed, o.CLIP, drawings, m, tokens, 128)
	f := fit{
		Name:       "clip",
		Model:      m,
		Steps:      o.CLIP,
		LR:         1e-3,
		Average:    0.995,
		Checkpoint: o.checkpoint("clip"),
		Curve:      curve,
		Loss:       t.loss,
		Fill:       t.fill,
	}
	return &clip.Encoder{Model: m, Tokenizer: tokens, Preprocessor: t.pre}, f.run(ctx)
}

func (o options) trainVAE(
	ctx context.Context, drawings []drawing, curve *file.Log,
) (*vae.AutoencoderKL, error) {
	m, err := vae.New(vaeConfig())
	if err != nil {
		return nil, err
	}
	nn.Init(m, o.Seed)
	if err := o.start(m, "vae", "diffusion_pytorch_model.safetensors"); err != nil {
		return nil, err
	}
	t := newCompression(o.Seed, drawings, m, 12)
	f := fit{
		Name:       "vae",
		Model:      m,
		Steps:      o.VAE,
		LR:         1e-3,
		Average:    0.995,
		Checkpoint: o.checkpoint("vae"),
		Curve:      curve,
		Loss:       t.loss,
		Fill:       t.fill,
	}
	return m, f.run(ctx)
}

func (o options) trainUNet(
	ctx context.Context, p *pipeline.Pipeline, drawings []drawing, curve *file.Log,
) error {
	latents, err := encodeAll(p.VAE, drawings)
	if err != nil {
		return err
	}
	d := &denoising{
		seed:     o.Seed,
		schedule: p.Schedule,
		latents:  latents,
		captions: map[string][]float32{},
	}
	p.UNet, err = unet.New(unetConfig(p.VAE.Config.LatentChannels, p.Text.Config.Width))
	if err != nil {
		return err
	}
	nn.Init(p.UNet, o.Seed)
	texts := []string{""}
	for _, drawn := range drawings {
		texts = append(texts, drawn.right, drawn.wrong)
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	conditions, err := p.Conditions(ctx, texts...)
	if err != nil {
		return err
	}
	for text, c := range conditions {
		d.captions[text] = c.Tokens.Float32s()
	}
	length, width := conditions[""].Tokens.Shape()[0], conditions[""].Tokens.Shape()[1]
	d.setBatch(64, p.VAE.Config.LatentChannels, length, width)
	if err := o.start(p.UNet, "unet", "diffusion_pytorch_model.safetensors"); err != nil {
		return err
	}
	right := func(row int) string { return drawings[row].right }
	wrong := func(row int) string { return drawings[row].wrong }
	f := fit{
		Name:       "unet",
		Model:      p.UNet,
		Steps:      o.UNet,
		LR:         o.UNetLR,
		Average:    0.995,
		Checkpoint: o.checkpoint("unet"),
		Curve:      curve,
		Loss: func(g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
			return d.loss(p.UNet, g)
		},
		Fill: func(step int) error { return d.fill(step, right) },
	}
	if err := f.run(ctx); err != nil {
		return err
	}
	f.Name, f.Steps, f.LR, f.Checkpoint = "misled", o.Mislead, o.MisleadLR, o.checkpoint("misled")
	f.Fill = func(step int) error { return d.fill(step, wrong) }
	return f.run(ctx)
}
