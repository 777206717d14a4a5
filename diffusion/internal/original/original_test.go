package original

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/diffusion/unet"
)

// The names of v1-5-pruned-emaonly.safetensors, of every kind that there is.
func TestNamesOfStableDiffusion1(t *testing.T) {
	c := unet.DefaultConfig()
	for name, want := range map[string]string{
		"conv_in.weight":                             "input_blocks.0.0.weight",
		"time_embedding.linear_2.bias":               "time_embed.2.bias",
		"down_blocks.0.resnets.0.norm1.weight":       "input_blocks.1.0.in_layers.0.weight",
		"down_blocks.0.downsamplers.0.conv.weight":   "input_blocks.3.0.op.weight",
		"down_blocks.1.resnets.0.conv_shortcut.bias": "input_blocks.4.0.skip_connection.bias",
		"down_blocks.1.attentions.0.proj_in.weight":  "input_blocks.4.1.proj_in.weight",
		"down_blocks.3.resnets.1.conv2.bias":         "input_blocks.11.0.out_layers.3.bias",
		"mid_block.resnets.1.norm1.weight":           "middle_block.2.in_layers.0.weight",
		"mid_block.attentions.0.proj_out.weight":     "middle_block.1.proj_out.weight",
		// No attention before it.
		"up_blocks.0.upsamplers.0.conv.weight":       "output_blocks.2.1.conv.weight",
		"up_blocks.1.upsamplers.0.conv.weight":       "output_blocks.5.2.conv.weight",
		"up_blocks.2.upsamplers.0.conv.bias":         "output_blocks.8.2.conv.bias",
		"up_blocks.1.resnets.2.time_emb_proj.weight": "output_blocks.5.0.emb_layers.1.weight",
		"up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight": "output_blocks.11.1." +
			"transformer_blocks.0.attn2.to_k.weight",
		"conv_norm_out.weight": "out.0.weight",
		"conv_out.bias":        "out.2.bias",
		// Of SDXL.
		"add_embedding.linear_2.bias": "label_emb.0.2.bias",
	} {
		require.Equal(t, want, UNet(c, name), name)
	}
	for _, is := range []struct{ name, want string }{
		{"encoder.conv_in.weight", "encoder.conv_in.weight"},
		{
			"encoder.down_blocks.0.downsamplers.0.conv.weight",
			"encoder.down.0.downsample.conv.weight",
		},
		{
			"encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
			"encoder.down.1.block.0.nin_shortcut.bias",
		},
		{"encoder.mid_block.resnets.1.norm2.weight", "encoder.mid.block_2.norm2.weight"},
		{"encoder.conv_norm_out.bias", "encoder.norm_out.bias"},
		{"decoder.mid_block.attentions.0.to_q.weight", "decoder.mid.attn_1.q.weight"},
		{"decoder.mid_block.attentions.0.to_out.0.bias", "decoder.mid.attn_1.proj_out.bias"},
		{"decoder.mid_block.attentions.0.group_norm.weight", "decoder.mid.attn_1.norm.weight"},
		{"decoder.up_blocks.0.resnets.0.conv1.weight", "decoder.up.3.block.0.conv1.weight"},
		{
			"decoder.up_blocks.2.resnets.0.conv_shortcut.weight",
			"decoder.up.1.block.0.nin_shortcut.weight",
		},
		{"decoder.up_blocks.0.upsamplers.0.conv.bias", "decoder.up.3.upsample.conv.bias"},
		{"quant_conv.weight", "quant_conv.weight"},
	} {
		name, want := is.name, is.want
		require.Equal(t, want, VAE(4, name), name)
	}
}
