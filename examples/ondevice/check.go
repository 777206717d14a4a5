package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
)

// A check is something that a device is to do as the processor does it.
type check struct {
	name      string
	precision string // of the machine, if there is one
	run       func(d kernels.Device) outcome
	small     bool // a sanitizer does it in a moment
	absent    bool // the emulation has not all of its kernels
}

// An outcome is what a check has shown.
type outcome struct {
	Worst      number      `json:"worst"`                // the largest error of what is allowed
	Wrong      string      `json:"wrong,omitempty"`      // what is not right
	Primitives *primitives `json:"primitives,omitempty"` // of the first check
}

// A result is the outcome of a check.
type result struct {
	Name      string `json:"name"`
	Precision string `json:"precision,omitempty"`
	outcome
	Right   bool     `json:"right"`
	LeftOut string   `json:"left_out,omitempty"` // why it was not made
	Seconds float64  `json:"seconds"`
	Kernels []string `json:"kernels,omitempty"` // that it launched
}

// Primitives are how a device does what kernels are made of.
type primitives struct {
	Seen    string      `json:"recorded_on"` // where what they are compared with was seen
	Kernels []primitive `json:"kernels"`
	// Record is what the device gave, in the form of what is recorded.
	Record json.RawMessage `json:"record,omitempty"`
}

type primitive struct {
	Name   string `json:"name"`
	Right  bool   `json:"right"`
	Values int    `json:"values"`
	Bits   int    `json:"other_bits"` // than those recorded
	Worst  number `json:"worst"`
	Wrong  string `json:"wrong,omitempty"`
}

// A number is a float64 that JSON can have: what is not finite is null.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsInf(f, 0) || math.IsNaN(f) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.4g", float64(n)), nil
}

func (n *number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = number(math.Inf(1))
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// perform makes the check on a device. A panic is wrong.
func (c check) perform(d kernels.Device) (r result) {
	r.Name, r.Precision = c.name, c.precision
	if c.absent && isEmulated(d.String()) {
		r.LeftOut = absent
		return r
	}
	n := &noting{Device: d, names: make(map[string]bool)}
	begin := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.Wrong = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
		r.Right = r.Wrong == ""
		r.Kernels = n.take()
		r.Seconds = rounded(time.Since(begin))
	}()
	r.outcome = c.run(n)
	return r
}

// absent is why a check is left out.
const absent = "the emulation does not have these kernels"

// isEmulated reports whether a device of this name is the emulation.
func isEmulated(name string) bool { return strings.HasPrefix(strings.ToLower(name), "emulat") }

func rounded(d time.Duration) float64 { return math.Round(1e3*d.Seconds()) / 1e3 }

// conform is the check of what kernels are made of.
func conform(d kernels.Device) (o outcome) {
	c, err := cuda.Conform(d)
	o.Primitives = &primitives{Seen: c.Seen, Record: c.Record}
	var wrong []error
	for _, p := range c.Primitives {
		o.Worst = max(o.Worst, number(p.Worst))
		o.Primitives.Kernels = append(o.Primitives.Kernels, primitive{
			p.Name, p.Wrong == "", p.Values, p.Bits, number(p.Worst), p.Wrong,
		})
		if p.Wrong != "" && err == nil {
			wrong = append(wrong, fmt.Errorf("%s: %s", p.Name, p.Wrong))
		}
	}
	if err = errors.Join(append(wrong, err)...); err != nil {
		o.Wrong = err.Error()
	}
	return o
}
