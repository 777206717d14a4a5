package report

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
)

// TooLarge is an error that says that something does not fit the memory which it was given.
// *finetune.FitError is one.
type TooLarge interface {
	error
	// Needs is how many bytes would do, and why there must be so many, in a few words.
	Needs() (bytes int64, why string)
}

// FitsWith fits something as a program's flags have it: fit does that, and its error is returned.
// If that is TooLarge, the error says with which flags it would fit instead, or how large limit, a
// flag of the program, must be: "It would fit with -ema 0, with -batch 2, or with -memory 3.10GiB".
//
// A way to save memory is settings of flags, as they are typed, of which one is tried after another
// until it fits: {"-batch 2", "-batch 1"}. The error names all ways that are enough alone. If none
// is, it names all of them together. If these are not enough either, it names the limit that would
// be, with them. What a flag has already is no setting. In the end the flags are as they were
// before.
func FitsWith(f *flag.FlagSet, limit string, fit func() error, ways ...[]string) error {
	err := fit()
	bytes, why, tooLarge := needs(err)
	if !tooLarge {
		return err
	}
	var enough []string
	var all settings
	for _, way := range ways {
		for _, text := range way {
			s := parse(f, text)
			if len(s) == 0 {
				continue
			}
			all = all.with(s)
			err := s.try(f, fit)
			if err == nil {
				enough = append(enough, s.String())
				break
			}
			if _, _, tooLarge := needs(err); !tooLarge {
				return err
			}
		}
	}
	with := fmt.Sprintf("-%s %v", limit, Size(bytes))
	if len(enough) == 0 && len(all) > 0 {
		together := all.try(f, fit)
		bytes, _, tooLarge := needs(together)
		switch {
		case tooLarge:
			with += fmt.Sprintf(", or with -%s %v and %v", limit, Size(bytes), all)
		case together != nil:
			return together
		default:
			enough = []string{all.String()}
		}
	}
	if len(enough) > 0 {
		with = strings.Join(enough, ", with ") + ", or with " + with
	}
	return &fitsWith{err, fmt.Sprintf("%s; -%s is %v. It would fit with %s",
		why, limit, f.Lookup(limit).Value, with)}
}

// needs is what a TooLarge error says.
func needs(err error) (bytes int64, why string, tooLarge bool) {
	var e TooLarge
	if !errors.As(err, &e) {
		return 0, "", false
	}
	bytes, why = e.Needs()
	return bytes, why, true
}

// A fitsWith is a TooLarge error in the words of a program's flags.
type fitsWith struct {
	err  error
	text string
}

func (e *fitsWith) Error() string { return e.text }
func (e *fitsWith) Unwrap() error { return e.err }

// Halves is a way to save memory for FitsWith: the numbers of flags, which are integers, halved and
// halved again, rounded up, until none is above 1.
func Halves(f *flag.FlagSet, flags ...string) (way []string) {
	numbers := make([]int, len(flags))
	for i, name := range flags {
		numbers[i] = int(number(f.Lookup(name).Value.(flag.Getter).Get()))
	}
	for slices.Max(numbers) > 1 {
		var s settings
		for i, name := range flags {
			numbers[i] = (numbers[i] + 1) / 2
			s = append(s, setting{name, fmt.Sprint(numbers[i])})
		}
		way = append(way, s.String())
	}
	return way
}

// settings are values for flags.
type settings []setting

type setting struct{ name, value string }

// parse reads settings as they are typed, without those that the flags have already.
func parse(f *flag.FlagSet, text string) (s settings) {
	words := strings.Fields(text)
	for i := 0; i+1 < len(words); i += 2 {
		name, value := strings.TrimPrefix(words[i], "-"), words[i+1]
		if f.Lookup(name).Value.String() != value {
			s = append(s, setting{name, value})
		}
	}
	return s
}

// String has them as they are typed.
func (s settings) String() string {
	var words []string
	for _, one := range s {
		words = append(words, "-"+one.name+" "+one.value)
	}
	return strings.Join(words, " ")
}

// with has others' values before its own.
func (s settings) with(others settings) settings {
	for _, o := range others {
		i := slices.IndexFunc(s, func(one setting) bool { return one.name == o.name })
		if i < 0 {
			s = append(s, o)
		} else {
			s[i] = o
		}
	}
	return s
}

// try fits with the settings.
func (s settings) try(f *flag.FlagSet, fit func() error) (err error) {
	for _, one := range s {
		was := f.Lookup(one.name).Value.String()
		if err := f.Set(one.name, one.value); err != nil {
			return fmt.Errorf("report: -%s %s: %w", one.name, one.value, err)
		}
		defer func() {
			if failure := f.Set(one.name, was); failure != nil {
				err = failure
			}
		}()
	}
	return fit()
}
