package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
)

// A saying is what something says of how a checkpoint's UNet is used. Empty is nothing.
type saying struct {
	prediction string // as diffusers calls it
	zeroSNR    bool
	from       string // what says it
}

// predictions are diffusers' names of what UNets predict by those that others have.
var predictions = map[string]string{
	"eps": "epsilon", "epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction",
	"v-prediction": "v_prediction", "vpred": "v_prediction", "velocity": "v_prediction",
	"x0": "sample", "sample": "sample",
}

// sayings are those of a file's marks and of the .yaml beside it, which are for this file alone,
// and that of its metadata, which are often copied from another.
func (c content) sayings(file, configs string, features int) (own, metadata saying, err error) {
	for _, name := range []string{"v_pred", unetPrefix + "v_pred"} {
		if _, ok := c.Shape(name); ok {
			own.prediction, own.from = "v_prediction", "its tensor "+name
		}
	}
	for _, name := range []string{"ztsnr", unetPrefix + "ztsnr"} {
		_, ok := c.Shape(name)
		own.zeroSNR = own.zeroSNR || ok
	}
	yaml, err := yamlBeside(file, configs, features)
	if err != nil {
		return own, metadata, err
	}
	if own.prediction != "" && yaml.prediction != "" && own.prediction != yaml.prediction {
		return own, metadata, disagree(file, own, yaml)
	}
	own.zeroSNR = own.zeroSNR || yaml.zeroSNR
	if own.prediction == "" {
		own.prediction, own.from = yaml.prediction, yaml.from
	}
	if says, ok := c.Metadata["modelspec.prediction_type"]; ok {
		metadata = saying{prediction: predictions[strings.ToLower(says)],
			from: "its metadata (modelspec.prediction_type " + weights.Printable(says) + ")"}
		if metadata.prediction == "" && own.prediction == "" {
			return own, metadata, fmt.Errorf("pipeline: %s does not say whether it predicts ε or "+
				"v: its metadata have modelspec.prediction_type %s",
				c.Name, weights.Printable(says))
		}
	}
	return own, metadata, nil
}

func disagree(file string, a, b saying) error {
	return fmt.Errorf("pipeline: %s: %s says that it predicts %s, and %s says %s: "+
		"remove what is wrong", file, a.from, a.prediction, b.from, b.prediction)
}

// Keys of the .yaml files that the first checkpoints were published with, each on a line of its own
// or within braces.
var (
	parameterization = yamlKey(`parameterization`, `["']?([^\s"',{}]*)`)
	contextDim       = yamlKey(`context_dim`, `(\d+)`)
	zeroSNR          = yamlKey(
		`(?i:zsnr|ztsnr|use_zsnr|zero_terminal_snr|rescale_betas_zero_snr)`,
		`(?i:true|yes|on)\b`)
	isModel     = yamlKey(`target`, `["']?(ldm|sgm|cldm)\.`)
	yamlComment = regexp.MustCompile(`(?m)(^|\s)#.*$`)
)

func yamlKey(names, value string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)(?:^|[{,])\s*["']?(?:` + names + `)["']?\s*:\s*` + value)
}

// yamlBeside reads the .yaml that is named as the file is, or else the one that is alone in the
// folder of configs, if it is of a model with so many features of a text. v2-inference-v.yaml of
// Stable Diffusion 2 is one.
func yamlBeside(file, configs string, features int) (saying, error) {
	stem := strings.TrimSuffix(file, filepath.Ext(file))
	for _, name := range []string{stem + ".yaml", stem + ".yml", file + ".yaml"} {
		text, err := readYAML(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return saying{}, fmt.Errorf("pipeline: %w", err)
		}
		return parseYAML(text, name, 0)
	}
	if configs == "" {
		return saying{}, nil
	}
	all, _ := filepath.Glob(filepath.Join(globSafe(configs), "*.yaml"))
	if len(all) != 1 {
		return saying{}, nil
	}
	text, err := readYAML(all[0])
	if err != nil {
		return saying{}, fmt.Errorf("pipeline: %w", err)
	}
	return parseYAML(text, all[0], features)
}

// globSafe is a path in which no character is a pattern's.
func globSafe(path string) string {
	return regexp.MustCompile(`[*?\[]`).ReplaceAllString(path, "?")
}

// readYAML reads a text without its comments. A megabyte is more than enough for it.
func readYAML(name string) (string, error) {
	t, err := text.ReadFile(name, 1<<20)
	return yamlComment.ReplaceAllString(string(t), ""), err
}

// parseYAML looks for the few keys that matter. With features it must be of a model that reads as
// many, or it says nothing.
func parseYAML(text, name string, features int) (saying, error) {
	if m := contextDim.FindStringSubmatch(text); features != 0 {
		if n := 0; m != nil {
			if n, _ = strconv.Atoi(m[1]); n != features {
				return saying{}, nil
			}
		} else {
			return saying{}, nil
		}
	}
	s := saying{from: name, zeroSNR: zeroSNR.MatchString(text)}
	m := parameterization.FindStringSubmatch(text)
	switch {
	case m != nil:
		if s.prediction = predictions[m[1]]; s.prediction == "" {
			return s, fmt.Errorf("pipeline: %s: parameterization %s is neither eps nor v",
				name, weights.Printable(m[1]))
		}
	case strings.Contains(text, "VScaling"):
		s.prediction = "v_prediction"
	case isModel.MatchString(text): // without the key it is ε
		s.prediction = "epsilon"
	default:
		return saying{}, nil
	}
	return s, nil
}

// settleSchedule is the schedule of a file: the one given, which is that of the configs, or Stable
// Diffusion's, with what the file, its metadata and its .yaml say of it.
func (c content) settleSchedule(
	given *diffusion.Schedule, u unet.Config, file, configs string,
) (s *diffusion.Schedule, notes []string, err error) {
	features := u.CrossAttentionDim.At(0)
	own, metadata, err := c.sayings(file, configs, features)
	if err != nil {
		return nil, nil, err
	}
	config := diffusion.StableDiffusion()
	config.Prediction = nil
	if given != nil {
		config = given.Config
	}
	scheduler := saying{from: "scheduler_config.json"}
	if config.Prediction != nil {
		scheduler.prediction = *config.Prediction
	}
	if scheduler.prediction != "" && own.prediction != "" &&
		scheduler.prediction != own.prediction {
		return nil, nil, disagree(c.Name, own, scheduler)
	}
	first := scheduler
	if first.prediction == "" {
		first = own
	}
	switch {
	case first.prediction == "" && metadata.prediction != "":
		first = metadata
	case first.prediction == "" && (features == 768 || given != nil):
		first.prediction = "epsilon"
	case first.prediction == "":
		return nil, nil, fmt.Errorf("pipeline: %s does not say whether it predicts ε or v, "+
			"and its shapes don't tell: LoadFile needs a folder of configs that has "+
			"scheduler/scheduler_config.json, or the file's .yaml beside it", c.Name)
	case metadata.prediction != "" && metadata.prediction != first.prediction:
		const note = "%s says that %s predicts %s, and %s %s; the former counts"
		notes = append(notes, fmt.Sprintf(note,
			first.from, c.Name, first.prediction, metadata.from, metadata.prediction))
	}
	if given == nil || first.prediction != "epsilon" {
		config.Prediction = &first.prediction
	}
	if own.zeroSNR && config.ZeroSNR == nil {
		config.ZeroSNR = new(true)
	}
	if s, err = diffusion.NewSchedule(config); err != nil {
		return nil, nil, fmt.Errorf("%w (of %s)", err, c.Name)
	}
	return s, notes, nil
}
