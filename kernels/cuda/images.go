//go:build nvidia && cgo

package cuda

import (
	"slices"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/images"
)

// An image is a family of kernels that is compiled for a device.
type image struct {
	name         string   // of the family
	architecture string   // that it is compiled for
	kernels      []string // that it has
	data         string   // as cuModuleLoadData takes it
}

// imagesFor returns the images for devices of a compute capability.
func imagesFor(capability int) ([]image, error) {
	found, err := images.For(capability)
	all := make([]image, len(found))
	for i, m := range found {
		all[i] = image{m.Name, m.Architecture, m.Kernels, string(m.Bytes)}
	}
	return all, err
}

// architectureFor returns what the images for a compute capability are compiled for. There are
// none for a low one.
func architectureFor(capability int) string {
	if all, err := imagesFor(capability); err == nil && len(all) > 0 {
		return all[0].architecture
	}
	return ""
}

// kernelNames returns the names of all kernels, sorted.
func kernelNames() []string {
	var names []string
	for _, k := range images.Kernels() {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
