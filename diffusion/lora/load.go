package lora

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Load reads a file in one of the namings of the package comment and attaches its pairs to the
// layers that they name, of the UNet and of the text encoder. text may be nil if the file has no
// pairs for it. Each pair has its own rank. Where alpha comes from depends on the naming: in
// kohya's each pair has a tensor for it, and in diffusers' the file's lora_adapter_metadata say it,
// with rank_pattern, alpha_pattern and use_rslora. Where neither says anything, alpha is the rank.
//
// One error lists every tensor that no layer has a use for, every one that is missing or misshapen
// or not finite, and every pair whose rank is not the metadata's. Then nothing is attached.
func Load(file string, u *unet.UNet2DCondition, text *clip.TextModel) (*Adapter, error) {
	f, err := weights.Open(file)
	if err != nil {
		return nil, fmt.Errorf("lora: %w", err)
	}
	defer f.Close()
	a := &Adapter{unet: u}
	canonical := map[string]string{} // diffusers' names by names in the file
	alphas := map[string]string{}    // alphas' names in the file by diffusers' names
	parts := map[string]any{}        // what is loaded, by diffusers' names
	var errs []error
	for _, p := range layers(u, text) {
		rank := 0
		for _, s := range p.spellings() {
			for i, name := range []string{s.down, s.up} {
				shape, ok := f.Shape(name)
				if !ok {
					continue
				}
				canonical[name] = p.fullName() + [2]string{".lora_A.weight", ".lora_B.weight"}[i]
				if rank = max(rank, 1); i == 0 && len(shape) > 1 && !slices.Contains(shape, 0) {
					rank = shape[0]
				}
			}
			if _, ok := f.Shape(s.alpha); ok && rank > 0 {
				alphas[p.fullName()] = s.alpha
			}
		}
		if rank == 0 {
			continue
		}
		p.LowRank = p.layer.NewLowRank(1)
		// Otherwise A is misshapen, and no memory is taken for it.
		if rank <= f.Size()/p.columns() {
			p.LowRank = p.layer.NewLowRank(rank)
		}
		parts[p.fullName()] = p.LowRank
		a.pairs = append(a.pairs, p)
	}
	isAlpha := slices.Collect(maps.Values(alphas))
	errs = append(errs, weights.Load(parts, f, weights.Names{
		Rename: func(name string) string { return cmp.Or(canonical[name], name) },
		Ignore: func(name string) bool { return slices.Contains(isAlpha, name) },
	}))
	settings, err := parseMetadata(f.Metadata[metadataKey])
	if err != nil {
		return nil, fmt.Errorf("lora: %s: %w", file, err)
	}
	for i, p := range a.pairs {
		if name, ok := alphas[p.fullName()]; ok {
			a.pairs[i].alpha, err = readAlpha(f, name)
		} else {
			a.pairs[i].alpha, err = settings[p.network].alpha(p)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("lora: %w", err)
	}
	if len(a.pairs) == 0 {
		return nil, fmt.Errorf("lora: %s holds no pairs", file)
	}
	a.attach()
	return a, nil
}

func readAlpha(f *weights.File, name string) (float64, error) {
	v, err := f.Floats(name)
	if err != nil {
		return 0, err
	}
	if len(v) != 1 || math.IsNaN(float64(v[0])) || math.IsInf(float64(v[0]), 0) {
		return 0, fmt.Errorf("tensor %s is %v, not one number", name, v)
	}
	return float64(v[0]), nil
}

// fullName is what diffusers' files call the layer.
func (p pair) fullName() string { return p.network.diffusers + p.name }

// columns is the number of values in a row of A.
func (p pair) columns() int { return nn.Parameters(p.A)[0].Value.Shape().TotalSize() / p.Rank() }

// A spelling is what files may call A, B and alpha. Only kohya's have an alpha.
type spelling struct{ down, up, alpha string }

func (p pair) spellings() []spelling {
	var out []spelling
	kohya := p.kohyaName()
	for _, stem := range []string{
		kohya,
		strings.Replace(kohya, "lora_te_", "lora_te1_", 1), // te1 where there may be a second
	} {
		out = append(out, spelling{
			down: stem + ".lora_down.weight", up: stem + ".lora_up.weight", alpha: stem + ".alpha",
		})
	}
	add := func(stem, down, up string) { out = append(out, spelling{stem + down, stem + up, ""}) }
	stems := []string{p.fullName()}
	switch p.network {
	case textNetwork:
		stems = append(stems, "text_encoder."+p.name) // as transformers 5 has it
	case unetNetwork:
		stems = append(stems, p.name) // as diffusers' save_attn_procs wrote it
	}
	for _, stem := range stems {
		add(stem, ".lora_A.weight", ".lora_B.weight")
		add(stem, ".lora.down.weight", ".lora.up.weight")
		add(stem, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")
		if old, ok := oldName(stem); ok {
			add(old, ".down.weight", ".up.weight")
		}
	}
	return out
}

// oldName is a projection of attention as diffusers first had it: attn1.processor.to_q_lora in the
// UNet, self_attn.to_q_lora in the text encoder.
func oldName(name string) (string, bool) {
	for layer, old := range map[string]string{
		".to_q":     ".processor.to_q_lora",
		".to_k":     ".processor.to_k_lora",
		".to_v":     ".processor.to_v_lora",
		".to_out.0": ".processor.to_out_lora",
		".q_proj":   ".to_q_lora",
		".k_proj":   ".to_k_lora",
		".v_proj":   ".to_v_lora",
		".out_proj": ".to_out_lora",
	} {
		if stem, ok := strings.CutSuffix(name, layer); ok {
			return stem + old, true
		}
	}
	return "", false
}

// kohyaName is what kohya's files call the layer.
func (p pair) kohyaName() string { return p.network.kohya + strings.ReplaceAll(p.name, ".", "_") }

const metadataKey = "lora_adapter_metadata"

// A setting is the LoraConfig of peft for one network, as far as it matters. A nil one says
// nothing.
type setting struct {
	Rank         int                `json:"r"`
	Alpha        float64            `json:"lora_alpha"`
	RankPattern  map[string]int     `json:"rank_pattern"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	// RSLoRA says that a pair adds α/√r·B·A (Kalajdzievski 2023).
	RSLoRA bool `json:"use_rslora"`
	// DoRA says that weights are scaled, too (Liu et al. 2024). It is not supported.
	DoRA bool `json:"use_dora"`
}

// parseMetadata splits the file's metadata, whose keys are those of LoraConfig behind "unet." and
// "text_encoder.".
func parseMetadata(text string) (map[network]*setting, error) {
	if text == "" {
		return nil, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("%s: %w", metadataKey, err)
	}
	out := map[network]*setting{}
	for prefix, n := range map[string]network{"unet.": unetNetwork, "text_encoder.": textNetwork} {
		own := map[string]json.RawMessage{}
		for key, value := range all {
			if name, ok := strings.CutPrefix(key, prefix); ok {
				own[name] = value
			}
		}
		if len(own) == 0 {
			continue
		}
		joined, err := json.Marshal(own)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", metadataKey, err)
		}
		s := &setting{Rank: 8, Alpha: 8} // LoraConfig's defaults
		if err := json.Unmarshal(joined, s); err != nil {
			return nil, fmt.Errorf("%s: %s%w", metadataKey, prefix, err)
		}
		if s.DoRA {
			return nil, fmt.Errorf("%s: %suse_dora is not supported", metadataKey, prefix)
		}
		out[n] = s
	}
	return out, nil
}

// alpha is what the metadata say of a pair's alpha, for its rank, which must be what they say, too.
func (s *setting) alpha(p pair) (float64, error) {
	rank := p.Rank()
	if s == nil {
		return float64(rank), nil
	}
	want, err := lookUp(s.RankPattern, p, s.Rank)
	if err != nil {
		return 0, err
	}
	if want != rank {
		return 0, fmt.Errorf("%s has rank %d, by %s it is %d",
			p.fullName(), rank, metadataKey, want)
	}
	alpha, err := lookUp(s.AlphaPattern, p, s.Alpha)
	if s.RSLoRA {
		alpha *= math.Sqrt(float64(rank))
	}
	return alpha, err
}

// lookUp returns the value of the first pattern that the layer's name, or its end behind a dot,
// matches, as peft's get_pattern_key does. diffusers writes the patterns in alphabetical order.
func lookUp[T any](patterns map[string]T, p pair, otherwise T) (T, error) {
	names := []string{p.name}
	if p.network == textNetwork {
		names = append(names, "text_model."+p.name)
	}
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		r, err := regexp.Compile(`^(.*\.)?(` + pattern + `)$`)
		if err != nil {
			return otherwise, fmt.Errorf("%s: %w", metadataKey, err)
		}
		if slices.ContainsFunc(names, r.MatchString) {
			return patterns[pattern], nil
		}
	}
	return otherwise, nil
}
