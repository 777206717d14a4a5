package dataset

import (
	"bytes"
	"cmp"
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

// A whole is a whole number, which may be written as 3.0, as pandas writes those of a column in
// which some are missing.
type whole int

// UnmarshalJSON satisfies json.Unmarshaler.
func (w *whole) UnmarshalJSON(text []byte) error {
	plain, zeros, _ := strings.Cut(string(text), ".")
	if strings.Trim(zeros, "0") != "" {
		plain = string(text)
	}
	return json.Unmarshal([]byte(plain), (*int)(w))
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
		return misread(text, err, to)
	}
	switch rest := bytes.TrimSpace(text[d.InputOffset():]); {
	case len(rest) == 1 && rest[0] == ',':
		return errors.New("the line ends with a comma: " +
			"there must be one object a line, with nothing between them")
	case len(rest) > 0:
		return errors.New("there is more than one JSON object on the line")
	}
	// Like encoding/json, this takes upper and lower case for the same.
	if name, found, err := twice(text, strings.EqualFold); err != nil || found {
		return cmp.Or(err, fmt.Errorf("the field %q is there twice", name))
	}
	return nil
}

// misread says why an object could not be decoded into the struct at to.
func misread(text []byte, err error, to any) error {
	var wrong *json.UnmarshalTypeError
	const unknown = "json: unknown field "
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the line ends inside a JSON value: there must be one object a line")
	case errors.As(err, &wrong):
		want := "a string"
		switch wrong.Type.Kind() {
		case reflect.Float64:
			if want = "a number"; strings.HasPrefix(wrong.Value, want[2:]) {
				return fmt.Errorf("%s is %s, which is too large", wrong.Field, wrong.Value)
			}
		case reflect.Int, reflect.Uint64:
			want = "a whole number that is not too large"
		case reflect.Struct:
			want = "an object"
		case reflect.Slice:
			want = "an array of strings"
		}
		return fmt.Errorf("%s is %s, not %s", wrong.Field, wrong.Value, want)
	case strings.HasPrefix(err.Error(), unknown):
		known := strings.Join(fields(reflect.TypeOf(to).Elem()), ", ")
		return fmt.Errorf("there is no field %s; there are %s",
			strings.TrimPrefix(err.Error(), unknown), known)
	}
	return badJSON(text, err)
}

// badJSON says why a text is no JSON.
func badJSON(text []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) { // its offset is behind what it speaks of
		for _, word := range []string{"NaN", "Infinity"} {
			if bytes.HasPrefix(text[max(0, syntax.Offset-1):], []byte(word)) {
				return fmt.Errorf("bad JSON, which has no %s: leave the field out", word)
			}
		}
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

// twice returns the name of a field that an object, or one in it, has twice, if there is one. same
// says which names are the same.
func twice(object []byte, same func(a, b string) bool) (name string, found bool, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil { // the opening brace
		return "", false, err
	}
	var seen []string
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return "", false, err
		}
		name, _ = token.(string)
		if slices.ContainsFunc(seen, func(other string) bool { return same(other, name) }) {
			return name, true, nil
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return "", false, err
		}
		if value[0] == '{' {
			if inner, found, err := twice(value, same); err != nil || found {
				return name + "." + inner, found, err
			}
		}
	}
	return "", false, nil
}
