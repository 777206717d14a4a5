package report

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/internal/hub"
)

// resumeFlag is the flag of every program that says to go on with the run that is there.
const resumeFlag = "resume"

// Config is what the flags of a program determine of its run, for config.json: the program's name
// as "program", and each flag's value by its name, but for -resume, and -out, which is where the
// run is. A flag whose Value is no flag.Getter has its String.
func Config(f *flag.FlagSet) map[string]any {
	config := map[string]any{"program": f.Name()}
	f.VisitAll(func(f *flag.Flag) {
		if f.Name == resumeFlag || f.Name == "out" {
			return
		}
		config[f.Name] = f.Value.String()
		if v, ok := f.Value.(flag.Getter); ok {
			config[f.Name] = v.Get()
		}
	})
	return config
}

// Resume is the command that resumes the run that a program with these arguments has begun.
func Resume(program string, args []string) string {
	if !slices.Contains(args, "-"+resumeFlag) {
		args = append(slices.Clone(args), "-"+resumeFlag)
	}
	return Command(program, args...)
}

// Begin is the command that begins the run that a program with these arguments may have resumed: it
// is without -resume.
func Begin(program string, args []string) string {
	resumes := func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return name == "-"+resumeFlag || name == "--"+resumeFlag
	}
	return Command(program, slices.DeleteFunc(slices.Clone(args), resumes)...)
}

// Settled is the command of a run with these settings, which are Config's, in the order of their
// names. It has all of them, whether they were given or not, but those that are empty, and what was
// added to the flags: lists and maps.
func Settled(program string, config map[string]any) string {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(config)) {
		switch v := config[name].(type) {
		case string, bool, int, int64, uint64, float64:
			if name != "program" && v != "" {
				args = append(args, fmt.Sprintf("-%s=%v", name, v))
			}
		}
	}
	return Command(program, args...)
}

// A Limit is what the values of some flags must be.
type Limit struct {
	flags       []string
	least, most float64
	times       int  // of what they must be multiples; 0: any number is right
	above       bool // least itself is out
	below       bool // most itself is out
}

// Count is as many as float32 counts to one by one, 2²⁴. A checkpoint has its step as one.
const Count = 1 << 24

// AtLeast is the limit of flags that must be numbers of least or more, and at most Count.
func AtLeast(least float64, flags ...string) Limit {
	return Limit{flags: flags, least: least, most: Count}
}

// Above is the limit of flags that must be numbers of more than least, and at most most.
func Above(least, most float64, flags ...string) Limit {
	return Limit{flags: flags, least: least, most: most, above: true}
}

// Within is the limit of flags that must be numbers from least to most, both among them.
func Within(least, most float64, flags ...string) Limit {
	return Limit{flags: flags, least: least, most: most}
}

// Between is the limit of flags that must be numbers above low and below high.
func Between(low, high float64, flags ...string) Limit {
	return Limit{flags: flags, least: low, most: high, above: true, below: true}
}

// From is the limit of flags that must be numbers of least or more and below most.
func From(least, most float64, flags ...string) Limit {
	return Limit{flags: flags, least: least, most: most, below: true}
}

// Multiple is the limit of flags that must be multiples of a number, at least least, and at most
// Count.
func Multiple(of, least int, flags ...string) Limit {
	return Limit{flags: flags, least: float64(least), most: Count, times: of}
}

// String says it after "must be".
func (l Limit) String() string {
	low, high := fmt.Sprint(l.least), strconv.FormatFloat(l.most, 'f', -1, 64)
	switch {
	case l.times > 0:
		return fmt.Sprintf("a multiple of %d, %s to %s", l.times, low, high)
	case l.below && l.above:
		return fmt.Sprintf("between %s and %s", low, high)
	case l.below:
		return fmt.Sprintf("at least %s and below %s", low, high)
	case l.above:
		return fmt.Sprintf("above %s, and at most %s", low, high)
	}
	return low + " to " + high
}

// least is the smallest number beside 0 that changes something where float32 computes with it: what
// is less is a mistake.
const least = 1e-12

// Check reports the first flag of a parsed set that is not as a limit has it, or so near to 0 that
// it would do nothing, and arguments that are left over. It panics where a flag of a limit is not
// there or is no number.
func Check(f *flag.FlagSet, limits ...Limit) error {
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for _, l := range limits {
		for _, name := range l.flags {
			v := number(f.Lookup(name).Value.(flag.Getter).Get())
			low, high := v >= l.least, v <= l.most
			if l.above {
				low = v > l.least
			}
			if l.below {
				high = v < l.most
			}
			if !low || !high || l.times > 0 && int(v)%l.times != 0 {
				return fmt.Errorf("-%s %v must be %v", name, f.Lookup(name).Value, l)
			}
			if v != 0 && math.Abs(v) < least {
				return fmt.Errorf("-%s %v is nearer to 0 than %v, and would do nothing", name,
					f.Lookup(name).Value, least)
			}
		}
	}
	return nil
}

// number is a flag's value.
func number(v any) float64 {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case float64:
		return v
	}
	panic(fmt.Sprintf("report: a flag of type %T is no number", v))
}

// Given are the flags of a parsed set that were given.
func Given(f *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// Hash is the SHA-256 of a file, in hexadecimal, for config.json. Of a folder it is that of the
// names and the hashes of the files in it, not of those in folders below, but for such as hold one
// of peft's adapters. A name ORG/NAME may be one in the cache of the Hugging Face hub. Without a
// name it is empty.
func Hash(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if there, cached, err := hub.Find(name); err == nil && cached {
		name = there
	}
	h := sha256.New()
	entries, err := os.ReadDir(name)
	if err != nil { // a file, or nothing
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("report: %w", err)
		}
		defer f.Close()
		if _, err := io.Copy(h, f); err != nil {
			return "", fmt.Errorf("report: %w", err)
		}
	}
	for _, e := range entries {
		file := filepath.Join(name, e.Name())
		info, err := os.Stat(file)
		_, none := os.Stat(filepath.Join(file, "adapter_config.json"))
		if err != nil || !info.Mode().IsRegular() && none != nil {
			continue
		}
		sum, err := Hash(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %s\n", e.Name(), sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
