package weights

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"
	"gorgonia.org/tensor"
)

// A File is an open safetensors file, or several that are one: a checkpoint in shards.
type File struct {
	Name     string            // for messages
	Metadata map[string]string // of the first file

	shards []safetensors.SafeTensors
	where  map[string]int // tensor to shard
	close  []func() error
}

// Open opens one file. Its tensors are read when they are asked for; on systems that can, the file is mapped, not read.
func Open(name string) (*File, error) {
	f := &File{Name: name, where: map[string]int{}}
	if err := f.add(name, func() ([]byte, func() error, error) { return mapFile(name) }); err != nil {
		return nil, err
	}
	return f, nil
}

// OpenFolder opens the weights named base in a model's folder: base.safetensors, the shards that
// base.safetensors.index.json lists, or the half precision variant base.fp16.safetensors, whichever is there first.
func OpenFolder(fsys fs.FS, base string) (*File, error) {
	for _, variant := range []string{"", ".fp16"} {
		name := base + variant + ".safetensors"
		if exists(fsys, name) {
			return openAll(fsys, name, []string{name})
		}
		index := base + ".safetensors.index" + variant + ".json"
		if exists(fsys, index) {
			shards, err := readIndex(fsys, index)
			if err != nil {
				return nil, err
			}
			return openAll(fsys, index, shards)
		}
	}
	for _, pickle := range []string{base + ".bin", base + ".ckpt", base + ".pt"} {
		if exists(fsys, pickle) {
			return nil, fmt.Errorf("weights: %s is a pickle file, which can run any code; convert it to safetensors", pickle)
		}
	}
	return nil, fmt.Errorf("weights: %s.safetensors: %w", base, fs.ErrNotExist)
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// readIndex lists the shards of an index file. They must lie beside it.
func readIndex(fsys fs.FS, name string) ([]string, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", name, err)
	}
	var shards []string
	for _, shard := range index.WeightMap {
		if path.Base(shard) != shard || strings.Contains(shard, `\`) {
			return nil, fmt.Errorf("weights: %s: shard %q is not in the index's folder", name, shard)
		}
		if full := path.Join(path.Dir(name), shard); !slices.Contains(shards, full) {
			shards = append(shards, full)
		}
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("weights: %s lists no shards", name)
	}
	slices.Sort(shards)
	return shards, nil
}

func openAll(fsys fs.FS, name string, files []string) (*File, error) {
	f := &File{Name: name, where: map[string]int{}}
	for _, file := range files {
		if err := f.add(file, func() ([]byte, func() error, error) { return mapFS(fsys, file) }); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// mapFS maps a file of a folder on disk, and reads one of another file system.
func mapFS(fsys fs.FS, name string) ([]byte, func() error, error) {
	h, err := fsys.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	if file, ok := h.(*os.File); ok {
		return mapFile(file.Name())
	}
	data, err := fs.ReadFile(fsys, name)
	return data, func() error { return nil }, err
}

func (f *File) add(name string, open func() ([]byte, func() error, error)) error {
	data, closer, err := open()
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	shard, err := parse(data)
	if err != nil {
		closer()
		return fmt.Errorf("weights: %s is not a whole safetensors file: %w", name, err)
	}
	if f.Metadata == nil {
		if _, m, err := safetensors.ReadMetadata(data); err == nil {
			f.Metadata = m.Metadata()
		}
	}
	f.close = append(f.close, closer)
	f.shards = append(f.shards, shard)
	for _, t := range shard.Names() {
		if _, twice := f.where[t]; twice {
			return fmt.Errorf("weights: %s: tensor %s is in two shards", name, t)
		}
		f.where[t] = len(f.shards) - 1
	}
	return nil
}

// parse is safetensors.Deserialize for headers that nobody vouches for.
func parse(data []byte) (s safetensors.SafeTensors, err error) {
	if len(data) >= 8 {
		if n := binary.LittleEndian.Uint64(data); n > uint64(len(data)-8) {
			return s, fmt.Errorf("its header says %d bytes, the file has %d", n, len(data)-8)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its header is broken: %v", p)
		}
	}()
	return safetensors.Deserialize(data)
}

// Close releases the file. Tensors that were read stay.
func (f *File) Close() error {
	var errs []error
	for _, c := range f.close {
		errs = append(errs, c())
	}
	f.close = nil
	return errors.Join(errs...)
}

// Names lists the tensors in alphabetical order.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.where))
	for name := range f.where {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Shape returns a tensor's shape, and false if the file has no such tensor.
func (f *File) Shape(name string) (shape []int, ok bool) {
	v, ok := f.view(name)
	if !ok {
		return nil, false
	}
	shape = make([]int, len(v.Shape()))
	for i, d := range v.Shape() {
		shape[i] = int(d)
	}
	return shape, true
}

func (f *File) view(name string) (safetensors.TensorView, bool) {
	shard, ok := f.where[name]
	if !ok {
		return safetensors.TensorView{}, false
	}
	return f.shards[shard].Tensor(name)
}

// Floats returns a tensor's values: float32, float16, bfloat16, or float64 and whole numbers rounded to float32.
func (f *File) Floats(name string) ([]float32, error) {
	v, ok := f.view(name)
	if !ok {
		return nil, fmt.Errorf("weights: %s has no tensor %s", f.Name, name)
	}
	out := make([]float32, v.DataLen()/v.DType().Size())
	b, le := v.Data(), binary.LittleEndian
	for i := range out {
		switch v.DType() {
		case safetensors.F32:
			out[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		case safetensors.F16:
			out[i] = float16.Frombits(le.Uint16(b[2*i:])).Float32()
		case safetensors.BF16:
			out[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
		case safetensors.F64:
			out[i] = float32(math.Float64frombits(le.Uint64(b[8*i:])))
		case safetensors.I64:
			out[i] = float32(int64(le.Uint64(b[8*i:])))
		case safetensors.I32:
			out[i] = float32(int32(le.Uint32(b[4*i:])))
		case safetensors.U8:
			out[i] = float32(b[i])
		default:
			return nil, fmt.Errorf("weights: %s: tensor %s is %s, which is not read", f.Name, name, v.DType())
		}
	}
	return out, nil
}

// Tensor returns a tensor as Floats does, in its shape in the file; one without dimensions is [1].
func (f *File) Tensor(name string) (*tensor.Dense, error) {
	data, err := f.Floats(name)
	if err != nil {
		return nil, err
	}
	shape, _ := f.Shape(name)
	if len(shape) == 0 {
		shape = []int{1}
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)), nil
}
