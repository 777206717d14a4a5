package nn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Ints is a list of numbers that configs may also spell as one number, meaning that number for every level.
type Ints []int

// UnmarshalJSON reads a number or a list of numbers.
func (n *Ints) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte("[")) {
		return json.Unmarshal(text, (*[]int)(n))
	}
	var one int
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*n = Ints{one}
	return nil
}

// MarshalJSON writes one number as a number: libraries take a list only if it has one for every level.
func (n Ints) MarshalJSON() ([]byte, error) {
	if len(n) == 1 {
		return json.Marshal(n[0])
	}
	return json.Marshal([]int(n))
}

// At returns the number of level i.
func (n Ints) At(i int) int {
	if len(n) == 1 {
		return n[0]
	}
	return n[i]
}

// DecodeConfig reads a model's config.json into a struct that holds the defaults. Keys without a field are ignored, as the libraries
// ignore keys that they don't know, but for those of only: they would change what the model computes, unless they have one of the
// values that only lists (or a list of those, one a level), and are refused by name. So is null for a field that has a default,
// unless it is a bool: null is as good as false there.
func DecodeConfig(text []byte, into any, only map[string][]any) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	var errs []error
	given := keys(reflect.ValueOf(into).Elem())
	for key, value := range all {
		field, ok := given[key]
		switch {
		case ok && string(value) != "null":
			if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
			}
		case ok && field.Kind() == reflect.Bool:
			field.SetBool(false)
		case ok && !field.IsZero(), !ok && only[key] != nil && !listed(value, only[key]):
			errs = append(errs, fmt.Errorf("%s: %s is not supported", key, value))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// listed reports whether a JSON value, or each in it if it is a list, is one of some values.
func listed(text json.RawMessage, values []any) bool {
	var value any
	if json.Unmarshal(text, &value) != nil {
		return false
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	return !slices.ContainsFunc(list, func(v any) bool {
		return !slices.ContainsFunc(values, func(w any) bool { return reflect.DeepEqual(v, w) })
	})
}

// keys maps JSON names to a struct's fields, and to those of the structs embedded in it that it has none for itself.
func keys(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			maps.Copy(out, keys(v.Field(i)))
		}
	}
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name != "" {
			out[name] = v.Field(i)
		}
	}
	return out
}
