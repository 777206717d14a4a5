package tiny_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// TestSize holds what is embedded to 16 MB.
func TestSize(t *testing.T) {
	var size int64
	add := func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	}
	require.NoError(t, fs.WalkDir(tiny.FS(), ".", add))
	t.Logf("%.1f MB", float64(size)/1e6)
	require.Less(t, size, int64(16e6))
}

// TestIsWhatIsSaved holds the embedded networks to the files that they are saved as today, which
// diffusers loads.
func TestIsWhatIsSaved(t *testing.T) {
	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, p.Save(dir, kernels.Float16))
	for _, name := range []string{
		"unet/config.json",
		"unet/diffusion_pytorch_model.safetensors",
		"vae/config.json",
		"vae/diffusion_pytorch_model.safetensors",
		"text_encoder/config.json",
		"text_encoder/model.safetensors",
	} {
		saved, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		embedded, err := fs.ReadFile(tiny.FS(), name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(saved, embedded), "%s is not as it is saved", name)
	}
}

// TestCLIPTellsCaptionsApart asks CLIP which of two captions of a drawn picture is true, where they
// differ in one attribute. By lot it would be right in half of them. Neither a UNet that is
// conditioned on it nor a reward can learn an attribute that it confuses.
func TestCLIPTellsCaptionsApart(t *testing.T) {
	ctx := context.Background()
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()

	r := rand.New(rand.NewPCG(1, 5))
	other := func(words []string, than string) string {
		words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == than })
		return words[r.IntN(len(words))]
	}
	g := shapes.Grammar()
	var kinds []string
	for _, o := range g.Objects {
		kinds = append(kinds, o.Name)
	}
	attributes := []struct {
		name   string
		change func(c *dataset.Claim)
		least  int // right answers, of n
	}{
		{"kind", func(c *dataset.Claim) { c.Object = other(kinds, c.Object) }, 185},
		{"count", func(c *dataset.Claim) { c.Count = c.Count%6 + 1 }, 172},
		{"colour", func(c *dataset.Claim) { c.Colour = other(g.Colours, c.Colour) }, 195},
		{
			"background",
			func(c *dataset.Claim) { c.Background = other(g.Backgrounds, c.Background) },
			195,
		},
	}
	const n = 200
	var pictures []image.Image
	var captions []string
	caption := func(c dataset.Claim) {
		text, err := g.Render(c)
		require.NoError(t, err)
		captions = append(captions, text)
	}
	claims := g.Claims(dataset.Combination)
	for range n {
		claim := claims[r.IntN(len(claims))]
		scene, err := shapes.Compose(claim, r)
		require.NoError(t, err)
		pictures = append(pictures, shapes.Draw(scene))
		caption(claim)
		for _, a := range attributes {
			wrong := claim
			a.change(&wrong)
			caption(wrong)
		}
	}
	images, err := encoder.ImageFeatures(ctx, pictures)
	require.NoError(t, err)
	texts, err := encoder.TextFeatures(ctx, captions)
	require.NoError(t, err)
	similarity := func(picture, text int) (sum float32) {
		width := images.Shape()[1]
		for k := range width {
			sum += images.Float32s()[picture*width+k] * texts.Float32s()[text*width+k]
		}
		return sum
	}
	each := 1 + len(attributes)
	for k, a := range attributes {
		right := 0
		for i := range n {
			if similarity(i, i*each) > similarity(i, i*each+1+k) {
				right++
			}
		}
		t.Logf("%s: %d of %d", a.name, right, n)
		require.GreaterOrEqual(t, right, a.least, a.name)
	}
}

// TestConditionsTellKindsApart compares what the UNet reads of captions that differ in the kind
// alone, at the token of the kind. States that are nearly the same, as CLIP's are where a word
// matters late, teach the UNet kinds slowly or never.
func TestConditionsTellKindsApart(t *testing.T) {
	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	var captions []string
	g := shapes.Grammar()
	for _, o := range g.Objects {
		caption, err := g.Render(dataset.Claim{Object: o.Name, Count: 2, Colour: "red"})
		require.NoError(t, err)
		captions = append(captions, caption)
	}
	conditions, err := p.Conditions(context.Background(), captions...)
	require.NoError(t, err)
	width := conditions[captions[0]].Tokens.Shape()[1]
	const kind = 3 // start, "two", "red", the kind
	state := func(caption, k int) float64 {
		return float64(conditions[captions[caption]].Tokens.Float32s()[kind*width+k])
	}
	for a := range captions {
		for b := range a {
			var distance, size float64
			for k := range width {
				distance += math.Pow(state(a, k)-state(b, k), 2)
				size += (math.Pow(state(a, k), 2) + math.Pow(state(b, k), 2)) / 2
			}
			require.Greater(t, math.Sqrt(distance/size), 0.5, "%s, %s", captions[a], captions[b])
		}
	}
}

// TestAutoencoderKeepsWhatIsJudged encodes drawn scenes and decodes them. The judge reads the same
// from them as before. Otherwise a label would not say what the UNet did.
func TestAutoencoderKeepsWhatIsJudged(t *testing.T) {
	ctx := context.Background()
	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	const n = 64
	claims := shapes.Grammar().Claims(dataset.Combination)
	world := shapes.World{Seed: 99, N: n, Claims: claims}
	encoded, err := dataset.Collect(ctx, p.Encode(world, pipeline.EncodeOptions{Batch: 16}))
	require.NoError(t, err)
	c := p.VAE.Config
	side := c.SampleSize / p.VAE.Factor()
	latent := tensor.New(
		tensor.Of(tensor.Float32),
		tensor.WithShape(1, side, side, c.LatentChannels),
	)
	g := gorgonia.NewGraph()
	decoded, err := p.VAE.Decode(kernels.Input(g, "latent", latent))
	require.NoError(t, err)
	machine, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{decoded}})
	require.NoError(t, err)
	defer machine.Close()
	right := 0
	for _, s := range encoded {
		for i, v := range s.Latent.Float32s() {
			latent.Float32s()[i] = v / float32(c.ScalingFactor)
		}
		require.NoError(t, machine.RunAll())
		p, err := picture.FromValues(machine.Value(decoded).Float32s(), c.SampleSize, c.SampleSize)
		require.NoError(t, err)
		claim, err := shapes.Grammar().Parse(s.Prompt)
		require.NoError(t, err)
		if shapes.Judge(p.Image()).Follows(claim) {
			right++
		}
	}
	t.Logf("%d of %d", right, n)
	require.GreaterOrEqual(t, right, 60)
}

func network(t testing.TB) *unet.UNet2DCondition {
	sub, err := fs.Sub(tiny.FS(), "unet")
	require.NoError(t, err)
	u, err := unet.LoadFS(sub)
	require.NoError(t, err)
	return u
}

// samples returns n random latents and conditions with a reward.
func samples(u *unet.UNet2DCondition, n int) dataset.Dataset {
	normal := func(stream string, i int, shape ...int) *tensor.Dense {
		x := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		rng.Normal(x.Float32s(), 1, stream, 0, uint64(i))
		return x
	}
	reward := 0.5
	side, channels := u.Config.SampleSize, u.Config.InChannels
	var all []dataset.Sample
	for i := range n {
		latent := normal("latent", i, side, side, channels)
		tokens := normal("condition", i, 16, u.Config.CrossAttentionDim[0])
		all = append(all, dataset.Sample{
			Latent:    latent,
			Condition: dataset.Condition{Tokens: tokens},
			Reward:    &reward,
		})
	}
	return dataset.FromSlice(all)
}

// TestTrainingStepIsWhatIsPlanned trains the miniature by Eq. 2 in a process of its own and
// compares the memory that it then holds with the plan.
func TestTrainingStepIsWhatIsPlanned(t *testing.T) {
	kerneltest.InChild(t, func() {
		before := kerneltest.LiveBytes()
		u := network(t)
		trainer := &finetune.Tuner{
			Network:       u,
			Schedule:      schedule(t),
			Own:           samples(u, 8),
			Pretrain:      samples(u, 8),
			OwnBatch:      64,
			PretrainBatch: 32,
			Updates:       3,
		}
		for _, err := range trainer.Steps(context.Background()) {
			require.NoError(t, err)
		}
		live := kerneltest.LiveBytes() - before
		kerneltest.RequirePlanned(t, trainer.Plan(), live, trainer.Close)
	})
}

func schedule(t testing.TB) *diffusion.Schedule {
	sub, err := fs.Sub(tiny.FS(), "scheduler")
	require.NoError(t, err)
	s, err := diffusion.LoadScheduleFS(sub)
	require.NoError(t, err)
	return s
}

// TestGradientsUnderBudgets holds the miniature's loss and gradients to the same bits where the
// machine may have only 50 % or 25 % of the bytes that the activations take at their peak.
func TestGradientsUnderBudgets(t *testing.T) {
	u := network(t)
	const n = 4
	input := func(g *gorgonia.ExprGraph, name string, shape ...int) *gorgonia.Node {
		x := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		rng.Normal(x.Float32s(), 2, name, 0, 0)
		return kernels.Input(g, name, x)
	}
	g := gorgonia.NewGraph()
	s, c := u.Config.SampleSize, u.Config.InChannels
	noisy, times := input(g, "x", n, s, s, c), input(g, "t", n)
	tokens := input(g, "c", n, 16, u.Config.CrossAttentionDim[0])
	predicted, err := u.Predict(noisy, times, diffusion.Condition{Tokens: tokens})
	require.NoError(t, err)
	loss, err := kernels.MSE(predicted, input(g, "noise", n, s, s, c), nil)
	require.NoError(t, err)
	var params gorgonia.Nodes
	for _, p := range u.Trainable() {
		params = append(params, kernels.Param(g, p.Value))
	}
	grads, err := gorgonia.Grad(loss, params...)
	require.NoError(t, err)
	want := append(gorgonia.Nodes{loss}, grads...)

	run := func(budget int64) (values [][]float32, plan kernels.Plan) {
		m, err := kernels.NewMachine(g, kernels.Config{Want: want, ActivationBytes: budget})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.RunAll())
		for _, n := range want {
			values = append(values, append([]float32(nil), m.Value(n).Float32s()...))
		}
		return values, m.Plan()
	}
	whole, plan := run(0)
	for _, percent := range []int64{50, 25} {
		values, p := run(plan.Activations * percent / 100)
		t.Logf("%d %%: %v", percent, p)
		require.LessOrEqual(t, p.Activations, plan.Activations*percent/100)
		require.Positive(t, p.Recomputed)
		for i := range whole {
			require.Equal(t, whole[i], values[i], want[i].Name())
		}
	}
}

// TestGenerates makes two pictures of each of two prompts. Other noise makes other pictures, and so
// do other prompts.
func TestGenerates(t *testing.T) {
	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	request := pipeline.Request{
		Prompts:   []string{"two red circles", "a star on the beach"},
		PerPrompt: 2,
		Steps:     4,
		Guidance:  1,
		Batch:     4,
	}
	all, err := dataset.Collect(context.Background(), p.Generate(request))
	require.NoError(t, err)
	require.Len(t, all, 4)
	seen := map[string]bool{}
	for _, s := range all {
		require.Equal(t, 64, s.Image.Bounds().Dx())
		key := ""
		for i := range 64 {
			key += fmt.Sprint(s.Image.At(i, i))
		}
		require.False(t, seen[key], s.Prompt)
		seen[key] = true
	}
}

// TestPicturesAreThePrompts holds the embedded parts to each other. With another schedule or
// another text encoder than the UNet's own, fewer pictures have what their prompts ask for. Colours
// and backgrounds were taught wrong in half of the captions, so not all pictures can be right.
func TestPicturesAreThePrompts(t *testing.T) {
	p, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(2, 6))
	g := shapes.Grammar()
	claims := g.Claims(dataset.Combination)
	var prompts []string
	for range 32 {
		prompt, err := g.Render(claims[r.IntN(len(claims))])
		require.NoError(t, err)
		prompts = append(prompts, prompt)
	}
	request := pipeline.Request{
		Prompts:   prompts,
		PerPrompt: 1,
		Steps:     15,
		Guidance:  4,
		Batch:     32,
	}
	all, err := dataset.Collect(context.Background(), p.Generate(request))
	require.NoError(t, err)
	var kind, colour, background int
	for _, s := range all {
		claim, err := g.Parse(s.Prompt)
		require.NoError(t, err)
		reading := shapes.Judge(s.Image)
		if reading.Kind == claim.Object {
			kind++
		}
		if reading.Colour == claim.Colour {
			colour++
		}
		if reading.Background == claim.Background {
			background++
		}
	}
	t.Logf("of %d: kind %d, colour %d, background %d", len(all), kind, colour, background)
	require.GreaterOrEqual(t, kind, 24)
	require.GreaterOrEqual(t, colour, 20) // one in nine by chance
	require.GreaterOrEqual(t, background, 26)
}
