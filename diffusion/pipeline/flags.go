package pipeline

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime/debug"
	"unicode/utf8"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
)

// Flags adds a flag to f for each field of r that says how pictures are made: -sampler, -steps,
// -eta, -guidance, -negative, -width, -height, -seed and -batch. Their defaults are what r has.
// When f has been parsed, CheckFlags says what is wrong with their values, and with the model at
// hand Pipeline.SettleFlags fills in what they leave open.
func (r *Request) Flags(f *flag.FlagSet) {
	f.StringVar(&r.Sampler.Name, "sampler", r.Sampler.Name, "ddpm, ddim, pndm, euler, euler_a, "+
		"dpmpp_2m or dpmpp_2m_karras; the model's own without it")
	f.IntVar(&r.Steps, "steps", r.Steps, "sampling steps")
	f.Float64Var(&r.Eta, "eta", r.Eta, "noise of ddim, 0 to 1")
	f.Float64Var(&r.Guidance, "guidance", r.Guidance,
		"scale of classifier-free guidance; 1 is none")
	f.StringVar(&r.Negative, "negative", r.Negative, "what guidance leads away from")
	f.IntVar(&r.Width, "width", r.Width, "in pixels; the model's own without it")
	f.IntVar(&r.Height, "height", r.Height, "in pixels; the model's own without it")
	f.Uint64Var(&r.Seed, "seed", r.Seed, "decides every random draw")
	f.IntVar(&r.Batch, "batch", r.Batch, "pictures made at once; without it, as many as have the "+
		"pixels of one of 512×512")
}

// Pictures of more pixels a side, or more of them at once, are not asked for but by mistake.
const mostPixels, mostBatch = 1 << 14, 1 << 16

// CheckFlags looks up the Sampler that -sampler names. It reports the first value that no model can
// have, by its flag.
func (r *Request) CheckFlags() (err error) {
	switch {
	case r.Steps < 1:
		return fmt.Errorf("-steps %d: at least 1 is needed", r.Steps)
	case !(r.Eta >= 0 && r.Eta <= 1):
		return fmt.Errorf("-eta %v is not in 0 to 1", r.Eta)
	case !(r.Guidance >= 1 && r.Guidance <= 1e6):
		return fmt.Errorf("-guidance %v is not in 1, which is none, to 1000000", r.Guidance)
	case !utf8.ValidString(r.Negative):
		return fmt.Errorf("-negative %+q is not UTF-8", r.Negative)
	case r.Negative != "" && r.Guidance == 1:
		return errors.New("-negative works by guidance: it needs -guidance above 1")
	case min(r.Width, r.Height) < 0 || max(r.Width, r.Height) > mostPixels:
		return fmt.Errorf("-width %d and -height %d are not in 0 to %d", r.Width, r.Height,
			mostPixels)
	case r.Batch < 0 || r.Batch > mostBatch:
		return fmt.Errorf("-batch %d is not in 0 to %d", r.Batch, mostBatch)
	}
	if r.Sampler.Name != "" {
		if r.Sampler, err = diffusion.ParseSampler(r.Sampler.Name); err != nil {
			return fmt.Errorf("-sampler: %w", err)
		}
	}
	return nil
}

// SettleFlags is Settle of a request of Flags. What this model cannot make is an error that names
// the flag: a size that is not a multiple of its latents', -eta with a sampler that has none, a
// sampler or a number of steps that its schedule does not allow, or what p.Machine has not the Room
// for.
func (p *Pipeline) SettleFlags(r Request) (Request, error) {
	if r.Sampler.Sample == nil {
		var err error
		if r.Sampler, err = p.Schedule.Sampler(); err != nil {
			return r, fmt.Errorf("-sampler: %w", err)
		}
	}
	if r.Eta != 0 && r.Sampler.Name != "ddim" {
		return r, fmt.Errorf("-eta %v is for the sampler ddim; %s has none", r.Eta, r.Sampler.Name)
	}
	for _, size := range []struct {
		flag   string
		pixels int
	}{{"width", r.Width}, {"height", r.Height}} {
		if size.pixels%p.scale() != 0 {
			return r, fmt.Errorf("-%s %d is not a multiple of %d, as this model needs", size.flag,
				size.pixels, p.scale())
		}
	}
	settled, err := p.Settle(r)
	if err == nil {
		err = p.begins(settled)
	}
	if err == nil {
		err = p.hasRoom(settled)
	}
	return settled, err
}

// begins says why the sampler of a settled request does not begin with so many steps, if it does
// not: one that goes down another kind of schedule, or more steps than it has timesteps.
func (p *Pipeline) begins(r Request) error {
	asked := errors.New("the network is asked")
	network := func(*tensor.Dense, float64) (*tensor.Dense, error) { return nil, asked }
	schedule := p.Schedule.InPipeline()
	one := tensor.New(tensor.WithShape(1, 1, 1, 1), tensor.Of(tensor.Float32))
	o := diffusion.SampleOptions{
		Steps: r.Steps, Eta: r.Eta, Noise: func(int, int, []float32) {},
	}
	_, err := diffusion.Last(r.Sampler.Sample(context.Background(), network, schedule, one, o))
	if err == nil || errors.Is(err, asked) {
		return nil
	}
	return fmt.Errorf("-sampler %s with -steps %d: %w", r.Sampler.Name, r.Steps, err)
}

// SettleNoise is SettleFlags of a request of Flags and its Prompts whose noise was drawn elsewhere
// and lies in a file: see ReadNoise. The noise decides the size where r has none. Noise that is not
// for as many pictures, or for fewer draws than the sampler makes, is an error.
func (p *Pipeline) SettleNoise(r Request, file string) (Request, error) {
	settled, err := p.SettleFlags(r)
	if err != nil {
		return r, err
	}
	n, err := ReadNoise(file, settled.Sampler.Name)
	if err != nil {
		return r, err
	}
	r.Width = cmp.Or(r.Width, n.Shape[4]*p.scale())
	r.Height = cmp.Or(r.Height, n.Shape[3]*p.scale())
	if r, err = p.SettleFlags(r); err != nil {
		return r, err
	}
	draws := 1
	if r.Sampler.Name == "ddpm" || r.Sampler.Name == "euler_a" || r.Eta != 0 {
		draws += r.Steps
	}
	r.Noise, r.Seed = n.Draw, 0
	return r, n.Check(draws, len(r.Prompts)*r.PerPrompt, r.Height/p.scale(), r.Width/p.scale(),
		p.VAE.Config.LatentChannels)
}

// SettlePrompts is r with the Conditions of its Prompts and of Negative. It lets the text encoder
// go, p.Text, whose memory is the UNet's then. printf, unless nil, is told p's Notes, and of the
// prompts as WarnPrompts tells it.
func (p *Pipeline) SettlePrompts(
	ctx context.Context, r Request, printf func(format string, args ...any),
) (_ Request, err error) {
	all := append([]string{r.Negative}, r.Prompts...)
	if printf != nil {
		p.warn(printf, all)
	}
	r.Conditions, err = p.Conditions(ctx, all...)
	p.Text = nil
	debug.FreeOSMemory()
	return r, err
}

// Draws are n requests for the pictures of a settled one, each from noise of its own: r itself, and
// then requests whose First goes on after what comes before. Skip is how many samples of all of
// them, one after another, are left out.
func (r Request) Draws(n int) []Request {
	draws, count := make([]Request, n), len(r.Prompts)*r.PerPrompt
	for k := range draws {
		draws[k] = r
		draws[k].First += uint64(k * count)
		draws[k].Skip = min(max(r.Skip-k*count, 0), count)
	}
	return draws
}
