package report

import (
	"flag"
	"fmt"
	"reflect"
	"strings"
)

// Required reports flags of a parsed set that must be given and are not: "-model, -samples and -out
// are required". An empty text counts as none.
func Required(f *flag.FlagSet, flags ...string) error {
	missing := false
	for _, name := range flags {
		missing = missing || isZero(f, name)
	}
	if !missing {
		return nil
	}
	last := len(flags) - 1
	if last == 0 {
		return fmt.Errorf("-%s is required", flags[0])
	}
	return fmt.Errorf("-%s and -%s are required", strings.Join(flags[:last], ", -"), flags[last])
}

// Needs reports a flag of a parsed set that has an effect only with another one, where it is there
// without: "-kohya needs -lora-rank". A flag whose value is the zero of its type counts as none, so
// the error of a number says that too: "-beta 1 needs -pretrain, and -beta 0 does not".
func Needs(f *flag.FlagSet, name, other string) error {
	if isZero(f, name) || !isZero(f, other) {
		return nil
	}
	value := f.Lookup(name).Value.(flag.Getter)
	switch value.Get().(type) {
	case bool:
		return fmt.Errorf("-%s needs -%s", name, other)
	case string:
		return fmt.Errorf("-%s %v needs -%s", name, value, other)
	}
	return fmt.Errorf("-%s %v needs -%s, and -%s 0 does not", name, value, other, name)
}

// isZero says whether a flag has the zero value of its type.
func isZero(f *flag.FlagSet, name string) bool {
	return reflect.ValueOf(f.Lookup(name).Value.(flag.Getter).Get()).IsZero()
}
