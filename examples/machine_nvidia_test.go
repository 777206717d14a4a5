//go:build nvidia

package examples_test

// Programs are built with these tags and get these flags.
const buildTags, machineFlags = "nvidia", "-device cuda -precision bf16"
