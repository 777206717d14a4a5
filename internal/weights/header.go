package weights

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nlpodyssey/safetensors"
)

// The types that the package safetensors does not know: numbers of 8 bits, and those of the format
// of 4 and 6 bits, which are not read.
const (
	i8     = safetensors.I8
	f8e4m3 = safetensors.DType(iota + 200)
	f8e5m2
	unread
)

// parseDType returns a type by its name in a header, and the bytes of one of its numbers.
func parseDType(name string) (d safetensors.DType, width int, err error) {
	switch name {
	case "F8_E4M3":
		return f8e4m3, 1, nil
	case "F8_E5M2":
		return f8e5m2, 1, nil
	case "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return unread, 1, nil
	}
	if d, err = safetensors.ParseDType(name); err != nil {
		return d, 0, fmt.Errorf("dtype %q is not known", name)
	}
	return d, int(d.Size()), nil
}

// A stored says where a file holds a tensor: in the bytes of a mapping from one offset to another.
type stored struct {
	origin string // the tensor's name in the file, for messages
	dtype  safetensors.DType
	kind   string // dtype as the file has it
	width  int    // the bytes of one number
	shape  []int
	of     *mapping
	from   int
	to     int
}

func (s stored) bytes() []byte { return s.of.data[s.from:s.to] }

// size returns the number of the tensor's elements.
func (s stored) size() int { return (s.to - s.from) / s.width }

// maxHeader is the longest header that the format allows, in bytes.
const maxHeader = 100_000_000

// parse reads the header of a safetensors file. The file is the length of a header in 8 bytes, the
// header in JSON, and the bytes of the tensors. Nobody vouches for it: the type, the shape and the
// place of every tensor must agree, and the tensors together must cover the rest of the file once.
func parse(m *mapping) (tensors map[string]stored, metadata map[string]string, err error) {
	if len(m.data) < 8 {
		return nil, nil, fmt.Errorf("it has %d bytes, less than the length of a header",
			len(m.data))
	}
	length := binary.LittleEndian.Uint64(m.data)
	if rest := len(m.data) - 8; length > uint64(rest) || length > maxHeader {
		return nil, nil, fmt.Errorf(
			"its header says %d bytes, the file has %d and the format allows %d: "+
				"it is cut off, or no such file at all",
			length, rest, maxHeader)
	}
	start := 8 + int(length)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(m.data[8:start], &header); err != nil {
		return nil, nil, fmt.Errorf("its header is broken: %w", err)
	}
	tensors = make(map[string]stored, len(header))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		text := header[name]
		if name == "__metadata__" {
			if err := json.Unmarshal(text, &metadata); err != nil {
				return nil, nil, fmt.Errorf("its __metadata__ is broken: %w", err)
			}
			continue
		}
		s, err := parseTensor(text, len(m.data)-start)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %s: %w", Printable(name), err)
		}
		s.origin, s.of, s.from, s.to = name, m, s.from+start, s.to+start
		tensors[name] = s
	}
	return tensors, metadata, checkCover(tensors, start, len(m.data))
}

// parseTensor reads one tensor's entry of a header. The tensors have so many bytes in the file, and
// the entry's offsets are relative to the first of them.
func parseTensor(text []byte, bytes int) (stored, error) {
	var entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets []int  `json:"data_offsets"`
	}
	if err := json.Unmarshal(text, &entry); err != nil {
		return stored{}, err
	}
	d, size, err := parseDType(entry.DType)
	if err != nil {
		return stored{}, err
	}
	width := size
	if entry.Shape == nil || len(entry.Offsets) != 2 {
		return stored{}, errors.New("it has no shape or not two data_offsets")
	}
	from, to := entry.Offsets[0], entry.Offsets[1]
	if from < 0 || to < from || to > bytes {
		return stored{}, fmt.Errorf("data_offsets %v are not within the %d bytes behind the "+
			"header: the file is cut off, as a download that has not finished",
			entry.Offsets, bytes)
	}
	if slices.Contains(entry.Shape, 0) {
		size = 0
	}
	for _, n := range entry.Shape {
		if n < 0 || n > 0 && size > bytes/n {
			return stored{}, fmt.Errorf(
				"shape %v of %s is more than the %d bytes behind the header",
				entry.Shape, entry.DType, bytes)
		}
		size *= n
	}
	if size != to-from {
		return stored{}, fmt.Errorf("shape %v of %s takes %d bytes, data_offsets %v hold %d",
			entry.Shape, entry.DType, size, entry.Offsets, to-from)
	}
	return stored{
		dtype: d, kind: entry.DType, width: width, shape: entry.Shape, from: from, to: to,
	}, nil
}

// checkCover refuses tensors that share bytes between start and end, or leave some to no tensor.
func checkCover(tensors map[string]stored, start, end int) error {
	inOrder := slices.SortedFunc(maps.Values(tensors), func(a, b stored) int {
		return cmp.Or(
			cmp.Compare(a.from, b.from),
			cmp.Compare(a.to, b.to),
			cmp.Compare(a.origin, b.origin),
		)
	})
	at, last := start, "the header"
	for _, s := range inOrder {
		switch {
		case s.from < at:
			return fmt.Errorf("tensors %s and %s overlap by %d bytes",
				last, Printable(s.origin), at-s.from)
		case s.from > at:
			return fmt.Errorf("%d bytes between %s and %s belong to no tensor",
				s.from-at, last, Printable(s.origin))
		}
		at, last = s.to, Printable(s.origin)
	}
	if at != end {
		return fmt.Errorf("%d bytes behind %s belong to no tensor", end-at, last)
	}
	return nil
}
