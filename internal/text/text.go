package text

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf16"
	"unicode/utf8"
)

// An Error says what is wrong with a text, and in which line.
type Error struct {
	Line int // the first is 1
	Err  error
}

// Error says the line and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Lines yields the lines of a text without their ends, blank ones too. A line is valid until the
// next one. An error is that of the line that would have come next, and after it the sequence ends.
// A line of more than most bytes is an error, and no more than that is held of it.
func Lines(r io.Reader, most int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		t := newReader(r)
		var line []byte
		for {
			c, err := t.next()
			switch {
			case err == io.EOF:
				if len(line) > 0 {
					yield(line, nil)
				}
				return
			case err == nil && c != '\n':
				if line = utf8.AppendRune(line, c); len(line) <= most {
					continue
				}
				err = fmt.Errorf("the line has more than %d bytes: is it a file of lines?", most)
			}
			if !yield(line, err) || err != nil {
				return
			}
			line = line[:0]
		}
	}
}

// NewReader returns a reader of the text that r gives, as UTF-8 whose lines end in LF. What is
// wrong with it is an *Error. Lines keep their numbers.
func NewReader(r io.Reader) io.Reader { return newReader(r) }

// A reader reads a text rune by rune.
type reader struct {
	in     *bufio.Reader
	order  binary.ByteOrder // of UTF-16; nil for UTF-8
	line   int              // of the next rune, from 1; 0 where nothing was read yet
	last   rune             // as the file has it; 0 at the beginning
	buffer []byte           // what Read has not given yet
	err    error            // which comes after that
}

func newReader(r io.Reader) *reader { return &reader{in: bufio.NewReader(r)} }

// Read gives what next gives.
func (r *reader) Read(p []byte) (int, error) {
	const size = 4096
	if len(r.buffer) == 0 && r.err == nil {
		r.buffer = make([]byte, 0, size)
		for len(r.buffer) <= size-utf8.UTFMax {
			c, err := r.next()
			if err != nil {
				if r.err = err; err != io.EOF {
					r.err = &Error{r.line, err}
				}
				break
			}
			r.buffer = utf8.AppendRune(r.buffer, c)
		}
	}
	n := copy(p, r.buffer)
	if r.buffer = r.buffer[n:]; n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

const (
	mark   = '\ufeff'
	escape = '\x1b'
)

// next returns the next rune, LF for each end of a line, or what is wrong in the line.
func (r *reader) next() (rune, error) {
	if r.line == 0 {
		r.line = 1
		if err := r.begin(); err != nil {
			return 0, err
		}
	}
	for {
		c, err := r.rune()
		if err != nil {
			return 0, err
		}
		last := r.last
		r.last = c
		switch {
		case c == '\n' && last == '\r': // the end that CR was
		case c == '\n' || c == '\r':
			r.line++
			return '\n', nil
		case c == mark && (last == 0 || last == '\n' || last == '\r'):
			r.last = last // a mark at the beginning of a file
		case c == 0:
			return 0, errors.New("the line holds a zero byte, as UTF-16 without a byte order " +
				"mark and files that are no text do: save it as UTF-8")
		case last == escape && (c == '$' || c == '('):
			return 0, errors.New("the line is not UTF-8 but ISO-2022: save it as UTF-8")
		default:
			return c, nil
		}
	}
}

// begin finds out what the text is in.
func (r *reader) begin() error {
	first, err := r.in.Peek(64)
	if err != nil && err != io.EOF && len(first) == 0 {
		return err
	}
	starts := func(with string) bool { return bytes.HasPrefix(first, []byte(with)) }
	switch {
	case starts("\xff\xfe\x00\x00"), starts("\x00\x00\xfe\xff"):
		return errors.New("the text is UTF-32: save it as UTF-8")
	case starts("\xff\xfe"):
		r.order = binary.LittleEndian
	case starts("\xfe\xff"):
		r.order = binary.BigEndian
	}
	first = bytes.TrimLeft(bytes.TrimPrefix(first, []byte("\ufeff")), " \t\r\n")
	lower := bytes.ToLower(first)
	for _, k := range known {
		if starts(k.begins) || bytes.HasPrefix(lower, []byte(k.begins)) {
			return fmt.Errorf("the file is %s", k.is)
		}
	}
	return nil
}

// known are files that are no text for us, and how they begin; letters may be of either case.
var known = []struct{ begins, is string }{
	{"<!doctype html", "a web page: download what it shows"},
	{"<html", "a web page: download what it shows"},
	{"version https://git-lfs", "a pointer of Git LFS, not the text itself: git lfs pull gets it"},
	{`{\rtf`, "RTF: save it as plain text, in UTF-8"},
	{"%pdf-", "PDF: save it as plain text, in UTF-8"},
	{"\x89PNG", "a picture, not text"},
	{"\xff\xd8\xff", "a picture, not text"},
	{"PK\x03\x04", "a zip archive, as .docx and .xlsx are: save it as plain text, in UTF-8"},
	{"\x1f\x8b", "packed by gzip: unpack it"},
	{"BZh9", "packed by bzip2: unpack it"},
	{"(\xb5/\xfd", "packed by zstd: unpack it"},
	{"7z\xbc\xaf", "a 7z archive: unpack it"},
	{"PAR1\x15", "a Parquet file, not text"},
	{"ARROW1\x00", "an Arrow file, not text"},
	{"SQLite format 3\x00", "an SQLite database, not text"},
	{"<?xml", "an XML document, such as a server's answer that there is no such file"},
}

// rune returns the next rune as the file has it.
func (r *reader) rune() (rune, error) {
	if r.order != nil {
		return r.rune16()
	}
	c, size, err := r.in.ReadRune()
	if err == nil && c == utf8.RuneError && size == 1 {
		r.in.UnreadRune()
		b, _ := r.in.ReadByte()
		return 0, fmt.Errorf("the line is not UTF-8: it has the byte 0x%02x, as Windows-1252, "+
			"Latin-1 and other encodings do: save it as UTF-8", b)
	}
	return c, err
}

// rune16 is rune in UTF-16.
func (r *reader) rune16() (rune, error) {
	broken := errors.New("the line is broken UTF-16: save it as UTF-8")
	unit := func() (rune, error) {
		var b [2]byte
		_, err := io.ReadFull(r.in, b[:])
		if err == io.ErrUnexpectedEOF {
			err = broken
		}
		return rune(r.order.Uint16(b[:])), err
	}
	c, err := unit()
	if err != nil || !utf16.IsSurrogate(c) {
		return c, err
	}
	low, err := unit()
	if c = utf16.DecodeRune(c, low); err == io.EOF || err == nil && c == utf8.RuneError {
		err = broken
	}
	return c, err
}
