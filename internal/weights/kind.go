package weights

import (
	"regexp"
	"slices"
	"strings"
)

// Kind says in a few words what a file seems to be, by the names and shapes of its tensors: "a LoRA
// for Stable Diffusion XL". It is for messages about a file that is not what it was taken for, and
// empty where nothing is recognized.
func (f *File) Kind() string {
	if f.has(adapterNames) {
		if base := f.base(); base != "" {
			return "a LoRA for " + base
		}
		return "a LoRA"
	}
	if quantized := f.Quantized(); quantized != "" {
		return quantized
	}
	for _, k := range kinds {
		if f.has(k.names) {
			return k.kind
		}
	}
	if f.isEmbedding() {
		return "an embedding (textual inversion)"
	}
	return ""
}

// kinds are files by what names in them contain, the first that fits.
var kinds = []struct {
	names *regexp.Regexp
	kind  string
}{
	{
		regexp.MustCompile(`exp_avg|^(optimizer|optimizer_state|optimizers)\b`),
		"an optimizer's state",
	},
	{
		regexp.MustCompile(`^control_model\.|controlnet_|input_hint_block|zero_convs`),
		"a ControlNet",
	},
	{regexp.MustCompile(`^(ip_adapter|image_proj)\.`), "an IP-Adapter"},
	{regexp.MustCompile(`motion_modules|temporal_transformer`), "a motion module (AnimateDiff)"},
	{
		regexp.MustCompile(`double_blocks\.|single_transformer_blocks\.`),
		"a checkpoint of Flux",
	},
	{
		regexp.MustCompile(`joint_blocks\.|attn\.add_k_proj`),
		"a checkpoint of Stable Diffusion 3",
	},
	{
		regexp.MustCompile(`^noise_augmentor\.|^embedder\.model\.visual\.`),
		"a checkpoint of Stable unCLIP",
	},
	{
		regexp.MustCompile(`^edm_(vpred\.|mean$|std$)`),
		"a checkpoint with the noise levels of EDM (CosXL, Playground)",
	},
	{
		regexp.MustCompile(`^conditioner\.embedders\.1\.|\blabel_emb\.|^add_embedding\.`),
		"a checkpoint of Stable Diffusion XL",
	},
	{regexp.MustCompile(`^string_to_param|^emb_params$`), "an embedding (textual inversion)"},
	{
		regexp.MustCompile(`(^|\.)(model\.diffusion_model|model_ema)\.`),
		"a checkpoint of Stable Diffusion",
	},
	{
		regexp.MustCompile(`(^|\.)(time_embedding\.linear_1|time_embed\.0)\.`),
		"a UNet",
	},
	{
		regexp.MustCompile(`(^|\.)(de|en)coder\.(down|up|mid|conv_in|conv_out|down_blocks)\b`),
		"a VAE",
	},
	{regexp.MustCompile(`vision_model\.`), "a CLIP"},
	{
		regexp.MustCompile(`embeddings\.token_embedding\.|^token_embedding\.`),
		"a text encoder",
	},
	{regexp.MustCompile(`^conv_first\.|^body\.0\.rdb1\.`), "an upscaler"},
}

// adapterNames are in the names of what adapts layers.
var adapterNames = regexp.MustCompile(
	`lora_|[._]lora\.|\.hada_w|\.lokr_|\.oft_|\.ia3_|\.diff(_b)?$|\.dora_scale$|\.glora`)

// base is the family of models that an adapter was made for; empty where nothing tells it.
func (f *File) base() string {
	version := f.Metadata["ss_base_model_version"] + " " + f.Metadata["modelspec.architecture"]
	switch {
	case f.has(regexp.MustCompile(`double_blocks|single_blocks|single_transformer_blocks`)),
		strings.Contains(version, "flux"):
		return "Flux"
	case f.has(regexp.MustCompile(`joint_blocks|lora_te3_|text_encoder_3|add_k_proj`)),
		strings.Contains(version, "sd3"), strings.Contains(version, "diffusion-3"):
		return "Stable Diffusion 3"
	case f.has(regexp.MustCompile(`lora_te2_|te2[._]|text_encoder_2|label_emb|add_embedding`)),
		f.has(regexp.MustCompile(`(attentions[._]\d+|blocks[._]\d+[._]1|middle_block[._]1)[._]` +
			`transformer_blocks[._][1-9]`)),
		strings.Contains(version, "sdxl"), strings.Contains(version, "diffusion-xl"):
		return "Stable Diffusion XL"
	case f.has(regexp.MustCompile(`motion_modules`)):
		return "a motion module (AnimateDiff)"
	}
	key := regexp.MustCompile(`attn2[._]to_k\b.*(lora_A|lora_down|down|_w1_b)\b`)
	for _, name := range f.Names() {
		if shape := f.tensors[name].shape; key.MatchString(name) && len(shape) > 1 {
			switch shape[1] {
			case 768:
				return "Stable Diffusion 1"
			case 1024:
				return "Stable Diffusion 2"
			case 2048:
				return "Stable Diffusion XL"
			}
		}
	}
	if f.has(regexp.MustCompile(`^(base_model[._]model[._]|lora_)?transformer[._]|` +
		`^(base_model[._]model[._]|lora_unet_|(model\.)?diffusion_model\.|)` +
		`(joint_)?(transformer_blocks|blocks|layers)[._]\d`)) {
		return "a model without a UNet"
	}
	return ""
}

// Quantized says how a file's numbers are packed in a way that is not read; empty if they are
// numbers.
func (f *File) Quantized() string {
	for _, k := range []struct {
		names *regexp.Regexp
		how   string
	}{
		{regexp.MustCompile(`bitsandbytes__nf4`), "quantized to 4 bits (NF4)"},
		{regexp.MustCompile(`bitsandbytes__fp4`), "quantized to 4 bits (FP4)"},
		{regexp.MustCompile(`\.(absmax|quant_map|nested_absmax)$`), "quantized to 4 bits"},
		{regexp.MustCompile(`\.(SCB|weight_format)$`), "quantized to 8 bits (LLM.int8)"},
		{
			regexp.MustCompile(`\.(scale_weight|weight_scale|scale_input)$|^scaled_fp8$`),
			"quantized to 8 bits (scaled float8)",
		},
		{
			regexp.MustCompile(`\.(qweight|qzeros|weight_zero_point|_packed)$`),
			"quantized",
		},
	} {
		if f.has(k.names) {
			return k.how
		}
	}
	for _, s := range f.tensors {
		if s.dtype == i8 && len(s.shape) > 1 {
			return "quantized to 8 bits"
		}
	}
	return ""
}

// has reports a tensor whose name the expression finds.
func (f *File) has(names *regexp.Regexp) bool {
	for name := range f.tensors {
		if names.MatchString(name) {
			return true
		}
	}
	return false
}

// isEmbedding reports a few vectors of a text encoder's width and nothing else.
func (f *File) isEmbedding() bool {
	if len(f.tensors) == 0 || len(f.tensors) > 3 {
		return false
	}
	for _, s := range f.tensors {
		if len(s.shape) == 0 || len(s.shape) > 2 ||
			!slices.Contains([]int{768, 1024, 1280}, s.shape[len(s.shape)-1]) {
			return false
		}
	}
	return true
}
