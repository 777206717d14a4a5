package main

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/kudos-ml/kudos/reward/measure"
)

// result is report.json.
type result struct {
	Prompts   int     `json:"prompts"`
	PerPrompt int     `json:"per_prompt"`
	BestOf    int     `json:"best_of"` // 1: there is no such arm
	Sampler   string  `json:"sampler"`
	Steps     int     `json:"steps"`
	Eta       float64 `json:"eta"`
	Guidance  float64 `json:"guidance"`
	Negative  string  `json:"negative"`
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Seed      uint64  `json:"seed"`
	CLIP      string  `json:"clip"`             // its folder
	Reward    string  `json:"reward,omitempty"` // its folder

	Arms        []armResult  `json:"arms"`
	Differences []difference `json:"differences"`
}

// An armResult is what an arm's pictures are like: means over the pictures. Reward is absent without a reward, Diversity if no prompt has two
// pictures.
type armResult struct {
	Name      string   `json:"name"`
	Title     string   `json:"-"`
	Model     string   `json:"model"`
	LoRA      string   `json:"lora,omitempty"`
	LoRAScale float64  `json:"lora_scale,omitempty"`
	UNet      string   `json:"unet"`    // hash of its weights
	Samples   string   `json:"samples"` // the file that lists the pictures
	Reward    *float64 `json:"reward,omitempty"`
	CLIPScore float64  `json:"clip_score"`
	Diversity *float64 `json:"diversity,omitempty"`
}

// A difference is by how much the mean of one arm is above another's: paired, with 95 % intervals.
type difference struct {
	Arm       string              `json:"arm"`
	From      string              `json:"from"`
	Reward    *measure.Difference `json:"reward,omitempty"`
	CLIPScore measure.Difference  `json:"clip_score"`
	Diversity *measure.Difference `json:"diversity,omitempty"` // pairs are prompts; absent unless two prompts have two pictures
}

// compare makes the numbers: every arm against the base, and the tuned ones against best-of-n.
func (s *session) compare(all []*scored) (*result, error) {
	r := &result{
		Prompts: len(s.prompts), PerPrompt: s.perPrompt, Sampler: s.Sampler.Name, Steps: s.Steps, Eta: s.Eta, Guidance: s.Guidance, Negative: s.Negative,
		Width: s.Width, Height: s.Height, Seed: s.Seed, CLIP: s.clip, Reward: s.reward, BestOf: s.n,
	}
	diversity := map[string][]float64{}
	for _, a := range all {
		one := armResult{
			Name: a.name, Title: a.title, Model: a.model, LoRA: a.lora, UNet: s.hashes[a.unet()], Samples: a.name + "/samples.jsonl",
			CLIPScore: stat.Mean(a.clip, nil),
		}
		if a.lora != "" {
			one.LoRAScale = s.loraScale
		}
		if rewards := a.rewards(); rewards != nil {
			one.Reward = new(stat.Mean(rewards, nil))
		}
		var err error
		if diversity[a.name], err = a.diversity(); err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		if len(diversity[a.name]) > 0 {
			one.Diversity = new(stat.Mean(diversity[a.name], nil))
		}
		r.Arms = append(r.Arms, one)
	}
	for _, pair := range s.pairs(all) {
		d, err := s.difference(pair[0], pair[1], diversity)
		if err != nil {
			return nil, err
		}
		r.Differences = append(r.Differences, d)
	}
	return r, nil
}

// pairs are what is compared: an arm and what it is compared with.
func (s *session) pairs(all []*scored) (pairs [][2]*scored) {
	for _, a := range all[1:] {
		pairs = append(pairs, [2]*scored{a, all[0]})
	}
	if s.n > 1 {
		for _, a := range all[1 : len(all)-1] {
			pairs = append(pairs, [2]*scored{a, all[len(all)-1]})
		}
	}
	return pairs
}

func (s *session) difference(a, from *scored, diversity map[string][]float64) (d difference, err error) {
	d = difference{Arm: a.name, From: from.name}
	clusters := make([]string, len(a.samples))
	for i, sample := range a.samples {
		clusters[i] = sample.Prompt
	}
	if !slices.ContainsFunc(clusters, func(p string) bool { return p != clusters[0] }) {
		clusters = nil // of one prompt alone, the interval is about its pictures
	}
	if d.CLIPScore, err = measure.Paired(from.clip, a.clip, clusters, s.Seed); err != nil {
		return d, err
	}
	if rewards := a.rewards(); rewards != nil {
		paired, err := measure.Paired(from.rewards(), rewards, clusters, s.Seed)
		if err != nil {
			return d, err
		}
		d.Reward = &paired
	}
	if len(diversity[a.name]) > 1 {
		paired, err := measure.Paired(diversity[from.name], diversity[a.name], nil, s.Seed)
		if err != nil {
			return d, err
		}
		d.Diversity = &paired
	}
	return d, nil
}

// diversity of the pictures of each prompt that has two or more, in order of first appearance.
func (a *scored) diversity() (out []float64, err error) {
	features := map[string][][]float64{}
	var order []string
	for i, sample := range a.samples {
		if features[sample.Prompt] == nil {
			order = append(order, sample.Prompt)
		}
		features[sample.Prompt] = append(features[sample.Prompt], a.features[i])
	}
	for _, prompt := range order {
		f := features[prompt]
		if len(f) < 2 {
			continue
		}
		d, err := measure.Diversity(f, make([]string, len(f)))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", prompt, err)
		}
		out = append(out, d)
	}
	return out, nil
}
