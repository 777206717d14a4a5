package clip_test

import (
	"image"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
)

// A folder of another kind of model is told by its config.json, whoever reads it.
func TestKindError(t *testing.T) {
	text := func(fsys fs.FS) error { _, err := clip.LoadTextFS(fsys); return err }
	model := func(fsys fs.FS) error { _, err := clip.LoadModelFS(fsys); return err }
	encoder := func(fsys fs.FS) error { _, err := clip.LoadFS(fsys); return err }
	for _, c := range []struct {
		load   func(fsys fs.FS) error
		config string
		want   clip.KindError
		says   string
	}{
		{
			text, `{"model_type": "t5"}`,
			clip.KindError{ModelType: "t5", Want: "CLIPTextModel"},
			`clip: config.json: model_type: "t5" is not supported`,
		},
		{
			model, `{"model_type": "siglip", "text_config": {}, "vision_config": {}}`,
			clip.KindError{ModelType: "siglip", Want: "CLIPModel"},
			`clip: config.json: model_type: "siglip" is not supported`,
		},
		{
			encoder, `{"model_type": "clip_text_model", "hidden_size": 8}`,
			clip.KindError{ModelType: "clip_text_model", Want: "CLIPModel"},
			"clip: config.json has no text_config or no vision_config: it is no CLIPModel's",
		},
		{
			encoder, `{}`,
			clip.KindError{Want: "CLIPModel"},
			"clip: config.json has no text_config or no vision_config: it is no CLIPModel's",
		},
	} {
		err := c.load(fstest.MapFS{"config.json": {Data: []byte(c.config)}})
		var kind *clip.KindError
		require.ErrorAs(t, err, &kind)
		require.Equal(t, c.want, *kind)
		require.EqualError(t, kind, c.says)
	}

	// A folder's name is added, and the type stays.
	dir := filepath.Join("..", "testdata", "golden", "sd1", "text_encoder")
	_, err := clip.Load(dir)
	var kind *clip.KindError
	require.ErrorAs(t, err, &kind)
	require.ErrorContains(t, err, dir)
	_, err = clip.LoadText(dir)
	require.NoError(t, err, "LoadText reads what Load refuses")
}

// sd1 is a small CLIP.
func sd1(t *testing.T) *clip.Encoder {
	e, err := clip.Load(filepath.Join("..", "testdata", "golden", "sd1", "clip"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// The tokenizer of another model is told by an id that the model does not have.
func TestVocabularyError(t *testing.T) {
	e := sd1(t)
	length := e.Tokenizer.Length
	other, err := tokenizer.Load(filepath.Join("tokenizer", "testdata", "small"))
	require.NoError(t, err)
	other.Length = length
	e.Tokenizer = other
	e.Model.Text.Config.Vocabulary = other.Start()
	_, err = e.TextFeatures(t.Context(), []string{"a red circle"})
	var wrong *clip.VocabularyError
	require.ErrorAs(t, err, &wrong)
	want := clip.VocabularyError{ID: other.Start(), Vocabulary: other.Start()}
	require.Equal(t, want, *wrong)
	require.ErrorContains(t, err, `(prompt "a red circle")`)
}

// Of many pictures the one that cannot be encoded is named by its place among all of them, in
// whichever batch it is and whatever a cache has of the others.
func TestPictureError(t *testing.T) {
	e := sd1(t)
	e.Batch = 2
	pictures := make([]image.Image, 5)
	for i := range pictures {
		pictures[i] = image.NewGray(image.Rect(0, 0, 4+i, 5))
	}
	pictures[4] = image.NewGray(image.Rect(0, 0, 0, 5))
	cache, err := clip.OpenCache(e, filepath.Join(t.TempDir(), "features.safetensors"))
	require.NoError(t, err)
	_, err = cache.ImageFeatures(t.Context(), pictures[:3])
	require.NoError(t, err)

	_, first := e.ImageFeatures(t.Context(), pictures)
	_, second := cache.ImageFeatures(t.Context(), pictures)
	for _, err := range []error{first, second} {
		var wrong *clip.PictureError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, 4, wrong.Index)
		require.EqualError(t, wrong.Err, "clip: a picture of 0×5 pixels")
		require.EqualError(t, err, "clip: a picture of 0×5 pixels (picture 4)")
	}
	_, err = cache.ImageFeatures(t.Context(), pictures[:4])
	require.NoError(t, err, "the others have features")
}

// A CLIP's name may be that of a repository in the cache.
func TestLoadFromCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	_, err := clip.Load("some/clip")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "not in the cache, "+cache)
	repo := filepath.Join(cache, "models--some--clip")
	snapshot := filepath.Join(repo, "snapshots", "abc")
	require.NoError(t, os.CopyFS(snapshot, os.DirFS("../testdata/golden/sd1/clip")))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("abc"), 0o666))
	e, err := clip.Load("some/clip")
	require.NoError(t, err)
	require.NoError(t, e.Close())
}
