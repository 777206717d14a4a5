package clip

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A TextModel is CLIP's text encoder (transformers' CLIPTextModel): a transformer in which a token
// sees itself and the tokens before it.
type TextModel struct {
	Config TextConfig

	Tokens    *nn.Embedding `weight:"embeddings.token_embedding"`
	Positions *nn.Embedding `weight:"embeddings.position_embedding"`
	Layers    []*layer      `weight:"encoder.layers"`
	Norm      *nn.LayerNorm `weight:"final_layer_norm"`
}

// NewTextModel returns a text encoder of zeros. A config that describes none is an error.
func NewTextModel(c TextConfig) (*TextModel, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &TextModel{
		Config:    c,
		Tokens:    nn.NewEmbedding(c.Vocabulary, c.Width),
		Positions: nn.NewEmbedding(c.Positions, c.Width),
		Layers:    newLayers(c.encoder(), true),
		Norm:      nn.NewLayerNorm(c.Width, c.Epsilon),
	}
	return m, nil
}

// NewTextModelWithin is NewTextModel for weights from a file of so many numbers. A config that asks
// for more is an error, and no memory is taken for it.
func NewTextModelWithin(c TextConfig, numbers int) (*TextModel, error) {
	if err := checkWithin(c.least(), numbers); err != nil {
		return nil, err
	}
	return NewTextModel(c)
}

// LoadText reads a folder of a text encoder: the config.json and the model.safetensors that
// transformers' CLIPTextModel writes, or the encoder for texts of those that CLIPModel writes. The
// folder of another kind of model is a *KindError.
func LoadText(dir string) (*TextModel, error) {
	m, err := LoadTextFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return m, nil
}

// Trainable lists the network's parameters under transformers' names.
func (m *TextModel) Trainable() []kernels.Parameter { return nn.Parameters(m) }

// InitWeights draws fresh weights as transformers does where initializer_factor is 1. It satisfies
// nn.Initializer.
func (m *TextModel) InitWeights(rand func(name string) *rand.Rand) {
	nn.Normal(m.Tokens.Weight, tableDeviation, rand("tokens"))
	nn.Normal(m.Positions.Weight, tableDeviation, rand("positions"))
	initLayers(m.Layers, m.Config.Width, rand)
}

// LoadTextFS is LoadText of the folder that is fsys.
func LoadTextFS(fsys fs.FS) (*TextModel, error) {
	c, err := ReadTextConfig(fsys)
	if err != nil {
		return nil, err
	}
	f, err := weights.OpenFolder(fsys, "model")
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	defer f.Close()
	m, err := NewTextModelWithin(c, f.Size())
	if err != nil {
		return nil, err
	}
	err = weights.Load(m, f, weights.Names{
		Kind: "a text encoder",
		Rename: func(name string) string {
			return strings.TrimPrefix(weights.Unwrapped(name), "text_model.")
		},
		Ignore: func(name string) bool {
			name = weights.Unwrapped(name)
			return isBuffer(name) || !strings.HasPrefix(name, "text_model.") && besideText(name)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	return m, nil
}

// besideText reports whether a tensor is of a part of a CLIPModel that is not its text encoder.
func besideText(name string) bool {
	for _, part := range []string{
		"vision_model.", "visual_projection.", "text_projection.", "logit_scale",
	} {
		if strings.HasPrefix(name, part) {
			return true
		}
	}
	return false
}

// isBuffer reports whether a tensor is the row of numbers 0, 1, 2, … that old files have.
func isBuffer(name string) bool { return strings.HasSuffix(name, "embeddings.position_ids") }

// Save writes a folder that LoadText and transformers read, with weights in the precision given. A
// low-rank adapter that is attached is an error: the folder would lack it.
func (m *TextModel) Save(dir string, as kernels.Precision) error {
	config := struct {
		Architectures []string `json:"architectures"`
		Kind          string   `json:"model_type"`
		DType         string   `json:"dtype"`
		TextConfig
	}{[]string{"CLIPTextModel"}, "clip_text_model", as.String(), m.Config}
	return saveModel(dir, config, m, as)
}

func saveModel(dir string, config, model any, as kernels.Precision) error {
	if err := nn.Unadapted(model); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := writeJSON(filepath.Join(dir, configFile), config); err != nil {
		return err
	}
	file, metadata := filepath.Join(dir, "model.safetensors"), map[string]string{"format": "pt"}
	if err := weights.Save(file, model, as, metadata); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}

// Hidden adds the encoder to the graph of ids: token ids [N,L], L at most Positions. It returns
// their last hidden state [N,L,Width], on which Stable Diffusion is conditioned.
func (m *TextModel) Hidden(ids *gorgonia.Node) (*gorgonia.Node, error) {
	if s := ids.Shape(); s.Dims() != 2 || s[1] > m.Config.Positions {
		return nil, fmt.Errorf("clip: token ids %v are not [N,L] with L at most %d",
			s, m.Config.Positions)
	}
	b := nn.On(ids)
	x := addPositions(b, m.Tokens.Forward(b, ids), m.Positions)
	for _, l := range m.Layers {
		x = l.forward(b, x)
	}
	return b.Result(m.Norm.Forward(b, x))
}

// Pooled is Hidden at one position of each text: it returns [N,Width]. The positions are pool [N];
// see PoolPosition.
func (m *TextModel) Pooled(ids, pool *gorgonia.Node) (*gorgonia.Node, error) {
	hidden, err := m.Hidden(ids)
	if err != nil {
		return nil, err
	}
	return kernels.GatherRows(hidden, pool)
}

// legacyEnd is the eos_token_id of configs that were published with a wrong one. It stands for the
// largest id.
const legacyEnd = 2

// PoolPosition returns where a text is pooled: at its first End. Where the config gives End as 2,
// as those of OpenAI's CLIPs do, it is at the first of the largest ids. Without an End it is 0.
func (m *TextModel) PoolPosition(ids []int) int {
	best := 0
	for i, id := range ids {
		if m.Config.End == legacyEnd && id > ids[best] {
			best = i
		}
		if m.Config.End != legacyEnd && id == m.Config.End {
			return i
		}
	}
	return best
}

// Texts are encoded prompts as a graph reads them.
type Texts struct {
	IDs  *tensor.Dense // [N,L], the token ids
	Pool *tensor.Dense // [N], where each text is pooled
}

// NewTexts makes room for n texts of length tokens each.
func NewTexts(n, length int) *Texts {
	return &Texts{
		IDs:  tensor.New(tensor.WithShape(n, length), tensor.Of(tensor.Float32)),
		Pool: tensor.New(tensor.WithShape(n), tensor.Of(tensor.Float32)),
	}
}

// Set makes text row the given ids, of which there must be as many as t has tokens a text. An id
// that is not in the model's vocabulary is a *VocabularyError.
func (m *TextModel) Set(t *Texts, row int, ids []int) error {
	length := t.IDs.Shape()[1]
	if len(ids) != length {
		return fmt.Errorf("clip: %d token ids, not %d", len(ids), length)
	}
	for i, id := range ids {
		if id < 0 || id >= m.Config.Vocabulary {
			return &VocabularyError{ID: id, Vocabulary: m.Config.Vocabulary}
		}
		t.IDs.Float32s()[row*length+i] = float32(id)
	}
	t.Pool.Float32s()[row] = float32(m.PoolPosition(ids))
	return nil
}
