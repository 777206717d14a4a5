package main

import (
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// vaeConfig describes an autoencoder that makes 16×16×4 latents of 64×64×3 pictures. Stable
// Diffusion's own factor of 8 was tried, with 12 channels. After twice the time it told the kinds
// of small things apart in one picture of two.
func vaeConfig() vae.Config {
	c := vae.DefaultConfig()
	c.BlockOutChannels = []int{24, 48, 64}
	c.DownBlockTypes = []string{"DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"}
	c.UpBlockTypes = []string{"UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"}
	c.LayersPerBlock = 1
	c.LatentChannels = 4
	c.NormNumGroups = 8
	c.SampleSize = side
	return c
}

// The weights of what is added to the reconstruction's mean square error. The absolute error keeps
// edges crisp. The divergence from a standard normal keeps latents in a range that noise can cover.
const (
	weightL1 = 0.3
	weightKL = 1e-4
)

// A compression is the autoencoder's training on drawn pictures.
type compression struct {
	seed     uint64
	drawings []drawing
	model    *vae.AutoencoderKL

	pixels, noise *tensor.Dense
}

func newCompression(seed uint64, drawings []drawing, m *vae.AutoencoderKL, batch int) *compression {
	h, channels := side/m.Factor(), m.Config.LatentChannels
	return &compression{
		seed:     seed,
		drawings: drawings,
		model:    m,
		pixels:   tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(batch, side, side, 3)),
		noise:    tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(batch, h, h, channels)),
	}
}

// loss is mean (x−x̂)² + 0.3 · mean |x−x̂| + 1e-4 · mean KL(q(z|x) ‖ N(0,1)), up to a constant.
func (c *compression) loss(g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
	x := kernels.Input(g, "pixels", c.pixels)
	mean, logvar, err := c.model.Encode(x)
	if err != nil {
		return nil, err
	}
	var e sticky
	std := e.do(kernels.Exp(e.do(kernels.Scale(logvar, 0.5))))
	z := e.do(kernels.Add(mean, e.do(kernels.Mul(std, kernels.Input(g, "noise", c.noise)))))
	if e.err != nil {
		return nil, e.err
	}
	y, err := c.model.Decode(z)
	if err != nil {
		return nil, err
	}
	square := e.do(kernels.Mul(mean, mean))
	variance := e.do(kernels.Exp(logvar))
	both := e.do(kernels.Add(square, variance))
	kl := e.do(kernels.Sum(e.do(kernels.Add(both, e.do(kernels.Scale(logvar, -1))))))
	loss := e.do(kernels.MSE(y, x, nil))
	loss = e.do(kernels.Add(loss, e.do(kernels.Scale(e.do(kernels.L1(y, x)), weightL1))))
	each := weightKL / 2 / float64(mean.Shape().TotalSize())
	loss = e.do(kernels.Add(loss, e.do(kernels.Scale(kl, each))))
	return loss, e.err
}

func (c *compression) fill(step int) error {
	batch := c.pixels.Shape()[0]
	size, latent := side*side*3, len(c.noise.Float32s())/batch
	for i, row := range order(c.seed, "vae order", step, batch, len(c.drawings)) {
		scalePixels(c.pixels.Float32s()[i*size:(i+1)*size], c.drawings[row].pixels)
		noise := c.noise.Float32s()[i*latent : (i+1)*latent]
		rng.Normal(noise, c.seed, "vae noise", uint64(step), uint64(i))
	}
	return nil
}

func scalePixels(dst []float32, pixels []uint8) {
	for k, v := range pixels {
		dst[k] = float32(v)/127.5 - 1
	}
}

// encodeAll returns the latents of all drawings, each the mean of its distribution. It sets the
// model's scaling factor to 1 over their standard deviation, and returns them scaled. So what the
// UNet sees has unit variance.
func encodeAll(m *vae.AutoencoderKL, drawings []drawing) ([][]float32, error) {
	const batch = 64
	x := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(batch, side, side, 3))
	g := gorgonia.NewGraph()
	mean, _, err := m.Encode(kernels.Input(g, "pixels", x))
	if err != nil {
		return nil, err
	}
	machine, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{mean}})
	if err != nil {
		return nil, err
	}
	defer machine.Close()
	var out [][]float32
	var sum, square, n float64
	size, latent := side*side*3, mean.Shape().TotalSize()/batch
	for from := 0; from < len(drawings); from += batch {
		part := drawings[from:min(from+batch, len(drawings))]
		for i, d := range part {
			scalePixels(x.Float32s()[i*size:(i+1)*size], d.pixels)
		}
		if err := machine.RunAll(); err != nil {
			return nil, err
		}
		for i := range part {
			z := append([]float32{}, machine.Value(mean).Float32s()[i*latent:(i+1)*latent]...)
			for _, v := range z {
				sum, square, n = sum+float64(v), square+float64(v)*float64(v), n+1
			}
			out = append(out, z)
		}
	}
	m.Config.ScalingFactor = 1 / math.Sqrt(square/n-sum/n*sum/n)
	for _, z := range out {
		for i := range z {
			z[i] *= float32(m.Config.ScalingFactor)
		}
	}
	return out, nil
}

// A sticky remembers the first error of several operations, so that a formula reads as one.
type sticky struct{ err error }

func (s *sticky) do(n *gorgonia.Node, err error) *gorgonia.Node {
	if s.err == nil {
		s.err = err
	}
	return n
}
