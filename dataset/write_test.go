package dataset

import (
	"context"
	"errors"
	"image"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParameters(t *testing.T) {
	reward := 0.25
	s := Sample{Prompt: "a dog", Reward: &reward, Source: Source{Model: `a, "b": c`,
		Sampler: "mine", Steps: 20, Guidance: 7.5, Seed: 1 << 63, Index: 5},
		Image: image.NewRGBA(image.Rect(1, 0, 513, 768))}
	require.Equal(t, "a dog\nSteps: 20, Sampler: mine, CFG scale: 7.5, Seed: "+
		"9223372036854775808, Size: 512x768, Model: \"a, \\\"b\\\": c\", Index: 5, Reward: "+
		"0.2500, Version: kudos",
		Parameters(s))
	require.Equal(t, "a dog\nNegative prompt: cats\nSteps: 0, Sampler: Euler a, CFG scale: 0, "+
		"Seed: 0, Model: , Index: 0, Version: kudos",
		Parameters(Sample{Prompt: "a dog", Source: Source{Negative: "cats", Sampler: "euler_a"}}))
}

func wide(n int) image.Image { return image.NewGray(image.Rect(0, 0, n, 1)) }

// A folder can be read again, and what is there at any moment is whole.
func TestWriteFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs", "1")
	made := Source{Model: "m", Seed: 3, Index: 41}
	reward := 0.5
	samples := []Sample{
		{Prompt: "a", Image: wide(1)},
		{Prompt: "b <", Image: wide(2), Source: made, Reward: &reward},
		{Prompt: "c", Image: wide(3), ID: "mine", Label: Good},
	}
	var seen int
	watched := Map(FromSlice(samples), func(ctx context.Context, s Sample) (Sample, error) {
		if seen > 0 {
			got, err := Collect(ctx, Folder{Path: dir, Images: true})
			require.NoError(t, err)
			require.Len(t, got, seen, "each sample is there before the next is asked for")
		}
		seen++
		return s, nil
	})
	n, err := WriteFolder(t.Context(), dir, watched)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	got, err := Collect(t.Context(), Folder{Path: dir, Images: true})
	require.NoError(t, err)
	require.Len(t, got, 3)
	for i, id := range []string{"00000", "00041", "mine"} {
		require.Equal(t, id, got[i].ID)
		require.Equal(t, "samples/"+id+".png", got[i].File)
		require.Equal(t, samples[i].Prompt, got[i].Prompt)
		require.Equal(t, samples[i].Source, got[i].Source)
		require.Equal(t, samples[i].Reward, got[i].Reward)
		require.Equal(t, samples[i].Label, got[i].Label)
		require.Equal(t, samples[i].Image.Bounds(), got[i].Image.Bounds())
		text, err := os.ReadFile(filepath.Join(dir, "samples", id+".png"))
		require.NoError(t, err)
		if i == 1 {
			require.Contains(t, string(text), "iTXtparameters\x00\x00\x00\x00\x00b <\nSteps: 0")
		} else {
			require.NotContains(t, string(text), "parameters")
		}
	}
	require.Empty(t, samples[0].ID)

	// Samples that were read without pictures get them one by one.
	file := File{Path: filepath.Join(dir, "samples.jsonl")}
	plain, err := Collect(t.Context(), file)
	require.NoError(t, err)
	require.Nil(t, plain[2].Image)
	again, err := Collect(t.Context(), Map(FromSlice(plain[1:]), file.Decode))
	require.NoError(t, err)
	require.Equal(t, got[1:], again)
	for _, name := range []string{"", "gone.png"} {
		plain[0].File = name
		_, err = file.Decode(t.Context(), plain[0])
		require.ErrorContains(t, err, file.Path+`: sample "00000" (a)`)
	}

	// More of the same goes on after a kill in the middle of a line, and overwrites nothing.
	path := filepath.Join(dir, "samples.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"id":"00042","pro`)
	require.NoError(t, errors.Join(err, f.Close()))
	made.Index++
	n, err = WriteFolder(t.Context(), dir, FromSlice([]Sample{
		{Prompt: "d", Image: wide(4), Source: made}, {ID: "mine", Prompt: "e", Image: wide(5)},
	}))
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, `a second sample has the ID "mine"`)
	require.Equal(t, 1, n)
	got, err = Collect(t.Context(), Folder{Path: dir, Images: true})
	require.NoError(t, err)
	require.Len(t, got, 4)
	require.Equal(t, "00042", got[3].ID)
	require.Equal(t, 3, got[2].Image.Bounds().Dx())
}

func TestWhatIsNoFolder(t *testing.T) {
	long := strings.Repeat("x", 252) // and .png
	broken := errors.New("broken")
	one := FromSlice([]Sample{{Prompt: "a", Image: wide(1)}})
	fails := Map(one, func(context.Context, Sample) (Sample, error) { return Sample{}, broken })
	_, err := WriteFolder(t.Context(), t.TempDir(), fails)
	require.ErrorIs(t, err, broken)
	for want, s := range map[string]Sample{
		"there is no picture":              {Prompt: "a"},
		`Windows has no '/' in names`:      {Prompt: "a", ID: "a/b", Image: wide(1)},
		`Windows has no ':' in names`:      {Prompt: "a", ID: "a:b", Image: wide(1)},
		"on Windows it is a device":        {Prompt: "a", ID: "Con", Image: wide(1)},
		"has 255 bytes at most":            {Prompt: "a", ID: long, Image: wide(1)},
		`(a): the ID cannot be a file's`:   {Prompt: "a", ID: "..", Image: wide(1)},
		"the prompt is missing":            {Prompt: " ", Image: wide(1)},
		`sample "00000" (): dataset: samp`: {Image: wide(1)},
	} {
		dir := t.TempDir()
		n, err := WriteFolder(t.Context(), dir, FromSlice([]Sample{s}))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, dir)
		require.Zero(t, n)
		entries, err := os.ReadDir(filepath.Join(dir, "samples"))
		require.NoError(t, err)
		require.Empty(t, entries)
	}
}

// IDs that name one file on Windows and macOS are not two.
func TestIDsInOtherCase(t *testing.T) {
	of := func(id string) Sample { return Sample{ID: id, Prompt: "a", Image: wide(1)} }
	dir := t.TempDir()
	n, err := WriteFolder(t.Context(), dir, FromSlice([]Sample{of("A"), of("Ä"), of("a")}))
	require.ErrorContains(t, err, `a second sample has the ID "a"`)
	require.Equal(t, 2, n)
	_, err = WriteFolder(t.Context(), dir, FromSlice([]Sample{of("ä")}))
	require.ErrorContains(t, err, `a second sample has the ID "ä"`)
}

// What is written is known, so that what is left can be made.
func TestWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	got, err := Written(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoDirExists(t, dir)
	some := func(from, to int) (all []Sample) {
		for i := from; i < to; i++ {
			source := Source{Index: uint64(i)}
			all = append(all, Sample{Prompt: "p", Image: wide(i + 1), Source: source})
		}
		return all
	}
	_, err = WriteFolder(t.Context(), dir, FromSlice(some(0, 2)))
	require.NoError(t, err)
	name := filepath.Join(dir, "samples.jsonl")
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, append(whole, `{"prompt": "`...), 0o644))
	got, err = Written(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, "00001", got[1].ID)
	require.Nil(t, got[1].Image)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, whole, text, "the rest of a killed process's line is gone")
	_, err = WriteFolder(t.Context(), dir, FromSlice(some(2, 3)))
	require.NoError(t, err)
	got, err = Collect(t.Context(), Folder{Path: dir, Images: true})
	require.NoError(t, err)
	require.Len(t, got, 3)

	require.NoError(t, os.WriteFile(name, []byte("no line\n"), 0o644))
	_, err = Written(t.Context(), dir)
	require.ErrorContains(t, err, "samples.jsonl:1")
}
