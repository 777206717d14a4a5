package weights_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// file returns a file: the length of the header, the header in braces, and the bytes behind it.
func file(entries string, data ...byte) []byte {
	return raw("{"+entries+"}", data...)
}

// raw is file with a header as it is given.
func raw(header string, data ...byte) []byte {
	content := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(content, header...), data...)
}

func open(t testing.TB, content []byte) (*weights.File, error) {
	name := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, os.WriteFile(name, content, 0o644))
	f, err := weights.Open(name)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

// entry returns a tensor's part of a header.
func entry(name, dtype, shape string, from, to int) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`,
		name, dtype, shape, from, to)
}

func TestHeadersThatAreRefused(t *testing.T) {
	length := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	four := make([]byte, 4)
	const huge = "[4611686018427387904,4611686018427387904]" // 2⁶² each: their product overflows
	for _, k := range []struct {
		content []byte
		want    string
	}{
		{nil, "it has 0 bytes"},
		{[]byte{1, 2, 3}, "it has 3 bytes"},
		{length(1), "its header says 1 bytes, the file has 0"},
		{length(math.MaxUint64), "its header says 18446744073709551615 bytes"},
		{raw(`{"a"`), "its header is broken"},
		{raw(`[]`), "its header is broken"},
		{raw(`{"a":7}`), "tensor a: "},
		{raw(`{"__metadata__":{"a":7}}`), "__metadata__ is broken"},
		{raw(`{"a":{"dtype":"F32"}}`), "tensor a: it has no shape"},
		{
			file(`"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}`, four...),
			"not two data_offsets",
		},
		{
			file(`"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e30]}`, four...),
			"tensor a: ",
		},
		{
			file(entry("a", "F31", "[1]", 0, 4), four...),
			`tensor a: dtype "F31" is not known`,
		},
		{
			file(entry("a", "F32", "[1]", 0, 8), four...),
			"[0 8] are not within the 4 bytes",
		},
		{
			file(entry("a", "F32", "[1]", -4, 0), four...),
			"[-4 0] are not within",
		},
		{
			file(entry("a", "F32", "[1]", 4, 0), four...),
			"[4 0] are not within",
		},
		{
			file(entry("a", "F16", "[1]", 0, 4), four...),
			"shape [1] of F16 takes 2 bytes, data_offsets [0 4] hold 4",
		},
		{
			file(entry("a", "F32", "[-1]", 0, 4), four...),
			"shape [-1] of F32 is more than the 4 bytes",
		},
		{
			file(entry("a", "F32", huge, 0, 4), four...),
			"is more than the 4 bytes",
		},
		{
			file(entry("a", "U8", "[3]", 0, 3)+","+entry("b", "U8", "[2]", 2, 4), four...),
			"tensors a and b overlap by 1 bytes",
		},
		{
			file(entry("a", "U8", "[1]", 0, 1)+","+entry("b", "U8", "[2]", 2, 4), four...),
			"1 bytes between a and b belong to no tensor",
		},
		{
			file(entry("a", "U8", "[1]", 1, 2), four...),
			"1 bytes between the header and a",
		},
		{
			file(entry("a", "U8", "[3]", 0, 3), four...),
			"1 bytes behind a belong to no tensor",
		},
	} {
		_, err := open(t, k.content)
		require.ErrorContains(t, err, k.want, "%q", k.content)
		require.ErrorContains(t, err, "m.safetensors")
	}
}

// Numbers of every type, by hand: 1.5, -2 and the smallest positive one.
func TestTypes(t *testing.T) {
	for dtype, k := range map[string]struct {
		data []byte
		want []float32
	}{
		"F32": {
			[]byte{0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 1, 0, 0, 0},
			[]float32{1.5, -2, math.SmallestNonzeroFloat32},
		},
		"F16": {
			[]byte{0, 0x3e, 0, 0xc0, 1, 0},
			[]float32{1.5, -2, 1. / (1 << 24)},
		},
		"BF16": {
			[]byte{0xc0, 0x3f, 0, 0xc0, 1, 0},
			[]float32{1.5, -2, math.Float32frombits(0x10000)},
		},
		"I64": {
			[]byte{
				7, 0, 0, 0, 0, 0, 0, 0,
				0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				1, 0, 0, 0, 0, 0, 0, 0,
			},
			[]float32{7, -2, 1},
		},
		"U8": {
			[]byte{1, 255, 0},
			[]float32{1, 255, 0},
		},
	} {
		f, err := open(t, file(entry("a", dtype, "[3]", 0, len(k.data)), k.data...))
		require.NoError(t, err)
		got, err := f.Floats("a")
		require.NoError(t, err)
		require.Equal(t, k.want, got, dtype)
	}
	entries := entry("none", "F32", "[2,0]", 0, 0) + "," + entry("scalar", "F32", "[]", 0, 4)
	f, err := open(t, file(entries, 0, 0, 0x80, 0x3f))
	require.NoError(t, err)
	one, err := f.Tensor("scalar")
	require.NoError(t, err)
	require.Equal(t, []float32{1}, one.Float32s())
	none, err := f.Floats("none")
	require.NoError(t, err)
	require.Empty(t, none)
	f, err = open(t, file(entry("a", "BOOL", "[1]", 0, 1), 1))
	require.NoError(t, err)
	_, err = f.Floats("a")
	require.ErrorContains(t, err, "tensor a is BOOL, which is not read")
}

func TestNumbersThatAreNotFinite(t *testing.T) {
	for _, k := range []struct {
		dtype string
		data  []byte
		want  string
	}{
		{"F32", []byte{0, 0, 0, 0, 0, 0, 0xc0, 0x7f}, "bias is NaN at element 1"},
		{"F16", []byte{0, 0x7c, 0, 0}, "bias is +Inf at element 0"},
		{"BF16", []byte{0, 0, 0x80, 0xff}, "bias is -Inf at element 1"},
		{
			"F64",
			[]byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0x7f},
			"bias is +Inf at element 1",
		},
	} {
		f, err := open(t, file(entry("bias", k.dtype, "[2]", 0, len(k.data)), k.data...))
		require.NoError(t, err)
		err = weights.Load(&layer{Bias: dense(0, 2)}, f, weights.Names{})
		require.ErrorContains(t, err, k.want)
	}
	// In a convolution, whose filters are reordered, and far into a tensor.
	conv := make([]byte, 4*12)
	binary.LittleEndian.PutUint32(conv[4*7:], 0x7fc00000)
	f, err := open(t, file(entry("weight", "F32", "[2,3,1,2]", 0, len(conv)), conv...))
	require.NoError(t, err)
	err = weights.Load(&layer{Weight: dense(0, 2, 1, 2, 3)}, f, weights.Names{})
	require.ErrorContains(t, err, "weight is NaN at element 7")
	long := make([]byte, 2*100_000)
	long[2*99_999+1] = 0x7e
	f, err = open(t, file(entry("bias", "F16", "[100000]", 0, len(long)), long...))
	require.NoError(t, err)
	err = weights.Load(&layer{Bias: dense(0, 100_000)}, f, weights.Names{})
	require.ErrorContains(t, err, "bias is NaN at element 99999")
}

func TestPart(t *testing.T) {
	entries := entry("qkv", "U8", "[3,2]", 0, 6) + "," + entry("b", "U8", "[1]", 6, 7)
	f, err := open(t, file(entries, 1, 2, 3, 4, 5, 6, 7))
	require.NoError(t, err)
	part, err := f.Part(map[string][]string{"qkv": {"q", "k", "v"}, "b": {"bias"}})
	require.NoError(t, err)
	require.Equal(t, []string{"bias", "k", "q", "v"}, part.Names())
	for name, want := range map[string][]float32{
		"q": {1, 2}, "k": {3, 4}, "v": {5, 6}, "bias": {7},
	} {
		got, err := part.Floats(name)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	shape, _ := part.Shape("k")
	require.Equal(t, []int{1, 2}, shape)

	_, err = f.Part(map[string][]string{"qkv": {"q", "k"}})
	require.ErrorContains(t, err, "qkv of shape [3 2] is not 2 in one")
	_, err = f.Part(map[string][]string{"x": {"x"}, "a": {"a"}})
	require.ErrorContains(t, err, "a is missing\n\tx is missing")
	_, err = f.Part(map[string][]string{"qkv": {"q"}, "b": {"q"}})
	require.ErrorContains(t, err, "b and qkv are the same tensor, q")
}

func TestShardsThatAreMissing(t *testing.T) {
	dir := t.TempDir()
	put := func(index string) error {
		name := filepath.Join(dir, "a.safetensors.index.json")
		require.NoError(t, os.WriteFile(name, []byte(index), 0o644))
		_, err := weights.OpenFolder(os.DirFS(dir), "a")
		return err
	}
	for _, name := range []string{"a-1.safetensors", "a-2.safetensors"} {
		name = filepath.Join(dir, name)
		require.NoError(t, weights.Save(name, newModel(0), kernels.Float32, nil))
	}
	err := put(`{"weight_map": {
		"x": "a-1.safetensors", "y": "a-3.safetensors", "z": "a-4.safetensors"
	}}`)
	require.ErrorContains(t, err, "a.safetensors.index.json lists files that are missing: ")
	require.ErrorContains(t, err, "\n\ta-3.safetensors\n\ta-4.safetensors")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, put(`{"weight_map": {}}`), "lists no shards")
	require.ErrorContains(t, put(`{`), "a.safetensors.index.json")
	require.ErrorContains(t, put(`{"weight_map": {"x": "a-1.bin"}}`), "pickle")
	for _, escape := range []string{
		`../a-1.safetensors`, `/etc/passwd`, `b/a-1.safetensors`, `..`, `C:a`, `..\\a`,
	} {
		err := put(`{"weight_map": {"x": "` + escape + `"}}`)
		require.ErrorContains(t, err, "is not in the index's folder")
	}
	err = put(`{"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}`)
	require.ErrorContains(t, err, "is in two shards")
}

// Whatever a file says, it is refused or its tensors lie within it.
func FuzzHeader(f *testing.F) {
	f.Add(file(entry("a", "F32", "[1]", 0, 4), 1, 2, 3, 4))
	f.Add(file(entry("a", "BF16", "[2,1]", 0, 4)+`,"__metadata__":{"format":"pt"}`, 1, 2, 3, 4))
	empty := entry("b", "U8", "[0,9]", 8, 8)
	f.Add(file(entry("a", "F64", "[]", 0, 8)+","+empty, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 127, '{', '}'})
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := weights.OpenFolder(fstest.MapFS{"m.safetensors": {Data: content}}, "m")
		if err != nil {
			return
		}
		defer file.Close()
		total := 0
		for _, name := range file.Names() {
			shape, _ := file.Shape(name)
			size := 1
			for _, n := range shape {
				size *= n
			}
			values, err := file.Floats(name)
			if err == nil && len(values) != size {
				t.Fatalf("%s of shape %v has %d values", name, shape, len(values))
			}
			total += size
		}
		if total != file.Size() || total > len(content) {
			t.Fatalf("%d numbers in %d bytes, Size is %d", total, len(content), file.Size())
		}
	})
}
