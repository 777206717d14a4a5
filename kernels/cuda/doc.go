// Package cuda has NVIDIA GPUs as devices that run kernels.
package cuda
