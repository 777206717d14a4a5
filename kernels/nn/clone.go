package nn

import (
	"fmt"
	"reflect"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// Clone returns a model that has parameters of its own with the values of model. So one of the two
// can be tuned beside the other. A tensor or part that is in two places of the model is one in the
// copy, too. Fields without a weight tag are copied as an assignment copies them. It is an error if
// a layer has a low-rank adapter, because the copy would lack it.
func Clone[T any](model T) (T, error) {
	if err := Unadapted(model); err != nil {
		var none T
		return none, err
	}
	if err := kernels.Pull(tensors(model)...); err != nil {
		var none T
		return none, fmt.Errorf("nn: %w", err)
	}
	c := cloner{}
	return c.clone(reflect.ValueOf(&model).Elem()).Interface().(T), nil
}

// A cloner maps pointers to the copies of what they point to.
type cloner map[any]reflect.Value

// clone returns a copy of v.
func (c cloner) clone(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type()).Elem()
		out.Set(c.clone(v.Elem()))
		return out
	case reflect.Pointer:
		return c.pointer(v)
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(c.clone(v.Index(i)))
		}
		return out
	case reflect.Array:
		out := reflect.New(v.Type()).Elem()
		for i := range v.Len() {
			out.Index(i).Set(c.clone(v.Index(i)))
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for _, k := range v.MapKeys() {
			out.SetMapIndex(k, c.clone(v.MapIndex(k)))
		}
		return out
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if _, ok := v.Type().Field(i).Tag.Lookup("weight"); ok {
				out.Field(i).Set(c.clone(v.Field(i)))
			}
		}
		return out
	}
	return v
}

// pointer returns a pointer to a copy of what v points to. It makes one copy for all pointers to
// the same.
func (c cloner) pointer(v reflect.Value) reflect.Value {
	if v.IsNil() {
		return v
	}
	if out, ok := c[v.Interface()]; ok {
		return out
	}
	var out reflect.Value
	if t, ok := v.Interface().(*tensor.Dense); ok {
		out = reflect.ValueOf(t.Clone().(*tensor.Dense))
	} else {
		out = reflect.New(v.Type().Elem())
		out.Elem().Set(c.clone(v.Elem()))
	}
	if l, ok := out.Interface().(interface{ detachAll() }); ok {
		l.detachAll()
	}
	c[v.Interface()] = out
	return out
}
