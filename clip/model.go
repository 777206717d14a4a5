// Package clip holds CLIP (Radford et al. 2021) as transformers writes it. A TextModel is the text
// encoder that conditions Stable Diffusion. A Model has texts and pictures in one space. A reward
// is learned from its features.
//
// Models are plain data: tensors with names. Their methods add nodes to a graph, so a model is
// trained like any other expression. An Encoder is the ready-made thing: prompts and pictures go
// in, and features of length 1 come out. A Cache keeps those of pictures in a file.
//
// # Errors
//
// errors.As finds what a caller can act on: a KindError if a folder has another kind of model, a
// VocabularyError if the tokenizer is another model's, and a PictureError if one picture of several
// cannot be encoded.
package clip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A Model is transformers' CLIPModel: two encoders, and projections into one space.
type Model struct {
	Config Config

	Text             *TextModel   `weight:"text_model"`
	Vision           *VisionModel `weight:"vision_model"`
	TextProjection   *nn.Linear   `weight:"text_projection"`
	VisualProjection *nn.Linear   `weight:"visual_projection"`

	// LogitScale [1] is the logarithm of the factor of the logits.
	LogitScale *tensor.Dense `weight:"logit_scale,scalar"`
}

// NewModel returns a model of zeros, but for the logit scale, which is the config's. A config that
// describes no model is an error.
func NewModel(c Config) (*Model, error) {
	text, err := NewTextModel(c.Text)
	if err != nil {
		return nil, err
	}
	vision, err := NewVisionModel(c.Vision)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	scale := []float32{float32(c.LogitScale)}
	return &Model{
		Config:           c,
		Text:             text,
		Vision:           vision,
		TextProjection:   nn.NewLinear(c.Text.Width, c.Projection, false),
		VisualProjection: nn.NewLinear(c.Vision.Width, c.Projection, false),
		LogitScale:       tensor.New(tensor.WithShape(1), tensor.WithBacking(scale)),
	}, nil
}

// Trainable lists the model's parameters, the logit scale among them, under transformers' names.
func (m *Model) Trainable() []kernels.Parameter { return nn.Parameters(m) }

// InitWeights draws fresh projections as transformers does, of the standard deviation 1/√width, and
// sets the scale to the config's. The weights of the encoders are left to their own InitWeights. It
// satisfies nn.Initializer.
func (m *Model) InitWeights(rand func(name string) *rand.Rand) {
	text, visual := root(m.Config.Text.Width), root(m.Config.Vision.Width)
	nn.Normal(m.TextProjection.Weight, text, rand("text_projection.weight"))
	nn.Normal(m.VisualProjection.Weight, visual, rand("visual_projection.weight"))
	m.LogitScale.Float32s()[0] = float32(m.Config.LogitScale)
}

// LoadModel reads the config.json and the model.safetensors of a CLIPModel's folder. The folder of
// another kind of model is a *KindError.
func LoadModel(dir string) (*Model, error) {
	m, err := LoadModelFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return m, nil
}

// LoadModelFS is LoadModel of the folder that is fsys.
func LoadModelFS(fsys fs.FS) (*Model, error) {
	c, err := readModelConfig(fsys)
	if err != nil {
		return nil, err
	}
	f, err := weights.OpenFolder(fsys, "model")
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	defer f.Close()
	projections := float64(c.Projection) * float64(c.Text.Width+c.Vision.Width)
	if err := checkWithin(c.Text.least()+c.Vision.least()+projections, f.Size()); err != nil {
		return nil, err
	}
	m, err := NewModel(c)
	if err != nil {
		return nil, err
	}
	err = weights.Load(m, f, weights.Names{
		Rename: weights.Unwrapped, Ignore: isBuffer, Kind: "a CLIP",
	})
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	return m, nil
}

// Save writes a folder that LoadModel and transformers read, with weights in the precision given. A
// low-rank adapter that is attached is an error: the folder would lack it.
func (m *Model) Save(dir string, as kernels.Precision) error {
	type text struct {
		Kind string `json:"model_type"`
		TextConfig
	}
	type vision struct {
		Kind string `json:"model_type"`
		VisionConfig
	}
	config := struct {
		Architectures []string `json:"architectures"`
		Kind          string   `json:"model_type"`
		DType         string   `json:"dtype"`
		Projection    int      `json:"projection_dim"`
		LogitScale    float    `json:"logit_scale_init_value"`
		Text          text     `json:"text_config"`
		Vision        vision   `json:"vision_config"`
	}{
		Architectures: []string{"CLIPModel"},
		Kind:          "clip",
		DType:         as.String(),
		Projection:    m.Config.Projection,
		LogitScale:    float(m.Config.LogitScale),
		Text:          text{"clip_text_model", m.Config.Text},
		Vision:        vision{"clip_vision_model", m.Config.Vision},
	}
	return saveModel(dir, config, m, as)
}

// A float is written so that Python reads a float, not an integer. transformers makes a parameter
// of the logit scale, which an integer cannot be.
type float float64

// MarshalJSON adds a point if the number has neither a point nor an exponent.
func (f float) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(float64(f))
	if err == nil && !bytes.ContainsAny(text, ".e") {
		text = append(text, ".0"...)
	}
	return text, err
}

// writeJSON writes a file. After an error the file is as it was.
func writeJSON(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("clip: %s: %w", filepath.Base(name), err)
	}
	if err := file.WriteBytes(name, append(data, '\n')); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}

// Hash names the model by its weights. It is the same for the same values, in whatever files they
// were: shards, or another precision that holds them.
func (m *Model) Hash() string { return weights.Hash(m) }

// TextFeatures adds the features of texts, [N,Projection], each of length 1, to the graph of ids.
// ids [N,L] are token ids, and pool [N] is where each text is pooled; see TextModel.PoolPosition.
func (m *Model) TextFeatures(ids, pool *gorgonia.Node) (*gorgonia.Node, error) {
	pooled, err := m.Text.Pooled(ids, pool)
	if err != nil {
		return nil, err
	}
	return project(m.TextProjection, pooled)
}

// ImageFeatures adds the features of pictures, [N,Projection], each of length 1, to the graph of
// pixels. pixels [N,Side,Side,3] are what a Preprocessor makes of the pictures.
func (m *Model) ImageFeatures(pixels *gorgonia.Node) (*gorgonia.Node, error) {
	pooled, err := m.Vision.Pooled(pixels)
	if err != nil {
		return nil, err
	}
	return project(m.VisualProjection, pooled)
}

func project(l *nn.Linear, pooled *gorgonia.Node) (*gorgonia.Node, error) {
	b := nn.On(pooled)
	return b.Result(b.Do(kernels.L2Normalize(l.Forward(b, pooled))))
}

// Logits adds the scaled similarities exp(logit scale)·images·textsᵀ of features to their graph.
// With images [N,Projection] and texts [K,Projection] it returns [N,K].
func (m *Model) Logits(images, texts *gorgonia.Node) (*gorgonia.Node, error) {
	b := nn.On(images)
	n, k := images.Shape()[0], texts.Shape()[0]
	similar := b.Do(kernels.Linear(images, texts, nil))
	scale := b.Reshape(m.scale(b), 1, 1)
	ones := kernels.Input(images.Graph(), fmt.Sprintf("%d ones", n*k), ones(n*k, 1))
	factor := b.Reshape(b.Do(kernels.Linear(scale, ones, nil)), n, k)
	return b.Result(b.Do(kernels.Mul(similar, factor)))
}

func (m *Model) scale(b *nn.Builder) *gorgonia.Node {
	return b.Do(kernels.Exp(b.Param(m.LogitScale)))
}

func ones(shape ...int) *tensor.Dense {
	t := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	for i := range t.Float32s() {
		t.Float32s()[i] = 1
	}
	return t
}

// ContrastiveLoss adds CLIP's loss (Radford et al. 2021, figure 3) of N pictures and their N texts
// to the graph of the features, images and texts [N,Projection], which are in the same order. The
// loss is the cross entropy with which each picture finds its text among all of them, averaged with
// that of the other direction.
func (m *Model) ContrastiveLoss(images, texts *gorgonia.Node) (*gorgonia.Node, error) {
	n := images.Shape()[0]
	if !images.Shape().Eq(texts.Shape()) {
		return nil, fmt.Errorf("clip: features of pictures %v and texts %v are not pairs",
			images.Shape(), texts.Shape())
	}
	own := tensor.New(tensor.WithShape(n), tensor.Of(tensor.Float32))
	for i := range n {
		own.Float32s()[i] = float32(i)
	}
	target := kernels.Input(images.Graph(), "own", own)
	b := nn.On(images)
	byImage := b.Do(m.Logits(images, texts))
	byText := b.Do(m.Logits(texts, images))
	findText := b.Do(kernels.SoftmaxCrossEntropy(byImage, target, nil))
	findImage := b.Do(kernels.SoftmaxCrossEntropy(byText, target, nil))
	return b.Result(b.Do(kernels.Scale(b.Add(findText, findImage), 0.5)))
}
