package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// Load reads a tokenizer's folder as transformers writes it. The vocabulary is in tokenizer.json
// or, if that is absent, in vocab.json and merges.txt. The rest is in tokenizer_config.json and, in
// old folders, in special_tokens_map.json and added_tokens.json. Each of these three may be absent.
//
// A file that is wrong, or describes a tokenizer that is not CLIP's, is a *FileError. If the
// vocabulary is missing, the error wraps io/fs.ErrNotExist.
func Load(dir string) (*Tokenizer, error) {
	t, err := LoadFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return t, nil
}

// LoadFS is Load of the folder that is fsys.
func LoadFS(fsys fs.FS) (*Tokenizer, error) {
	v, err := readTokenizerJSON(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		v, err = readVocabulary(fsys)
	}
	if err != nil {
		return nil, err
	}
	c, err := readConfig(fsys, v.added)
	if err != nil {
		return nil, err
	}
	return v.tokenizer(c)
}

// A vocabulary is what the files hold. file is the name of that with the tokens, for errors.
type vocabulary struct {
	file   string
	ids    map[string]int
	merges []string // "a b"
	added  []addedToken
}

func readVocabulary(fsys fs.FS) (*vocabulary, error) {
	v := &vocabulary{file: vocabularyFile}
	if err := readJSON(fsys, v.file, &v.ids); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w, and there is no tokenizer.json", err)
	} else if err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(fsys, mergesFile)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	all := strings.TrimPrefix(string(text), "\ufeff")
	for i, line := range strings.Split(all, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if i == 0 && strings.HasPrefix(line, "#version") || line == "" {
			continue
		}
		if len(strings.Fields(line)) != 2 {
			return nil, &FileError{mergesFile, i + 1,
				fmt.Errorf("%s:%d: %q is not two tokens", mergesFile, i+1, line)}
		}
		v.merges = append(v.merges, line)
	}
	return v, nil
}

const (
	tokenizerFile  = "tokenizer.json"
	vocabularyFile = "vocab.json"
	mergesFile     = "merges.txt"
)

// readTokenizerJSON reads tokenizer.json, the file of Hugging Face's library tokenizers.
func readTokenizerJSON(fsys fs.FS) (*vocabulary, error) {
	var file struct {
		Added []addedToken `json:"added_tokens"`
		Model struct {
			Type   string          `json:"type"`
			Suffix string          `json:"end_of_word_suffix"`
			Vocab  map[string]int  `json:"vocab"`
			Merges json.RawMessage `json:"merges"`
		} `json:"model"`
	}
	if err := readJSON(fsys, tokenizerFile, &file); err != nil {
		return nil, err
	}
	// The first versions of the library wrote no type, and told models by their keys.
	untyped := file.Model.Type == "" && file.Model.Vocab != nil && file.Model.Merges != nil
	if file.Model.Type != "BPE" && !untyped || file.Model.Suffix != wordEnd {
		return nil, wrong(tokenizerFile, "model is %q with end of word %q, not CLIP's BPE with %q",
			file.Model.Type, file.Model.Suffix, wordEnd)
	}
	v := &vocabulary{file: tokenizerFile, ids: file.Model.Vocab, added: file.Added}
	var err error
	if v.merges, err = parseMerges(file.Model.Merges); err != nil {
		return nil, wrong(tokenizerFile, "merges: %w", err)
	}
	return v, nil
}

// parseMerges reads a list of ["a", "b"], or of "a b" as older files have them.
func parseMerges(raw json.RawMessage) (merges []string, err error) {
	var pairs [][]string
	if json.Unmarshal(raw, &pairs) == nil {
		for _, p := range pairs {
			merges = append(merges, strings.Join(p, " "))
		}
	} else if err := json.Unmarshal(raw, &merges); err != nil {
		return nil, err
	}
	for i, m := range merges {
		if strings.Count(m, " ") != 1 {
			return nil, fmt.Errorf("%d, %q, is not two tokens", i, m)
		}
	}
	return merges, nil
}

func (v *vocabulary) tokenizer(c *config) (*Tokenizer, error) {
	t := &Tokenizer{
		Length:    c.length,
		merges:    v.merges,
		normalize: normalize,
		words:     transformersWords,
	}
	for _, s := range []addedToken{c.start, c.end, c.unknown, c.pad} {
		listed := func(a addedToken) bool { return a.Content == s.Content && a.id >= 0 }
		if _, ok := v.ids[s.Content]; !ok && !slices.ContainsFunc(c.added, listed) {
			err := fmt.Errorf("%s has no token %q", v.file, s.Content)
			return nil, &FileError{File: v.file, Err: err}
		}
	}
	if err := v.number(c.added); err != nil {
		return nil, err
	}
	if err := t.setTokens(v, c.added); err != nil {
		return nil, err
	}
	t.start = t.ids[c.start.Content]
	t.end = t.ids[c.end.Content]
	t.unknown = t.ids[c.unknown.Content]
	t.pad = t.ids[c.pad.Content]
	t.setAdded(c.added)
	t.index()
	if err := t.setMerges(); err != nil {
		return nil, &FileError{File: v.mergesFile(), Err: err}
	}
	return t, nil
}

// mergesFile is the file that holds the merges.
func (v *vocabulary) mergesFile() string {
	if v.file == vocabularyFile {
		return mergesFile
	}
	return v.file
}

// number gives added tokens their ids: that of the vocabulary, or that of their own file, or else
// the next one that is free.
func (v *vocabulary) number(added []addedToken) error {
	next := 0
	for _, id := range v.ids {
		next = max(next, id+1)
	}
	given := make(map[string]int)
	for i := range added {
		a := &added[i]
		id, known := v.ids[a.Content]
		if !known {
			id, known = given[a.Content]
		}
		switch {
		case known && a.id >= 0 && a.id != id:
			err := fmt.Errorf("added token %q has id %d, but %d in %s", a.Content, a.id, id, v.file)
			return &FileError{File: v.file, Err: err}
		case known:
			a.id = id
		case a.id < 0:
			a.id = next
		}
		given[a.Content] = a.id
		next = max(next, a.id+1)
	}
	return nil
}

// setTokens sets tokens and ids. Two tokens with one id are an error.
func (t *Tokenizer) setTokens(v *vocabulary, added []addedToken) error {
	all := maps.Clone(v.ids)
	for _, a := range added {
		all[a.Content] = a.id
	}
	// most is far beyond any vocabulary: an id in a broken file must not fill the memory.
	const most = 1 << 22
	byID := make(map[int]string, len(all))
	last := -1
	for token, id := range all {
		if id < 0 || id >= most {
			return wrong(v.file, "%q has id %d, which is not in [0, %d)", token, id, most)
		}
		if other, ok := byID[id]; ok {
			return wrong(v.file, "%q and %q share id %d", min(token, other), max(token, other), id)
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

// setMerges makes joins of merges. A merge of tokens that there are not is an error.
func (t *Tokenizer) setMerges() error {
	t.joins = make(map[pair]join, len(t.merges))
	for rank, merge := range t.merges {
		a, b, _ := strings.Cut(merge, " ")
		left, okLeft := t.ids[a]
		right, okRight := t.ids[b]
		id, ok := t.ids[a+b]
		if !okLeft || !okRight || !ok {
			return fmt.Errorf("merge %d (%q): the vocabulary lacks %q, %q or %q",
				rank+1, merge, a, b, a+b)
		}
		if _, twice := t.joins[pair{left, right}]; !twice {
			t.joins[pair{left, right}] = join{rank, id}
		}
	}
	return nil
}

// readJSON reads a JSON file. If it is no JSON, the error is a *FileError.
func readJSON(fsys fs.FS, name string, to any) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // as some editors write it
	if err := json.Unmarshal(text, to); err != nil {
		switch head := bytes.TrimSpace(text); {
		case bytes.HasPrefix(head, []byte("<")):
			err = errors.New("it is a web page, not the file: fetch it again")
		case bytes.HasPrefix(head, []byte("version https://git-lfs")):
			err = errors.New("it is a Git LFS pointer: fetch the file itself with git lfs pull")
		}
		return wrong(name, "%w", err)
	}
	return nil
}
