package lora

import (
	"cmp"
	"regexp"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/internal/original"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A network is one that files adapt.
type network struct {
	diffusers, kohya string // what names begin with
}

var (
	unetNetwork = network{"unet.", "lora_unet_"}
	textNetwork = network{"text_encoder.text_model.", "lora_te_text_model_"}
)

// A target is what can be adapted: a layer, a norm, or a table of embeddings.
type target struct {
	network network
	name    string   // in its network
	layer   nn.Layer // nil of what is no layer
	weight  *tensor.Dense
	bias    *tensor.Dense // nil where there is none
}

// fullName is what diffusers' files call it.
func (t *target) fullName() string { return t.network.diffusers + t.name }

// shape is the weight's in files.
func (t *target) shape() []int {
	s := t.weight.Shape()
	if len(s) == 4 {
		return []int{s[0], s[3], s[1], s[2]}
	}
	return append([]int{}, s...)
}

// targets lists all that can be adapted of a UNet and, unless it is nil, a text encoder.
func targets(u *unet.UNet2DCondition, text *clip.TextModel) []*target {
	out := targetsOf(unetNetwork, u)
	if text != nil {
		out = append(out, targetsOf(textNetwork, text)...)
	}
	return out
}

func targetsOf(n network, model any) (out []*target) {
	layers, at := map[string]nn.Layer{}, map[string]*target{}
	for name, l := range nn.Layers(model) {
		layers[name] = l
	}
	for _, p := range nn.Parameters(model) {
		name, isWeight := strings.CutSuffix(p.Name, ".weight")
		if isWeight {
			t := &target{network: n, name: name, layer: layers[name], weight: p.Value}
			at[name], out = t, append(out, t)
		} else if t := at[strings.TrimSuffix(p.Name, ".bias")]; t != nil {
			t.bias = p.Value
		}
	}
	return out
}

// A stems finds what the stem of a tensor's name means, however it is spelled: with dots or
// underscores between its parts, by diffusers' names or by those of the original checkpoints, and
// with whatever programs put before it.
type stems map[string]*target

func newStems(u *unet.UNet2DCondition, text *clip.TextModel) stems {
	s := stems{}
	for _, t := range targets(u, text) {
		names := []string{t.name}
		if t.network == unetNetwork {
			old := strings.TrimSuffix(original.UNet(u.Config, t.name+".weight"), ".weight")
			names = append(names, old)
		}
		for _, name := range names {
			name = flat(name)
			s[name] = t
			// The projections as the attention processors of diffusers had them.
			s[strings.TrimSuffix(name, "_0")] = t
			if cut, ok := strings.CutSuffix(name, "_proj"); ok {
				if i := strings.LastIndex(cut, "_"); i >= 0 && t.network == textNetwork {
					s[cut[:i]+"_to"+cut[i:]] = t
				}
			}
		}
	}
	return s
}

// flat joins the parts of a name with underscores, as kohya's scripts do.
func flat(name string) string { return strings.ReplaceAll(name, ".", "_") }

// prefixes are what programs put before a name, and the network that they say it is of; nil says
// nothing. What begins with another goes before it.
var prefixes = []struct {
	text    string
	network *network
}{
	{"lora_unet_", &unetNetwork},
	{"unet_", &unetNetwork},
	{"model_diffusion_model_", &unetNetwork},
	{"diffusion_model_", &unetNetwork},
	{"lora_te_", &textNetwork},
	{"lora_te1_", &textNetwork},
	{"lora_text_encoder_", &textNetwork},
	{"te_", &textNetwork},
	{"te1_", &textNetwork},
	{"text_encoder_", &textNetwork},
	{"text_encoders_", &textNetwork},
	{"cond_stage_model_transformer_", &textNetwork},
	{"clip_l_transformer_", &textNetwork},
	{"clip_h_transformer_", &textNetwork},
	{"clip_l_", &textNetwork},
	{"text_model_", &textNetwork},
	{"base_model_model_", nil},
	{"base_model_", nil},
	{"lycoris_", nil},
	{"lora_", nil},
	{"module_", nil},
	{"state_dict_", nil},
	{"model_", nil},
}

// find returns what a stem means; nil if that is nothing here.
func (s stems) find(stem string) *target {
	stem = strings.ReplaceAll(stem, "_orig_mod.", "")
	stem = flat(strings.ReplaceAll(stem, ".processor.", "."))
	stem = strings.ReplaceAll(stem, "_orig_mod_", "") // of names that were flat before
	var of *network
	for {
		if t := s[stem]; t != nil && (of == nil || t.network == *of) {
			return t
		}
		cut := false
		for _, p := range prefixes {
			if stem, cut = strings.CutPrefix(stem, p.text); cut {
				if p.network != nil && of != nil && *of != *p.network {
					return nil
				}
				of = cmp.Or(of, p.network)
				break
			}
		}
		if !cut {
			return nil
		}
	}
}

// ending splits a tensor's name into its stem, what the tensor is of an adapter, and the name that
// peft gives to one of several adapters ("default").
var ending = regexp.MustCompile(`^(.+?)(?:\.(?:lora|lora_linear_layer)|_lora)?\.(` +
	`lora_A|lora_B|lora_down|lora_up|lora_mid|down|up|mid|alpha|scalar|` +
	`dora_scale|lora_magnitude_vector|hada_w[12]_[ab]|hada_t[12]|` +
	`lokr_w[12](?:_[ab])?|lokr_t[12]|diff|diff_b|w_norm|b_norm|` +
	`oft_\w+|boft_\w+|ia3_l|on_input|a1|a2|b1|b2|bm|vera_\w+|hra_u|lora_E|ranknum|` +
	`q_layer|p_layer|lambda_layer|fourierft_\w+|bone_block|miss_block|c3a_kernel|` +
	`randlora_\w+|vblora_\w+|shira_\w+|road_\w+|delora_\w+|gralora_\w+|hira_\w+|glora_\w+` +
	`)(?:\.([A-Za-z0-9_-]+))??(?:\.weight)?$`)

// alike are words for the same part of an adapter.
var alike = map[string]string{
	"lora_A": "down", "lora_down": "down",
	"lora_B": "up", "lora_up": "up",
	"lora_mid": "mid",
	"w_norm":   "diff", "b_norm": "diff_b",
}

// unknownMethods are adapters that are not read, by how the words for their parts begin.
var unknownMethods = []struct{ word, method string }{
	{"oft_", "OFT"}, {"boft_", "BOFT"}, {"ia3_l", "(IA)³"}, {"on_input", "(IA)³"},
	{"a1", "GLoRA"}, {"a2", "GLoRA"}, {"b1", "GLoRA"}, {"b2", "GLoRA"}, {"bm", "GLoRA"},
	{"vera_", "VeRA"}, {"hra_u", "HRA"}, {"lora_E", "AdaLoRA"}, {"ranknum", "AdaLoRA"},
	{"q_layer", "T-LoRA"}, {"p_layer", "T-LoRA"}, {"lambda_layer", "T-LoRA"},
	{"fourierft_", "FourierFT"}, {"lokr_t1", "lokr_t1"},
	{"bone_block", "Bone"}, {"miss_block", "MiSS"}, {"c3a_", "C³A"}, {"randlora_", "RandLoRA"},
	{"vblora_", "VB-LoRA"}, {"shira_", "SHiRA"}, {"road_", "RoAd"}, {"delora_", "DeLoRA"},
	{"gralora_", "GraLoRA"}, {"hira_", "HiRA"}, {"glora_", "GLoRA"},
	{"scalar", "a scalar"},
}

// unknownMethod names the method that a part is of, if it is not read.
func unknownMethod(part string) string {
	for _, m := range unknownMethods {
		if strings.HasPrefix(part, m.word) {
			return m.method
		}
	}
	return ""
}
