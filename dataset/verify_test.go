package dataset

import (
	"bytes"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What was written is found as it is, with rewards that came later. A picture that is gone, broken
// or another's is named with its line.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	none, err := Verify(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, none)

	var samples []Sample
	for i := range 3 {
		samples = append(samples, Sample{
			Prompt: "a, b",
			Image:  image.NewGray(image.Rect(0, 0, 8, 8)),
			Source: Source{
				Model: "m", Sampler: "ddim", Steps: 2, Guidance: 2, Index: uint64(3 * i),
			},
		})
	}
	_, err = WriteFolder(t.Context(), dir, FromSlice(samples))
	require.NoError(t, err)
	there, err := Verify(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, there, 3)
	for i := range there {
		there[i].Reward = new(0.5)
	}
	_, err = Write(t.Context(), filepath.Join(dir, samplesFile), FromSlice(there))
	require.NoError(t, err)
	again, err := Verify(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, there, again)

	first, err := os.ReadFile(filepath.Join(dir, there[0].File))
	require.NoError(t, err)
	file := filepath.Join(dir, there[1].File)
	second, err := os.ReadFile(file)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"gone":         {nil, "no such file"},
		"another's":    {first, "samples/00003.png is another picture"},
		"cut short":    {second[:len(second)/2], "samples/00003.png: broken"},
		"one bit":      {flipped(second), "samples/00003.png: broken"},
		"no picture":   {[]byte("hello"), "not a PNG"},
		"without text": {withoutText(second), "samples/00003.png is another picture"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Remove(file))
			if c.data != nil {
				require.NoError(t, os.WriteFile(file, c.data, 0o644))
			}
			_, err := Verify(t.Context(), dir)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, fmt.Sprintf("dataset: %s:2: ",
				filepath.Join(dir, samplesFile)))
			require.ErrorContains(t, err, "remove the line and all that follow it")
			require.NoError(t, os.WriteFile(file, second, 0o644))
			_, err = Verify(t.Context(), dir)
			require.NoError(t, err)
		})
	}
}

// flipped is a PNG file with a bit of its pixels turned around: they end 16 bytes before its end.
func flipped(file []byte) []byte {
	other := bytes.Clone(file)
	other[len(file)-20] ^= 1
	return other
}

// withoutText is a PNG file without its iTXt chunk, which is the first after the header.
func withoutText(file []byte) []byte {
	at := bytes.Index(file, []byte("iTXt")) - 4
	size := int(file[at+2])<<8 + int(file[at+3]) + 12
	return append(bytes.Clone(file[:at]), file[at+size:]...)
}
