package tokenizer

import "fmt"

// A FileError says that a file of a tokenizer's folder is broken, or that it describes a tokenizer
// that is not CLIP's. It is what Load and LoadFS return for a file that is there; errors.As finds
// it. A caller can name the file and fetch it anew, or ask for the folder of another model. A file
// that is missing is an error that wraps io/fs.ErrNotExist instead.
type FileError struct {
	File string // its name in the folder, such as "merges.txt"
	Line int    // of merges.txt, from 1; 0 where no one line is wrong
	Err  error  // what is wrong, in a text that names the file
}

// Error says what is wrong with which file.
func (e *FileError) Error() string { return "tokenizer: " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *FileError) Unwrap() error { return e.Err }

// wrong is the error of a file, which it names before what is wrong.
func wrong(file, format string, a ...any) error {
	return &FileError{File: file, Err: fmt.Errorf("%s: %w", file, fmt.Errorf(format, a...))}
}
