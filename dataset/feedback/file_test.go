package feedback

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

// noise is a picture that a PNG does not make much smaller.
func noise(width, height int) *image.RGBA {
	r := rand.New(rand.NewPCG(1, uint64(width)))
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = uint8(i/4%width/4) + uint8(r.IntN(16))
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return img
}

// encoded are the bytes of the picture noise, by the format's name.
func encoded(t testing.TB, width, height int) map[string][]byte {
	t.Helper()
	var p, j bytes.Buffer
	require.NoError(t, png.Encode(&p, noise(width, height)))
	require.NoError(t, jpeg.Encode(&j, noise(width, height), nil))
	return map[string][]byte{"png": p.Bytes(), "jpg": j.Bytes()}
}

// writeFile writes a file into the folder.
func (s *testStore) writeFile(name string, data []byte) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.folder, name), data, 0o644))
}

// addFile adds a sample of a file, whose name is the ID.
func (s *testStore) addFile(name string) error {
	s.t.Helper()
	samples := []dataset.Sample{{ID: name, Prompt: "a dog", File: name}}
	_, err := s.Add(s.t.Context(), dataset.FromSlice(samples), "")
	return err
}

// huge is a small PNG that says it has so many pixels.
func huge(width, height uint32) []byte {
	data := pngOf("huge")
	binary.BigEndian.PutUint32(data[16:], width)
	binary.BigEndian.PutUint32(data[20:], height)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	return data
}

// A file that nobody could look at, or that no reward could be trained on, is not kept.
func TestAddLooksAtFiles(t *testing.T) {
	s := newStore(t)
	whole := encoded(t, 40, 30)
	for name, data := range whole {
		s.writeFile("whole."+name, data)
		require.NoError(t, s.addFile("whole."+name))

		for _, part := range []int{1, 9, len(data) / 2, len(data) - 13, len(data) - 1} {
			file := fmt.Sprintf("%d of %s", part, name)
			s.writeFile(file, data[:part])
			require.ErrorContains(t, s.addFile(file), "picture: "+file)
		}
	}
	damaged := bytes.Clone(whole["png"])
	damaged[len(damaged)/2] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty": {nil, "not a PNG"}, "text": {[]byte("This is a text."), "not a PNG"},
		"page":    {[]byte("<!DOCTYPE html><script>alert(1)</script>"), "not a PNG"},
		"drawing": {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "not a PNG"},
		"animal":  {[]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), "not a PNG"},
		"late":    {append([]byte("PK\x03\x04 and then "), whole["png"]...), "not a PNG"},
		"damaged": {damaged, "broken png"},
		"huge":    {huge(20_000, 20_000), "20000×20000 pixels"},
		"long":    {huge(1<<31-1, 1<<31-1), "broken"},
		"none":    {huge(0, 1), "broken"},
	} {
		s.writeFile(name, c.data)
		require.ErrorContains(t, s.addFile(name), c.want, name)
	}
	require.Len(t, s.collect(s), 2)
	require.NoError(t, s.Verify(t.Context()))
	require.NoError(t, s.Check(t.Context()))

	// Those of a size that not every core decodes at once.
	var large bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	require.NoError(t, encoder.Encode(&large, image.NewGray(image.Rect(0, 0, 4200, 4000))))
	s.writeFile("large 1", large.Bytes())
	s.writeFile("large 2", large.Bytes())
	samples := []dataset.Sample{
		{ID: "1", Prompt: "a dog", File: "large 1"}, {ID: "2", Prompt: "a dog", File: "large 2"},
	}
	n, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

// A file that is a picture and something else is a picture, and stays as it is: the format is
// decided by how it begins, and whoever serves it says which it is.
func TestPolyglots(t *testing.T) {
	s := newStore(t)
	tail := "<html><script>alert(1)</script></html>PK\x05\x06" + strings.Repeat("\x00", 18)
	for name, data := range encoded(t, 8, 8) {
		both := append(bytes.Clone(data), tail...)
		s.writeFile("both."+name, both)
		require.NoError(t, s.addFile("both."+name))
		got, err := s.ReadPicture(t.Context(), "both."+name)
		require.NoError(t, err)
		require.Equal(t, both, got)
		s.writeFile("both."+name, data)
		_, err = s.ReadPicture(t.Context(), "both."+name)
		require.ErrorIs(t, err, ErrChanged, "without what came after it")
	}
}

// What is no file inside the folder is not read.
func TestAddStaysInTheFolder(t *testing.T) {
	s := newStore(t)
	outside := filepath.Join(t.TempDir(), "outside.png")
	require.NoError(t, os.WriteFile(outside, pngOf(""), 0o644))
	link := func(name, to string) {
		t.Helper()
		require.NoError(t, os.Symlink(to, filepath.Join(s.folder, name)))
	}
	link("link.png", outside)
	link("folder", filepath.Dir(outside))
	link("gone.png", "nothing.png")
	require.ErrorContains(t, s.addFile("link.png"), "escapes")
	require.ErrorContains(t, s.addFile("link.png"), "a link leads out of "+s.folder)
	require.ErrorContains(t, s.addFile("folder/outside.png"), "escapes")
	require.ErrorIs(t, s.addFile("gone.png"), fs.ErrNotExist)
	require.Error(t, s.addFile("../"+filepath.Base(s.folder)+"/labels.db"))
	require.Error(t, s.addFile(outside))
	require.NoError(t, os.Mkdir(filepath.Join(s.folder, "a.png"), 0o755))
	require.ErrorContains(t, s.addFile("a.png"), "a.png is not a regular file")
	s.writeFile("inside.png", pngOf(""))
	link("near.png", "inside.png")
	require.NoError(t, s.addFile("near.png"))

	mkfifo, err := exec.LookPath("mkfifo")
	if err != nil {
		t.Skip("there are no pipes in folders")
	}
	require.NoError(t, exec.Command(mkfifo, filepath.Join(s.folder, "pipe.png")).Run())
	done := make(chan error, 1)
	go func() { done <- s.addFile("pipe.png") }()
	select {
	case err := <-done:
		require.ErrorContains(t, err, "pipe.png is not a regular file")
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for a pipe")
	}
}

// All that cannot be kept is named at once, and the rest is kept.
func TestAddLeavesOut(t *testing.T) {
	s := newStore(t)
	s.writeFile("a.png", pngOf("a"))
	s.writeFile("b.png", []byte("no picture"))
	samples := make([]dataset.Sample, 2*batch+500)
	bad := map[int]bool{3: true, 7: true, 999: true, 1000: true, 2499: true}
	for i := range samples {
		samples[i] = dataset.Sample{ID: fmt.Sprint(i), Prompt: "a dog", File: "a.png"}
		if bad[i] {
			samples[i].File = "b.png"
		}
	}
	n, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.Equal(t, len(samples)-len(bad), n)
	require.ErrorContains(t, err, "samples left out: 5\n")
	for i := range bad {
		require.ErrorContains(t, err, fmt.Sprintf("sample \"%d\" (\"a dog\"): picture: b.png", i))
	}
	require.NotContains(t, err.Error(), "more")
	kept := s.collect(s.Pictures())
	require.Len(t, kept, n)
	require.Equal(t, []string{"0", "1", "2", "4"},
		[]string{kept[0].ID, kept[1].ID, kept[2].ID, kept[3].ID}, "in their order")

	// Mended, they come.
	s.writeFile("b.png", pngOf("b"))
	n, err = s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	require.Equal(t, len(bad), n)

	// The first ten and a number.
	for i := range samples {
		samples[i].ID, samples[i].File = fmt.Sprint("new ", i), "nothing.png"
	}
	n, err = s.Add(t.Context(), dataset.FromSlice(samples[:15]), "")
	require.Zero(t, n)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, `"new 9"`)
	require.NotContains(t, err.Error(), `"new 10"`)
	require.ErrorContains(t, err, "samples left out: 15\n")
	require.ErrorContains(t, err, "\nand 5 more")

	// What ends it says what was left out before.
	samples[1] = dataset.Sample{ID: "0", Prompt: "another"}
	_, err = s.Add(t.Context(), dataset.FromSlice(samples[:2]), "")
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorIs(t, err, fs.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Add(ctx, dataset.FromSlice(samples), "")
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "left out")
}

// IDs and prompts are texts of a length that a page can show, and so is the error about them.
func TestAddRefusesTexts(t *testing.T) {
	s := newStore(t)
	long := strings.Repeat("ä", 8<<10)
	for _, c := range []struct {
		sample dataset.Sample
		want   string
	}{
		{dataset.Sample{ID: "a", Prompt: long + "b"}, "the prompt has 16385 bytes"},
		{dataset.Sample{ID: "a", Prompt: strings.Repeat("b", 10<<20)}, "the prompt has 10485760"},
		{dataset.Sample{ID: "a", Prompt: "a \xff dog"}, `sample "a" ("a \xff dog"): the prompt`},
		{dataset.Sample{ID: long + "b", Prompt: "a dog"}, "the ID has 16385 bytes"},
		{dataset.Sample{ID: "\xff", Prompt: "a dog"}, "the ID is not UTF-8"},
		{dataset.Sample{Prompt: "a dog"}, "no ID"},
		{dataset.Sample{ID: "a"}, "the prompt is missing"},
	} {
		n, err := s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{c.sample}), "")
		require.Zero(t, n)
		require.ErrorContains(t, err, c.want)
		require.Less(t, len(err.Error()), 1000)
	}
	most := dataset.Sample{ID: long, Prompt: long}
	_, err := s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{most}), "")
	require.NoError(t, err)
	got, err := s.Picture(t.Context(), long)
	require.NoError(t, err)
	require.Equal(t, most, got)
}

// BenchmarkAdd adds pictures of 512×512 pixels, new ones and those that are there already.
func BenchmarkAdd(b *testing.B) {
	const n = 64
	for _, format := range []string{"png", "jpg"} {
		data := encoded(b, 512, 512)[format]
		s := newStore(b)
		samples := make([]dataset.Sample, n)
		for i := range samples {
			samples[i] = dataset.Sample{Prompt: "a dog", File: fmt.Sprint(i, ".", format)}
			s.writeFile(samples[i].File, data)
		}
		round := 0
		add := func(b *testing.B, again bool) {
			for b.Loop() {
				if !again {
					round++
				}
				for i := range samples {
					samples[i].ID = fmt.Sprint(round, " ", i)
				}
				_, err := s.Add(b.Context(), dataset.FromSlice(samples), "")
				require.NoError(b, err)
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "pictures/s")
		}
		b.Run(format+" new", func(b *testing.B) { add(b, false) })
		b.Run(format+" again", func(b *testing.B) { add(b, true) })
	}
}
