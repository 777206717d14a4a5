//go:build nvidia && cgo

package cuda

import "github.com/kudos-ml/kudos/kernels/internal/cuda/images"

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
