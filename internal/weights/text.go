package weights

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// ParseJSON reads a config, which may begin with a byte order mark, as some editors write it. A
// text that is no JSON, because it is something else that goes by the file's name (a web page, a
// Git LFS pointer), is an error that says so.
func ParseJSON(text []byte, into any) error {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	err := json.Unmarshal(text, into)
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
		return fmt.Errorf("%s is a JSON %s, not what belongs there",
			cmp.Or(wrong.Field, "the whole"), wrong.Value)
	}
	if err == nil || json.Valid(text) {
		return err
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return err
	}
	return cmp.Or(sniff("", text), err)
}
