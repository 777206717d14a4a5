// Package images has the CUDA kernels of package src as a driver loads them. It is plain Go: to use
// it needs no compiler but Go's.
//
// A family of kernels, which is one .cu file, is three images:
//
//	x.sm_80.cubin       code of devices of compute capability 8.0, which all of 8.x run
//	x.sm_90a.cubin      code of devices of compute capability 9.0, and of no others
//	x.compute_80.ptx    for devices that came later, whose driver compiles it
//
// They are in the folder data, compressed by gzip, beside two lists. SUMS has the SHA-256 of each
// family's sources, of the images before compression, and of what has compiled them. resources.txt
// says what each kernel takes of a multiprocessor, and counts its instructions of some kinds.
//
// # Generating
//
//	go generate ./kernels/internal/cuda/images
//
// compiles the families whose sources changed. Only that needs Linux, python3 with venv, and pip:
// NVIDIA's compilers are wheels of PyPI. They are installed once, in the user's cache. The output
// is the same bits wherever it is made, and .ci/run compares it with what is here.
package images

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

//go:generate go run ./generate

//go:embed data
var data embed.FS

// An Image is kernels in the form that cuModuleLoadData takes.
type Image struct {
	Name         string   // of the family: "elementwise"
	Architecture string   // what it is compiled for: "sm_80", "sm_90a", or "compute_80" for PTX
	Kernels      []string // sorted
	Bytes        []byte   // PTX ends in a zero byte
}

// A Kernel is what a kernel takes when it is compiled for an architecture.
type Kernel struct {
	Name         string
	Image        string // the name of the Image
	Architecture string // "sm_80" or "sm_90a"

	Registers int // of a thread
	Spill     int // bytes of a thread that are written to or read from memory for want of registers
	Stack     int // bytes of a thread in local memory
	Shared    int // bytes of static shared memory of a block

	// Instructions are counts in the code, by the first part of their names: HMMA and HGMMA
	// multiply matrices, LDSM loads matrices from shared memory, LDGSTS and UTMALDG copy to it,
	// STL and LDL write and read local memory.
	Instructions map[string]int
}

// For returns the images for devices of a compute capability, which is 90 for 9.0. There is one for
// each family, sorted by name.
func For(capability int) ([]Image, error) {
	var architecture, suffix string
	switch {
	case capability < 80:
		return nil, fmt.Errorf("images: a device of compute capability %d.%d has too little for "+
			"the kernels, which want 8.0 or more", capability/10, capability%10)
	case capability < 90:
		architecture, suffix = "sm_80", ".cubin"
	case capability == 90:
		architecture, suffix = "sm_90a", ".cubin"
	default:
		architecture, suffix = "compute_80", ".ptx"
	}
	var all []Image
	for _, k := range Kernels() {
		if k.Architecture != "sm_80" {
			continue // all architectures have the same kernels
		}
		if n := len(all); n > 0 && all[n-1].Name == k.Image {
			all[n-1].Kernels = append(all[n-1].Kernels, k.Name)
			continue
		}
		b, err := read(k.Image + "." + architecture + suffix)
		if err != nil {
			return nil, err
		}
		if suffix == ".ptx" {
			b = append(b, 0)
		}
		all = append(all, Image{
			Name: k.Image, Architecture: architecture, Kernels: []string{k.Name}, Bytes: b,
		})
	}
	return all, nil
}

// read returns the contents of an image.
func read(name string) ([]byte, error) {
	b, err := data.ReadFile("data/" + name + ".gz")
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("images: %s: %w", name, err)
	}
	if b, err = io.ReadAll(z); err != nil {
		return nil, fmt.Errorf("images: %s: %w", name, err)
	}
	return b, nil
}

// Kernels returns what all kernels take, on each architecture that there is code for, sorted by
// image, architecture and name.
func Kernels() []Kernel { return kernels() }

// kernels parses resources.txt, a table whose first line has the names of the columns.
var kernels = sync.OnceValue(func() []Kernel {
	text, err := data.ReadFile("data/resources.txt")
	if err != nil {
		panic(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	columns := strings.Fields(lines[0])
	all := make([]Kernel, len(lines)-1)
	for i, line := range lines[1:] {
		k := &all[i]
		k.Instructions = make(map[string]int)
		for c, field := range strings.Fields(line) {
			switch columns[c] {
			case "kernel":
				k.Name = field
			case "image":
				k.Image = field
			case "architecture":
				k.Architecture = field
			default:
				n, err := strconv.Atoi(field)
				if err != nil {
					panic(fmt.Sprintf("images: resources.txt: line %d: %v", i+2, err))
				}
				switch columns[c] {
				case "registers":
					k.Registers = n
				case "spill":
					k.Spill = n
				case "stack":
					k.Stack = n
				case "shared":
					k.Shared = n
				default:
					k.Instructions[columns[c]] = n
				}
			}
		}
	}
	return all
})
