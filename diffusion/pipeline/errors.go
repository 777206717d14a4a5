package pipeline

import "fmt"

// An UnreadError is what needs the UNet's numbers on a Pipeline of LoadFrozen: Generate, Save,
// SaveUNet and Clone. LoadUNet reads them, and then the same call can be made again.
type UnreadError struct {
	Model string // the Pipeline's Name
}

// Error says what has not been read.
func (e *UnreadError) Error() string {
	return "pipeline: the UNet that LoadFrozen left out has not been read"
}

// A NetworkError is what a Pipeline cannot do with a network that With has put in place of its
// UNet: Save, SaveUNet and Clone. The network can be saved and copied by itself (nn.Save,
// nn.Clone), and the Pipeline that it was put into can be saved and cloned as before.
type NetworkError struct {
	Network Network
	refused string // what cannot be done, and what to do instead
}

// Error names the network's type, what it is refused for and what to do instead.
func (e *NetworkError) Error() string {
	return fmt.Sprintf("pipeline: a %T is not %s", e.Network, e.refused)
}
