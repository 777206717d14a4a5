package cases

import (
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// miniatureConfig is that of the network of examples/tiny.
var miniatureConfig = unet.Config{
	SampleSize: 16, InChannels: 4, OutChannels: 4, FlipSinToCos: true,
	DownBlockTypes: []string{
		"DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
	},
	UpBlockTypes:              []string{"CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"},
	BlockOutChannels:          []int{32, 64, 128},
	LayersPerBlock:            nn.Ints{1},
	DownsamplePadding:         1,
	NormNumGroups:             8,
	NormEps:                   1e-5,
	CrossAttentionDim:         nn.Ints{64},
	TransformerLayersPerBlock: nn.Ints{1},
	AttentionHeadDim:          nn.Ints{4, 4, 4},
}

// Miniature returns the network of examples/tiny with fresh weights, which are always the same.
// The trained ones would be a third of a program that is to be sent to a GPU.
func Miniature() (*unet.UNet2DCondition, error) {
	n, err := unet.New(miniatureConfig)
	if err != nil {
		return nil, err
	}
	nn.Init(n, 1)
	return n, nil
}
