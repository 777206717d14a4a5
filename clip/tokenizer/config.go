package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// clipLength is the number of positions of every CLIP that OpenAI published.
const clipLength = 77

// A config is what tokenizer_config.json says of an encoding.
type config struct {
	length                   int
	start, end, pad, unknown string
}

// readConfig reads tokenizer_config.json; what it does not say is as in CLIP.
func readConfig(fsys fs.FS) (*config, error) {
	const name = "tokenizer_config.json"
	var file struct {
		Length  *float64 `json:"model_max_length"` // transformers writes 1e30 for "no limit"
		Side    string   `json:"padding_side"`
		Start   text     `json:"bos_token"`
		End     text     `json:"eos_token"`
		Pad     text     `json:"pad_token"`
		Unknown text     `json:"unk_token"`
	}
	if err := readJSON(fsys, name, &file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c := &config{clipLength, file.Start.or(startToken), file.End.or(endToken), file.Pad.or(endToken), file.Unknown.or(endToken)}
	if file.Side != "" && file.Side != "right" {
		return nil, fmt.Errorf("tokenizer: %s: padding_side is %q; CLIP pads on the right", name, file.Side)
	}
	if n := file.Length; n != nil && *n < 1<<20 {
		c.length = int(*n)
	}
	if c.length < 2 {
		return nil, fmt.Errorf("tokenizer: %s: model_max_length is %d, less than start and end", name, c.length)
	}
	return c, nil
}

// A text is a JSON string, or an object that holds it as "content", or null.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(raw, (*string)(t)); err == nil {
		return nil
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("%s is not a token", raw)
	}
	*t = text(object.Content)
	return nil
}

func (t text) or(fallback string) string {
	if t == "" {
		return fallback
	}
	return string(t)
}
