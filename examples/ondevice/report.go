package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/kernels/cuda"
)

// A report is what right found.
type report struct {
	Command string `json:"command"`
	// Right is whether nothing is wrong, and nothing was left out for want of time.
	Right      bool         `json:"right"`
	Date       string       `json:"date"`
	Seconds    float64      `json:"seconds"`
	Program    program      `json:"program"`
	Device     device       `json:"device"`
	Primitives *primitives  `json:"primitives"`
	Checks     []result     `json:"checks"`
	Launched   []string     `json:"kernels_launched"`
	Never      []unlaunched `json:"kernels_never_launched"`
	Sanitizer  sanitized    `json:"compute_sanitizer"`
	LeftOut    []string     `json:"left_out"` // names of checks that there was no time for
	NotRun     string       `json:"not_run_on_a_device"`
}

type program struct {
	Go       string `json:"go"`
	Revision string `json:"revision,omitempty"`
	Host     string `json:"host"`
	Cores    int    `json:"cores"`
}

type device struct {
	Name       string `json:"name"`
	Capability int    `json:"capability"` // ten times
	Memory     int64  `json:"memory"`
	CUDA       string `json:"driver_for_cuda"`
	Driver     string `json:"driver,omitempty"` // if nvidia-smi says so
	Images     string `json:"images"`
}

type unlaunched struct {
	Kernel string `json:"kernel"`
	Why    string `json:"why,omitempty"`
}

// about says what the program is.
func about() program {
	p := program{
		Go: runtime.Version(), Host: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				p.Revision = s.Value
			}
		}
	}
	return p
}

func deviceOf(i cuda.Info) device {
	d := device{
		Name: i.Name, Capability: i.Capability, Memory: i.Memory, CUDA: i.CUDA, Images: i.Images,
	}
	smi := exec.Command("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
	if said, err := smi.Output(); err == nil {
		d.Driver, _, _ = strings.Cut(strings.TrimSpace(string(said)), "\n")
	}
	return d
}

// add adds the result of a check.
func (r *report) add(x result) {
	if x.Primitives != nil {
		r.Primitives, x.Primitives = x.Primitives, nil
	}
	r.Launched = append(r.Launched, x.Kernels...)
	slices.Sort(r.Launched)
	r.Launched = slices.Compact(r.Launched)
	if x.LeftOut == outOfTime {
		r.LeftOut = append(r.LeftOut, x.Name)
	}
	r.Checks = append(r.Checks, x)
}

// never notes which kernels were not launched.
func (r *report) never(all []string) {
	for _, k := range all {
		if slices.Contains(r.Launched, k) {
			continue
		}
		why := reasons[k]
		switch {
		case why != "":
		case len(r.LeftOut) > 0:
			why = outOfTime
		case isEmulated(r.Device.Name) && isAbsent(k):
			why = absent
		}
		r.Never = append(r.Never, unlaunched{k, why})
	}
}

// end says what came of it.
func (r *report) end(progress io.Writer) {
	var bad []string
	for _, x := range r.Checks {
		if !x.Right && x.LeftOut == "" {
			bad = append(bad, x.Name)
		}
	}
	for _, k := range r.Never {
		if k.Why == "" {
			bad = append(bad, "no check launched "+k.Kernel)
		}
	}
	for _, t := range r.Sanitizer.Tools {
		if !t.Right {
			bad = append(bad, t.Name+": "+t.Wrong)
		}
	}
	r.Right = len(bad) == 0 && len(r.LeftOut) == 0
	fmt.Fprintf(progress, "\n%d checks, %d wrong, %d left out for want of time\n",
		len(r.Checks), len(bad), len(r.LeftOut))
	for _, b := range bad {
		fmt.Fprintln(progress, "  wrong:", b)
	}
}

// save writes the report to a file, or to out if that is -.
func (r *report) save(file string, out io.Writer) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return err
	}
	return write(b.Bytes(), file, out)
}

// write writes a report to a file, or to out if that is -. A file is whole at any time.
func write(report []byte, file string, out io.Writer) error {
	if file == "-" {
		_, err := out.Write(report)
		return err
	}
	if err := os.WriteFile(file+".new", report, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// reasons are why no check launches a kernel.
var reasons = map[string]string{
	"gemm_tt_128x128_bf16": transposed, "gemm_tt_128x64_bf16": transposed,
	"gemm_tt_64x64_bf16": transposed, "gemm_tt_elements_bf16": transposed,
	"gemm_tt_large_f32": transposed, "gemm_tt_small_f32": transposed,
	"watch_f32":  watched,
	"watch_bf16": watched,
	"sign_f32":   signed,
	"sign_bf16":  signed,

	"sub_by_bf16":  losing,
	"sign_by_bf16": losing,
}

const (
	transposed = "no operation multiplies two matrices that are both transposed"
	watched    = "what is not finite is looked for by the host"
	losing     = "losses and their gradients are float32"
	signed     = "the gradient of L1 has a factor in memory, which sign_by takes"
)
