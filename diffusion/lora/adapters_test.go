package lora

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
)

// many names a folder of more adapters than testdata has, and of which case they are: made as
//
//	python internal/golden/adapters.py testdata/golden/sd1 /tmp/many 300 1
//	go test ./diffusion/lora -run Adapters -many /tmp/many -of sd1
var (
	many   = flag.String("many", "", "hold the tests to the adapters in this `folder`")
	manyOf = flag.String("of", "sd1", "the `case` that those adapters are of")
)

// Adapters of every method and spelling make of the weights what LyCORIS, peft and diffusers make
// of them, and give them back as they were.
func TestAdaptersGolden(t *testing.T) {
	compared, methods := 0, map[string]int{}
	test := func(t *testing.T, caseDir, folder string) {
		p, err := pipeline.Load(caseDir)
		require.NoError(t, err)
		cases, err := filepath.Glob(filepath.Join(folder, "*", "want.safetensors"))
		require.NoError(t, err)
		all := map[string]*tensor.Dense{}
		for _, l := range targets(p.UNet, p.Text) {
			name := "unet." + l.name
			if l.network == textNetwork {
				name = "text." + l.name
			}
			all[name+".weight"] = l.weight
			if l.bias != nil {
				all[name+".bias"] = l.bias
			}
		}
		before := map[string][]float32{}
		for name, v := range all {
			before[name] = append([]float32{}, v.Float32s()...)
		}
		for _, file := range cases {
			want, err := weights.Open(file)
			require.NoError(t, err)
			what := fmt.Sprintf("%s, %s (%s)", want.Metadata["method"], want.Metadata["spelling"],
				filepath.Dir(file))
			a, err := Load(onlyAdapter(t, filepath.Dir(file)), p.UNet, p.Text)
			require.NoError(t, err, what)
			a.Detach()
			a.Merge()
			checked := 0
			for name, got := range all {
				expect := before[name]
				if shape, ok := want.Shape(name); ok {
					w, err := want.Floats(name)
					require.NoError(t, err)
					if len(shape) == 4 {
						w = reorder(w, got.Shape(), false)
					}
					expect, checked = w, checked+1
					require.NotEqual(t, before[name], w, "%s: %s does not change", what, name)
				}
				if d := golden.Distance(got.Float32s(), expect); !(d <= 1e-6) {
					t.Errorf("%s: %s is off by %.3g", what, name, d)
				}
				copy(got.Float32s(), before[name])
			}
			require.Len(t, want.Names(), checked, what)
			require.NoError(t, want.Close())
			compared++
			methods[want.Metadata["method"]]++
		}
	}
	if *many != "" {
		test(t, filepath.Join("..", "..", "testdata", "golden", *manyOf), *many)
		t.Logf("%d adapters: %v", compared, methods)
		return
	}
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		test(t, c.Dir, filepath.Join(c.Dir, "adapters"))
	}, "adapters")
	require.GreaterOrEqual(t, compared, 15)
}

// onlyAdapter is the adapter's file in a folder of the test's.
func onlyAdapter(t *testing.T, dir string) string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "adapter") && strings.HasSuffix(e.Name(), ".safetensors") {
			return filepath.Join(dir, e.Name())
		}
	}
	t.Fatalf("%s holds no adapter", dir)
	return ""
}

// No file makes Load panic, and what it refuses leaves the model as it was.
func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"adapters/*/adapter*.safetensors", "lora/*.safetensors"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "golden", "sd1", dir))
		require.NoError(f, err)
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(text)
		}
	}
	p, err := pipeline.Load(filepath.Join("..", "..", "testdata", "golden", "sd1"))
	require.NoError(f, err)
	before := weights.Hash(p.UNet)
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "a.safetensors")
		require.NoError(t, os.WriteFile(file, text, 0o644))
		a, err := Load(file, p.UNet, p.Text)
		if err == nil {
			a.Detach()
		} else {
			require.NotContains(t, err.Error(), "\x1b")
		}
		require.Equal(t, before, weights.Hash(p.UNet))
	})
}
