package finetune

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// A State is all that a Trainer needs to go on where another process stopped.
type State struct {
	Step    int                 // how many steps are done
	Values  map[string]float64  // numbers, which are kept exactly; all of them finite
	Tensors []kernels.Parameter // of unique names; they may share the trainer's memory
}

// A Resumable is a Trainer that one process can stop and another take up. What it does after
// Restore is bit for bit what the other would have done.
type Resumable interface {
	Trainer
	// State is how things stand after the last step that Steps has yielded, or before the first.
	State(ctx context.Context) (State, error)
	// Restore takes over what State returned in a Trainer that is made in the same way. It copies
	// what it keeps: the tensors are a file's memory, cannot be written to and are gone when it
	// returns.
	Restore(ctx context.Context, s State) error
}

// As returns the first that is a T of t, the Trainer that it wraps, and so on inward. It returns
// false if none is. A Trainer that wraps another has a method Unwrap() Trainer.
func As[T any](t Trainer) (T, bool) {
	for t != nil {
		if found, ok := t.(T); ok {
			return found, true
		}
		wrapper, ok := t.(interface{ Unwrap() Trainer })
		if !ok {
			break
		}
		t = wrapper.Unwrap()
	}
	var none T
	return none, false
}

// The folder of checkpoints in a run's, and the files of a checkpoint.
const (
	checkpointsFolder = "checkpoints"
	checkpointName    = "step-%06d"
	stateFile         = "state.json"
	tensorsFile       = "state.safetensors"
	manifestFile      = "manifest.json"
)

// A stateJSON is state.json.
type stateJSON struct {
	Step   int                `json:"step"`
	Values map[string]float64 `json:"values,omitempty"`
}

// A manifest says what is in a checkpoint. It is written last.
type manifest struct {
	Step  int              `json:"step"`
	Files map[string]entry `json:"files"`
}

type entry struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// bytes is about what the state's checkpoint takes on disk, rather more than less.
func (s State) bytes() int64 {
	n := int64(4096 + 64*len(s.Values))
	for _, p := range s.Tensors {
		n += 4*int64(p.Value.Size()) + int64(len(p.Name)) + 128
	}
	return n
}

// write writes a checkpoint: a folder that is there whole or not at all.
func (s State) write(dir string) error {
	for _, name := range names(s.Values) {
		if v := s.Values[name]; math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("value %s is %v", name, v)
		}
	}
	return file.WriteFolder(dir, func(temp string) error {
		m := manifest{Step: s.Step, Files: map[string]entry{}}
		write := func(name string, give func(io.Writer) error) error {
			sum := sha256.New()
			var n counted
			err := file.Write(filepath.Join(temp, name), func(w io.Writer) error {
				return give(io.MultiWriter(w, sum, &n))
			})
			m.Files[name] = entry{int64(n), hex.EncodeToString(sum.Sum(nil))}
			return err
		}
		err := write(tensorsFile, func(w io.Writer) error {
			return weights.Encode(w, s.Tensors, kernels.Float32, nil)
		})
		if err != nil {
			return err
		}
		err = write(stateFile, func(w io.Writer) error {
			return json.NewEncoder(w).Encode(stateJSON{s.Step, s.Values})
		})
		if err != nil {
			return err
		}
		return file.WriteJSON(filepath.Join(temp, manifestFile), m)
	})
}

// counted counts what is written to it.
type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

// verify says in what a checkpoint is not as it was written.
func verify(ctx context.Context, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	if name := fmt.Sprintf(checkpointName, m.Step); name != filepath.Base(dir) {
		return fmt.Errorf("%s is of %s", manifestFile, name)
	}
	for _, name := range []string{stateFile, tensorsFile} {
		got, err := sum(ctx, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if got != m.Files[name] {
			return fmt.Errorf("%s is not what was written", name)
		}
	}
	return nil
}

// sum is what a manifest says of a file.
func sum(ctx context.Context, name string) (entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return entry{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, reader(func(p []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return f.Read(p)
	}))
	return entry{n, hex.EncodeToString(h.Sum(nil))}, err
}

type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// restore reads a checkpoint that is verified into a Trainer.
func restore(ctx context.Context, dir string, r Resumable) (err error) {
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return err
	}
	var j stateJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return fmt.Errorf("%s: %w", stateFile, err)
	}
	f, err := weights.Open(filepath.Join(dir, tensorsFile))
	if err != nil {
		return err
	}
	defer func() {
		if failure := f.Close(); failure != nil {
			err = errors.Join(err, failure)
		}
	}()
	views, err := f.Views()
	if err != nil {
		return err
	}
	s := State{Step: j.Step, Values: j.Values}
	for _, v := range views {
		s.Tensors = append(s.Tensors, kernels.Parameter{Name: v.Name, Value: v.Value})
	}
	return r.Restore(ctx, s)
}

// checkpoints lists the steps of the checkpoints in a run folder, the latest first, whole or not.
func checkpoints(folder string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(folder, checkpointsFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var steps []int
	for _, e := range entries {
		number, _ := strings.CutPrefix(e.Name(), "step-")
		step, err := strconv.Atoi(number)
		if err == nil && e.Name() == fmt.Sprintf(checkpointName, step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, err
}

// checkpoint is the folder of one.
func checkpoint(folder string, step int) string {
	return filepath.Join(folder, checkpointsFolder, fmt.Sprintf(checkpointName, step))
}
