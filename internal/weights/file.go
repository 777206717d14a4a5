package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"gorgonia.org/tensor"
)

// A File is an open safetensors file, several that are one (a checkpoint in shards), or a Part of one.
type File struct {
	Name     string            // for messages
	Metadata map[string]string // of the first file

	tensors map[string]stored
	maps    []*mapping
}

// A mapping is a file's bytes.
type mapping struct {
	data   []byte
	mapped bool // from the file, not read
}

// Open opens one file. Its tensors are read when they are asked for; on Unix the file is mapped, not read, and the pages of a
// tensor are given back when it has been read.
func Open(name string) (*File, error) {
	if err := checkPickle(name); err != nil {
		return nil, err
	}
	f := &File{Name: name, tensors: map[string]stored{}}
	if err := f.add(name, func() (*mapping, error) { return mapFile(name) }); err != nil {
		return nil, err
	}
	return f, nil
}

// pickles are the endings of files that PyTorch writes.
var pickles = []string{".bin", ".ckpt", ".pt", ".pth"}

// checkPickle refuses a file whose name says that PyTorch wrote it.
func checkPickle(name string) error {
	if slices.Contains(pickles, strings.ToLower(path.Ext(name))) {
		return fmt.Errorf("weights: %s is a pickle file, which can run any code; convert it to safetensors", name)
	}
	return nil
}

// OpenFolder opens the weights named base in a model's folder: base.safetensors, the shards that
// base.safetensors.index.json lists, or the half precision variant base.fp16.safetensors or its shards, whichever is there
// first.
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
	for _, old := range []string{base, "pytorch_model"} {
		for _, ending := range pickles {
			for _, variant := range []string{"", ".fp16"} {
				if name := old + variant + ending; exists(fsys, name) {
					return nil, checkPickle(name)
				}
			}
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
	var shards, missing []string
	for _, shard := range slices.Compact(slices.Sorted(maps.Values(index.WeightMap))) {
		if !fs.ValidPath(shard) || strings.ContainsAny(shard, `/\:`) {
			return nil, fmt.Errorf("weights: %s: shard %q is not in the index's folder", name, shard)
		}
		if err := checkPickle(shard); err != nil {
			return nil, err
		}
		full := path.Join(path.Dir(name), shard)
		if !exists(fsys, full) {
			missing = append(missing, shard)
		}
		shards = append(shards, full)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("weights: %s lists %s: %w", name, strings.Join(missing, ", "), fs.ErrNotExist)
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("weights: %s lists no shards", name)
	}
	return shards, nil
}

func openAll(fsys fs.FS, name string, files []string) (*File, error) {
	f := &File{Name: name, tensors: map[string]stored{}}
	for _, file := range files {
		if err := f.add(file, func() (*mapping, error) { return mapFS(fsys, file) }); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// mapFS maps a file of a folder on disk, and reads one of another file system.
func mapFS(fsys fs.FS, name string) (*mapping, error) {
	h, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if file, ok := h.(*os.File); ok {
		return mapFile(file.Name())
	}
	data, err := fs.ReadFile(fsys, name)
	return &mapping{data: data}, err
}

func (f *File) add(name string, open func() (*mapping, error)) error {
	m, err := open()
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	f.maps = append(f.maps, m)
	tensors, metadata, err := parse(m)
	if err != nil {
		return fmt.Errorf("weights: %s is not a whole safetensors file: %w", name, err)
	}
	if len(f.maps) == 1 {
		f.Metadata = metadata
	}
	for t, s := range tensors {
		if _, twice := f.tensors[t]; twice {
			return fmt.Errorf("weights: %s: tensor %s is in two shards", name, t)
		}
		f.tensors[t] = s
	}
	return nil
}

// Part is the tensors of f that names has, under other names: one name renames a tensor, several are those of its equal
// parts along the first axis. It lives as long as f.
func (f *File) Part(names map[string][]string) (*File, error) {
	part := &File{Name: f.Name, Metadata: f.Metadata, tensors: make(map[string]stored, len(names))}
	var missing []string
	for from, to := range names {
		s, ok := f.tensors[from]
		if !ok {
			missing = append(missing, from+" is missing")
			continue
		}
		if n := len(to); n > 1 && (len(s.shape) == 0 || s.shape[0]%n != 0) {
			return nil, fmt.Errorf("weights: %s: tensor %s of shape %v is not %d in one", f.Name, from, s.shape, n)
		}
		bytes := (s.to - s.from) / len(to)
		for i, name := range to {
			if other, twice := part.tensors[name]; twice {
				return nil, fmt.Errorf("weights: %s: %s and %s are the same tensor, %s", f.Name, min(from, other.origin), max(from, other.origin), name)
			}
			p := s
			if len(to) > 1 {
				p.shape = append([]int{s.shape[0] / len(to)}, s.shape[1:]...)
			}
			p.from, p.to = s.from+i*bytes, s.from+(i+1)*bytes
			part.tensors[name] = p
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("weights: %s does not fit:\n\t%s", f.Name, strings.Join(missing, "\n\t"))
	}
	return part, nil
}

// Close releases the file. Tensors that were read stay.
func (f *File) Close() error {
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.close())
	}
	f.maps = nil
	return errors.Join(errs...)
}

// Names lists the tensors in alphabetical order.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Size is the number of elements of all tensors.
func (f *File) Size() int {
	n := 0
	for _, s := range f.tensors {
		n += s.size()
	}
	return n
}

// Shape returns a tensor's shape, and false if the file has no such tensor.
func (f *File) Shape(name string) (shape []int, ok bool) {
	s, ok := f.tensors[name]
	return slices.Clone(s.shape), ok
}

// Floats returns a tensor's values: float32, float16, bfloat16, or float64 and whole numbers rounded to float32.
func (f *File) Floats(name string) ([]float32, error) {
	s, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("weights: %s has no tensor %s", f.Name, name)
	}
	out := make([]float32, s.size())
	if err := s.floats(out); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", f.Name, err)
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
