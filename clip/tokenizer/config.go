package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// clipLength is the number of positions of every CLIP that OpenAI published.
const clipLength = 77

const configFile = "tokenizer_config.json"

// A config is what the files beside a vocabulary say of an encoding.
type config struct {
	length                   int
	start, end, unknown, pad addedToken
	added                    []addedToken // those four too
}

// A configJSON is what tokenizer_config.json holds. special_tokens_map.json holds some of its keys.
type configJSON struct {
	Length  *float64           `json:"model_max_length"` // 1e30 if transformers has no limit
	Side    string             `json:"padding_side"`
	Cut     string             `json:"truncation_side"`
	Split   bool               `json:"split_special_tokens"`
	Start   addedToken         `json:"bos_token"`
	End     addedToken         `json:"eos_token"`
	Unknown addedToken         `json:"unk_token"`
	Pad     addedToken         `json:"pad_token"`
	Decoder map[int]addedToken `json:"added_tokens_decoder"`
	Extra   tokenList          `json:"extra_special_tokens"`

	// Additional is what Extra was called before transformers 5.
	Additional tokenList `json:"additional_special_tokens"`
}

// readConfig reads tokenizer_config.json. What it does not say is as in CLIP. If it lists added
// tokens, there are no others. If not, those given count, which are from tokenizer.json, with those
// of special_tokens_map.json and added_tokens.json.
func readConfig(fsys fs.FS, added []addedToken) (*config, error) {
	special := func(s string) addedToken { return addedToken{Content: s, Special: true, id: -1} }
	file := configJSON{
		Start:   special(startToken),
		End:     special(endToken),
		Unknown: special(endToken),
		Pad:     special(endToken),
	}
	if err := readOptional(fsys, configFile, &file); err != nil {
		return nil, err
	}
	if file.Decoder != nil {
		added = nil
		for id, t := range file.Decoder {
			t.id = id
			added = append(added, t)
		}
	} else {
		if err := readOptional(fsys, "special_tokens_map.json", &file); err != nil {
			return nil, err
		}
		more, err := file.legacyAdded(fsys)
		if err != nil {
			return nil, err
		}
		added = append(more, added...)
	}
	slices.SortStableFunc(added, func(a, b addedToken) int { return cmp.Compare(a.id, b.id) })
	c := &config{
		length:  clipLength,
		start:   file.Start,
		end:     file.End,
		unknown: file.Unknown,
		pad:     file.Pad,
		added:   added,
	}
	switch {
	case file.Side != "" && file.Side != "right":
		return nil, wrong(configFile, "padding_side is %q; CLIP pads on the right", file.Side)
	case file.Cut != "" && file.Cut != "right":
		return nil, wrong(configFile, "truncation_side is %q; CLIP cuts on the right", file.Cut)
	case file.Split:
		return nil, wrong(configFile, "split_special_tokens is true, which is not supported")
	}
	if n := file.Length; n != nil && *n < 1<<20 {
		c.length = int(*n)
	}
	if c.length < 2 {
		return nil, wrong(configFile, "model_max_length is %d, less than start and end", c.length)
	}
	for _, t := range append([]addedToken{c.start, c.end, c.unknown, c.pad}, file.extra()...) {
		same := func(a addedToken) bool { return a.Content == t.Content }
		if !slices.ContainsFunc(added, same) {
			c.added = append(c.added, t)
		}
	}
	return c, nil
}

// extra returns the special tokens besides those that have a name.
func (c *configJSON) extra() []addedToken {
	if len(c.Extra) > 0 {
		return c.Extra
	}
	return c.Additional
}

// legacyAdded reads added_tokens.json, an object of ids by content.
func (c *configJSON) legacyAdded(fsys fs.FS) (added []addedToken, err error) {
	var ids map[string]int
	if err := readOptional(fsys, "added_tokens.json", &ids); err != nil {
		return nil, err
	}
	named := append([]addedToken{c.Start, c.End, c.Unknown, c.Pad}, c.extra()...)
	for _, content := range slices.Sorted(maps.Keys(ids)) {
		same := func(t addedToken) bool { return t.Content == content }
		special := slices.ContainsFunc(named, same)
		added = append(added, addedToken{
			Content:    content,
			Normalized: !special,
			Special:    special,
			id:         ids[content],
		})
	}
	return added, nil
}

// A tokenList is a list of tokens. For a while transformers wrote an empty object for an empty
// list.
type tokenList []addedToken

func (l *tokenList) UnmarshalJSON(raw []byte) error {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil && len(object) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, (*[]addedToken)(l)); err != nil {
		return fmt.Errorf("%.100q is not a list of tokens", raw)
	}
	return nil
}

// readOptional is readJSON of a file that may be absent.
func readOptional(fsys fs.FS, name string, to any) error {
	if err := readJSON(fsys, name, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
