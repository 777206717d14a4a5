package clip

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

const tolerance = 1e-5 // relative, of testdata/golden

// evaluate runs a graph and returns its results.
func evaluate(t *testing.T, g *gorgonia.ExprGraph, out ...*gorgonia.Node) [][]float32 {
	m, err := kernels.NewMachine(g, kernels.Config{Want: out})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	values := make([][]float32, len(out))
	for i, n := range out {
		values[i] = slices.Clone(m.Value(n).Float32s())
	}
	return values
}

// texts are token ids [N,L] of a case as a model reads them.
func texts(t *testing.T, m *TextModel, ids *tensor.Dense) *Texts {
	n, length := ids.Shape()[0], ids.Shape()[1]
	in := NewTexts(n, length)
	for row := range n {
		var list []int
		for _, v := range ids.Float32s()[row*length : (row+1)*length] {
			list = append(list, int(v))
		}
		require.NoError(t, m.Set(in, row, list))
	}
	return in
}

func TestTextEncoderGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		m, err := LoadText(filepath.Join(c.Dir, "text_encoder"))
		require.NoError(t, err)
		in, g := texts(t, m, c.Tensor(t, "text.input_ids")), gorgonia.NewGraph()
		ids := kernels.Input(g, "ids", in.IDs)
		hidden, err := m.Hidden(ids)
		require.NoError(t, err)
		pooled, err := m.Pooled(ids, kernels.Input(g, "pool", in.Pool))
		require.NoError(t, err)
		got := evaluate(t, g, hidden, pooled)
		want := func(name string) []float32 { return c.Tensor(t, name).Float32s() }
		golden.Near(t, "hidden", got[0], want("text.last_hidden_state"), tolerance)
		golden.Near(t, "pooled", got[1], want("text.pooler_output"), tolerance)
	}, "text.input_ids")
}

func TestModelGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		m, err := LoadModel(filepath.Join(c.Dir, "clip"))
		require.NoError(t, err)
		in, g := texts(t, m.Text, c.Tensor(t, "clip.input_ids")), gorgonia.NewGraph()
		ids, pool := kernels.Input(g, "ids", in.IDs), kernels.Input(g, "pool", in.Pool)
		text, err := m.TextFeatures(ids, pool)
		require.NoError(t, err)
		pixels := kernels.Input(g, "pixels", c.ChannelsLast(t, "clip.pixel_values"))
		image, err := m.ImageFeatures(pixels)
		require.NoError(t, err)
		logits, err := m.Logits(image, text)
		require.NoError(t, err)
		got := evaluate(t, g, text, image, logits)
		want := func(name string) []float32 { return c.Tensor(t, name).Float32s() }
		golden.Near(t, "text", got[0], want("clip.text_embeds"), tolerance)
		golden.Near(t, "image", got[1], want("clip.image_embeds"), tolerance)
		golden.Near(t, "logits", got[2], want("clip.logits_per_image"), tolerance)
	}, "clip")
}

func TestPreprocessingGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		rgb := c.Tensor(t, "image.rgb")
		p := picture.NewRGB(rgb.Shape()[1], rgb.Shape()[0])
		for i, v := range rgb.Float32s() {
			p.Pix[i] = uint8(v)
		}
		want := c.ChannelsLast(t, "image.pixel_values")
		pre, err := loadPreprocessor(os.DirFS(filepath.Join(c.Dir, "clip")), want.Shape()[1])
		require.NoError(t, err)
		got := make([]float32, len(want.Float32s()))
		require.NoError(t, pre.Pixels(got, p.Image()))
		for i, v := range want.Float32s() {
			require.InDelta(t, v, got[i], 1e-6)
		}
	}, "image.rgb")
}

// Resizing and cutting give the bytes that CLIPImageProcessor gives
// (internal/golden/preprocess.py).
func TestPreprocessorBytesGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/preprocess.json")
	require.NoError(t, err)
	var cases []struct {
		Width, Height int
		Alpha         bool
		Config        json.RawMessage
		Pixels        []byte
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.Len(t, cases, 28)
	for _, c := range cases {
		p, err := loadPreprocessor(fstest.MapFS{preprocessorFile: {Data: c.Config}}, 16)
		require.NoError(t, err)
		img := image.NewNRGBA(image.Rect(0, 0, c.Width, c.Height))
		for i := range img.Pix {
			x, y, channel := i/4%c.Width, i/4/c.Width, i%4
			img.Pix[i] = uint8(x*37 + y*91 + channel*53 + x*y*7)
			if channel == 3 && !c.Alpha {
				img.Pix[i] = 255
			}
		}
		values := make([]float32, len(c.Pixels))
		require.NoError(t, p.Pixels(values, img))
		got := make([]byte, len(values))
		for i, v := range values {
			got[i] = byte(v)
		}
		require.Equal(t, c.Pixels, got, "%d×%d under %s", c.Width, c.Height, c.Config)
	}
}

// tiny is a CLIP that is fast to run.
func tiny(t testing.TB) *Encoder {
	tok, err := tokenizer.Train([]string{"a red circle", "a blue square", "a green star"}, 40)
	require.NoError(t, err)
	tok.Length = 8
	m, err := NewModel(Config{
		Text: TextConfig{
			Vocabulary:   tok.Size(),
			Width:        16,
			Intermediate: 32,
			Layers:       2,
			Heads:        2,
			Positions:    8,
			Activation:   "quick_gelu",
			Epsilon:      1e-5,
			Start:        tok.Start(),
			End:          tok.End(),
			Pad:          tok.Pad(),
		},
		Vision: VisionConfig{
			Width:        24,
			Intermediate: 48,
			Layers:       2,
			Heads:        3,
			Channels:     3,
			Side:         16,
			Patch:        8,
			Activation:   "gelu",
			Epsilon:      1e-5,
		},
		Projection: 12,
		LogitScale: 2.6592,
	})
	require.NoError(t, err)
	nn.Init(m, 1)
	return &Encoder{Model: m, Tokenizer: tok, Preprocessor: NewPreprocessor(16)}
}

func noise(n, w, h int) (pictures []image.Image) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		p := picture.NewRGB(w, h)
		for i := range p.Pix {
			p.Pix[i] = uint8(r.UintN(256))
		}
		pictures = append(pictures, p.Image())
	}
	return pictures
}

func TestEncoder(t *testing.T) {
	e := tiny(t)
	defer e.Close()
	e.Batch = 4
	ctx := context.Background()
	pictures := noise(7, 20, 30)
	prompts := []string{"a red circle", "", "a blue star on fire", "x", "y", "a red circle"}
	images, err := e.ImageFeatures(ctx, pictures)
	require.NoError(t, err)
	require.Equal(t, tensor.Shape{7, 12}, images.Shape())
	texts, err := e.TextFeatures(ctx, prompts)
	require.NoError(t, err)
	require.Equal(t, tensor.Shape{6, 12}, texts.Shape())
	for _, features := range []*tensor.Dense{images, texts} {
		for row := range features.Shape()[0] {
			length := 0.0
			for _, v := range features.Float32s()[row*12 : row*12+12] {
				length += float64(v) * float64(v)
			}
			require.InDelta(t, 1, length, 1e-5)
		}
	}
	require.Equal(t, texts.Float32s()[:12], texts.Float32s()[60:],
		"one prompt has the same features in any batch")
	one, err := e.ImageFeatures(ctx, pictures[5:6])
	require.NoError(t, err)
	require.InDeltaSlice(t, images.Float32s()[60:72], one.Float32s(), 1e-6)
	require.Len(t, e.images, 2, "7 = 4 + 3 in graphs of 4; 1 in one of 1")

	_, err = e.ImageFeatures(ctx, nil)
	require.ErrorContains(t, err, "nothing to encode")
	_, err = e.ImageFeatures(ctx, []image.Image{image.NewGray(image.Rect(0, 0, 0, 5))})
	require.ErrorContains(t, err, "0×5 pixels (picture 0)")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = e.TextFeatures(cancelled, prompts)
	require.ErrorIs(t, err, context.Canceled)
}

func TestSavedIsTheSame(t *testing.T) {
	e, dir := tiny(t), filepath.Join(t.TempDir(), "clip")
	defer e.Close()
	require.NoError(t, e.Save(dir, kernels.Float32))
	again, err := Load(dir)
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, e.Model.Config, again.Model.Config)
	require.Equal(t, e.Hash(), again.Hash())
	require.Equal(t, e.Preprocessor.config(), again.Preprocessor.config())
	a, err := e.TextFeatures(context.Background(), []string{"a red circle"})
	require.NoError(t, err)
	b, err := again.TextFeatures(context.Background(), []string{"a red circle"})
	require.NoError(t, err)
	require.Equal(t, a.Float32s(), b.Float32s())

	text, err := LoadText(dir)
	require.NoError(t, err, "a CLIPModel's folder holds a text encoder")
	require.Equal(t, weights.Hash(e.Model.Text), weights.Hash(text))
	require.NoError(t, text.Save(filepath.Join(dir, "text"), kernels.Float32))
	text, err = LoadText(filepath.Join(dir, "text"))
	require.NoError(t, err)
	require.Equal(t, weights.Hash(e.Model.Text), weights.Hash(text))

	e.Model.Config.LogitScale = 3
	require.NoError(t, e.Model.Save(dir, kernels.Float32))
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.Contains(t, string(config), `"logit_scale_init_value": 3.0,`, "Python's float")

	e.Model.LogitScale.Float32s()[0]++
	require.NotEqual(t, e.Hash(), again.Hash())
}

func TestPoolPosition(t *testing.T) {
	m := &TextModel{Config: TextConfig{End: 2}}
	require.Equal(t, 2, m.PoolPosition([]int{5, 2, 9, 9, 1}), "the first largest id")
	m.Config.End = 9
	require.Equal(t, 2, m.PoolPosition([]int{10, 2, 9, 9, 1}), "the first end")
	require.Equal(t, 0, m.PoolPosition([]int{10, 2, 1}), "without an end the first position")
}

func TestConfigs(t *testing.T) {
	read := func(text string) (Config, error) {
		return readModelConfig(fstest.MapFS{"config.json": {Data: []byte(text)}})
	}
	c, err := read(`{
		"text_config": {"hidden_size": 64, "num_hidden_layers": 3},
		"text_config_dict": {"hidden_size": 128, "eos_token_id": 2},
		"vision_config": {"patch_size": 14},
		"projection_dim": 7
	}`)
	require.NoError(t, err)
	want := Config{
		Text:       DefaultTextConfig(),
		Vision:     defaultVision(),
		Projection: 7,
		LogitScale: 2.6592,
	}
	want.Text.Width, want.Text.End, want.Vision.Patch = 128, 2, 14
	require.Equal(t, want, c)
	text, err := ReadTextConfig(fstest.MapFS{"config.json": {Data: []byte(`{
		"text_config": {"hidden_size": 64},
		"text_config_dict": {"hidden_size": 128},
		"vision_config": {"hidden_size": 32}
	}`)}})
	require.NoError(t, err)
	require.Equal(t, 64, text.Width, "CLIPTextModel reads text_config alone")

	for _, c := range []struct{ text, says string }{
		{
			`{"text_config": {}}`,
			"no vision_config",
		},
		{
			`{"text_config": {"hidden_act": "relu"}, "vision_config": {}}`,
			`hidden_act "relu"`,
		},
		{
			`{"text_config": {"num_attention_heads": 7}, "vision_config": {}}`,
			"7 heads",
		},
		{
			`{"text_config": {}, "vision_config": {"patch_size": 15}}`,
			"no multiple of patch_size 15",
		},
		{
			`{"text_config": {}, "vision_config": {}, "projection_dim": 0}`,
			"projection_dim is 0",
		},
		{
			`{"text_config": {"vocab_size": "many"}, "vision_config": {}}`,
			"vocab_size",
		},
		{
			`{"text_config": {}, "vision_config": {"num_channels": 1}}`,
			"num_channels is 1",
		},
		{
			`{"text_config": {"max_position_embeddings": 0}, "vision_config": {}}`,
			"max_position_embeddings 0",
		},
		{
			`{"text_config": {}, "vision_config": {}, "model_type": "siglip"}`,
			`model_type: "siglip" is not supported`,
		},
		{
			`{"text_config": {"layer_norm_eps": 0}, "vision_config": {}}`,
			"layer_norm_eps of the text encoder is 0",
		},
		{
			`nonsense`,
			"config.json",
		},
	} {
		_, err := read(c.text)
		require.ErrorContains(t, err, c.says)
	}
}

// A config that asks for more than the file holds is refused before memory is taken for it.
func TestConfigsBeyondTheFile(t *testing.T) {
	c := TextConfig{
		Vocabulary:   20,
		Width:        8,
		Intermediate: 12,
		Layers:       2,
		Heads:        2,
		Positions:    5,
		Activation:   "gelu",
		Epsilon:      1e-5,
	}
	m, err := NewTextModel(c)
	require.NoError(t, err)
	numbers := 0
	for _, p := range nn.Parameters(m) {
		numbers += p.Value.Shape().TotalSize()
	}
	_, err = NewTextModelWithin(c, numbers)
	require.NoError(t, err)
	for name, change := range map[string]func(c *TextConfig){
		"vocabulary": func(c *TextConfig) { c.Vocabulary = 1 << 60 },
		"width":      func(c *TextConfig) { c.Width = 1 << 62 },
		"middle":     func(c *TextConfig) { c.Intermediate = 1 << 40 },
		"layers":     func(c *TextConfig) { c.Layers = 1 << 62 },
		"positions":  func(c *TextConfig) { c.Positions = 1 << 40 },
	} {
		big := c
		change(&big)
		_, err := NewTextModelWithin(big, numbers)
		require.ErrorContains(t, err, "the file holds", name)
	}
}

func TestPreprocessorFiles(t *testing.T) {
	read := func(text string) (*Preprocessor, error) {
		return loadPreprocessor(fstest.MapFS{"preprocessor_config.json": {Data: []byte(text)}}, 16)
	}
	old, err := read(`{
		"size": 16, "crop_size": 16, "feature_extractor_type": "CLIPFeatureExtractor"
	}`)
	require.NoError(t, err)
	require.Equal(t, NewPreprocessor(16), old)
	none, err := loadPreprocessor(fstest.MapFS{}, 16)
	require.NoError(t, err)
	require.Equal(t, NewPreprocessor(16), none)
	for _, c := range []struct{ text, says string }{
		{`{"size": 16, "crop_size": 20}`, "come out 20×20, the model reads 16×16"},
		{`{"size": 16}`, "come out 224×224, the model reads 16×16"},
		{
			`{"size": {"height": 20, "width": 16}, "do_center_crop": false}`,
			"come out 16×20, the model reads 16×16",
		},
		{
			`{"size": {"shortest_edge": 16, "longest_edge": 32}}`,
			`size is {"shortest_edge": 16, "longest_edge": 32}, not`,
		},
		{`{"size": {"height": 16}}`, `size is {"height": 16}, not`},
		{`{"size": 0}`, "size is 0, not"},
		{`{"size": "big"}`, `size is "big", not`},
		{`{"size": -3}`, "size is -3, not"},
		{`{"crop_size": {"shortest_edge": 16}}`, "crop_size has a shortest_edge"},
		{`{"resample": 6}`, "resample 6"},
		{`{"resample": -1}`, "resample -1"},
		{`{"image_mean": "grey"}`, "image_mean"},
		{`{"image_mean": [1, 2]}`, "image_mean [1 2]"},
		{`{"image_std": [1, 0, 1]}`, "image_std [1 0 1]"},
		{`{"image_std": [1, 1e-300, 1]}`, "image_std [1 1e-300 1]"},
		{`{"image_mean": [1, 1e308, 1]}`, "image_mean [1 1e+308 1]"},
		{`{"rescale_factor": 0}`, "rescale_factor is 0"},
		{`{"rescale_factor": 1e300}`, "rescale_factor is 1e+300"},
		{`{"use_square_size": true}`, "use_square_size"},
		{`{"do_pad": true}`, "do_pad"},
		{
			`{"image_processor_type": "ViTImageProcessor"}`,
			`image_processor_type "ViTImageProcessor"`,
		},
		{`[`, "preprocessor_config.json: "},
	} {
		_, err := read(c.text)
		require.ErrorContains(t, err, c.says)
		require.ErrorContains(t, err, "clip: preprocessor_config.json: ")
	}
	whole, err := read(`{"do_resize": false, "do_center_crop": false}`)
	require.NoError(t, err)
	pixels := make([]float32, 16*16*3)
	require.NoError(t, whole.Pixels(pixels, noise(1, 16, 16)[0]))
	square, wide := noise(1, 16, 16)[0], noise(1, 32, 8)[0]
	require.ErrorContains(t, whole.Pixels(pixels, wide),
		"32×8 pixels do not fit the model's 16×16")
	require.ErrorContains(t, NewPreprocessor(16).Pixels(pixels[1:], wide), "(767 values)")
	thread := image.NewGray(image.Rect(0, 0, 1, 1<<20))
	require.ErrorContains(t, NewPreprocessor(16).Pixels(pixels, thread),
		"1×1048576 pixels: one side is more than 32 times the other")
	huge, err := read(`{"size": 1000000000000000000, "crop_size": 16}`)
	require.NoError(t, err)
	require.ErrorContains(t, huge.Pixels(pixels, square),
		"cannot be resized to 1000000000000000000×")
	whole.Resample = 7
	require.ErrorContains(t, whole.Pixels(pixels, square), "resample 7")
}

// A CLIPProcessor of transformers 5 is saved with its image processor within processor_config.json.
// It is read in place of preprocessor_config.json. The processor_config.json of transformers 4 says
// nothing of pictures.
func TestProcessorFiles(t *testing.T) {
	read := func(processor, preprocessor string) (*Preprocessor, error) {
		return loadPreprocessor(fstest.MapFS{
			processorFile:    {Data: []byte(processor)},
			preprocessorFile: {Data: []byte(preprocessor)},
		}, 16)
	}
	p, err := read(`{
		"image_processor": {
			"size": {"shortest_edge": 16},
			"crop_size": {"height": 16, "width": 16},
			"resample": 2
		},
		"processor_class": "CLIPProcessor"
	}`, `{}`)
	require.NoError(t, err)
	require.Equal(t, 2, p.Resample)
	p, err = read(`{"processor_class": "CLIPProcessor"}`,
		`{"size": 16, "crop_size": 16, "resample": 4}`)
	require.NoError(t, err)
	require.Equal(t, 4, p.Resample)
	_, err = read(`{"image_processor": {"do_pad": true}}`, `{}`)
	require.ErrorContains(t, err, "clip: processor_config.json: do_pad")
	_, err = read(`[`, `{}`)
	require.ErrorContains(t, err, "clip: processor_config.json: ")

	e, dir := tiny(t), t.TempDir()
	defer e.Close()
	another := []byte(`{"image_processor": {"do_pad": true}}`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, processorFile), another, 0o644))
	require.NoError(t, e.Save(dir, kernels.Float32))
	again, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, e.Preprocessor, again.Preprocessor)
}

// Pixels are what transformers makes of a picture, to the bit, under every kind of configuration
// (internal/golden/picture.py makes the references). What is written is read as the same.
func TestPreprocessingIsTransformersGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/preprocessor.json")
	require.NoError(t, err)
	var rows []struct {
		Picture string          `json:"picture"`
		Config  json.RawMessage `json:"config"`
		Bits    []uint32        `json:"bits"` // of float32 values [16,16,3]
	}
	require.NoError(t, json.Unmarshal(text, &rows))
	require.Len(t, rows, 11)
	for _, r := range rows {
		p, err := loadPreprocessor(fstest.MapFS{"preprocessor_config.json": {Data: r.Config}}, 16)
		require.NoError(t, err)
		saved, err := json.Marshal(p.config())
		require.NoError(t, err)
		again, err := loadPreprocessor(fstest.MapFS{"preprocessor_config.json": {Data: saved}}, 16)
		require.NoError(t, err)
		require.Equal(t, p, again)

		img, err := picture.Read("testdata/" + r.Picture)
		require.NoError(t, err)
		pixels := make([]float32, 16*16*3)
		require.Len(t, r.Bits, len(pixels))
		require.NoError(t, p.Pixels(pixels, img))
		for i, v := range pixels {
			require.Equal(t, r.Bits[i], math.Float32bits(v),
				"value %d of %s under %s", i, r.Picture, r.Config)
		}
	}
}

func TestSetRefusesStrangeIDs(t *testing.T) {
	m := tiny(t).Model.Text
	require.ErrorContains(t, m.Set(NewTexts(1, 3), 0, []int{1, 2}), "2 token ids, not 3")
	require.ErrorContains(t, m.Set(NewTexts(1, 1), 0, []int{99999}), "token id 99999")
}

func TestWrongWeights(t *testing.T) {
	dir := t.TempDir()
	e := tiny(t)
	require.NoError(t, e.Save(dir, kernels.Float32))
	file := filepath.Join(dir, "model.safetensors")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, whole[:len(whole)-10], 0o644))
	_, err = Load(dir)
	require.ErrorContains(t, err, "model.safetensors")
	require.ErrorContains(t, err, dir)
	e.Model.VisualProjection = nn.NewLinear(24, 13, false)
	require.NoError(t, weights.Save(file, e.Model, kernels.Float32, nil))
	_, err = Load(dir)
	require.ErrorContains(t, err, "visual_projection.weight is [13 24], not [12 24]")
}

func TestPickleIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, tiny(t).Save(dir, kernels.Float32))
	require.NoError(t, os.Rename(
		filepath.Join(dir, "model.safetensors"),
		filepath.Join(dir, "pytorch_model.bin"),
	))
	_, err := Load(dir)
	require.ErrorContains(t, err, "convert it to safetensors")
}

func TestEncoderTakesTurns(t *testing.T) {
	e := tiny(t)
	defer e.Close()
	want, err := e.TextFeatures(context.Background(), []string{"a red circle"})
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			got, err := e.TextFeatures(context.Background(), []string{"a red circle"})
			assert.NoError(t, err)
			assert.Equal(t, want.Float32s(), got.Float32s())
		})
	}
	group.Wait()
}

// In contrastive training every parameter has a gradient, and the gradient says how the loss
// changes. Following it finds which text belongs to which picture.
func TestContrastiveTraining(t *testing.T) {
	e := tiny(t)
	prompts := []string{"a red circle", "a blue square", "a green star", "a red star"}
	in := NewTexts(4, 8)
	pixels := tensor.New(tensor.WithShape(4, 16, 16, 3), tensor.Of(tensor.Float32))
	for i, p := range noise(4, 2, 2) { // four blurs of colours
		require.NoError(t, e.Model.Text.Set(in, i, e.Tokenizer.Encode(prompts[i])))
		require.NoError(t, e.Preprocessor.Pixels(pixels.Float32s()[i*768:(i+1)*768], p))
	}
	g := gorgonia.NewGraph()
	ids, pool := kernels.Input(g, "ids", in.IDs), kernels.Input(g, "pool", in.Pool)
	text, err := e.Model.TextFeatures(ids, pool)
	require.NoError(t, err)
	image, err := e.Model.ImageFeatures(kernels.Input(g, "pixels", pixels))
	require.NoError(t, err)
	loss, err := e.Model.ContrastiveLoss(image, text)
	require.NoError(t, err)
	parameters := nn.Parameters(e.Model)
	var nodes gorgonia.Nodes
	for _, p := range parameters {
		nodes = append(nodes, kernels.Param(g, p.Value))
	}
	grads, err := gorgonia.Grad(loss, nodes...)
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: append(gorgonia.Nodes{loss}, grads...)})
	require.NoError(t, err)
	defer m.Close()
	run := func() float64 {
		require.NoError(t, m.RunAll())
		return float64(m.Value(loss).Float32s()[0])
	}
	step := func(directions [][]float32, size float64) {
		for i, p := range parameters {
			for j := range p.Value.Float32s() {
				p.Value.Float32s()[j] += float32(size) * directions[i][j]
			}
		}
	}
	notZero := func(v float32) bool { return v != 0 }
	gradient := func() (all [][]float32, square float64) {
		for i, p := range parameters {
			grad := slices.Clone(m.Value(grads[i]).Float32s())
			require.True(t, slices.ContainsFunc(grad, notZero), "%s has no gradient", p.Name)
			for _, v := range grad {
				square += float64(v) * float64(v)
			}
			all = append(all, grad)
		}
		return all, square
	}

	first := run()
	require.InDelta(t, math.Log(4), first, 1.5)
	direction, square := gradient()
	const h = 1e-6
	step(direction, h)
	up := run()
	step(direction, -2*h)
	down := run()
	step(direction, h)
	require.InEpsilon(t, square, (up-down)/(2*h), 0.01, "the loss's slope along its gradient")

	for range 60 {
		run()
		direction, square := gradient()
		step(direction, -0.1/math.Sqrt(square))
	}
	require.Less(t, run(), first/3)
}

func ExampleTextModel_PoolPosition() {
	m := &TextModel{Config: TextConfig{End: 49407}}
	fmt.Println(m.PoolPosition([]int{49406, 320, 2368, 49407, 49407}))
	// Output: 3
}
