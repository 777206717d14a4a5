package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
)

const (
	metadataKey = "lora_adapter_metadata"
	configFile  = "adapter_config.json"
	peftFile    = "adapter_model.safetensors"
)

// A setting is the config of peft for one network, as far as it matters. A nil one says nothing.
type setting struct {
	Rank         int                `json:"r"`
	Alpha        float64            `json:"lora_alpha"`
	Plain        *float64           `json:"alpha"` // Alpha of a LoHa or a LoKr
	RankPattern  map[string]int     `json:"rank_pattern"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	// RSLoRA says that a pair adds α/√r·B·A (Kalajdzievski 2023).
	RSLoRA bool `json:"use_rslora"`
	// DoRA says that weights are scaled, too (Liu et al. 2024).
	DoRA bool `json:"use_dora"`

	from string // where it was read, for messages
}

// parse reads a setting out of a JSON object.
func parse(text []byte, from string) (*setting, error) {
	s := &setting{Rank: 8, Alpha: 8, from: from} // peft's defaults
	if err := weights.ParseJSON(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if err := plain(text); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if s.Plain != nil {
		s.Alpha = *s.Plain
	}
	if math.IsInf(s.Alpha, 0) || math.Abs(s.Alpha) > 1e30 {
		return nil, fmt.Errorf("%s: alpha is %g", from, s.Alpha)
	}
	return s, nil
}

// plainKeys are the keys of peft's configs that make of the same tensors another model, or of the
// model more than its layers' adapters, and the values with which they do not.
var plainKeys = map[string][]any{
	"peft_type":               {nil, "LORA", "LOHA", "LOKR"},
	"bias":                    {nil, "none"},
	"lora_bias":               {nil, false},
	"modules_to_save":         {nil},
	"trainable_token_indices": {nil},
	"layer_replication":       {nil},
	"alora_invocation_tokens": {nil},
	"use_qalora":              {nil, false},
	"use_bdlora":              {nil, false},
	"arrow_config":            {nil},
	"kasa_config":             {nil},
	"monteclora_config":       {nil},
}

// plain is an error that names what a config asks for beyond pairs, LoHa, LoKr and DoRA.
func plain(text []byte) error {
	var all map[string]any
	if err := weights.ParseJSON(text, &all); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(plainKeys)) {
		v := all[key]
		if list, ok := v.([]any); ok && len(list) == 0 {
			v = nil
		}
		is := func(other any) bool { return reflect.DeepEqual(v, other) }
		if !slices.ContainsFunc(plainKeys[key], is) {
			return fmt.Errorf("%s is %s, which is not read: LoRA, LoHa, LoKr and DoRA are",
				key, weights.Printable(fmt.Sprint(v)))
		}
	}
	// These begin from parts of the weights, which they take off them.
	begun, _ := all["init_lora_weights"].(string)
	for _, name := range []string{"pissa", "corda", "olora", "loftq", "lora_ga"} {
		if strings.HasPrefix(strings.ToLower(begun), name) {
			return fmt.Errorf("init_lora_weights is %s: the adapter goes with weights that were "+
				"changed before the training; save it again as a plain LoRA "+
				"(path_initial_model_for_weight_conversion)", weights.Printable(begun))
		}
	}
	return nil
}

// parseMetadata splits a file's metadata, whose keys are those of LoraConfig behind "unet." and
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
		from := metadataKey + ": " + strings.TrimSuffix(prefix, ".")
		if out[n], err = parse(joined, from); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// isOfPeft reports a file that the adapter_config.json beside it is of: one that is called as peft
// calls its files, or has its names where no file is called so.
func isOfPeft(f *weights.File) bool {
	if filepath.Base(f.Name) == peftFile {
		return true
	}
	for _, name := range f.Names() {
		if !strings.HasPrefix(name, "base_model.model.") || strings.HasSuffix(name, ".alpha") {
			return false
		}
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(f.Name), peftFile))
	return errors.Is(err, fs.ErrNotExist)
}

// readSettings are those of a file's metadata or, if it has none and is peft's, those of the
// adapter_config.json beside it.
func readSettings(f *weights.File) (map[network]*setting, error) {
	out, err := parseMetadata(f.Metadata[metadataKey])
	if err != nil || out != nil || !isOfPeft(f) {
		return out, err
	}
	beside := filepath.Join(filepath.Dir(f.Name), configFile)
	const most = 1 << 24 // bytes, far more than a pattern for each layer takes
	config, err := text.ReadFile(beside, most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := parse(config, configFile)
	return map[network]*setting{unetNetwork: s, textNetwork: s}, err
}

// alpha is what is said of a layer's alpha, for its rank, which must be what is said, too.
func (s *setting) alpha(t *target, rank int) (float64, error) {
	if s == nil {
		return float64(rank), nil
	}
	want, err := lookUp(s.RankPattern, t, s.Rank)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.from, err)
	}
	if want != rank {
		return 0, fmt.Errorf("%s has rank %d, by %s it is %d", t.fullName(), rank, s.from, want)
	}
	alpha, err := lookUp(s.AlphaPattern, t, s.Alpha)
	if s.RSLoRA {
		alpha *= math.Sqrt(float64(rank))
	}
	return alpha, err
}

// lookUp returns the value of the first pattern that the layer's name, or its end behind a dot,
// matches, as peft's get_pattern_key does. diffusers writes the patterns in alphabetical order.
func lookUp[T any](patterns map[string]T, t *target, otherwise T) (T, error) {
	names := []string{t.name}
	if t.network == textNetwork {
		names = append(names, "text_model."+t.name)
	}
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		r, err := regexp.Compile(`^(.*\.)?(` + pattern + `)$`)
		if err != nil {
			return otherwise, err
		}
		if slices.ContainsFunc(names, r.MatchString) {
			return patterns[pattern], nil
		}
	}
	return otherwise, nil
}
