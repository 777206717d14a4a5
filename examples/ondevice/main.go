// Command ondevice looks at the kernels of this module on a GPU that is there for minutes:
//
//	go build -tags nvidia -trimpath -ldflags '-s -w' -o ondevice ./examples/ondevice
//	./ondevice right -out right.json
//
// It is one file, and needs nothing but a driver.
//
// right holds the device to what it must compute. A tiny kernel for each primitive that kernels
// are made of is compared with outputs that are recorded. Every kernel is compared with the
// processor: operations with their gradients, AdamW, and a training run and a picture of the
// miniature, in float32 and bfloat16. If compute-sanitizer is found, it looks at some of them. The
// report is one JSON file. The exit status is 1 if anything is not right.
//
//	./ondevice fast -out fast.json -peers PEERS
//
// fast says how long the device takes: training steps of Stable Diffusion 1.5's UNet, with what
// each kernel takes of them, operations at its shapes, products cut in every way. It trains for a
// hundred updates, whose losses must fall. PEERS is a folder with a program gpu_peers.py of a
// peer's, such as PyTorch, which is run last. Its report is one JSON file too.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/kudos-ml/kudos/kernels/cuda"
)

// A command returns the exit status.
type command struct {
	name, about string
	run         func(args []string, out, progress io.Writer) int
}

var commands = []command{
	{"right", "hold a GPU to what it must compute", right},
	{"fast", "say how long it takes", fast},
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, progress io.Writer) int {
	if len(args) > 0 {
		named := func(c command) bool { return c.name == args[0] }
		if i := slices.IndexFunc(commands, named); i >= 0 {
			return commands[i].run(args[1:], out, progress)
		}
	}
	fmt.Fprintln(progress, "usage: ondevice COMMAND [flags]")
	for _, c := range commands {
		fmt.Fprintf(progress, "  %-6s %s\n", c.name, c.about)
	}
	fmt.Fprintf(progress, "\nWhat has not run on a device:\n\n%s", cuda.NotRun())
	if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		return 0
	}
	return 2
}
