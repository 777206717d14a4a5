package main

import (
	"bytes"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/picture"
)

// Pretraining pictures keep their shapes: what is planned, encoded and trained on. Without -buckets
// they are cut to squares.
func TestBuckets(t *testing.T) {
	p := at(t)
	for i, size := range []image.Point{{64, 128}, {128, 64}, {128, 64}, {60, 120}, {96, 90}} {
		name := filepath.Join(p.pretrain, fmt.Sprint("wide", i))
		img := image.NewGray(image.Rectangle{Max: size})
		for k := range img.Pix {
			img.Pix[k] = uint8(k * k)
		}
		require.NoError(t, picture.WritePNG(name+".png", img))
		require.NoError(t, os.WriteFile(name+".txt", []byte("a star"), 0o644))
	}
	run := func(out string, more ...string) (*session, string) {
		s := newSession()
		var said bytes.Buffer
		s.print, s.progress = &said, report.Plain(&said)
		require.NoError(t, s.parse(p.args(out, append(more, "-steps", "6")...)))
		require.NoError(t, s.run(t.Context()))
		return s, said.String()
	}
	shapes := func(s *session) map[string]int {
		in := map[string]int{}
		for _, x := range s.all[s.own:] {
			in[fmt.Sprint(x.Latent.Shape())]++
		}
		return in
	}
	s, said := run("kept")
	require.Contains(t, said, "Pretraining pictures keep their shapes: 4 in 64×64, 2 in 48×80, "+
		"2 in 80×48 pixels; 9 % of their area is cut away.")
	require.Equal(t, map[string]int{
		"(16, 16, 4)": 4, "(20, 12, 4)": 2, "(12, 20, 4)": 2,
	}, shapes(s))
	require.Contains(t, said, "The tuned model is in")

	s, said = run("cut", "-buckets=false")
	require.Contains(t, said, "are not square: ")
	require.Equal(t, map[string]int{"(16, 16, 4)": 8}, shapes(s))
}
