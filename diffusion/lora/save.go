package lora

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Save writes the pairs to a file in diffusers' naming. In a folder of its own, named
// pytorch_lora_weights.safetensors, diffusers' load_lora_weights finds it by the folder. Metadata
// say ranks and alphas where those are not equal; versions of diffusers that don't know
// lora_adapter_metadata take alpha for the rank. An adapter that is not one of pairs alone is an
// error: the file that it was loaded from holds it.
func (a *Adapter) Save(file string, as kernels.Precision) error {
	if err := a.checkSaves(); err != nil {
		return err
	}
	parts := map[string]any{}
	for _, p := range a.pairs {
		parts[p.fullName()] = p.LowRank
	}
	metadata := map[string]string{"format": "pt"}
	if text, err := a.metadata(); err != nil {
		return fmt.Errorf("lora: %w", err)
	} else if text != "" {
		metadata[metadataKey] = text
	}
	if err := weights.Save(file, parts, as, metadata); err != nil {
		return fmt.Errorf("lora: %w", err)
	}
	return nil
}

// metadata are peft's LoraConfigs in diffusers' form, each layer with its own rank and alpha; empty
// if these are equal everywhere.
func (a *Adapter) metadata() (string, error) {
	all, plain := map[string]any{}, true
	for prefix, n := range map[string]network{"unet.": unetNetwork, "text_encoder.": textNetwork} {
		ranks, alphas := map[string]int{}, map[string]float64{}
		var names []string
		first := pair{}
		for _, p := range a.pairs {
			if p.network != n {
				continue
			}
			if first.LowRank == nil {
				first = p
			}
			plain = plain && p.alpha == float64(p.Rank())
			names = append(names, p.name)
			pattern := "^" + strings.TrimPrefix(p.fullName(), prefix)
			if n == textNetwork {
				pattern = p.name // with or without text_model before it
			}
			if p.Rank() != first.Rank() {
				ranks[pattern] = p.Rank()
			}
			if p.alpha != first.alpha {
				alphas[pattern] = p.alpha
			}
		}
		if len(names) == 0 {
			continue
		}
		for key, value := range map[string]any{
			"peft_type":      "LORA",
			"r":              first.Rank(),
			"lora_alpha":     first.alpha,
			"rank_pattern":   ranks,
			"alpha_pattern":  alphas,
			"target_modules": names,
		} {
			all[prefix+key] = value
		}
	}
	if plain {
		return "", nil
	}
	text, err := json.MarshalIndent(all, "", "  ")
	return string(text), err
}

// SaveKohya writes the pairs to a file in the naming of kohya-ss/sd-scripts, with each pair's
// alpha. Where alphas differ, diffusers 0.42 gives all projections of attention the most frequent
// one; files of Save have no such trouble. What Save refuses is refused.
func (a *Adapter) SaveKohya(file string, as kernels.Precision) error {
	if err := a.checkSaves(); err != nil {
		return err
	}
	parts := map[string]any{}
	for _, p := range a.pairs {
		alpha := []float32{float32(p.alpha)}
		parts[p.kohyaName()] = struct {
			Down  nn.Layer      `weight:"lora_down"`
			Up    nn.Layer      `weight:"lora_up"`
			Alpha *tensor.Dense `weight:"alpha,scalar"`
		}{p.A, p.B, tensor.New(tensor.WithShape(1), tensor.WithBacking(alpha))}
	}
	metadata := map[string]string{"ss_network_module": "networks.lora"}
	if len(a.pairs) > 0 {
		metadata["ss_network_dim"] = strconv.Itoa(a.pairs[0].Rank())
		metadata["ss_network_alpha"] = strconv.FormatFloat(a.pairs[0].alpha, 'g', -1, 64)
	}
	if err := weights.Save(file, parts, as, metadata); err != nil {
		return fmt.Errorf("lora: %w", err)
	}
	return nil
}

// checkSaves reports an adapter that is not one of pairs alone.
func (a *Adapter) checkSaves() error {
	if a.method == "" {
		return nil
	}
	return fmt.Errorf("lora: %s is part of the weights and is not saved by itself: "+
		"keep the file that it was loaded from", a.method)
}

// kohyaName is what kohya's files call the layer.
func (t *target) kohyaName() string { return t.network.kohya + flat(t.name) }
