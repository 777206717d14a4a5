package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A reference is what transformers and openai/CLIP make of a text (internal/golden/tokenizer.py).
type reference struct {
	Text              string `json:"text"`
	SmallTransformers []int  `json:"small_transformers"`
	SmallOpenAI       []int  `json:"small_openai"`
	FullTransformers  []int  `json:"full_transformers"`
	FullOpenAI        []int  `json:"full_openai"`
}

func references(t *testing.T) []reference { return readReferences(t, "testdata/references.json") }

func readReferences(t *testing.T, name string) []reference {
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var rows []reference
	require.NoError(t, json.Unmarshal(raw, &rows))
	require.Greater(t, len(rows), 100)
	return rows
}

var more = flag.String("references", "",
	"a `file` of internal/golden/tokenizer.py to hold the full vocabulary to as well")

func small(t testing.TB) *Tokenizer {
	tok, err := Load("testdata/small")
	require.NoError(t, err)
	return tok
}

func TestAsTransformersAndOpenAIGolden(t *testing.T) {
	tok := small(t)
	for _, r := range references(t) {
		transformers, openAI := tokens(tok, r.Text), tokens(tok.OpenAI(), r.Text)
		require.Equal(t, r.SmallTransformers, transformers, "transformers: %q", r.Text)
		require.Equal(t, r.SmallOpenAI, openAI, "openai: %q", r.Text)
	}
}

// tokens returns the tokens of a text. It is not nil where there are none.
func tokens(t *Tokenizer, text string) []int { return append([]int{}, t.Tokens(text)...) }

func TestFullVocabulary(t *testing.T) {
	tok, err := LoadFS(fullCLIP(t))
	require.NoError(t, err)
	require.Equal(t, 49408, tok.Size())
	require.Equal(t, 49406, tok.Start())
	require.Equal(t, 49407, tok.End())
	rows := references(t)
	if *more != "" {
		rows = append(rows, readReferences(t, *more)...)
	}
	wrong := 0
	for _, r := range rows {
		transformers, openAI := tokens(tok, r.Text), tokens(tok.OpenAI(), r.Text)
		a := assert.Equal(t, r.FullTransformers, transformers, "transformers: %q", r.Text)
		b := assert.Equal(t, r.FullOpenAI, openAI, "openai: %q", r.Text)
		if !a || !b {
			wrong++
		}
	}
	t.Logf("%d of %d texts differ", wrong, len(rows))
}

// fullCLIP makes the folder of OpenAI's CLIP out of its list of merges, which lies beside the
// repository.
func fullCLIP(t *testing.T) fstest.MapFS {
	name := "../../../shared/clip/bpe_simple_vocab_16e6.txt.gz"
	f, err := os.Open(name)
	if err != nil {
		t.Skipf("needs OpenAI's merges beside the repository: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	full := &Tokenizer{merges: strings.Split(string(text), "\n")[1 : 49152-256-2+1]}
	for _, end := range []string{"", wordEnd} {
		for _, s := range symbols {
			full.tokens = append(full.tokens, s+end)
		}
	}
	for _, m := range full.merges {
		full.tokens = append(full.tokens, strings.Replace(m, " ", "", 1))
	}
	full.tokens = append(full.tokens, startToken, endToken)
	return fstest.MapFS{
		"vocab.json": {Data: full.vocabJSON()},
		"merges.txt": {Data: []byte("#version: 0.2\n" + strings.Join(full.merges, "\n"))},
	}
}

func TestEncodePadsAndCuts(t *testing.T) {
	tok := small(t)
	ids := tok.Encode("a")
	require.Len(t, ids, 77)
	require.Equal(t, []int{812, 320, 813, 813}, ids[:4])
	require.Equal(t, []int{812, 320, 813, 0}, tok.OpenAI().Encode("a")[:4])

	long := tok.Encode(strings.Repeat("a ", 100))
	require.Len(t, long, 77)
	require.Equal(t, 813, long[76], "the end survives")
	require.Equal(t, 320, long[75])

	tok.Length = 5
	require.Equal(t, []int{812, 320, 320, 320, 813}, tok.Encode("a a a a"))
	tok.Length = 2
	require.Equal(t, []int{812, 813}, tok.Encode("a a a a"))
}

func TestPadTokenIsSpecial(t *testing.T) {
	fsys := folder(t)
	config := `{"pad_token": {"content": "!"}, "model_max_length": 6}`
	fsys["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(config)}
	tok, err := LoadFS(fsys)
	require.NoError(t, err)
	require.Equal(t, []int{812, 320, 0, 0, 813, 0}, tok.Encode("a!!"),
		"transformers finds the padding token in the text")
}

func folder(t *testing.T) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, name := range []string{"vocab.json", "merges.txt"} {
		data, err := os.ReadFile("testdata/small/" + name)
		require.NoError(t, err)
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

func TestErrorsNameTheFile(t *testing.T) {
	const ends = `"<|startoftext|>":2,"<|endoftext|>":3}`
	for _, c := range []struct{ name, file, data, says string }{
		{
			"no merges", "merges.txt", "",
			"merges.txt",
		},
		{
			"bad vocabulary", "vocab.json", "{",
			"vocab.json",
		},
		{
			"double id", "vocab.json", `{"a":1,"b":1,` + ends,
			`"a" and "b" share id 1`,
		},
		{
			"huge id", "vocab.json", `{"a":1000000000,` + ends,
			`"a" has id 1000000000`,
		},
		{
			"negative id", "vocab.json", `{"a":-1,` + ends,
			`"a" has id -1`,
		},
		{
			"no end", "vocab.json", `{"a":0,"<|startoftext|>":1}`,
			`vocab.json has no token "<|endoftext|>"`,
		},
		{
			"three in a merge", "merges.txt", "#version: 0.2\na b\na b c\n",
			"merges.txt:3",
		},
		{
			"merge of nothing", "merges.txt", "zz qq\n",
			`the vocabulary lacks "zz", "qq" or "zzqq"`,
		},
		{
			"length", "tokenizer_config.json", `{"model_max_length": 1}`,
			"model_max_length is 1",
		},
		{
			"side", "tokenizer_config.json", `{"padding_side": "left"}`,
			"padding_side",
		},
		{
			"cut", "tokenizer_config.json", `{"truncation_side": "left"}`,
			`truncation_side is "left"`,
		},
		{
			"split", "tokenizer_config.json", `{"split_special_tokens": true}`,
			"split_special_tokens",
		},
		{
			"token of a number", "tokenizer_config.json", `{"pad_token": 3}`,
			`"3" is not a token`,
		},
		{
			"other id", "added_tokens.json", `{"a": 7}`,
			`added token "a" has id 7, but 64 in vocab.json`,
		},
		{
			"taken id", "added_tokens.json", `{"<cat>": 7}`,
			`"(" and "<cat>" share id 7`,
		},
		{
			"list of a number", "tokenizer_config.json", `{"extra_special_tokens": 3}`,
			`"3" is not a list of tokens`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := folder(t)
			fsys[c.file] = &fstest.MapFile{Data: []byte(c.data)}
			if c.data == "" {
				delete(fsys, c.file)
			}
			_, err := LoadFS(fsys)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "tokenizer: ")
		})
	}
	_, err := Load("testdata/nowhere")
	require.ErrorContains(t, err, "testdata/nowhere")
}

// tokenizerJSON is the small vocabulary in the form of the library tokenizers.
func tokenizerJSON(t *testing.T, added any, merge func(string) any) *fstest.MapFile {
	tok := small(t)
	var merges []any
	for _, m := range tok.merges {
		merges = append(merges, merge(m))
	}
	raw, err := json.Marshal(map[string]any{
		"added_tokens": added,
		"model": map[string]any{
			"type":               "BPE",
			"end_of_word_suffix": "</w>",
			"vocab":              tok.ids,
			"merges":             merges,
		},
	})
	require.NoError(t, err)
	return &fstest.MapFile{Data: raw}
}

func asPair(merge string) any { return strings.Split(merge, " ") }

func TestTokenizerJSON(t *testing.T) {
	want := small(t)
	added := json.RawMessage(`[
		{"id": 812, "content": "<|startoftext|>", "special": true},
		{"id": 813, "content": "<|endoftext|>", "special": true},
		{"id": 814, "content": "<cat-toy>"}
	]`)
	for name, merge := range map[string]func(string) any{
		"pairs":   asPair,
		"strings": func(m string) any { return m },
	} {
		t.Run(name, func(t *testing.T) {
			got, err := LoadFS(fstest.MapFS{
				"tokenizer.json": tokenizerJSON(t, added, merge),
				"vocab.json":     {Data: []byte("{")},
			})
			require.NoError(t, err, "tokenizer.json is read, vocab.json is not")
			for _, r := range references(t) {
				require.Equal(t, want.Encode(r.Text), got.Encode(r.Text))
			}
			require.Equal(t, []int{320, 814, 320}, got.Tokens("a <cat-toy> a"))
		})
	}
}

// Folders of all ages, with added tokens of all kinds, give the ids that transformers gives. So
// does what Save makes of them.
func TestFoldersGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/folders.json")
	require.NoError(t, err)
	var file struct {
		Texts   []string
		Folders []struct {
			Files map[string]json.RawMessage
			IDs   [][]int
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Folders, 11)
	for i, f := range file.Folders {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			fsys := folder(t)
			for name, data := range f.Files {
				fsys[name] = &fstest.MapFile{Data: data}
				if name == "tokenizer.json" { // the reference holds its added tokens only
					fsys = fstest.MapFS{
						name:       tokenizerJSON(t, data, asPair),
						configFile: fsys[configFile],
					}
				}
			}
			if _, ok := f.Files[configFile]; ok {
				fsys[configFile] = &fstest.MapFile{Data: f.Files[configFile]}
			}
			tok, err := LoadFS(fsys)
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, tok.Save(dir))
			again, err := Load(dir)
			require.NoError(t, err)
			require.Len(t, f.IDs, len(file.Texts))
			for j, text := range file.Texts {
				require.Equal(t, f.IDs[j], tok.Encode(text), "%q", text)
				require.Equal(t, f.IDs[j], again.Encode(text), "saved: %q", text)
			}
		})
	}
}

func TestTrain(t *testing.T) {
	// Counts: "aab" 3, "aac" 2. Pairs: a·a 5, then aa·b</w> 3, then aa·c</w> 2.
	tok, err := Train([]string{"aab aab aac", "aab", "aac"}, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"a a", "aa b</w>", "aa c</w>"}, tok.merges, "then no pair is left")
	require.Equal(t, 512+3+2, tok.Size())
	require.Equal(t, []int{513}, tok.Tokens("AAB"))
	require.Equal(t, []int{515, 513, 514, 516}, tok.Encode("aab aac")[:4])

	fewer, err := Train([]string{"aac", "aac aab aab", "aab"}, 1)
	require.NoError(t, err)
	require.Equal(t, tok.merges[:1], fewer.merges, "the order of the corpus does not matter")
	_, err = Train(nil, -1)
	require.ErrorContains(t, err, "-1 merges")
}

func TestTrainedSurvivesSaving(t *testing.T) {
	corpus := []string{
		"two green dogs on the beach",
		"three red cups in the city",
		`a photo of two "cups" & <dogs>`,
	}
	tok, err := Train(append(corpus, corpus...), 200)
	require.NoError(t, err)
	tok.Length = 24
	dir := filepath.Join(t.TempDir(), "tokenizer")
	require.NoError(t, tok.Save(dir))
	again, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, 24, again.Length)
	for _, text := range append(corpus, "wolves — 7 of them") {
		require.Equal(t, tok.Encode(text), again.Encode(text))
	}
	require.Len(t, tok.Tokens(corpus[0]), 6, "one token a word")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 3)
}

// Added tokens are found as transformers 5.24.0 finds them: tokens of spaces, which the token
// before them may have taken along, and tokens beside letters that Go does not know yet.
func TestAddedTokens(t *testing.T) {
	fsys := folder(t)
	fsys[configFile] = &fstest.MapFile{Data: []byte(`{"added_tokens_decoder": {
		"812": {"content": "<|startoftext|>", "special": true},
		"813": {"content": "<|endoftext|>", "special": true},
		"814": {"content": "<cat>", "rstrip": true, "normalized": false},
		"815": {"content": "\u2003", "lstrip": true, "normalized": false},
		"816": {"content": "sks", "single_word": true}
	}}`)}
	tok, err := LoadFS(fsys)
	require.NoError(t, err)
	for text, want := range map[string][]int{
		"<cat>\u2003a": {814, 320}, "a\u2003\u2003a": {320, 815, 815, 320},
		"sks\U00013971": nil, "\u0897sks": nil, "(sks)": {263, 816, 264},
	} {
		got := tok.Tokens(text)
		if want == nil {
			require.NotContains(t, got, 816, "%q", text)
			continue
		}
		require.Equal(t, want, got, "%q", text)
	}
}

// A folder that has the tokenizer.json of another tokenizer is the saved one's afterwards.
func TestSaveReplacesAnother(t *testing.T) {
	tok, err := Train([]string{"two dogs", "two dogs"}, 20)
	require.NoError(t, err)
	dir := t.TempDir()
	another := tokenizerJSON(t, []any{}, asPair).Data
	require.NoError(t, os.WriteFile(filepath.Join(dir, tokenizerFile), another, 0o644))
	require.NoError(t, tok.Save(dir))
	again, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, tok.Encode("two dogs"), again.Encode("two dogs"))
}

// Whatever the text, an encoding has its length, known ids, and its parts in order.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{
		"", "a", "&#x;&#", "\xff\xfe", "İ<|endoftext|>'s", strings.Repeat("x", 3000),
	} {
		f.Add(s)
	}
	tok := small(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range []*Tokenizer{tok, tok.OpenAI()} {
			ids := tok.Encode(text)
			require.Len(t, ids, tok.Length)
			require.Equal(t, tok.Start(), ids[0])
			for _, id := range ids {
				require.NotEmpty(t, tok.Token(id))
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tok := small(b)
	for b.Loop() {
		tok.Encode("four blue cups and two green dogs on the table in the forest")
	}
}

// A tokenizer.json without the type of its model, as the first versions of the library wrote it,
// and files that begin with a byte order mark are read as others are.
func TestFilesOfOtherPrograms(t *testing.T) {
	dir := "../../testdata/golden/sd1/clip"
	want, err := Load(dir)
	require.NoError(t, err)
	fsys := fstest.MapFS{}
	for _, name := range []string{tokenizerFile, configFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		fsys[name] = &fstest.MapFile{Data: text}
	}
	text := fsys[tokenizerFile].Data
	change := func(f func(model map[string]any)) []byte {
		var all map[string]any
		require.NoError(t, json.Unmarshal(text, &all))
		f(all["model"].(map[string]any))
		changed, err := json.Marshal(all)
		require.NoError(t, err)
		return changed
	}
	untyped := change(func(model map[string]any) { delete(model, "type") })
	for _, data := range [][]byte{untyped, append([]byte("\ufeff"), text...)} {
		fsys[tokenizerFile] = &fstest.MapFile{Data: data}
		got, err := LoadFS(fsys)
		require.NoError(t, err)
		require.Equal(t, want.tokens, got.tokens)
		require.Equal(t, want.Encode("a photo of 2 dogs"), got.Encode("a photo of 2 dogs"))
	}
	for _, f := range []func(model map[string]any){
		func(model map[string]any) { model["type"] = "WordPiece" },
		func(model map[string]any) { delete(model, "type"); delete(model, "merges") },
		func(model map[string]any) { delete(model, "type"); model["end_of_word_suffix"] = "" },
	} {
		fsys[tokenizerFile] = &fstest.MapFile{Data: change(f)}
		_, err := LoadFS(fsys)
		require.ErrorContains(t, err, "tokenizer.json: model is ")
	}

	for text, want := range map[string]string{
		"\n<!DOCTYPE html>":                          "tokenizer.json: it is a web page",
		"version https://git-lfs.github.com/spec/v1": "tokenizer.json: it is a Git LFS pointer",
	} {
		fsys[tokenizerFile] = &fstest.MapFile{Data: []byte(text)}
		_, err := LoadFS(fsys)
		require.ErrorContains(t, err, want)
	}

	small, other := os.DirFS("testdata/small"), fstest.MapFS{}
	for _, name := range []string{vocabularyFile, mergesFile} {
		text, err := os.ReadFile(filepath.Join("testdata/small", name))
		require.NoError(t, err)
		other[name] = &fstest.MapFile{Data: append([]byte("\ufeff"), text...)}
	}
	marked, err := LoadFS(other)
	require.NoError(t, err)
	plain, err := LoadFS(small)
	require.NoError(t, err)
	require.Equal(t, plain.Encode("a photo of 2 dogs"), marked.Encode("a photo of 2 dogs"))
}
