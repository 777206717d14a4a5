package pipeline

import (
	"regexp"
	"strings"
)

// options are what programs other than diffusers take for options and weights in a prompt, and what
// the text encoder here reads as words, as diffusers' does.
var options = regexp.MustCompile(strings.Join([]string{
	`(^|\s)--[a-z][a-z0-9_-]*(\s|=|$)`, `^#\s`, // kohya's scripts: --w 768, # a comment
	// Midjourney: where an editor made one dash of two, and hot:: dog::2
	`(^|\s)[—–](ar|niji|stylize|seed|chaos|iw|v)\s`, `\w::(\s|-?[0-9]|$)`, `^\s*/imagine\b`,
	// stable-diffusion-webui: <lora:x:0.8>, (hat:1.3), ((hat)), [[hat]], [a:b:0.5], [a|b], BREAK,
	// AND, and what it writes beside a picture
	`<\w+:[^<>]+>`, `\(.*:\s*[-+]?[0-9.,]+\s*\)`, `\(\([^()]*\)\)`, `\[\[[^\[\]]*\]\]`,
	`\[[^\[\]]*:\s*[0-9.]+\s*\]`, `\[[^\[\]]*\|[^\[\]]*\]`, `\bBREAK\b`,
	`[^A-Z\s]\s+AND\s+[^A-Z\s]`, `(?i:negative prompt:)`, `\bSteps: [0-9]+, Sampler:`,
	// dynamic prompts and NovelAI: {a|b}, __a__, {{hat}}
	`\{[^{}]*\|[^{}]*\}`, `\b__[\w/-]+__\b`, `\{\{[^{}]*\}\}`,
	`\w\w\+\+`, `\)\+`, `\)[0-9]*\.[0-9]`, // compel: hat++, (hat)+, (hat)1.3
	`\bembedding:\w`, // ComfyUI
}, "|"))

// withOptions returns the prompts that have options.
func withOptions(prompts []string) (with []string) {
	for _, p := range prompts {
		if options.MatchString(p) {
			with = append(with, p)
		}
	}
	return with
}
