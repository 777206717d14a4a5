package clip

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// A Cache is an Encoder that keeps the features of pictures in a file, so that each picture is
// encoded once. Pictures are told apart by their pixels, not by the files they come from. A Cache
// is for one goroutine at a time.
type Cache struct {
	*Encoder
	file     string
	features map[string][]float32 // by the key of the picture
	changed  bool                 // since the file was read or written
}

// Keys of the file's metadata.
const (
	cacheKey = "made by" // its value is maker's
	sumKey   = "sha256"  // of the features and their names
)

// maker names what features depend on besides the picture: the weights, how pictures are prepared
// for them, and the arithmetic, unless it is the usual one.
func (e *Encoder) maker() string {
	name := fmt.Sprint("pictures on white ", e.Hash(), *e.Preprocessor)
	machine := e.Machine
	machine.Winograd = false // it has no convolutions of stride 1
	if a := machine.Arithmetic(); a != kernels.Float32.String() {
		name += " " + a
	}
	return name
}

// OpenCache reads the features that are in a safetensors file, [Projection] each. There need be no
// such file, and one whose features are not as they were written counts as empty: Save replaces it.
// A file that is no cache is an error: nothing is replaced that somebody may need. So the features
// of another CLIP, or by another Preprocessor or in another precision, stay too, and e's are in a
// file beside them: features-1a2b3c4d.safetensors beside features.safetensors.
func OpenCache(e *Encoder, file string) (*Cache, error) {
	if e == nil {
		return nil, errors.New("clip: there is no Encoder to keep features of: it is nil")
	}
	c := &Cache{Encoder: e, file: file, features: map[string][]float32{}}
	mine, err := c.read()
	if err == nil && !mine {
		ending := filepath.Ext(file)
		sum := sha256.Sum256([]byte(e.maker()))
		c.file = fmt.Sprintf("%s-%x%s", strings.TrimSuffix(file, ending), sum[:4], ending)
		if mine, err = c.read(); err == nil && !mine {
			err = fmt.Errorf("clip: %s and %s hold the features of other CLIPs: name another "+
				"file, or remove them", file, c.file)
		}
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// read reads the cache's file, if it is there. mine is false if it is of another CLIP.
func (c *Cache) read() (mine bool, err error) {
	f, err := weights.Open(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("clip: %w", err)
	}
	defer f.Close()
	switch maker, ok := f.Metadata[cacheKey]; {
	case !ok:
		return false, fmt.Errorf("clip: %s is no cache of features, and is not replaced by one: "+
			"name another file", c.file)
	case maker != c.maker():
		return false, nil
	}
	all, err := f.Views()
	if err != nil {
		return false, fmt.Errorf("clip: %w", err)
	}
	if f.Metadata[sumKey] != weights.Hash(all) {
		return true, nil
	}
	for _, name := range f.Names() {
		if c.features[name], err = f.Floats(name); err != nil {
			return false, fmt.Errorf("clip: %w", err)
		}
		if n := len(c.features[name]); n != c.Model.Config.Projection {
			return false, fmt.Errorf("clip: %s: tensor %s holds %d features, not %d",
				c.file, name, n, c.Model.Config.Projection)
		}
	}
	return true, nil
}

// ImageFeatures is Encoder.ImageFeatures. It encodes only the pictures that are not in the cache.
// After an error the cache has the features of some pictures that came before.
func (c *Cache) ImageFeatures(
	ctx context.Context, pictures []image.Image,
) (*tensor.Dense, error) {
	if len(pictures) == 0 {
		return nil, errors.New("clip: nothing to encode")
	}
	keys, seen := make([]string, len(pictures)), map[string]bool{}
	var missing []int
	for i, p := range pictures {
		if p == nil {
			return nil, &PictureError{Index: i, Err: errors.New("there is no picture")}
		}
		keys[i] = key(p)
		if _, ok := c.features[keys[i]]; !ok && !seen[keys[i]] {
			missing, seen[keys[i]] = append(missing, i), true
		}
	}
	const part = 64 // at most so many pictures are encoded in vain if there is an error
	for from := 0; from < len(missing); from += part {
		which := missing[from:min(from+part, len(missing))]
		some := make([]image.Image, len(which))
		for row, i := range which {
			some[row] = pictures[i]
		}
		rows, err := c.Encoder.ImageFeatures(ctx, some)
		if err != nil {
			return nil, asGiven(err, which)
		}
		width := rows.Shape()[1]
		for row, i := range which {
			c.features[keys[i]], c.changed = slices.Clone(rows.Float32s()[row*width:][:width]), true
		}
	}
	width := c.Model.Config.Projection
	out := tensor.New(tensor.WithShape(len(pictures), width), tensor.Of(tensor.Float32))
	for i, k := range keys {
		copy(out.Float32s()[i*width:], c.features[k])
	}
	return out, nil
}

// asGiven returns an error of some of the pictures as an error of all of them. which are the
// indices of those.
func asGiven(err error, which []int) error {
	var one *PictureError
	if errors.As(err, &one) {
		return &PictureError{Index: which[one.Index], Err: one.Err}
	}
	return err
}

// Save writes the file if there are features that it lacks, and makes its folder if that is not
// there. After an error the file is as it was.
func (c *Cache) Save() error {
	if !c.changed {
		return nil
	}
	var features []kernels.Parameter
	for _, k := range slices.Sorted(maps.Keys(c.features)) {
		f := c.features[k]
		value := tensor.New(tensor.WithShape(len(f)), tensor.WithBacking(f))
		features = append(features, kernels.Parameter{Name: k, Value: value})
	}
	metadata := map[string]string{cacheKey: c.maker(), sumKey: weights.Hash(features)}
	if err := os.MkdirAll(filepath.Dir(c.file), 0o777); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := weights.Save(c.file, features, kernels.Float32, metadata); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	c.changed = false
	return nil
}

// key returns a hash of a picture's size and pixels, as the encoder sees them.
func key(p image.Image) string {
	rgb, h := picture.FromImage(p), sha256.New()
	fmt.Fprintln(h, rgb.W, rgb.H)
	h.Write(rgb.Pix)
	return hex.EncodeToString(h.Sum(nil))
}
