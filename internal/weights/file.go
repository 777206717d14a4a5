package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/text"
)

// A File is an open safetensors file, several files that are one (a checkpoint in shards), or a
// Part of one.
type File struct {
	Name     string            // the path, or the file's name in its folder
	Metadata map[string]string // of the first file

	tensors map[string]stored
	maps    []*mapping
	part    bool // of what kind it is says the whole
}

// A mapping is the bytes of a file.
type mapping struct {
	data   []byte
	mapped bool // the bytes are the file's, mapped into memory; otherwise a copy
}

// Open opens a file, or all files of a checkpoint in shards, of which name is the index or one of
// them. Tensors are read when they are asked for. On Unix the file is mapped into memory, and the
// memory of a tensor's pages is given back when the tensor has been read. Elsewhere Open reads the
// whole file.
func Open(name string) (*File, error) {
	dir, base := filepath.Split(name)
	fsys := os.DirFS(filepath.Clean(dir + "."))
	if strings.HasSuffix(strings.ToLower(base), ".index.json") {
		shards, err := readIndex(fsys, base)
		if err != nil {
			return nil, err
		}
		return openAll(fsys, name, shards)
	}
	if shards, err := siblings(fsys, base); err != nil {
		return nil, err
	} else if len(shards) > 1 {
		return openAll(fsys, name, shards)
	}
	// Such programs give a file its length at once, and fill it from several places.
	if exists(fsys, base+".aria2") {
		return nil, fmt.Errorf("weights: the download of %s has not finished: %s.aria2 lies "+
			"beside it", name, base)
	}
	f := &File{Name: name, tensors: map[string]stored{}}
	if err := f.add(name, func() (*mapping, error) { return mapFile(name) }); err != nil {
		return nil, err
	}
	return f, nil
}

// shardName is what transformers and diffusers call one of several files: NAME-00001-of-00003.
var shardName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})(\.safetensors)$`)

// siblings are all the shards of which name is one; nil if it is none.
func siblings(fsys fs.FS, name string) (all []string, err error) {
	m := shardName.FindStringSubmatch(name)
	if m == nil || !exists(fsys, name) {
		return nil, nil
	}
	n, err := strconv.Atoi(m[3])
	if err != nil {
		return nil, nil
	}
	var missing []string
	for i := range n {
		shard := fmt.Sprintf("%s-%05d-of-%s%s", m[1], i+1, m[3], m[4])
		if all = append(all, shard); !exists(fsys, shard) {
			missing = append(missing, shard)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("weights: %s is one of %d shards; these are missing: %w%s",
			name, n, fs.ErrNotExist, FewNames(missing))
	}
	return all, nil
}

// pickles are the endings of files that PyTorch writes.
var pickles = []string{".bin", ".ckpt", ".pt", ".pth"}

func isPickleName(name string) bool {
	return slices.Contains(pickles, strings.ToLower(path.Ext(name)))
}

// checkPickle refuses a file whose name says that PyTorch wrote it.
func checkPickle(name string) error {
	if isPickleName(name) {
		return fmt.Errorf("weights: %s is a pickle file, which can run any code; "+
			"convert it to safetensors", name)
	}
	return nil
}

// OpenFolder opens the weights named base in a model's folder. It looks for, in this order,
// base.safetensors, the shards that base.safetensors.index.json lists, and the same of the variant
// in half precision, fp16: base.fp16.safetensors, and base.safetensors.index.fp16.json or
// base.fp16.safetensors.index.json. Another variant (bf16, non_ema) is taken where it is the only
// one.
func OpenFolder(fsys fs.FS, base string) (*File, error) {
	for _, variant := range append([]string{"", ".fp16"}, variants(fsys, base)...) {
		name := base + variant + ".safetensors"
		if exists(fsys, name) {
			return openAll(fsys, name, []string{name})
		}
		for _, index := range []string{
			base + ".safetensors.index" + variant + ".json", name + ".index.json",
		} {
			if !exists(fsys, index) {
				continue
			}
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
	for name, why := range map[string]string{
		"model.onnx":                   "an ONNX file, a graph for running alone",
		"flax_model.msgpack":           "a file of Flax",
		base + ".msgpack":              "a file of Flax",
		"openvino_model.xml":           "a file of OpenVINO",
		"tf_model.h5":                  "a file of TensorFlow",
		base + ".gguf":                 "a GGUF file, whose numbers are quantized",
		"diffusion_flax_model.msgpack": "a file of Flax",
	} {
		if exists(fsys, name) {
			return nil, fmt.Errorf("weights: %s.safetensors: %w: there is %s, %s, which is not "+
				"read", base, fs.ErrNotExist, name, why)
		}
	}
	return nil, fmt.Errorf("weights: %s.safetensors: %w", base, fs.ErrNotExist)
}

// variants is the one variant of a folder's weights, if there is one and no other.
func variants(fsys fs.FS, base string) []string {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil
	}
	quoted := regexp.QuoteMeta(base)
	named := regexp.MustCompile(`^` + quoted + `(?:(\.\w+)\.safetensors(?:\.index\.json)?|` +
		`\.safetensors\.index(\.\w+)\.json)$`)
	all := map[string]bool{}
	for _, e := range entries {
		if m := named.FindStringSubmatch(e.Name()); m != nil {
			all[m[1]+m[2]] = true
		}
	}
	if len(all) != 1 {
		return nil
	}
	return slices.Collect(maps.Keys(all))
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// readIndex returns the shards that an index file lists. They must lie in its folder.
func readIndex(fsys fs.FS, name string) ([]string, error) {
	data, err := text.ReadFS(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := ParseJSON(data, &index); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", name, err)
	}
	var shards, missing []string
	for _, shard := range slices.Compact(slices.Sorted(maps.Values(index.WeightMap))) {
		if !fs.ValidPath(shard) || strings.ContainsAny(shard, `/\:`) {
			return nil, fmt.Errorf("weights: %s: shard %q is not in the index's folder",
				name, shard)
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
		return nil, fmt.Errorf("weights: %s lists files that are missing: %w%s",
			name, fs.ErrNotExist, FewNames(missing))
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

// mapFS maps a file if it is in a folder on disk, and reads it if the file system is another one.
func mapFS(fsys fs.FS, name string) (*mapping, error) {
	// To open a pipe would wait for somebody who writes to it.
	if info, err := fs.Stat(fsys, name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
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
		if known := sniff(name, m.data); known != nil {
			err = known
		}
		return fmt.Errorf("weights: %s is not a whole safetensors file: %w", name, err)
	}
	if len(f.maps) == 1 {
		f.Metadata = metadata
	}
	for t, s := range tensors {
		if _, twice := f.tensors[t]; twice {
			return fmt.Errorf("weights: %s: tensor %s is in two shards", name, Printable(t))
		}
		f.tensors[t] = s
	}
	return nil
}

// Part returns those tensors of f that names has, under the names that it has for them. One name
// renames a tensor. Several split it along the first axis into as many equal parts. The part can be
// used until f is closed.
func (f *File) Part(names map[string][]string) (*File, error) {
	part := &File{Name: f.Name, Metadata: f.Metadata, part: true}
	part.tensors = make(map[string]stored, len(names))
	var missing []string
	for from, to := range names {
		s, ok := f.tensors[from]
		if !ok {
			missing = append(missing, Printable(from)+" is missing")
			continue
		}
		if n := len(to); n > 1 && (len(s.shape) == 0 || s.shape[0]%n != 0) {
			return nil, fmt.Errorf("weights: %s: tensor %s of shape %v is not %d in one",
				f.Name, Printable(from), s.shape, n)
		}
		bytes := (s.to - s.from) / len(to)
		for i, name := range to {
			if other, twice := part.tensors[name]; twice {
				return nil, fmt.Errorf("weights: %s: %s and %s are the same tensor, %s",
					f.Name, Printable(min(from, other.origin)),
					Printable(max(from, other.origin)), Printable(name))
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
		return nil, f.misfit(missing, "")
	}
	return part, nil
}

// Close releases the file. Tensors that were read stay, those of Views excepted.
func (f *File) Close() error {
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.close())
	}
	f.maps = nil
	return errors.Join(errs...)
}

// Names returns the names of the tensors in alphabetical order.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Size returns the number of elements of all tensors together.
func (f *File) Size() int {
	n := 0
	for _, s := range f.tensors {
		n += s.size()
	}
	return n
}

// Shape returns a tensor's shape in the file. ok is false if the file has no such tensor.
func (f *File) Shape(name string) (shape []int, ok bool) {
	s, ok := f.tensors[name]
	return slices.Clone(s.shape), ok
}

// Floats returns a tensor's values as float32, in the file's order. float16 and bfloat16 are exact;
// float64 and whole numbers are rounded.
func (f *File) Floats(name string) ([]float32, error) {
	s, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("weights: %s has no tensor %s", f.Name, Printable(name))
	}
	out := make([]float32, s.size())
	if err := s.floats(out); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", f.Name, err)
	}
	return out, nil
}

// Tensor returns a tensor's values as Floats does, in the shape that the file has. A tensor without
// dimensions is [1].
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
