package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
)

// Save writes vocab.json, merges.txt and tokenizer_config.json to dir, as transformers'
// CLIPTokenizer reads them. If dir has the tokenizer.json of another tokenizer, which would be read
// instead of them, Save removes it. Whatever happens, each file is whole or as it was.
func (t *Tokenizer) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	decoder := make(map[int]addedToken, len(t.added))
	for _, a := range t.added {
		decoder[a.id] = a
	}
	config, err := json.MarshalIndent(map[string]any{
		"tokenizer_class":  "CLIPTokenizer",
		"model_max_length": t.Length,
		"bos_token":        t.tokens[t.start],
		"eos_token":        t.tokens[t.end],
		"pad_token":        t.tokens[t.pad],
		"unk_token":        t.tokens[t.unknown],

		"added_tokens_decoder": decoder,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{vocabularyFile, t.vocabJSON()},
		{mergesFile, []byte("#version: 0.2\n" + strings.Join(t.merges, "\n") + "\n")},
		{configFile, append(config, '\n')},
	} {
		if err := file.WriteBytes(filepath.Join(dir, f.name), f.data); err != nil {
			return fmt.Errorf("tokenizer: %w", err)
		}
	}
	if err := file.Remove(filepath.Join(dir, tokenizerFile)); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	return nil
}

// vocabJSON returns the text of vocab.json, with the tokens in the order of their ids.
func (t *Tokenizer) vocabJSON() []byte {
	var b bytes.Buffer
	b.WriteString("{")
	separator := ""
	for id, token := range t.tokens {
		if token == "" {
			continue
		}
		fmt.Fprintf(&b, "%s%s: %d", separator, quote(token), id)
		separator = ", "
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// quote returns s as JSON, in which < and > stay as they are.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
