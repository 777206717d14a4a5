package alignment

import "fmt"

// A DifferentCLIPError is Load's where the reward was learned on another CLIP than the one it is
// given. Scores on that one would mean nothing. A caller gives Load the CLIP whose Hash is Learned,
// or learns the reward anew.
type DifferentCLIPError struct {
	Folder  string // the reward's
	Learned string // Hash of the CLIP that the reward was learned on
	Given   string // Hash of the CLIP that Load was given
}

// Error names the folder and the first 12 characters of both hashes.
func (e *DifferentCLIPError) Error() string {
	return fmt.Sprintf("alignment: %s was trained on the CLIP %.12s…, this one is %.12s…",
		e.Folder, e.Learned, e.Given)
}
