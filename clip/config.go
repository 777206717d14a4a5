package clip

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
)

// A TextConfig describes a text encoder. It is what the config.json of transformers' CLIPTextModel
// holds.
type TextConfig struct {
	Vocabulary   int     `json:"vocab_size"`
	Width        int     `json:"hidden_size"`
	Intermediate int     `json:"intermediate_size"` // the width in the middle of an MLP
	Layers       int     `json:"num_hidden_layers"`
	Heads        int     `json:"num_attention_heads"`
	Positions    int     `json:"max_position_embeddings"` // the most tokens of a text
	Activation   string  `json:"hidden_act"`              // "quick_gelu" or "gelu"
	Epsilon      float64 `json:"layer_norm_eps"`          // above 0
	Start        int     `json:"bos_token_id"`
	End          int     `json:"eos_token_id"` // see PoolPosition
	Pad          int     `json:"pad_token_id"`
}

// A VisionConfig describes an image encoder. It is what the config.json of transformers'
// CLIPVisionModel holds.
type VisionConfig struct {
	Width        int     `json:"hidden_size"`
	Intermediate int     `json:"intermediate_size"`
	Layers       int     `json:"num_hidden_layers"`
	Heads        int     `json:"num_attention_heads"`
	Channels     int     `json:"num_channels"` // 3
	Side         int     `json:"image_size"`   // of a picture, in pixels
	Patch        int     `json:"patch_size"`   // in pixels; Side is a multiple of it
	Activation   string  `json:"hidden_act"`
	Epsilon      float64 `json:"layer_norm_eps"`
}

// A Config describes both encoders and the space that they meet in. It is what the config.json of
// transformers' CLIPModel holds.
type Config struct {
	Text       TextConfig   `json:"text_config"`
	Vision     VisionConfig `json:"vision_config"`
	Projection int          `json:"projection_dim"`         // the features of a text or a picture
	LogitScale float64      `json:"logit_scale_init_value"` // the logarithm of the logits' factor
}

// DefaultTextConfig returns the defaults of transformers' CLIPTextConfig. They stand for the keys
// that a file lacks.
func DefaultTextConfig() TextConfig {
	return TextConfig{
		Vocabulary:   49408,
		Width:        512,
		Intermediate: 2048,
		Layers:       12,
		Heads:        8,
		Positions:    77,
		Activation:   quickGELU,
		Epsilon:      1e-5,
		Start:        49406,
		End:          49407,
		Pad:          1,
	}
}

// defaultVision returns the defaults of transformers' CLIPVisionConfig.
func defaultVision() VisionConfig {
	return VisionConfig{
		Width:        768,
		Intermediate: 3072,
		Layers:       12,
		Heads:        12,
		Channels:     3,
		Side:         224,
		Patch:        32,
		Activation:   quickGELU,
		Epsilon:      1e-5,
	}
}

// ReadTextConfig reads the config.json of a CLIPTextModel, or the part for texts of a CLIPModel's.
// The config.json of another kind of model is a *KindError.
func ReadTextConfig(fsys fs.FS) (TextConfig, error) {
	var file struct {
		Text  json.RawMessage `json:"text_config"`
		Model string          `json:"model_type"`
	}
	text, err := readConfig(fsys, &file)
	if err != nil {
		return TextConfig{}, err
	}
	if !isCLIP(file.Model) {
		return TextConfig{}, &KindError{file.Model, "CLIPTextModel"}
	}
	c := DefaultTextConfig()
	if err := parse(first(file.Text, text), &c); err != nil {
		return TextConfig{}, err
	}
	return c, c.check()
}

// readModelConfig reads the config.json of a CLIPModel.
func readModelConfig(fsys fs.FS) (Config, error) {
	var file struct {
		Text   json.RawMessage `json:"text_config"`
		Vision json.RawMessage `json:"vision_config"`

		// Where a file has one of these, it counts in place of the one above, as in transformers.
		TextOver   json.RawMessage `json:"text_config_dict"`
		VisionOver json.RawMessage `json:"vision_config_dict"`

		Kind       string   `json:"model_type"`
		Projection *int     `json:"projection_dim"`
		LogitScale *float64 `json:"logit_scale_init_value"`
	}
	if _, err := readConfig(fsys, &file); err != nil {
		return Config{}, err
	}
	if !isCLIP(file.Kind) {
		return Config{}, &KindError{file.Kind, "CLIPModel"}
	}
	c := Config{
		Text:       DefaultTextConfig(),
		Vision:     defaultVision(),
		Projection: 512,
		LogitScale: 2.6592,
	}
	text, vision := first(file.TextOver, file.Text), first(file.VisionOver, file.Vision)
	if text == nil || vision == nil {
		return c, &KindError{file.Kind, "CLIPModel"}
	}
	if err := parse(text, &c.Text); err != nil {
		return c, err
	}
	if err := parse(vision, &c.Vision); err != nil {
		return c, err
	}
	if file.Projection != nil {
		c.Projection = *file.Projection
	}
	if file.LogitScale != nil {
		c.LogitScale = *file.LogitScale
	}
	return c, c.check()
}

const configFile = "config.json"

func readConfig(fsys fs.FS, to any) ([]byte, error) {
	data, err := text.ReadFS(fsys, configFile)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	if err := weights.ParseJSON(data, to); err != nil {
		return nil, fmt.Errorf("clip: %s: %w", configFile, err)
	}
	return data, nil
}

// first returns the first of parts that a file has, and nil if it has none.
func first(parts ...json.RawMessage) json.RawMessage {
	for _, part := range parts {
		if part != nil && string(part) != "null" {
			return part
		}
	}
	return nil
}

func parse(text []byte, to any) error {
	if err := weights.ParseJSON(text, to); err != nil {
		return fmt.Errorf("clip: %s: %w", configFile, err)
	}
	return nil
}

func (c TextConfig) check() error {
	if c.Vocabulary < 1 || c.Positions < 2 {
		return fmt.Errorf("clip: %s: vocab_size %d or max_position_embeddings %d is too small",
			configFile, c.Vocabulary, c.Positions)
	}
	return c.encoder().check("text")
}

func (c TextConfig) encoder() encoderConfig {
	return encoderConfig{c.Width, c.Intermediate, c.Layers, c.Heads, c.Activation, c.Epsilon}
}

// least returns a number of weights that the encoder has at least, and little less than it has. It
// is a float so that no config overflows it.
func (c TextConfig) least() float64 {
	tables := float64(c.Vocabulary) + float64(c.Positions)
	return float64(c.Width) * (tables + c.encoder().leastPerWidth())
}

func (c VisionConfig) check() error {
	if c.Patch < 1 || c.Side < c.Patch || c.Side%c.Patch != 0 {
		return fmt.Errorf("clip: %s: image_size %d is no multiple of patch_size %d",
			configFile, c.Side, c.Patch)
	}
	if c.Channels != 3 {
		return fmt.Errorf("clip: %s: num_channels is %d, not 3", configFile, c.Channels)
	}
	return c.encoder().check("vision")
}

func (c VisionConfig) encoder() encoderConfig {
	return encoderConfig{c.Width, c.Intermediate, c.Layers, c.Heads, c.Activation, c.Epsilon}
}

// least is as TextConfig.least.
func (c VisionConfig) least() float64 {
	side := float64(c.Side / c.Patch)
	tables := side*side + 3*float64(c.Patch)*float64(c.Patch)
	return float64(c.Width) * (tables + c.encoder().leastPerWidth())
}

// checkWithin refuses a config that asks for more weights than the file has numbers, before memory
// is taken for them.
func checkWithin(least float64, numbers int) error {
	if least > float64(numbers) {
		return fmt.Errorf("clip: %s describes a model of at least %.0f weights, the file holds %d",
			configFile, least, numbers)
	}
	return nil
}

// isCLIP reports whether a config's model_type is one of CLIP's. It tells other models by it, whose
// configs have the same keys. Keys that only other models have are harmless: transformers' CLIP
// reads none of them.
func isCLIP(modelType string) bool {
	switch modelType {
	case "", "clip", "clip_text_model":
		return true
	}
	return false
}

func (c Config) check() error {
	if c.Projection < 1 {
		return fmt.Errorf("clip: %s: projection_dim is %d", configFile, c.Projection)
	}
	if err := c.Text.check(); err != nil {
		return err
	}
	return c.Vision.check()
}

// An encoderConfig is what the configs of both encoders have.
type encoderConfig struct {
	width, intermediate, layers, heads int

	activation string
	epsilon    float64
}

// check refuses an encoder that there cannot be. The name, "text" or "vision", is for the error.
func (c encoderConfig) check(name string) error {
	switch {
	case c.width < 1, c.intermediate < 1, c.layers < 0, c.heads < 1, c.width%c.heads != 0:
		return fmt.Errorf("clip: %s: %s encoder of width %d and %d, %d layers, %d heads: "+
			"the width must be a multiple of the heads",
			configFile, name, c.width, c.intermediate, c.layers, c.heads)
	case !(c.epsilon > 0):
		return fmt.Errorf("clip: %s: layer_norm_eps of the %s encoder is %g",
			configFile, name, c.epsilon)
	case c.activation != quickGELU && c.activation != exactGELU:
		return fmt.Errorf("clip: %s: hidden_act %q is neither %s nor %s",
			configFile, c.activation, quickGELU, exactGELU)
	}
	return nil
}

// leastPerWidth returns the number of weights of the layers' matrices, over the width.
func (c encoderConfig) leastPerWidth() float64 {
	return float64(c.layers) * (4*float64(c.width) + 2*float64(c.intermediate))
}

// The activations of CLIPs.
const (
	quickGELU = "quick_gelu" // of OpenAI's
	exactGELU = "gelu"       // of all later ones
)
