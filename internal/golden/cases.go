// Package golden reads the cases that models are held to: what diffusers and transformers compute
// on small pipelines.
package golden

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
)

// A Case is a pipeline's folder and the references computed on it.
type Case struct {
	Dir  string
	Data *weights.File // cases.safetensors
}

// only is for cases that are too large to keep.
var only = flag.String("golden", "",
	"hold the tests to the case in this `folder` (an absolute path) alone")

// Each runs a test on every case that has what it needs: tensors, or files of the pipeline. The
// cases are those in the repository, one of which at least must have that, and those that lie
// beside it. With the flag -golden it is the one case that the flag names. root is the repository's
// root as the test sees it.
func Each(t *testing.T, root string, test func(t *testing.T, c Case), needs ...string) {
	t.Helper()
	cases := func(folder ...string) []string {
		folder = append(folder, "*", "cases.safetensors")
		files, _ := filepath.Glob(filepath.Join(root, filepath.Join(folder...)))
		return files
	}
	own, beside := cases("testdata", "golden"), cases("..", "shared", "golden", "cases")
	if *only != "" {
		own, beside = []string{filepath.Join(*only, "cases.safetensors")}, nil
	}
	tested := 0
	for i, file := range append(own, beside...) {
		dir := filepath.Dir(file)
		f, err := weights.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c := Case{dir, f}
		if slices.ContainsFunc(needs, func(n string) bool { return !c.Has(n) && !c.HasFile(n) }) {
			continue
		}
		if i < len(own) {
			tested++
		}
		name := strings.TrimPrefix(filepath.ToSlash(dir), filepath.ToSlash(root)+"/")
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
	switch {
	case tested > 0:
	case *only != "":
		t.Skipf("%s lacks some of %v", *only, needs)
	default:
		t.Fatalf("testdata/golden holds no case with %v", needs)
	}
}

// Has reports whether the case has a tensor.
func (c Case) Has(name string) bool {
	_, ok := c.Data.Shape(name)
	return ok
}

// HasFile reports whether the case has a file or a folder, such as a part of a pipeline.
func (c Case) HasFile(name string) bool {
	_, err := os.Stat(filepath.Join(c.Dir, name))
	return err == nil
}

// Tensor returns one of the case's tensors as it is in the file.
func (c Case) Tensor(t *testing.T, name string) *tensor.Dense {
	t.Helper()
	d, err := c.Data.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ChannelsLast returns a tensor that is [...,C,H,W] in the file as [...,H,W,C].
func (c Case) ChannelsLast(t *testing.T, name string) *tensor.Dense {
	t.Helper()
	d := c.Tensor(t, name)
	s := d.Shape().Clone()
	k := len(s) - 3
	channels, height, width := s[k], s[k+1], s[k+2]
	src, dst := d.Float32s(), make([]float32, s.TotalSize())
	plane := height * width
	for i, v := range src {
		block, rest := i/(channels*plane), i%(channels*plane)
		dst[block*channels*plane+rest%plane*channels+rest/plane] = v
	}
	s[k], s[k+1], s[k+2] = height, width, channels
	return tensor.New(tensor.WithShape(s...), tensor.WithBacking(dst))
}

// Distance returns the relative error ‖got-want‖/‖want‖. It is NaN if any value is, and
// infinite if the lengths differ.
func Distance(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	diff, norm := 0.0, 0.0
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		diff += d * d
		norm += float64(w) * float64(w)
	}
	return math.Sqrt(diff / norm)
}

// Near fails the test unless the relative error is at most the tolerance.
func Near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	d := Distance(got, want)
	if !(d <= tolerance) {
		t.Errorf("%s: relative error %.3g, more than %g (%d values, %d wanted)",
			what, d, tolerance, len(got), len(want))
	}
	t.Logf("%s: relative error %.2g", what, d)
}
