package weights_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
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
		Layers: []*layer{
			{dense(start, 2, 1, 2, 3), dense(start+20, 2)},
			{Bias: dense(start+30, 1)},
		},
		Inner: layer{Bias: dense(start+40, 3)},
		Scale: dense(start+50, 1),
	}
}

func TestNamesFollowFields(t *testing.T) {
	var names []string
	for _, p := range weights.Parameters(newModel(0)) {
		names = append(names, p.Name)
	}
	want := []string{
		"layers.0.weight", "layers.0.bias", "layers.1.bias", "bias", "logit_scale",
	}
	require.Equal(t, want, names)
}

// A list of parameters and a map are models, too.
func TestNamesOfListsAndMaps(t *testing.T) {
	a, b := dense(0, 2), dense(5, 3)
	m := map[string]any{
		"y": []kernels.Parameter{{Name: "b", Value: b}, {Name: "a", Value: a}},
		"x": &layer{Bias: b}, "nothing": nil,
	}
	want := []kernels.Parameter{
		{Name: "x.bias", Value: b},
		{Name: "y.b", Value: b},
		{Name: "y.a", Value: a},
	}
	require.Equal(t, want, weights.Parameters(m))

	twice := []kernels.Parameter{{Name: "a", Value: a}, {Name: "a", Value: b}}
	err := weights.Save(filepath.Join(t.TempDir(), "m.safetensors"), twice, kernels.Float32, nil)
	require.ErrorContains(t, err, "two tensors are named a")
}

func TestRoundTrip(t *testing.T) {
	for _, d := range []kernels.Precision{kernels.Float32, kernels.BFloat16, kernels.Float16} {
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
	require.NoError(t, weights.Save(name, other, kernels.Float32, nil))
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
	require.NoError(t, weights.Save(name, newModel(0), kernels.Float32, nil))
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	for _, n := range []int{0, 4, 8, 20, len(whole) - 1} {
		require.NoError(t, os.WriteFile(name, whole[:n], 0o644))
		_, err := weights.Open(name)
		require.ErrorContains(t, err, name, "%d bytes", n)
	}
	endless := append(bytes.Repeat([]byte{0xff}, 8), whole[8:]...)
	require.NoError(t, os.WriteFile(name, endless, 0o644))
	_, err = weights.Open(name)
	require.ErrorContains(t, err, "its header says")
}

func TestValuesThatAreNotFinite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "m.safetensors")
	m := newModel(0)
	m.Layers[0].Bias.Float32s()[1] = 1e6
	require.ErrorContains(t, weights.Save(name, m, kernels.Float16, nil),
		"layers.0.bias is 1e+06 at element 1, which float16 does not hold")
	require.NoFileExists(t, name)
	m.Layers[0].Bias.Float32s()[1] = -math.MaxFloat32
	require.ErrorContains(t, weights.Save(name, m, kernels.BFloat16, nil),
		"layers.0.bias is -3.4028235e+38 at element 1, which bfloat16 does not hold")
	err := weights.Save(name, m, kernels.Precision(9), nil)
	require.ErrorContains(t, err, "Precision(9) is not written")
	require.NoFileExists(t, name)
	require.NoError(t, weights.Save(name, m, 0, nil), "the zero value is float32, which holds it")
}

// bfloat16 has the 8 upper bits of float32's 24 of precision. Values between two of them go to the
// nearer, values in the middle to the even one.
func TestBFloat16Bits(t *testing.T) {
	for _, c := range []struct {
		bits uint32 // of the float32
		want uint16
	}{
		{0x00000000, 0x0000}, {0x80000000, 0x8000}, // ±0
		{0x3f800000, 0x3f80}, {0xbf800000, 0xbf80}, // ±1
		{0x40490fdb, 0x4049}, // π is 3.140625
		{0x3f807fff, 0x3f80}, // just below the middle of 1 and the next
		{0x3f808000, 0x3f80}, // the middle: 1 is even
		{0x3f808001, 0x3f81}, // just above it
		{0x3f818000, 0x3f82}, // the next middle: up is even
		{0xbf818000, 0xbf82},
		{0x3fffffff, 0x4000}, // carries into the exponent: 1.9999999 is 2
		{0x00000001, 0x0000}, // the least subnormal
		{0x00008001, 0x0001}, // just above half of bfloat16's least
		{0x7f7f7fff, 0x7f7f}, // the last that rounds to the largest
	} {
		name := filepath.Join(t.TempDir(), "m.safetensors")
		value := dense(0, 1)
		value.Float32s()[0] = math.Float32frombits(c.bits)
		model := []kernels.Parameter{{Name: "x", Value: value}}
		require.NoError(t, weights.Save(name, model, kernels.BFloat16, nil))
		file, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Contains(t, string(file), `"dtype":"BF16"`)
		got := binary.LittleEndian.Uint16(file[len(file)-2:])
		require.Equal(t, c.want, got, "%08x is %04x", c.bits, got)
		f, err := weights.Open(name)
		require.NoError(t, err)
		read, err := f.Floats("x")
		require.NoError(t, err)
		require.Equal(t, uint32(c.want)<<16, math.Float32bits(read[0]))
		require.NoError(t, f.Close())
	}
}

func TestShardsAndVariants(t *testing.T) {
	dir := t.TempDir()
	full := newModel(3)
	first, rest := &model{Layers: full.Layers[:1]}, *full
	rest.Layers = []*layer{nil, full.Layers[1]}
	save := func(name string, model any, as kernels.Precision) {
		require.NoError(t, weights.Save(filepath.Join(dir, name), model, as, nil))
	}
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	save("a-1.safetensors", first, kernels.Float32)
	save("a-2.safetensors", rest, kernels.Float32)
	write("a.safetensors.index.json", `{"weight_map": {
		"layers.0.weight": "a-1.safetensors", "logit_scale": "a-2.safetensors"
	}}`)
	f, err := weights.OpenFolder(os.DirFS(dir), "a")
	require.NoError(t, err)
	m := newModel(0)
	require.NoError(t, weights.Load(m, f, weights.Names{}))
	require.Equal(t, weights.Hash(newModel(3)), weights.Hash(m))
	require.NoError(t, f.Close())

	write("a.safetensors.index.json", `{"weight_map": {"x": "../a-1.safetensors"}}`)
	_, err = weights.OpenFolder(os.DirFS(dir), "a")
	require.ErrorContains(t, err, "not in the index's folder")

	save("b.fp16.safetensors", newModel(3), kernels.Float16)
	f, err = weights.OpenFolder(os.DirFS(dir), "b")
	require.NoError(t, err)
	require.NoError(t, f.Close())

	write("c.bin", "")
	_, err = weights.OpenFolder(os.DirFS(dir), "c")
	require.ErrorContains(t, err, "pickle")
}

// Views are the file's memory; what is not float32 is read.
func TestViews(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.safetensors")
	big := tensor.New(tensor.WithShape(1<<20, 2), tensor.WithBacking(make([]float32, 2<<20)))
	big.Float32s()[7] = 7
	one := tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{1.5}))
	for d, most := range map[kernels.Precision]uint64{
		kernels.Float32: 1 << 20,
		kernels.Float16: 1 << 30,
	} {
		all := []kernels.Parameter{{Name: "big", Value: big}, {Name: "a", Value: one}}
		require.NoError(t, weights.Save(name, all, d, nil))
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
