package weights

import (
	"fmt"
	"slices"
	"strings"
)

// Names say how the names of a file differ from those of a model. The zero value is no difference.
type Names struct {
	// Rename returns the model's name of a tensor in the file. Nil leaves all names as they are.
	Rename func(name string) string
	// Ignore reports whether the file may have a tensor that is no weight of the model. The name is
	// the file's. Nil ignores none.
	Ignore func(name string) bool
	// Kind is what the file should be, as File.Kind says it. An error says what it seems to be, if
	// that is something else. Empty is anything.
	Kind string
}

// wrappers are what programs leave in names: torch.compile, FSDP, DeepSpeed and Lightning.
var wrappers = strings.NewReplacer(
	"_orig_mod.", "", "_fsdp_wrapped_module.", "", "_forward_module.", "",
	"_checkpoint_wrapped_module.", "",
)

// Unwrapped is a tensor's name without what programs have put around it that hold a model to
// compile or to distribute it (_orig_mod., module.).
func Unwrapped(name string) string {
	name = wrappers.Replace(name)
	for strings.HasPrefix(name, "module.") {
		name = strings.TrimPrefix(name, "module.")
	}
	return name
}

// Load copies a file's tensors into a model. One error says what the file seems to be, names some
// and counts all of the tensors of the model that the file lacks, those of the file that the model
// lacks, and those that have another shape or a value that is not finite. After an error the values
// of the model are undefined.
func Load(model any, f *File, n Names) error { return read(model, f, n, stored.into) }

// Check is Load without the values: it looks at names and shapes alone, and leaves the model as it
// is.
func Check(model any, f *File, n Names) error {
	return read(model, f, n, func(stored, parameter) error { return nil })
}

// read finds the tensor of each parameter and calls into with the two.
func read(model any, f *File, n Names, into func(stored, parameter) error) error {
	in := map[string]string{} // the model's name to the file's
	var problems []string
	for _, name := range f.Names() {
		if n.Ignore != nil && n.Ignore(name) {
			continue
		}
		to := name
		if n.Rename != nil {
			to = n.Rename(name)
		}
		if first, twice := in[to]; twice {
			problems = append(problems, fmt.Sprintf("%s and %s are the same tensor, %s",
				Printable(first), Printable(name), Printable(to)))
		}
		in[to] = name
	}
	for _, p := range parameters(model) {
		name, ok := in[p.Name]
		delete(in, p.Name)
		if !ok {
			problems = append(problems, p.Name+" is missing")
			continue
		}
		s, want := f.tensors[name], p.fileShape()
		if !slices.Equal(squeeze(s.shape), squeeze(want)) {
			problems = append(problems, fmt.Sprintf("%s is %v, not %v",
				Printable(s.origin), s.shape, want))
		} else if err := into(s, p); err != nil {
			problems = append(problems, err.Error())
		}
	}
	for _, name := range in {
		problems = append(problems,
			Printable(f.tensors[name].origin)+" is not a tensor of this model")
	}
	if len(problems) == 0 {
		return nil
	}
	return f.misfit(problems, n.Kind)
}

// misfit is the error of a file that is not what it was taken for, which is a kind: a sentence, and
// a few of the problems.
func (f *File) misfit(problems []string, want string) error {
	seems := ""
	if kind := f.Kind(); kind != want && kind != "" && !f.part {
		seems = ": it seems to be " + kind
	}
	return fmt.Errorf("weights: %s does not fit%s%s", f.Name, seems, Few(problems))
}

// squeeze drops trailing ones of a shape. A checkpoint may spell a linear layer as a 1×1
// convolution: the numbers are the same.
func squeeze(shape []int) []int {
	for len(shape) > 0 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}
