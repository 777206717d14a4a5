package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes. As a flag it is written with a unit, 16GiB, 1.5GB or 700MiB, or
// without one.
type Size int64

var units = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}, {"", 1},
}

// Set reads text such as 16GiB.
func (s *Size) Set(text string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v > 0 && v*u.bytes < math.MaxInt64) {
			break
		}
		*s = Size(v * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size: 16GiB, 12GB and 700MiB are", text)
}

// String has two decimals and is rounded up, so that what fits s fits what it says.
func (s Size) String() string {
	if s == 0 {
		return ""
	}
	for _, u := range units[1:4] {
		if float64(s) >= u.bytes {
			return fmt.Sprintf("%.2f%s", math.Ceil(100*float64(s)/u.bytes)/100, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Get returns the bytes.
func (s Size) Get() any { return int64(s) }

// Plural is so many of something, whose name takes an s: "1 prompt", "3 prompts".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
