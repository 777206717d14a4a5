package src

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	kernel  = regexp.MustCompile(`(?m)^[^/\n]*\bKERNEL\(`)
	include = regexp.MustCompile(`(?m)^\s*#include "([^"]+\.cuh)"`)
)

// Families returns the names of the families of kernels, sorted: x for x.cu.
func Families() []string {
	names, err := fs.Glob(Files, "*.cu")
	if err != nil {
		panic(err)
	}
	var families []string
	for _, name := range names {
		if text, err := Files.ReadFile(name); err == nil && kernel.Match(text) {
			families = append(families, strings.TrimSuffix(name, path.Ext(name)))
		}
	}
	return families
}

// Parts returns the names of the files that a family is compiled from for a device, sorted: its
// own, and the headers that this includes. What only the emulation includes is not among them.
func Parts(family string) ([]string, error) {
	names := []string{family + ".cu"}
	for i := 0; i < len(names); i++ {
		text, err := Files.ReadFile(names[i])
		if err != nil {
			return nil, fmt.Errorf("src: family %s: %w", family, err)
		}
		for _, m := range include.FindAllSubmatch(text, -1) {
			if name := string(m[1]); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}
