package dataset

import "fmt"

// A LineError says that one line of a file is wrong. It is what ranging over a File or a Folder,
// Read and ReadPrompts return where the cause is a line and not the file as a whole; errors.As
// finds it. A caller can point whoever wrote the file at the line. What is wrong is in Err:
// io/fs.ErrNotExist, for example, if the picture that the line names is not there.
type LineError struct {
	File string // its path; of Read, the name that Read was given
	Line int    // the first is 1
	Err  error  // what is wrong with the line
}

// Error names the file, the line and what is wrong.
func (e *LineError) Error() string {
	return fmt.Sprintf("dataset: %s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns what is wrong with the line.
func (e *LineError) Unwrap() error { return e.Err }

// A PromptError says that a grammar does not have a prompt. It is what Parse and Perturb return for
// one; errors.As finds it. A caller whose prompts are not all of the grammar can do without what
// the prompt claims, or take the wrong prompts of OtherPrompts in place of Perturb's.
type PromptError struct {
	Prompt string
	Words  string // the words of the prompt that do not fit, lower case
	Part   string // what they would have to be: "number", "object" or "background"
}

// Error names the prompt and the words that do not fit.
func (e *PromptError) Error() string {
	return fmt.Sprintf("dataset: prompt %q is not in the grammar: %q is no %s of it",
		e.Prompt, e.Words, e.Part)
}
