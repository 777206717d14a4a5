package golden

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/kudos-ml/kudos/kernels/nn"
)

// Init holds fresh networks to those that diffusers or transformers make of the same config. It
// compares the mean, the variance and the kurtosis of each kind of tensor, over 16 networks, with
// those that the case's init.json has of 16 networks of theirs. The two must agree within five
// standard errors of their difference. What is constant there must be equal here.
//
// network is the name in that file, and zeros makes a network for nn.Init.
func Init(t *testing.T, c Case, network string, zeros func() any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, "init.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var want map[string][4]float64
	if err := json.Unmarshal(file[network], &want); err != nil {
		t.Fatal(err)
	}
	values := map[string][]float64{}
	for seed := range uint64(16) {
		model := zeros()
		nn.Init(model, seed)
		for _, p := range nn.Parameters(model) {
			kind := fmt.Sprintf("%s %d", blocks.ReplaceAllString(p.Name, ".*."), p.Value.Size())
			for _, v := range p.Value.Float32s() {
				values[kind] = append(values[kind], float64(v))
			}
		}
	}
	for kind, w := range want {
		x := values[kind]
		n := float64(len(x))
		if n != w[0] {
			t.Errorf("%s: there are %v values, not %v", kind, n, w[0])
			continue
		}
		if w[2] == 0 {
			for _, v := range x {
				if !(math.Abs(v-w[1]) <= 1e-7*math.Abs(w[1])) {
					t.Errorf("%s is %v, not %v throughout", kind, v, w[1])
					break
				}
			}
			continue
		}
		got := moments(x)
		for i, m := range []struct {
			name  string
			error float64 // of a difference, for normal values; that of uniform ones is less
		}{
			{"mean", math.Sqrt(2 * w[2] / n)},
			{"variance", w[2] * math.Sqrt(2*2/n)},
			{"kurtosis", math.Sqrt(2 * 24 / n)},
		} {
			if d := math.Abs(got[i] - w[i+1]); !(d <= 5*m.error) {
				t.Errorf("%s: the %s is %.4g, not %.4g: %.1f standard errors away",
					kind, m.name, got[i], w[i+1], d/m.error)
			}
		}
	}
	for kind := range values {
		if _, ok := want[kind]; !ok {
			t.Errorf("%s is no tensor of theirs", kind)
		}
	}
}

// blocks finds the numbers of blocks in a name. Tensors that differ in them alone are of one kind.
var blocks = regexp.MustCompile(`\.[0-9]+\.`)

// moments returns the mean, the variance and the kurtosis.
func moments(x []float64) (m [3]float64) {
	n := float64(len(x))
	for _, v := range x {
		m[0] += v / n
	}
	for _, v := range x {
		m[1] += (v - m[0]) * (v - m[0]) / n
	}
	for _, v := range x {
		m[2] += math.Pow(v-m[0], 4) / n / (m[1] * m[1])
	}
	return m
}
