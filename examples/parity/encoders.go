package main

import (
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/kernels"
)

// tokenizer compares the token ids that the tokenizer of a folder gives for the texts in the
// metadata.
func (c *check) tokenizer(folder string) error {
	t, err := tokenizer.Load(c.path(folder))
	if err != nil {
		return err
	}
	return c.ids(folder+".ids", t)
}

func (c *check) ids(rowName string, t *tokenizer.Tokenizer) error {
	var g group
	for _, name := range c.data.Names() {
		number, ok := strings.CutPrefix(name, "tokenizer.ids.")
		if !ok {
			continue
		}
		d, err := c.read(name, 1)
		if err != nil {
			return err
		}
		text, ok := c.data.Metadata["tokenizer.text."+number]
		if !ok {
			return fmt.Errorf("%s: the metadata lack tokenizer.text.%s", c.path(casesFile), number)
		}
		want, got := d.Float32s(), t.Encode(text)
		if len(got) != len(want) {
			return fmt.Errorf("%q has %d token ids here and %d there", text, len(got), len(want))
		}
		differ, first := 0, fmt.Sprintf("%.20q", text)
		for i, id := range got {
			if float32(id) != want[i] {
				if differ++; differ == 1 {
					first = fmt.Sprintf("%.20q [%d]: %d, not %g", text, i, id, want[i])
				}
			}
		}
		g.add(name, []int{len(want)}, float64(differ), first, exact)
	}
	c.group(rowName, g)
	return nil
}

// texts reads token ids, [P,L], as a text encoder reads them.
func (c *check) texts(name string, m *clip.TextModel) (*clip.Texts, error) {
	d, err := c.read(name, 2)
	if err != nil {
		return nil, err
	}
	n, length := d.Shape()[0], d.Shape()[1]
	if length > m.Config.Positions {
		return nil, fmt.Errorf(
			"%s: tensor %s has %d ids a text, the text encoder takes %d at most",
			c.path(casesFile), name, length, m.Config.Positions)
	}
	in, ids := clip.NewTexts(n, length), make([]int, length)
	for row := range n {
		for i, v := range d.Float32s()[row*length:][:length] {
			ids[i] = int(v)
		}
		if err := m.Set(in, row, ids); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
	}
	return in, nil
}

func (c *check) text() error {
	m, err := clip.LoadText(c.path("text_encoder"))
	if err != nil {
		return err
	}
	return c.textOf("", m)
}

// textOf compares what a text encoder makes of the ids of the case. The names of its rows begin
// with prefix.
func (c *check) textOf(prefix string, m *clip.TextModel) error {
	if !c.has("text.last_hidden_state") && !c.has("text.pooler_output") {
		return nil
	}
	in, err := c.texts("text.input_ids", m)
	if err != nil {
		return err
	}
	g := gorgonia.NewGraph()
	ids := kernels.Input(g, "ids", in.IDs)
	hidden, err := m.Hidden(ids)
	if err != nil {
		return err
	}
	pooled, err := m.Pooled(ids, kernels.Input(g, "pool", in.Pool))
	if err != nil {
		return err
	}
	return evaluate(g, gorgonia.Nodes{hidden, pooled}, func(v []*tensor.Dense) {
		c.near(prefix+"text.last_hidden_state", "text.last_hidden_state", v[0])
		c.near(prefix+"text.pooler_output", "text.pooler_output", v[1])
	})
}

// hidden compares the text encoder's output under an adapter.
func (c *check) hidden(name string, m *clip.TextModel) error {
	in, err := c.texts("text.input_ids", m)
	if err != nil {
		return err
	}
	g := gorgonia.NewGraph()
	hidden, err := m.Hidden(kernels.Input(g, "ids", in.IDs))
	if err != nil {
		return err
	}
	return evaluate(g, gorgonia.Nodes{hidden}, func(v []*tensor.Dense) { c.near(name, name, v[0]) })
}

func (c *check) vae() error {
	v, err := vae.Load(c.path("vae"))
	if err != nil {
		return err
	}
	return c.vaeOf("", v)
}

// vaeOf compares both halves of an autoencoder, one after the other. The names of its rows begin
// with prefix.
func (c *check) vaeOf(prefix string, v *vae.AutoencoderKL) error {
	if c.has("vae.mean") || c.has("vae.logvar") {
		x, err := c.pictures("vae.sample", 4)
		if err != nil {
			return err
		}
		g := gorgonia.NewGraph()
		mean, logvar, err := v.Encode(kernels.Input(g, "x", x))
		if err != nil {
			return err
		}
		err = evaluate(g, gorgonia.Nodes{mean, logvar}, func(got []*tensor.Dense) {
			c.near(prefix+"vae.mean", "vae.mean", got[0])
			c.near(prefix+"vae.logvar", "vae.logvar", got[1])
		})
		if err != nil {
			return err
		}
	}
	if !c.has("vae.decoded") {
		return nil
	}
	z, err := c.pictures("vae.latent", 4)
	if err != nil {
		return err
	}
	g := gorgonia.NewGraph()
	decoded, err := v.Decode(kernels.Input(g, "z", z))
	if err != nil {
		return err
	}
	return evaluate(g, gorgonia.Nodes{decoded}, func(got []*tensor.Dense) {
		c.near(prefix+"vae.decoded", "vae.decoded", got[0])
	})
}

// clip compares a CLIPModel, its tokenizer and its preprocessing.
func (c *check) clip() error {
	if !c.any("clip.") && !c.any("image.") && !c.any("tokenizer.ids.") {
		return nil
	}
	e, err := clip.Load(c.path("clip"))
	if err != nil {
		return err
	}
	defer e.Close()
	if err := c.ids("clip.tokenizer.ids", e.Tokenizer); err != nil {
		return err
	}
	if c.has("image.pixel_values") {
		if err := c.pixels(e.Preprocessor); err != nil {
			return err
		}
	}
	return c.features(e.Model)
}

// pixels compares the preprocessing of a picture.
func (c *check) pixels(pre *clip.Preprocessor) error {
	rgb, err := c.read("image.rgb", 3)
	if err != nil {
		return err
	}
	shape := rgb.Shape()
	if shape[2] != 3 {
		return fmt.Errorf("%s: tensor image.rgb is %v, not [H,W,3]", c.path(casesFile), shape)
	}
	p := picture.NewRGB(shape[1], shape[0])
	for i, v := range rgb.Float32s() {
		if v != float32(uint8(v)) {
			return fmt.Errorf("%s: tensor image.rgb holds %g, which is no byte",
				c.path(casesFile), v)
		}
		p.Pix[i] = uint8(v)
	}
	got := tensor.New(tensor.WithShape(1, pre.Side, pre.Side, 3), tensor.Of(tensor.Float32))
	if err := pre.Pixels(got.Float32s(), p.Image()); err != nil {
		return err
	}
	want, err := c.want("image.pixel_values", got)
	if err != nil {
		return fmt.Errorf("image.pixel_values: %w", err)
	}
	largest, at := largestDifference(got.Float32s(), want.Float32s())
	c.add("image.pixel_values", "image.pixel_values", largest, element(at, got, want), pixel)
	return nil
}

// features compares CLIP's embeddings and logits.
func (c *check) features(m *clip.Model) error {
	names := []string{"clip.text_embeds", "clip.image_embeds", "clip.logits_per_image"}
	if !slices.ContainsFunc(names, c.has) {
		return nil
	}
	in, err := c.texts("clip.input_ids", m.Text)
	if err != nil {
		return err
	}
	pixels, err := c.pictures("clip.pixel_values", 4)
	if err != nil {
		return err
	}
	g := gorgonia.NewGraph()
	ids, pool := kernels.Input(g, "ids", in.IDs), kernels.Input(g, "pool", in.Pool)
	text, err := m.TextFeatures(ids, pool)
	if err != nil {
		return err
	}
	image, err := m.ImageFeatures(kernels.Input(g, "pixels", pixels))
	if err != nil {
		return err
	}
	logits, err := m.Logits(image, text)
	if err != nil {
		return err
	}
	return evaluate(g, gorgonia.Nodes{text, image, logits}, func(v []*tensor.Dense) {
		for i, name := range names {
			c.near(name, name, v[i])
		}
	})
}
