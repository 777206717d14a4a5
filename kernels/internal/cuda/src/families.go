package src

import (
	"crypto/sha256"
	"encoding/hex"
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

// Families returns the names of the families of kernels, sorted: x for x.cu. A .cu file is one if
// it defines kernels, or a header that it includes does.
func Families() []string {
	names, err := fs.Glob(Files, "*.cu")
	if err != nil {
		panic(err)
	}
	var families []string
	for _, name := range names {
		family := strings.TrimSuffix(name, path.Ext(name))
		parts, err := Parts(family)
		if err != nil {
			panic(err)
		}
		defines := func(part string) bool {
			text, err := Files.ReadFile(part)
			return err == nil && part != "tile.cuh" && kernel.Match(text)
		}
		if slices.ContainsFunc(parts, defines) {
			families = append(families, family)
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

// Sum returns the SHA-256 of the parts of a family, with their names.
func Sum(family string) (string, error) {
	parts, err := Parts(family)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, part := range parts {
		text, err := Files.ReadFile(part)
		if err != nil {
			return "", fmt.Errorf("src: family %s: %w", family, err)
		}
		fmt.Fprintf(h, "%s %d\n%s", part, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
