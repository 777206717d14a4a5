package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Load reads a tokenizer's folder: vocab.json and merges.txt, or tokenizer.json where those are absent, and
// tokenizer_config.json, which may be absent.
func Load(dir string) (*Tokenizer, error) {
	t, err := LoadFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return t, nil
}

// LoadFS is Load of the folder that is fsys.
func LoadFS(fsys fs.FS) (*Tokenizer, error) {
	c, err := readConfig(fsys)
	if err != nil {
		return nil, err
	}
	v, err := readVocabulary(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		v, err = readTokenizerJSON(fsys, err)
	}
	if err != nil {
		return nil, err
	}
	return v.tokenizer(c)
}

// A vocabulary is what the files hold, and the file's name for errors.
type vocabulary struct {
	file   string
	ids    map[string]int
	merges []string // "a b"
	added  []addedToken
}

type addedToken struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
}

func readVocabulary(fsys fs.FS) (*vocabulary, error) {
	v := &vocabulary{file: "vocab.json"}
	if err := readJSON(fsys, v.file, &v.ids); err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(fsys, "merges.txt")
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if i == 0 && strings.HasPrefix(line, "#version") || line == "" {
			continue
		}
		if len(strings.Fields(line)) != 2 {
			return nil, fmt.Errorf("tokenizer: merges.txt:%d: %q is not two tokens", i+1, line)
		}
		v.merges = append(v.merges, line)
	}
	return v, nil
}

// readTokenizerJSON reads the one file of the library tokenizers; absent is the error that led here.
func readTokenizerJSON(fsys fs.FS, absent error) (*vocabulary, error) {
	var file struct {
		Added []addedToken `json:"added_tokens"`
		Model struct {
			Type   string            `json:"type"`
			Suffix string            `json:"end_of_word_suffix"`
			Vocab  map[string]int    `json:"vocab"`
			Merges []json.RawMessage `json:"merges"`
		} `json:"model"`
	}
	err := readJSON(fsys, "tokenizer.json", &file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w, and there is no tokenizer.json", absent)
	}
	if err != nil {
		return nil, err
	}
	if file.Model.Type != "BPE" || file.Model.Suffix != wordEnd {
		return nil, fmt.Errorf("tokenizer: tokenizer.json: model is %q with end of word %q, not CLIP's BPE with %q", file.Model.Type, file.Model.Suffix, wordEnd)
	}
	v := &vocabulary{file: "tokenizer.json", ids: file.Model.Vocab, added: file.Added}
	for i, raw := range file.Model.Merges {
		merge, err := parseMerge(raw)
		if err != nil {
			return nil, fmt.Errorf("tokenizer: tokenizer.json: merge %d: %w", i, err)
		}
		v.merges = append(v.merges, merge)
	}
	return v, nil
}

// parseMerge reads "a b" or ["a", "b"].
func parseMerge(raw json.RawMessage) (string, error) {
	var two []string
	if json.Unmarshal(raw, &two) == nil && len(two) == 2 {
		return two[0] + " " + two[1], nil
	}
	var one string
	if err := json.Unmarshal(raw, &one); err != nil || len(strings.Fields(one)) != 2 {
		return "", fmt.Errorf("%s is not two tokens", raw)
	}
	return one, nil
}

func (v *vocabulary) tokenizer(c *config) (*Tokenizer, error) {
	t := &Tokenizer{Length: c.length, merges: v.merges, pieces: transformersPieces}
	if err := t.setTokens(v); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		id   *int
		name string
	}{{&t.start, c.start}, {&t.end, c.end}, {&t.unknown, c.unknown}, {&t.pad, c.pad}} {
		id, ok := t.ids[s.name]
		if !ok {
			return nil, fmt.Errorf("tokenizer: %s has no token %q", v.file, s.name)
		}
		*s.id = id
		t.addSpecial(s.name, id)
	}
	for _, a := range v.added {
		t.addSpecial(a.Content, a.ID)
	}
	t.index()
	return t, t.setMerges()
}

// setTokens checks that every id has one token and sets tokens and ids.
func (t *Tokenizer) setTokens(v *vocabulary) error {
	all := make(map[string]int, len(v.ids)+len(v.added))
	for token, id := range v.ids {
		all[token] = id
	}
	for _, a := range v.added {
		all[a.Content] = a.ID
	}
	const most = 1 << 22 // far beyond any vocabulary: an id of a broken file must not fill the memory
	byID := make(map[int]string, len(all))
	last := -1
	for token, id := range all {
		if id < 0 || id >= most {
			return fmt.Errorf("tokenizer: %s: %q has id %d, which is not in [0, %d)", v.file, token, id, most)
		}
		if other, ok := byID[id]; ok {
			return fmt.Errorf("tokenizer: %s: %q and %q share id %d", v.file, min(token, other), max(token, other), id)
		}
		byID[id] = token
		last = max(last, id)
	}
	t.tokens = make([]string, last+1)
	for id, token := range byID {
		t.tokens[id] = token
	}
	t.ids = all
	return nil
}

// setMerges makes joins of merges.
func (t *Tokenizer) setMerges() error {
	t.joins = make(map[pair]join, len(t.merges))
	for rank, merge := range t.merges {
		a, b, _ := strings.Cut(merge, " ")
		left, okLeft := t.ids[a]
		right, okRight := t.ids[b]
		id, ok := t.ids[a+b]
		if !okLeft || !okRight || !ok {
			return fmt.Errorf("tokenizer: merge %d (%s): the vocabulary lacks %q, %q or %q", rank+1, merge, a, b, a+b)
		}
		if _, twice := t.joins[pair{left, right}]; !twice {
			t.joins[pair{left, right}] = join{rank, id}
		}
	}
	return nil
}

// readJSON reads a JSON file; a wrong one's error names the file.
func readJSON(fsys fs.FS, name string, to any) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("tokenizer: %s: %w", name, err)
	}
	return nil
}
