package command

import (
	"flag"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
)

// A Machine is where and how a program computes, as its flags -device and -precision have it, and
// -plain if it has that.
//
//	var m command.Machine
//	m.Flags(f)
//	if err := m.Parse(f, os.Args[1:]); err != nil {
//		return err
//	}
//	defer m.Close()
//	model.Machine = m.Config
type Machine struct {
	kernels.Config // Device, Precision, Winograd and Room
	place          place
}

// Flags adds the flags to f.
func (m *Machine) Flags(f *flag.FlagSet) {
	f.Var(&m.place, "device", "what computes: `cpu`, or cuda for an NVIDIA GPU, cuda:1 for the "+
		"second; programs built with -tags nvidia have GPUs")
	f.Var((*precision)(&m.Precision), "precision", "of the arithmetic: `float32`, or bfloat16 "+
		"(bf16), in which weights, their gradients and what is saved stay float32; it is faster "+
		"on a GPU and on a processor with AVX512_BF16, and slower on others")
}

// PlainFlag adds the flag -plain. It is for programs of models of full size: without the flag they
// have Config.Winograd.
func (m *Machine) PlainFlag(f *flag.FlagSet) {
	m.Winograd = true
	f.Var((*plain)(&m.Winograd), "plain", "compute all convolutions as they are defined; without "+
		"it a processor has large ones done by Winograd's algorithm, in float32 whatever the "+
		"precision: that takes less time and, in float32, rounds more")
}

// Parse reads a command line and opens the device that it names. Without one, what takes more
// memory than this machine, or the cgroup of this process, has free is an error before it is taken.
func (m *Machine) Parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if m.place == 0 {
		m.Room = room
		return nil
	}
	var err error
	if m.Device, err = cuda.Open(int(m.place) - 1); err != nil {
		return fmt.Errorf("-device %v: %w", m.place, err)
	}
	return nil
}

// room is an error where less memory than so many bytes is free, without what is garbage.
func room(bytes int64) error {
	free, known := freeMemory()
	if known && free < bytes {
		debug.FreeOSMemory()
		free, known = freeMemory()
	}
	if known && free < bytes {
		return fmt.Errorf("this takes %v of memory, and this machine, or the cgroup of this "+
			"process, has %v free", report.Size(bytes), report.Size(free))
	}
	return nil
}

// Close frees the device, if there is one. What was made on it is freed before.
func (m *Machine) Close() error {
	if m.Device == nil {
		return nil
	}
	d := m.Device
	m.Device = nil
	return d.Close()
}

// A place is the processor, 0, or the number of a GPU and 1. As a flag it is written cpu, cuda or
// cuda:1.
type place int

func (p *place) Set(text string) error {
	name, number, numbered := strings.Cut(text, ":")
	n, err := 0, error(nil)
	if numbered {
		n, err = strconv.Atoi(number)
	}
	switch {
	case text == "cpu":
		*p = 0
	case name == "cuda" && err == nil && n >= 0:
		*p = place(n + 1)
	default:
		return fmt.Errorf("%q is no device: cpu, cuda and cuda:1 are", text)
	}
	return nil
}

func (p place) String() string {
	switch p {
	case 0:
		return "cpu"
	case 1:
		return "cuda"
	}
	return fmt.Sprint("cuda:", int(p)-1)
}

// Get returns the kind of device, which decides results: "cpu" or "cuda".
func (p place) Get() any {
	kind, _, _ := strings.Cut(p.String(), ":")
	return kind
}

// A precision is one of a kernels.Machine. As a flag it is written float32 or bfloat16, or as short
// as usual.
type precision kernels.Precision

func (p *precision) Set(text string) error {
	switch text {
	case "float32", "fp32":
		*p = precision(kernels.Float32)
	case "bfloat16", "bf16":
		*p = precision(kernels.BFloat16)
	default:
		return fmt.Errorf("%q is no precision to compute in: float32 and bfloat16 are", text)
	}
	return nil
}

func (p precision) String() string { return kernels.Precision(p).String() }

// Get returns the precision's name.
func (p precision) Get() any { return p.String() }

// A plain is Config.Winograd. As a flag it is true where that is false.
type plain bool

func (p *plain) Set(text string) error {
	v, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%q is not true or false", text)
	}
	*p = plain(!v)
	return nil
}

func (p plain) String() string { return strconv.FormatBool(!bool(p)) }

// Get returns whether all is computed as it is defined.
func (p plain) Get() any { return !bool(p) }

// IsBoolFlag says that the flag needs no value.
func (p plain) IsBoolFlag() bool { return true }
