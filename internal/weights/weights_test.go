package weights_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
)

type layer struct {
	Weight *tensor.Dense `weight:"weight,conv"`
	Bias   *tensor.Dense `weight:"bias"`
}

type model struct {
	Layers []*layer      `weight:"layers"`
	Inner  layer         `weight:"."`
	Scale  *tensor.Dense `weight:"logit_scale,scalar"`
	Absent *layer        `weight:"absent"`
}

func dense(start float32, shape ...int) *tensor.Dense {
	t := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	for i := range t.Float32s() {
		t.Float32s()[i] = start + float32(i)
	}
	return t
}

func newModel(start float32) *model {
	return &model{
		Layers: []*layer{{dense(start, 2, 1, 2, 3), dense(start+20, 2)}, {Bias: dense(start+30, 1)}},
		Inner:  layer{Bias: dense(start+40, 3)},
		Scale:  dense(start+50, 1),
	}
}

func TestNamesFollowFields(t *testing.T) {
	var names []string
	for _, p := range weights.Parameters(newModel(0)) {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"layers.0.weight", "layers.0.bias", "layers.1.bias", "bias", "logit_scale"}, names)
}

func TestRoundTrip(t *testing.T) {
	for _, d := range []weights.DType{weights.Float32, weights.Float16} {
		name := filepath.Join(t.TempDir(), "m.safetensors")
		require.NoError(t, weights.Save(name, newModel(1), d, map[string]string{"format": "pt"}))
		f, err := weights.Open(name)
		require.NoError(t, err)
		defer f.Close()
		require.Equal(t, "pt", f.Metadata["format"])

		shape, ok := f.Shape("layers.0.weight")
		require.True(t, ok)
		require.Equal(t, []int{2, 3, 1, 2}, shape, "files hold [Cout,Cin,KH,KW]")
		values, err := f.Floats("layers.0.weight")
		require.NoError(t, err)
		require.Equal(t, []float32{1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12}, values)
		shape, _ = f.Shape("logit_scale")
		require.Empty(t, shape)

		m := newModel(0)
		require.NoError(t, weights.Load(m, f, weights.Names{}))
		require.Equal(t, weights.Hash(newModel(1)), weights.Hash(m))
		require.NotEqual(t, weights.Hash(newModel(2)), weights.Hash(m))
	}
}

func TestLoadSaysEverythingThatDoesNotFit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "m.safetensors")
	other := newModel(0)
	other.Layers[0].Bias = dense(0, 7)
	other.Scale = nil
	other.Inner.Weight = dense(0, 1, 1, 1, 1)
	require.NoError(t, weights.Save(name, other, weights.Float32, nil))
	f, err := weights.Open(name)
	require.NoError(t, err)
	defer f.Close()
	err = weights.Load(newModel(0), f, weights.Names{})
	require.ErrorContains(t, err, name)
	require.ErrorContains(t, err, "layers.0.bias is [7], not [2]")
	require.ErrorContains(t, err, "logit_scale is missing")
	require.ErrorContains(t, err, "weight is not a tensor of this model")

	ignore := weights.Names{Ignore: func(n string) bool { return n == "weight" }}
	require.NotContains(t, weights.Load(newModel(0), f, ignore).Error(), "not a tensor")
}

func TestBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "m.safetensors")
	require.NoError(t, weights.Save(name, newModel(0), weights.Float32, nil))
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	for _, n := range []int{0, 4, 8, 20, len(whole) - 1} {
		require.NoError(t, os.WriteFile(name, whole[:n], 0o644))
		_, err := weights.Open(name)
		require.ErrorContains(t, err, name, "%d bytes", n)
	}
	require.NoError(t, os.WriteFile(name, append(bytes.Repeat([]byte{0xff}, 8), whole[8:]...), 0o644))
	_, err = weights.Open(name)
	require.ErrorContains(t, err, "its header says")
}

func TestValuesThatAreNotFinite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "m.safetensors")
	m := newModel(0)
	m.Layers[0].Bias.Float32s()[1] = 1e6
	require.ErrorContains(t, weights.Save(name, m, weights.Float16, nil), "layers.0.bias is 1e+06 at element 1")
	require.NoFileExists(t, name)
}

func TestShardsAndVariants(t *testing.T) {
	dir := t.TempDir()
	full := weights.Parameters(newModel(3))
	require.NoError(t, weights.Write(filepath.Join(dir, "a-1.safetensors"), full[:2], weights.Float32, nil))
	require.NoError(t, weights.Write(filepath.Join(dir, "a-2.safetensors"), full[2:], weights.Float32, nil))
	index := `{"weight_map": {"layers.0.weight": "a-1.safetensors", "logit_scale": "a-2.safetensors"}}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.safetensors.index.json"), []byte(index), 0o644))
	f, err := weights.OpenFolder(os.DirFS(dir), "a")
	require.NoError(t, err)
	m := newModel(0)
	require.NoError(t, weights.Load(m, f, weights.Names{}))
	require.Equal(t, weights.Hash(newModel(3)), weights.Hash(m))
	require.NoError(t, f.Close())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.safetensors.index.json"), []byte(`{"weight_map": {"x": "../a-1.safetensors"}}`), 0o644))
	_, err = weights.OpenFolder(os.DirFS(dir), "a")
	require.ErrorContains(t, err, "not in the index's folder")

	require.NoError(t, weights.Save(filepath.Join(dir, "b.fp16.safetensors"), newModel(3), weights.Float16, nil))
	f, err = weights.OpenFolder(os.DirFS(dir), "b")
	require.NoError(t, err)
	require.NoError(t, f.Close())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.bin"), nil, 0o644))
	_, err = weights.OpenFolder(os.DirFS(dir), "c")
	require.ErrorContains(t, err, "pickle")
}

// Views are the file's memory; what is not float32 is read.
func TestViews(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.safetensors")
	big := tensor.New(tensor.WithShape(1<<20, 2), tensor.WithBacking(make([]float32, 2<<20)))
	big.Float32s()[7] = 7
	one := tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{1.5}))
	for d, most := range map[weights.DType]uint64{weights.Float32: 1 << 20, weights.Float16: 1 << 30} {
		all := []weights.Parameter{{Name: "big", Value: big}, {Name: "a", Value: one}}
		require.NoError(t, weights.Write(name, all, d, nil))
		f, err := weights.Open(name)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		views, err := f.Views()
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, most)
		require.Equal(t, []string{"a", "big"}, []string{views[0].Name, views[1].Name})
		require.Equal(t, []float32{1.5}, views[0].Value.Float32s())
		require.Equal(t, big.Shape(), views[1].Value.Shape())
		require.Equal(t, big.Float32s(), views[1].Value.Float32s())
		require.NoError(t, f.Close())
	}
}
