// Package weights moves tensors between models and safetensors files.
//
// # Models
//
// A model is a tree of structs. Its fields with a tag `weight:"NAME"` count, and no others:
//
//   - a *tensor.Dense is a parameter;
//   - a struct, a pointer to a struct, or a slice of either is a part of the model;
//   - a nil pointer or nil tensor is a part that the model does not have.
//
// A parameter's name is that of its parts and its own, joined with dots. A slice adds the index.
// The tag `weight:"."` adds nothing.
//
// The option `weight:"NAME,conv"` marks the weight of a convolution, which is [Cout,KH,KW,Cin] in
// memory and [Cout,Cin,KH,KW] in files. `weight:"NAME,scalar"` marks a tensor that is [1] in memory
// and has no dimensions in files.
//
// A map from names to any of these is a model, too. So is a list of kernels.Parameter, whose
// tensors are in files as they are in memory.
//
// # Files
//
// The format is safetensors (huggingface.co/docs/safetensors): one file, several with an index, or
// a variant named ".fp16.". Parameters are written in float32, bfloat16 or float16. These are read,
// and so are float64, int64, int32 and uint8, which are rounded to float32. Loading is strict: one
// error lists every tensor that is missing, unused, misshapen or not finite. Writing replaces a
// file whole or not at all.
package weights

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// A parameter is one of a model, with how files hold it.
type parameter struct {
	kernels.Parameter
	layout layout
}

// layout says how a parameter in memory relates to its tensor in a file.
type layout uint8

const (
	same   layout = iota
	conv          // [O,H,W,I] in memory, [O,I,H,W] in files
	scalar        // [1] in memory, [] in files
)

// Parameters lists a model's parameters in the order of its fields. It panics if a tag is on a
// field of a type that is none of those above: that is a mistake in the model's source.
func Parameters(model any) []kernels.Parameter {
	all := parameters(model)
	out := make([]kernels.Parameter, len(all))
	for i, p := range all {
		out[i] = p.Parameter
	}
	return out
}

func parameters(model any) []parameter {
	var out []parameter
	walk(reflect.ValueOf(model), "", "", func(name, option string, part any) {
		if t, ok := part.(*tensor.Dense); ok {
			p := kernels.Parameter{Name: name, Value: t}
			out = append(out, parameter{p, layoutOf(name, option)})
		}
	})
	return out
}

// Parts yields, with their names, those parts of a model that pointers point to: layers, and
// parameters too.
func Parts(model any) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		more := true
		walk(reflect.ValueOf(model), "", "", func(name, _ string, part any) {
			more = more && yield(name, part)
		})
	}
}

// walk calls visit for every part that a pointer points to, the outer before the inner. Nil
// pointers are passed over.
func walk(v reflect.Value, name, option string, visit func(name, option string, part any)) {
	if v.Kind() == reflect.Invalid {
		return
	}
	if v.Type() == reflect.TypeFor[[]kernels.Parameter]() {
		for _, p := range v.Interface().([]kernels.Parameter) {
			walk(reflect.ValueOf(p.Value), join(name, p.Name), "", visit)
		}
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), name, option, visit)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		visit(name, option, v.Interface())
		if _, leaf := v.Interface().(*tensor.Dense); !leaf {
			walk(v.Elem(), name, option, visit)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), join(name, strconv.Itoa(i)), option, visit)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int {
			return strings.Compare(a.String(), b.String())
		})
		for _, k := range keys {
			walk(v.MapIndex(k), join(name, k.String()), "", visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tag, ok := v.Type().Field(i).Tag.Lookup("weight")
			if !ok {
				continue
			}
			part, option, _ := strings.Cut(tag, ",")
			walk(v.Field(i), join(name, part), option, visit)
		}
	default:
		panic(fmt.Sprintf("weights: %s is a %s", name, v.Type()))
	}
}

func layoutOf(name, option string) layout {
	switch option {
	case "":
		return same
	case "conv":
		return conv
	case "scalar":
		return scalar
	}
	panic(fmt.Sprintf("weights: %s has the unknown option %q", name, option))
}

func join(prefix, name string) string {
	switch {
	case name == ".":
		return prefix
	case prefix == "":
		return name
	}
	return prefix + "." + name
}

// fileShape returns the parameter's shape in a file.
func (p parameter) fileShape() []int {
	s := p.Value.Shape()
	switch p.layout {
	case conv:
		return []int{s[0], s[3], s[1], s[2]}
	case scalar:
		return []int{}
	}
	return append([]int{}, s...)
}

// toFile writes the parameter's values to dst in the order of a file: those of a convolution as
// [O,I,H,W].
func (p parameter) toFile(dst []float32) {
	src := p.Value.Float32s()
	if p.layout != conv {
		copy(dst, src)
		return
	}
	s := p.Value.Shape()
	out, area, in := s[0], s[1]*s[2], s[3]
	for o := range out {
		for a := range area {
			for i := range in {
				dst[(o*in+i)*area+a] = src[(o*area+a)*in+i]
			}
		}
	}
}
