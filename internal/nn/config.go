package nn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// DecodeConfig reads a model's config.json into a struct that holds the defaults. Keys without a field are refused by
// name, unless their value is null or false (or a list of that), or what only says is the one that is implemented, or they
// begin with "_", or are listed as harmless: they don't change what the model computes. Null is refused where it is not the
// default: for a key in only, and for one whose field has a default.
func DecodeConfig(text []byte, into any, only map[string]any, harmless ...string) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	var errs []error
	given := keys(reflect.ValueOf(into).Elem())
	for key, value := range all {
		if string(value) != "null" {
			continue
		}
		delete(all, key)
		if field, ok := given[key]; only[key] != nil || ok && !field.IsZero() {
			errs = append(errs, fmt.Errorf("%s: null is not supported", key))
		}
	}
	known, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(known, into); err != nil {
		return err
	}
	for key, value := range all {
		_, field := given[key]
		if field || strings.HasPrefix(key, "_") && only[key] == nil || slices.Contains(harmless, key) {
			continue
		}
		var got any
		if err := json.Unmarshal(value, &got); err != nil {
			return err
		}
		if want, ok := only[key]; isFalse(got) || ok && fmt.Sprint(got) == fmt.Sprint(want) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %s is not supported", key, value))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// isFalse reports false, and a list of it: one a level.
func isFalse(value any) bool {
	list, ok := value.([]any)
	return value == false || ok && !slices.ContainsFunc(list, func(v any) bool { return v != false })
}

// keys maps JSON names to a struct's fields.
func keys(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		out[name] = v.Field(i)
	}
	return out
}
