package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A checkpoint file holds the same weights as the folder beside it, under the names of the first
// checkpoints.
func TestSingleFilesGolden(t *testing.T) {
	folders(t, func(t *testing.T, p *Pipeline, c golden.Case) {
		one, err := LoadFile(filepath.Join(c.Dir, "single.safetensors"), c.Dir)
		require.NoError(t, err)
		require.Equal(t, "single", one.Name)
		require.Equal(t, weights.Hash(p.UNet), weights.Hash(one.UNet))
		require.Equal(t, weights.Hash(p.VAE), weights.Hash(one.VAE))
		require.Equal(t, weights.Hash(p.Text), weights.Hash(one.Text))
		require.Subset(t, one.Extra, []string{"alphas_cumprod", "model_ema.decay"})
		if isOpen := p.UNet.Config.UseLinearProjection; isOpen {
			require.Contains(t, one.Extra, openPrefix+"text_projection")
			require.Len(t, one.Extra, 4+12, "the last layer is not used")
		} else {
			require.Len(t, one.Extra, 2)
		}

		beside, err := Load(filepath.Join(c.Dir, "single.safetensors"))
		require.NoError(t, err)
		require.Equal(t, weights.Hash(p.UNet), weights.Hash(beside.UNet))
	}, "single.safetensors")
}

// write makes a file of tensors of zeros.
func write(t *testing.T, metadata map[string]string, shapes map[string][]int) *weights.File {
	var all []kernels.Parameter
	for name, shape := range shapes {
		zeros := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
		all = append(all, kernels.Parameter{Name: name, Value: zeros})
	}
	name := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, weights.Save(name, all, kernels.Float16, metadata))
	f, err := weights.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// holds is what a file of such tensors, and of a UNet's last, holds.
func holds(t *testing.T, metadata map[string]string, shapes map[string][]int) content {
	shapes[unetPrefix+"out.2.bias"] = []int{1}
	c, err := contentOf(write(t, metadata, shapes))
	require.NoError(t, err)
	return c
}

func TestFamiliesAreRecognized(t *testing.T) {
	one, two := clipPrefix+"embeddings.token_embedding.weight", openPrefix+"token_embedding.weight"
	for _, k := range []struct {
		conv, key []int
		text      string
		width     int
		known     bool
	}{
		{[]int{320, 4, 3, 3}, []int{320, 768}, one, 768, true},
		{[]int{320, 9, 3, 3}, []int{320, 1024}, two, 1024, true},
		{[]int{320, 4, 3, 3}, []int{320, 1024}, one, 1024, true},
		{[]int{320, 4, 3, 3}, []int{320, 1024}, one, 768, false},
		{[]int{320, 4, 3, 3}, []int{320, 1024}, "without a text encoder", 1, true},
		{[]int{320, 4, 3, 3}, []int{320, 768}, "without a text encoder", 1, true},
		{[]int{320, 4, 3, 3}, []int{320, 768}, two, 1024, false},
		{[]int{320, 4, 3, 3}, []int{320, 2048}, two, 1024, false},
		{[]int{128, 4, 3, 3}, []int{128, 768}, one, 768, false},
		{[]int{320}, []int{320, 768}, one, 768, false},
	} {
		shapes := map[string][]int{
			unetPrefix + firstConv: k.conv, unetPrefix + firstKey: k.key, k.text: {2, k.width},
		}
		c, err := recognize(holds(t, nil, shapes))
		if !k.known {
			require.ErrorContains(t, err, "neither Stable Diffusion 1.x nor 2.x")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, k.conv[1], c.unet.InChannels)
		require.Equal(t, k.key[1], c.unet.CrossAttentionDim.At(0))
		require.Equal(t, k.key[1], c.text.Width)
	}
}

// Whichever names a 2.x has for its text encoder, OpenCLIP's or those of transformers, it is read.
func TestTextEncoderOf2(t *testing.T) {
	dir := shardsCase
	want, err := LoadFile(filepath.Join(dir, "single.safetensors"), dir)
	require.NoError(t, err)
	f, err := weights.Open(filepath.Join(dir, "single.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	var all []kernels.Parameter
	for _, name := range f.Names() {
		if strings.HasPrefix(name, openPrefix) {
			continue
		}
		shape, _ := f.Shape(name)
		values, err := f.Floats(name)
		require.NoError(t, err)
		value := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
		all = append(all, kernels.Parameter{Name: name, Value: value})
	}
	for _, before := range []string{clipPrefix, textPrefix + "transformer."} {
		renamed := slices.Clone(all)
		for _, p := range nn.Parameters(want.Text) {
			renamed = append(renamed, kernels.Parameter{Name: before + p.Name, Value: p.Value})
		}
		file := filepath.Join(t.TempDir(), "single.safetensors")
		require.NoError(t, weights.Save(file, renamed, kernels.Float32, f.Metadata))
		got, err := LoadFile(file, dir)
		require.NoError(t, err)
		require.Equal(t, weights.Hash(want.Text), weights.Hash(got.Text))
		require.Equal(t, weights.Hash(want.UNet), weights.Hash(got.UNet))
	}
}

// What the published configs of SD 1.5 and SD 2.1 say.
func TestFamilies(t *testing.T) {
	one, two := family(4, 768), family(9, 1024)
	require.Equal(t, []int{320, 640, 1280, 1280}, one.unet.BlockOutChannels)
	require.Equal(t, 8, one.unet.AttentionHeadDim.At(3))
	require.Equal(t, 768, one.unet.CrossAttentionDim.At(2))
	require.False(t, one.unet.UseLinearProjection)
	require.Equal(t, 1024, two.unet.CrossAttentionDim.At(2))
	require.Equal(t, 20, two.unet.AttentionHeadDim.At(3))
	require.Equal(t, 9, two.unet.InChannels)
	require.True(t, two.unet.UseLinearProjection)
	require.Equal(t, 23, two.text.Layers)
	require.Equal(t, 12, one.text.Layers)
	for _, c := range []configs{one, two} {
		require.Len(t, c.vae.DownBlockTypes, 4)
		require.Equal(t, []int{128, 256, 512, 512}, c.vae.BlockOutChannels)
	}
}

// cacheOf makes a cache that holds a case's folder as ORG/NAME, as the hub's client links it.
func cacheOf(t *testing.T, dir string) (cache, snapshot string) {
	cache = t.TempDir()
	repo := filepath.Join(cache, "models--some--model")
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "snapshots"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("0123abcd"), 0o644))
	absolute, err := filepath.Abs(dir)
	require.NoError(t, err)
	snapshot = filepath.Join(repo, "snapshots", "0123abcd")
	require.NoError(t, os.Symlink(absolute, snapshot))
	return cache, snapshot
}

func TestCache(t *testing.T) {
	cache, snapshot := cacheOf(t, "../../testdata/golden/shards")
	t.Setenv("HF_HUB_CACHE", cache)
	p, err := Load("some/model")
	require.NoError(t, err)
	require.Equal(t, "some/model", p.Name)

	_, err = Load("some/other")
	require.ErrorContains(t, err, "some/other is no folder, no file and not in the cache, "+cache)
	_, err = Load("../some/other")
	require.ErrorContains(t, err, "no such file")
	require.NoError(t, os.Remove(snapshot))
	_, err = Load("some/model")
	require.ErrorContains(t, err, snapshot)
	ref := filepath.Join(cache, "models--some--model", "refs", "main")
	require.NoError(t, os.WriteFile(ref, []byte("../../x"), 0o644))
	_, err = Load("some/model")
	require.ErrorContains(t, err, "no commit")
	require.NoError(t, os.Remove(ref))
	_, err = Load("some/model")
	require.ErrorContains(t, err, filepath.Join("refs", "main"))
}

func TestSingleFileErrors(t *testing.T) {
	file := "../../testdata/golden/shards/single.safetensors"
	_, err := LoadFile(file, "")
	require.ErrorContains(t, err, "neither Stable Diffusion 1.x nor 2.x")
	require.ErrorContains(t, err, "single.safetensors")
	_, err = LoadFile("../../testdata/golden/shards/cases.safetensors",
		"../../testdata/golden/shards")
	require.ErrorContains(t, err, "not a checkpoint of Stable Diffusion 1 or 2")
	_, err = LoadFile("../../testdata/golden/shards/model.ckpt", "")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(filepath.Join(t.TempDir(), "absent.safetensors"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// copyFolder copies a folder but for its large files.
func copyFolder(t *testing.T, from string) (to string) {
	to = t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	require.NoError(t, os.Remove(filepath.Join(to, "cases.safetensors")))
	return to
}

// change replaces a text in a file, where it must be.
func change(t *testing.T, file, from, to string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), from, file)
	require.NoError(t,
		os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o644))
}

// What configs have no place for is not passed over: it would be another model.
func TestTensorsThatConfigsLack(t *testing.T) {
	dir := copyFolder(t, "../../testdata/golden/inpaint")
	change(t, filepath.Join(dir, "text_encoder", "config.json"), `"num_hidden_layers": 2`,
		`"num_hidden_layers": 1`)
	_, err := LoadFile(filepath.Join(dir, "single.safetensors"), dir)
	require.ErrorContains(t, err, "does not fit its configs")
	require.ErrorContains(t, err,
		clipPrefix+"encoder.layers.1.mlp.fc1.weight is not a tensor of this model")
}

// The configs that are taken for a file of 2-768 have its size.
func TestVelocityOf2IsLarger(t *testing.T) {
	for _, k := range []struct {
		features, side int
		says           string
	}{{768, 64, "epsilon"}, {768, 64, "v"}, {1024, 64, "epsilon"}, {1024, 96, "v"}} {
		shapes := map[string][]int{
			unetPrefix + firstConv: {320, 4, 3, 3}, unetPrefix + firstKey: {320, k.features},
		}
		if k.features == 1024 {
			shapes[openPrefix+"token_embedding.weight"] = []int{1}
		}
		dir := t.TempDir()
		tokens := os.DirFS("../../testdata/golden/sd1/tokenizer")
		require.NoError(t, os.CopyFS(filepath.Join(dir, "tokenizer"), tokens))
		metadata := map[string]string{"modelspec.prediction_type": k.says}
		f := holds(t, metadata, shapes)
		c, err := readConfigs(f, dir)
		require.NoError(t, err)
		schedule, _, err := f.settleSchedule(c.schedule, c.unet, f.Name, dir)
		require.NoError(t, err)
		c.settleSize(schedule)
		require.Equal(t, k.side, c.unet.SampleSize, "%d %s", k.features, k.says)
	}
}

// Whatever was not downloaded is named, all of it.
func TestMissingFilesAreNamed(t *testing.T) {
	dir := copyFolder(t, "../../testdata/golden/levels")
	for _, name := range []string{
		"tokenizer",
		"text_encoder/model.safetensors",
		"vae/config.json",
		"unet/diffusion_pytorch_model.safetensors",
		"scheduler/scheduler_config.json",
	} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, filepath.FromSlash(name))), name)
	}
	_, err := Load(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, says := range []string{
		"scheduler: scheduler_config.json", "tokenizer: vocab.json or tokenizer.json",
		"text_encoder: weights: model.safetensors", "vae: config.json",
		"unet: weights: diffusion_pytorch_model.safetensors", dir,
	} {
		require.ErrorContains(t, err, says)
	}
}

// Shapes do not tell ε from v: a file of SD 2 says it in its metadata, or its scheduler's config
// does.
func TestPredictionIsNotGuessed(t *testing.T) {
	for _, k := range []struct {
		features         int
		says, want, fail string
	}{
		{768, "", "epsilon", ""}, {768, "v", "v_prediction", ""},
		{1024, "epsilon", "epsilon", ""}, {1024, "v", "v_prediction", ""},
		{1024, "", "", "does not say whether it predicts ε or v"},
		{768, "sample", "sample", ""}, {768, "rectified", "", "does not say"},
	} {
		metadata := map[string]string{}
		if k.says != "" {
			metadata["modelspec.prediction_type"] = k.says
		}
		f := holds(t, metadata, map[string][]int{"a": {1}})
		s, _, err := f.settleSchedule(nil, family(4, k.features).unet, f.Name, "")
		if k.fail != "" {
			require.ErrorContains(t, err, k.fail)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, k.want, *s.Config.Prediction)
	}
}

// An inpainting model is loaded, saved under its own class and refused as a generator.
func TestInpainting(t *testing.T) {
	p, err := Load("../../testdata/golden/inpaint")
	require.NoError(t, err)
	for _, err := range p.Generate(request()).All(context.Background()) {
		require.ErrorContains(t, err, "inpaint is an inpainting model: its UNet reads 9 channels")
	}
	_, err = p.Settle(request())
	require.ErrorContains(t, err, "inpaint is an inpainting model", "it is known before any work")
	dir := t.TempDir()
	require.NoError(t, p.Save(dir, kernels.Float16))
	index, err := os.ReadFile(filepath.Join(dir, indexFile))
	require.NoError(t, err)
	require.Contains(t, string(index), inpaintName)
	again, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, weights.Hash(p.UNet), weights.Hash(again.UNet))
}
