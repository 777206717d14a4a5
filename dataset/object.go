package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// A word is a string, or any other value as it is written, such as 1 or true.
type word string

// UnmarshalJSON satisfies json.Unmarshaler.
func (w *word) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(w))
	}
	*w = word(text)
	return nil
}

// decodeObject decodes a line that must hold one JSON object into the struct at to. A field that
// the struct does not have is an error, and so is one that is there twice.
func decodeObject(text []byte, to any) error {
	switch {
	case text[0] == '[':
		return errors.New("this is a JSON array: there must be one object a line, and no " +
			"brackets around them (jq -c '.[]' makes such lines of an array)")
	case text[0] != '{':
		return errors.New(`the line is no JSON object, such as {"prompt":"a dog","label":"good"}`)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return misread(err, to)
	}
	switch rest := bytes.TrimSpace(text[d.InputOffset():]); {
	case len(rest) == 1 && rest[0] == ',':
		return errors.New("the line ends with a comma: " +
			"there must be one object a line, with nothing between them")
	case len(rest) > 0:
		return errors.New("there is more than one JSON object on the line")
	}
	return once(text)
}

// misread says why an object could not be decoded into the struct at to.
func misread(err error, to any) error {
	var wrong *json.UnmarshalTypeError
	const unknown = "json: unknown field "
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the line ends inside a JSON value: there must be one object a line")
	case errors.As(err, &wrong):
		want := "a string"
		switch wrong.Type.Kind() {
		case reflect.Float64:
			want = "a number"
		case reflect.Int, reflect.Uint64:
			want = "a whole number that is not too large"
		case reflect.Struct:
			want = "an object"
		}
		return fmt.Errorf("%s is %s, not %s", wrong.Field, wrong.Value, want)
	case strings.HasPrefix(err.Error(), unknown):
		known := strings.Join(fields(reflect.TypeOf(to).Elem()), ", ")
		return fmt.Errorf("there is no field %s; there are %s",
			strings.TrimPrefix(err.Error(), unknown), known)
	}
	return fmt.Errorf("bad JSON: %w", err)
}

// fields are the names of the fields of a struct.
func fields(of reflect.Type) (names []string) {
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if t := f.Type; t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct {
			name += " (" + strings.Join(fields(t.Elem()), ", ") + ")"
		}
		names = append(names, name)
	}
	return names
}

// once reports a field of an object that is there twice. Like encoding/json, it takes upper and
// lower case for the same.
func once(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	var seen []string
	if _, err := d.Token(); err != nil { // the opening brace
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		same := func(other string) bool { return strings.EqualFold(other, name.(string)) }
		if slices.ContainsFunc(seen, same) {
			return fmt.Errorf("the field %q is there twice", name)
		}
		seen = append(seen, name.(string))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
	}
	return nil
}
