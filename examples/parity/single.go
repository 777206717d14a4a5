package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/kernels/nn"
)

type sum = [sha256.Size]byte

// single compares the checkpoint in one file with the folder. It must have the same tensors, and
// make the same outputs of the case.
func (c *check) single() error {
	parts := []struct {
		folder string
		load   func(dir string) (any, error)
	}{
		{"text_encoder", func(dir string) (any, error) { return clip.LoadText(dir) }},
		{"vae", func(dir string) (any, error) { return vae.Load(dir) }},
		{"unet", func(dir string) (any, error) { return unet.Load(dir) }},
	}
	sums := map[string]map[string]sum{}
	// The parts of the folder are hashed before the file is read: two whole pipelines need not fit
	// into memory.
	for _, part := range parts {
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
	loaded := map[string]any{"text_encoder": p.Text, "vae": p.VAE, "unet": p.UNet}
	for _, part := range parts {
		if want := sums[part.folder]; want != nil {
			c.same("single."+part.folder, hashes(loaded[part.folder]), want)
		}
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

// same adds a row for tensors that are to be equal. Its error is the number of those that are not.
func (c *check) same(name string, got, want map[string]sum) {
	var differ []string
	for tensor := range want {
		if got[tensor] != want[tensor] {
			differ = append(differ, tensor)
		}
	}
	r := row{
		Name:      name,
		Error:     number(len(differ)),
		Worst:     fmt.Sprintf("of %d tensors", len(want)),
		Tolerance: exact,
		OK:        len(differ) == 0 && len(want) > 0,
	}
	if len(differ) > 0 {
		r.Worst = fmt.Sprintf("%d of %d tensors: %s differs",
			len(differ), len(want), slices.Min(differ))
	}
	c.rows = append(c.rows, r)
}

// hashes returns the SHA-256 of each of a model's tensors, by name.
func hashes(model any) map[string]sum {
	out := map[string]sum{}
	for _, p := range nn.Parameters(model) {
		h := sha256.New()
		fmt.Fprint(h, p.Value.Shape())
		binary.Write(h, binary.LittleEndian, p.Value.Float32s()) // a hash never fails
		out[p.Name] = sum(h.Sum(nil))
	}
	return out
}
