package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/weights"
)

// single compares the checkpoint file with the folder: the same tensors, and the same outputs in the case.
func (c *check) single() error {
	parts := []struct {
		folder string
		load   func(dir string) (any, error)
	}{
		{"text_encoder", func(dir string) (any, error) { return clip.LoadText(dir) }},
		{"vae", func(dir string) (any, error) { return vae.Load(dir) }},
		{"unet", func(dir string) (any, error) { return unet.Load(dir) }},
	}
	sums := map[string]map[string][sha256.Size]byte{}
	for _, part := range parts { // before the file is read: two whole pipelines need not fit into memory
		m, err := part.load(c.path(part.folder))
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(c.path(part.folder)); err != nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		sums[part.folder] = hashes(m)
	}
	p, err := pipeline.LoadFile(c.path("single.safetensors"), c.dir)
	if err != nil {
		return err
	}
	for folder, m := range map[string]any{"text_encoder": p.Text, "vae": p.VAE, "unet": p.UNet} {
		if sums[folder] == nil {
			continue
		}
		got, differ, first := hashes(m), 0, ""
		for name, sum := range sums[folder] {
			if got[name] != sum {
				differ++
				first = name + " differs"
			}
		}
		n := len(sums[folder])
		c.rows = append(c.rows, row{
			Name: "single." + folder, Shape: []int{n}, Error: number(differ), Worst: fmt.Sprintf("of %d tensors: %s", n, first),
			Tolerance: exact, OK: differ == 0 && len(got) == n && n > 0,
		})
	}
	if err := c.textOf("single.", p.Text); err != nil {
		return err
	}
	if err := c.vaeOf("single.", p.VAE); err != nil {
		return err
	}
	if !c.has("unet.out") {
		return nil
	}
	return c.out("single.unet.out", "unet.out", p.UNet)
}

// hashes are the SHA-256 of a model's tensors, by name.
func hashes(model any) map[string][sha256.Size]byte {
	out := map[string][sha256.Size]byte{}
	for _, p := range weights.Parameters(model) {
		h := sha256.New()
		fmt.Fprint(h, p.Value.Shape())
		binary.Write(h, binary.LittleEndian, p.Value.Float32s()) // a hash never fails
		out[p.Name] = [sha256.Size]byte(h.Sum(nil))
	}
	return out
}
