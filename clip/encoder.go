package clip

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/hub"
	"github.com/kudos-ml/kudos/kernels"
)

// An Encoder makes features of prompts and pictures. Several goroutines may use it at once: they
// take turns. It reads the model's weights anew at every call.
type Encoder struct {
	Model        *Model
	Tokenizer    *tokenizer.Tokenizer
	Preprocessor *Preprocessor

	// Batch is how many prompts or pictures are encoded at once, at most. 0 means 16, which is
	// enough to keep two cores busy.
	Batch int

	// Machine is how everything is computed: in which precision, on which device. What is wanted of
	// a machine is set. It is read when a batch size is first met.
	Machine kernels.Config

	mutex  sync.Mutex
	texts  map[int]*textGraph
	images map[int]*imageGraph
}

// Load reads the folder of a CLIPModel, with its tokenizer and its preprocessor, as transformers
// writes it. Instead of a folder, name may be a repository of the Hugging Face hub, ORG/NAME, whose
// main branch is in this machine's cache. The folder of another kind of model is a *KindError. What
// is wrong with the tokenizer is a *tokenizer.FileError. An error wraps io/fs.ErrNotExist if a file
// is missing.
func Load(name string) (*Encoder, error) {
	dir, _, err := hub.Find(name)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	e, err := LoadFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return e, nil
}

// LoadFS is Load of the folder that is fsys.
func LoadFS(fsys fs.FS) (*Encoder, error) {
	m, err := LoadModelFS(fsys)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.LoadFS(fsys)
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	p, err := loadPreprocessor(fsys, m.Config.Vision.Side)
	if err != nil {
		return nil, err
	}
	t.Length = min(t.Length, m.Config.Text.Positions)
	return &Encoder{Model: m, Tokenizer: t, Preprocessor: p}, nil
}

// Save writes a folder that Load and transformers read, with weights in the precision given. If the
// folder has the processor_config.json of another CLIP, which would be read instead of what Save
// writes, Save removes it.
func (e *Encoder) Save(dir string, as kernels.Precision) error {
	if err := e.Model.Save(dir, as); err != nil {
		return err
	}
	if err := file.Remove(filepath.Join(dir, processorFile)); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	if err := writeJSON(filepath.Join(dir, preprocessorFile), e.Preprocessor.config()); err != nil {
		return err
	}
	if err := e.Tokenizer.Save(dir); err != nil {
		return fmt.Errorf("clip: %w", err)
	}
	return nil
}

// Hash names the encoder's model by its weights; see Model.Hash.
func (e *Encoder) Hash() string { return e.Model.Hash() }

// Close frees the memory of what encoding has compiled. The encoder can still be used: it compiles
// anew.
func (e *Encoder) Close() error {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	var errs []error
	for _, g := range e.texts {
		errs = append(errs, g.machine.Close())
	}
	for _, g := range e.images {
		errs = append(errs, g.machine.Close())
	}
	e.texts, e.images = nil, nil
	return errors.Join(errs...)
}

// A textGraph encodes a fixed number of texts.
type textGraph struct {
	in *Texts
	run
}

// An imageGraph encodes a fixed number of pictures.
type imageGraph struct {
	in *tensor.Dense // [N,Side,Side,3]
	run
}

// A run is a compiled graph and its result.
type run struct {
	machine *kernels.Machine
	out     *gorgonia.Node
}

func (e *Encoder) compile(g *gorgonia.ExprGraph, out *gorgonia.Node) (run, error) {
	machine := e.Machine
	machine.Want = gorgonia.Nodes{out}
	m, err := kernels.NewMachine(g, machine)
	return run{m, out}, err
}

// values runs the graph and returns the first n rows of its result. They are the machine's memory.
func (r run) values(n int) ([]float32, error) {
	if err := r.machine.RunAll(); err != nil {
		return nil, err
	}
	v := r.machine.Value(r.out)
	return v.Float32s()[:n*v.Shape()[1]], nil
}

// TextFeatures returns the features of prompts, [N,Projection]. Each row has the length 1 and does
// not depend on the other prompts. A prompt that is too long loses its last tokens. No prompts are
// an error. A tokenizer that does not belong to the model is a *VocabularyError.
func (e *Encoder) TextFeatures(ctx context.Context, prompts []string) (*tensor.Dense, error) {
	return e.encode(ctx, len(prompts), func(from, n, size int) ([]float32, error) {
		g, err := e.textGraph(size)
		if err != nil {
			return nil, err
		}
		for row := range size { // the rows beyond n repeat the last one
			prompt := prompts[from+min(row, n-1)]
			err := e.Model.Text.Set(g.in, row, e.Tokenizer.Encode(prompt))
			if err != nil {
				return nil, fmt.Errorf("%w (prompt %q)", err, prompt)
			}
		}
		return g.values(n)
	})
}

// ImageFeatures returns the features of pictures, [N,Projection]. Each row has the length 1 and
// does not depend on the other pictures. No pictures are an error. A picture that cannot be encoded
// is a *PictureError.
func (e *Encoder) ImageFeatures(
	ctx context.Context, pictures []image.Image,
) (*tensor.Dense, error) {
	return e.encode(ctx, len(pictures), func(from, n, size int) ([]float32, error) {
		g, err := e.imageGraph(size)
		if err != nil {
			return nil, err
		}
		pixels := g.in.Float32s()
		one := len(pixels) / size
		for row := range n {
			dst, index := pixels[row*one:(row+1)*one], from+row
			if pictures[index] == nil {
				return nil, &PictureError{Index: index, Err: errors.New("there is no picture")}
			}
			if err := e.Preprocessor.Pixels(dst, pictures[index]); err != nil {
				return nil, &PictureError{Index: index, Err: err}
			}
		}
		for row := n; row < size; row++ {
			copy(pixels[row*one:(row+1)*one], pixels[:one])
		}
		return g.values(n)
	})
}

// encode encodes count inputs in batches. It calls part for each: to encode n inputs from one index
// on in the graph for size inputs, n or more, and to return their rows.
func (e *Encoder) encode(
	ctx context.Context, count int, part func(from, n, size int) ([]float32, error),
) (*tensor.Dense, error) {
	if count == 0 {
		return nil, errors.New("clip: nothing to encode")
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	most := e.Batch
	if most < 1 {
		most = 16
	}
	out := tensor.New(tensor.WithShape(count, e.Model.Config.Projection), tensor.Of(tensor.Float32))
	for from := 0; from < count; {
		if err := context.Cause(ctx); err != nil {
			return nil, fmt.Errorf("clip: %d of %d encoded: %w", from, count, err)
		}
		n := min(most, count-from)
		size := min(most, 1<<bits.Len(uint(n-1))) // a power of two, so that there are few graphs
		rows, err := part(from, n, size)
		if err != nil {
			return nil, err
		}
		copy(out.Float32s()[from*e.Model.Config.Projection:], rows)
		from += n
	}
	return out, nil
}

func (e *Encoder) textGraph(size int) (*textGraph, error) {
	if g, ok := e.texts[size]; ok {
		return g, nil
	}
	in, g := NewTexts(size, e.Tokenizer.Length), gorgonia.NewGraph()
	ids, pool := kernels.Input(g, "ids", in.IDs), kernels.Input(g, "pool", in.Pool)
	out, err := e.Model.TextFeatures(ids, pool)
	if err != nil {
		return nil, err
	}
	r, err := e.compile(g, out)
	if err != nil {
		return nil, err
	}
	if e.texts == nil {
		e.texts = map[int]*textGraph{}
	}
	e.texts[size] = &textGraph{in, r}
	return e.texts[size], nil
}

func (e *Encoder) imageGraph(size int) (*imageGraph, error) {
	if g, ok := e.images[size]; ok {
		return g, nil
	}
	side, g := e.Model.Config.Vision.Side, gorgonia.NewGraph()
	in := tensor.New(tensor.WithShape(size, side, side, 3), tensor.Of(tensor.Float32))
	out, err := e.Model.ImageFeatures(kernels.Input(g, "pixels", in))
	if err != nil {
		return nil, err
	}
	r, err := e.compile(g, out)
	if err != nil {
		return nil, err
	}
	if e.images == nil {
		e.images = map[int]*imageGraph{}
	}
	e.images[size] = &imageGraph{in, r}
	return e.images[size], nil
}
