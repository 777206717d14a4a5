//go:build nvidia && cgo

package cuda

import "errors"

// An image is a family of kernels that is compiled for a device.
type image struct {
	name         string   // of the family
	architecture string   // that it is compiled for
	kernels      []string // that it has
	data         string   // as cuModuleLoadData takes it
}

// imagesFor returns the images for devices of a compute capability.
var imagesFor = func(capability int) ([]image, error) {
	return nil, errors.New("this version has no kernels that are compiled")
}
