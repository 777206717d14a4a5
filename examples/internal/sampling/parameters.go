package sampling

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
)

// samplerNames are what AUTOMATIC1111's web UI calls samplers.
var samplerNames = map[string]string{
	"ddpm": "DDPM", "ddim": "DDIM", "pndm": "PLMS", "euler": "Euler", "euler_a": "Euler a", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_karras": "DPM++ 2M Karras",
}

// parameters says how a sample was made in the form that AUTOMATIC1111's web UI writes into PNG files (create_infotext in its
// modules/processing.py) and that other programs read: the prompt, the negative prompt, and a line of settings. A picture's noise is
// decided by Seed and Index together, so its Seed alone means nothing to other programs.
func parameters(s dataset.Sample) string {
	size := s.Image.Bounds().Size()
	var b strings.Builder
	b.WriteString(s.Prompt + "\n")
	if s.Source.Negative != "" {
		b.WriteString("Negative prompt: " + s.Source.Negative + "\n")
	}
	fmt.Fprintf(&b, "Steps: %d, Sampler: %s, CFG scale: %g, Seed: %d, Size: %dx%d, Model: %s, Index: %d",
		s.Source.Steps, cmp.Or(samplerNames[s.Source.Sampler], s.Source.Sampler), s.Source.Guidance, s.Source.Seed, size.X, size.Y, quoted(s.Source.Model), s.Source.Index)
	if s.Reward != nil {
		fmt.Fprintf(&b, ", Reward: %.4f", *s.Reward)
	}
	b.WriteString(", Version: kudos")
	return b.String()
}

// quoted is a value, as a JSON string if it would not end where it ends.
func quoted(value string) string {
	if !strings.ContainsAny(value, ",:\n") {
		return value
	}
	text, _ := json.Marshal(value) // a string always has a JSON form
	return string(text)
}
