package shapes

import (
	"image"
	"image/draw"
	"image/png"
	"os"
	"testing"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/stretchr/testify/require"
)

func TestSheet(t *testing.T) {
	path := os.Getenv("SHEET")
	if path == "" {
		t.Skip()
	}
	const n = 8
	sheet := image.NewRGBA(image.Rect(0, 0, n*68, n*68))
	for i := range n * n {
		c := Grammar.Claims("combination")
		r := rng.New(1, "sheet", 0, uint64(i))
		k := c[r.IntN(len(c))]
		k.Object = Grammar.Objects[i%8].Name
		k.Background = Grammar.Backgrounds[i/8]
		s, err := Compose(k, r)
		require.NoError(t, err)
		x, y := i%n*68, i/n*68
		draw.Draw(sheet, image.Rect(x, y, x+64, y+64), Draw(s), image.Point{}, draw.Src)
	}
	big := image.NewRGBA(image.Rect(0, 0, n*136, n*136))
	for y := range n * 136 {
		for x := range n * 136 {
			big.Set(x, y, sheet.At(x/2, y/2))
		}
	}
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, png.Encode(f, big))
	require.NoError(t, f.Close())
}

func BenchmarkDraw(b *testing.B) {
	s, _ := Compose(Grammar.Claims("combination")[400], rng.New(1, "b", 0, 0))
	for b.Loop() {
		Draw(s)
	}
}
