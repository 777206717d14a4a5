package pipeline

import "regexp"

// options are what programs other than diffusers take for options and weights in a prompt, and what
// the text encoder here reads as words, as diffusers' does: --w 768 of kohya's scripts and others,
// <lora:x:0.8>, (hat:1.3), ((hat)) and [a:b:0.5] of stable-diffusion-webui, {a|b} and __a__ of
// dynamic prompts.
var options = regexp.MustCompile(`(^|\s)--[a-z]+(\s|=|$)|<\w+:[^<>]+>|\([^()]*:\s*[0-9.]+\s*\)|` +
	`\(\([^()]*\)\)|\[[^\[\]]*:\s*[0-9.]+\s*\]|\{[^{}]*\|[^{}]*\}|\b__[\w/-]+__\b`)

// withOptions returns the prompts that have options.
func withOptions(prompts []string) (with []string) {
	for _, p := range prompts {
		if options.MatchString(p) {
			with = append(with, p)
		}
	}
	return with
}
