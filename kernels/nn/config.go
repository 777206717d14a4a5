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
	"unicode"
	"unicode/utf8"

	"github.com/kudos-ml/kudos/internal/weights"
)

// Ints is a list of numbers, one a level. Config files may also write one number, which is then the
// number of every level.
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

// MarshalJSON writes a list of one number as a number. Libraries take a list only if it has a
// number for every level.
func (n Ints) MarshalJSON() ([]byte, error) {
	if len(n) == 1 {
		return json.Marshal(n[0])
	}
	return json.Marshal([]int(n))
}

// At returns the number of level i, which is counted from 0. It panics if there are several numbers
// and none for i.
func (n Ints) At(i int) int {
	if len(n) == 1 {
		return n[0]
	}
	return n[i]
}

// DecodeConfig reads the text of a model's config.json into the struct that into points to. The
// struct holds the defaults before.
//
// Keys without a field are ignored, as the libraries ignore keys that they do not know. The keys of
// only are an exception: they change what the model computes. Such a key may have one of the values
// that only lists for it, or a list of those values, one a level. Any other value is an error that
// names the key.
//
// null is an error for a field whose default is not the zero value. A bool is an exception: for it
// null is false.
//
// One error lists all that is wrong.
func DecodeConfig(text []byte, into any, only map[string][]any) error {
	var all map[string]json.RawMessage
	if err := weights.ParseJSON(text, &all); err != nil {
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
			errs = append(errs, fmt.Errorf("%s: %s is not supported", key, shown(value)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// shown is a JSON value as a message may show it: not a long one, and nothing that terminals obey.
func shown(value json.RawMessage) string {
	text := string(value)
	odd := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) || r == utf8.RuneError }
	if len(text) < 100 && !strings.ContainsFunc(text, odd) {
		return text
	}
	return fmt.Sprintf("%.100q", text)
}

// listed reports whether a JSON value is one of values, or a list of such.
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

// keys maps JSON names to the fields of a struct, and to those of its embedded structs. A field of
// the struct itself goes before one of the same name in an embedded struct.
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
