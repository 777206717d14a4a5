// Package cuda has NVIDIA GPUs: devices that run the CUDA kernels of this module.
//
// [Open] returns one as a kernels.Device. It has memory, and it compiles launches of kernels into a
// CUDA graph, which is started by one call. It goes through the CUDA driver, by gorgonia.org/cu,
// and needs no other library of NVIDIA's: no cuBLAS, no cuDNN.
//
// # Use
//
// Programs have GPUs if they are built with the tag nvidia:
//
//	go build -tags nvidia ./...
//
// Without it the package compiles everywhere, and [Open] returns an error. The tag is not cuda:
// that one turns on code of gorgonia's own, which needs cuDNN and cuBLAS.
//
// To build takes cgo, a C compiler, cuda.h of CUDA 12 or 13, and libcuda.so to link with. The last
// comes with the driver. Where they are not in the usual places, the go command is told:
//
//	CGO_CFLAGS=-I/opt/cuda/include CGO_LDFLAGS=-L/opt/lib go build -tags nvidia ./...
//
// A whole toolkit is not needed: the wheel nvidia-cuda-runtime-cu12 on PyPI has cuda.h. With CUDA
// 13, whose cuda.h has other prototypes, the folder internal/cuda13 of this package goes before it:
//
//	here=$(go list -f '{{.Dir}}' github.com/kudos-ml/kudos/kernels/cuda)
//	CGO_CFLAGS="-I$here/internal/cuda13 -I/usr/local/cuda/include" go build -tags nvidia ./...
//
// To run takes a GPU of compute capability 8.0 or above and a driver that knows the images of the
// kernels. By NVIDIA's rules that is one for CUDA 12 (525 and above) on GPUs of capability 8.x and
// 9.0, and one for CUDA 12.8 (570 and above) on later ones. The driver says if it is too old, and
// Open's error does.
//
// # Two binaries
//
// A program that is built with the tag runs only where there is a driver with a GPU. Where
// libcuda.so.1 is missing, the system does not start it. Where the driver finds no GPU, the
// initialization of gorgonia.org/cu prints so and ends the process before main begins. So build two
// programs if some machines have no GPU: one with the tag and one without it.
//
// # Contract
//
// The methods of a device, its memory and its runners may be called by several goroutines. The
// device does all work in the order in which it was asked for. One call at a time is in the driver:
// while a Read waits, others wait for it.
//
// Write returns when it has its own copy of what it was given, and Run when the launches are
// queued. Read waits for all of it.
//
// Memory and runners are freed before their device is closed. Two devices of the same GPU share its
// memory, but neither waits for the other's work.
//
// # Errors
//
// Errors name the GPU, the version of CUDA that its driver is for, and CUDA's name of the error.
// Where memory is short, they say how much was asked for and how much is free.
//
// A kernel that fails does so after Run has returned, so a later call returns the error, at the
// latest the next Read. It names the kernels that it may have been. If the environment has
// KUDOS_CUDA_SYNC=1 when the device is opened, launches are started and waited for one by one, and
// Run's error names the kernel. After such a failure a process can use the GPU no more.
//
// # Without a GPU
//
// The kernels are tested in an emulation: see kernels/internal/cudatest. What is in this package is
// tested on a CUDA driver whose devices are that emulation, with the same tests that run on a GPU:
//
//	go run ./kernels/cuda/internal/fakedriver
//
// That driver is strict where NVIDIA's may be lenient. The head of internal/fakedriver/driver.cu
// says what it refuses. With a command as arguments, the program runs it on the emulated driver.
// There all code of this package runs, and machines do, slowly:
//
//	go run ./kernels/cuda/internal/fakedriver go test -tags nvidia ./kernels/...
//
// # What has not run on a device
//
// So far, nothing of it has. The program examples/ondevice runs all of it in some minutes:
//
//	part                                      has been seen on
//	memory, staging, order of work            the emulated driver
//	launches, graphs and their replay         the emulated driver
//	more than 48 KiB of shared memory         the emulated driver
//	failing kernels, memory that is short     the emulated driver
//	several goroutines                        the emulated driver, with Go's race detector
//	primitives that kernels are made of       the emulation, and definitions in Go
//	kernels                                   the emulation
//	loading of images                         the emulated driver, which reads their heads
//	speed                                     nothing
package cuda
