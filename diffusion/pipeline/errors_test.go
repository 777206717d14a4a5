package pipeline_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/kernels"
)

const miniature = "../../testdata/golden/sd1"

// What needs a UNet that has not been read says so; a caller reads it and tries again.
func TestUnread(t *testing.T) {
	p, err := pipeline.LoadFrozen(miniature)
	require.NoError(t, err)
	for what, do := range map[string]func() error{
		"Save":     func() error { return p.Save(t.TempDir(), kernels.Float32) },
		"SaveUNet": func() error { return p.SaveUNet(t.TempDir(), kernels.Float32) },
		"Clone":    func() error { _, err := p.Clone(); return err },
		"Generate": func() error {
			for _, err := range p.Generate(pipeline.Request{
				Prompts: []string{"a dog"}, Steps: 1, Guidance: 1,
			}).All(t.Context()) {
				return err
			}
			return nil
		},
	} {
		var unread *pipeline.UnreadError
		require.ErrorAs(t, do(), &unread, what)
		require.Equal(t, "sd1", unread.Model)
		require.EqualError(t, unread,
			"pipeline: the UNet that LoadFrozen left out has not been read")
	}
	var unread *pipeline.UnreadError
	err = p.Save(t.TempDir(), kernels.Float32)
	if errors.As(err, &unread) {
		require.NoError(t, p.LoadUNet())
		err = p.Save(t.TempDir(), kernels.Float32)
	}
	require.NoError(t, err)
}

// A silent network says nothing of any latent.
type silent struct{}

func (silent) Latents() (side, channels int) { return 8, 4 }

func (silent) Predict(x, _ *gorgonia.Node, _ diffusion.Condition) (*gorgonia.Node, error) {
	return kernels.Scale(x, 0)
}

// A network of one's own is refused by name where only a UNet of diffusers will do.
func TestNetworkError(t *testing.T) {
	p, err := pipeline.Load(miniature)
	require.NoError(t, err)
	mine := p.With("mine", silent{})
	saved := mine.Save(t.TempDir(), kernels.Float32)
	_, cloned := mine.Clone()
	for want, err := range map[string]error{
		"what diffusers reads: save it by itself":                            saved,
		"copied: clone the pipeline that it was put into, and With its copy": cloned,
	} {
		var refused *pipeline.NetworkError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, silent{}, refused.Network)
		require.EqualError(t, err, "pipeline: a pipeline_test.silent is not "+want)
	}
	_, err = p.Clone()
	require.NoError(t, err)
}
