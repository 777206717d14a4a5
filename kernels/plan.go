package kernels

import (
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/tensor"
)

// A Plan is the memory that a process needs for a run, in bytes, and the work of the run. It is
// known before anything runs.
type Plan struct {
	// Weights are parameters: inputs that Param made, or that Config.Updates change. In BFloat16
	// those that products read are there twice on a Device, once in bfloat16, and without one those
	// that are Config.ConstantParameters.
	Weights   int64
	Inputs    int64 // other inputs and constants
	Optimizer int64 // state of the optimizers in Config.Updates that have a method Bytes() int64
	Arena     int64 // results of all steps, with those that are wanted
	Workspace int64 // workspace of the steps, which take turns
	Other     int64 // for the caller to add, such as a moving average

	Outputs int64 // the part of Arena that wanted results take
	Live    int64 // the most that lives in Arena at once; the rest of Arena is lost between buffers

	// Activations is the most that intermediate values take at once. Wanted results and gradients
	// for Updates do not count. It is what Config.ActivationBytes bounds.
	Activations int64

	Steps          int     // operations of a run
	Recomputed     int     // the part of Steps that computes a value again
	RecomputedCost float64 // its estimated share of the arithmetic, 0 to 1
	Conversions    int     // the part of Steps that converts between float32 and bfloat16
	Fused          int     // the part of Steps that is a product with what reads its result

	// Host names the operations that a machine on a Device does on the host, between copies, with
	// how many of each there are. It is empty if there are none.
	Host string
}

// Total returns the sum of all the memory.
func (p Plan) Total() int64 {
	return p.Weights + p.Inputs + p.Optimizer + p.Arena + p.Workspace + p.Other
}

// String returns one line for people, in megabytes of 10⁶ bytes.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:", megabytes(p.Total()))
	for _, part := range []struct {
		name  string
		bytes int64
	}{
		{"weights", p.Weights},
		{"inputs", p.Inputs},
		{"optimizer", p.Optimizer},
		{"arena", p.Arena},
		{"workspace", p.Workspace},
		{"other", p.Other},
	} {
		if part.bytes > 0 {
			fmt.Fprintf(&b, " %s %s,", part.name, megabytes(part.bytes))
		}
	}
	fmt.Fprintf(&b, " %d steps", p.Steps)
	if p.Recomputed > 0 {
		const again = ", %d of them again (%.0f %% of the arithmetic)"
		fmt.Fprintf(&b, again, p.Recomputed, 100*p.RecomputedCost)
	}
	if p.Conversions > 0 {
		fmt.Fprintf(&b, ", %d of them conversions", p.Conversions)
	}
	if p.Fused > 0 {
		fmt.Fprintf(&b, ", %d of them fused", p.Fused)
	}
	if p.Host != "" {
		fmt.Fprintf(&b, ", on the host: %s", p.Host)
	}
	return b.String()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// planOf adds up the memory that a run of steps takes.
func (p *program) planOf(steps []step, buffers []buffer, kept []bool, updates []Update) Plan {
	plan := Plan{Steps: len(steps) - len(updates)}
	p.countSteps(&plan, steps)
	p.countInputs(&plan, updates)
	p.countBuffers(&plan, steps, buffers, kept)
	seen := make(map[Optimizer]bool)
	for _, u := range updates {
		if b, ok := u.By.(interface{ Bytes() int64 }); ok && !seen[u.By] {
			seen[u.By] = true
			plan.Optimizer += b.Bytes()
		}
	}
	return plan
}

// countSteps counts the steps that compute again, convert or are fused, and the share of the first
// in the arithmetic.
func (p *program) countSteps(plan *Plan, steps []step) {
	done := make([]bool, len(p.values))
	var all, again float64
	for _, s := range steps {
		if s.value == none {
			continue
		}
		cost := p.costOf(s.value)
		all += cost
		if p.converts(s.value) {
			plan.Conversions++
		}
		if _, ok := p.values[s.value].rule.(*fused); ok {
			plan.Fused++
		}
		if done[s.value] {
			plan.Recomputed++
			again += cost
		}
		done[s.value] = true
	}
	if all > 0 {
		plan.RecomputedCost = again / all
	}
}

// countInputs counts the memory of inputs. Memory that two inputs are bound to counts once.
func (p *program) countInputs(plan *Plan, updates []Update) {
	updated := make(map[int]bool)
	for _, u := range updates {
		updated[p.index[u.Param]] = true
	}
	seen := make(map[*tensor.Dense]bool)
	for i := range p.values {
		v := &p.values[i]
		if v.kind != input && v.kind != constant {
			continue
		}
		if v.half {
			plan.Weights += int64(v.bytes())
			continue
		}
		if d, ok := v.node.Value().(*tensor.Dense); ok {
			if seen[d] {
				continue
			}
			seen[d] = true
		}
		bytes := int64(v.size) * int64(v.node.Dtype().Size())
		if updated[i] || isParam(v.node) {
			plan.Weights += bytes
		} else {
			plan.Inputs += bytes
		}
	}
}

// countBuffers counts the memory of results.
func (p *program) countBuffers(plan *Plan, steps []step, buffers []buffer, kept []bool) {
	for _, b := range buffers {
		if b.last == len(steps) {
			plan.Outputs += int64(align(b.size))
		}
	}
	live, activations := p.lives(steps, buffers, kept)
	plan.Live, plan.Activations = int64(slices.Max(live)), int64(slices.Max(activations))
}

// lives returns the bytes that live in the arena at each step and at the end, and those of them
// that intermediate values take: all but kept ones.
func (p *program) lives(steps []step, buffers []buffer, kept []bool) (live, activations []int) {
	live, activations = make([]int, len(steps)+1), make([]int, len(steps)+1)
	for _, b := range buffers {
		span(live, b.first, b.last, align(b.size))
	}
	last := p.lastReads(steps)
	for t, s := range steps {
		for k, b := range s.in {
			if b == none || b != s.out || kept[p.values[s.reads[k]].root] {
				continue
			}
			// A value that is overwritten in place ends a step earlier.
			activations[t] -= align(buffers[b].size)
			activations[t+1] += align(buffers[b].size)
		}
		if s.out != none && !kept[s.value] {
			span(activations, t, last[t], align(buffers[s.out].size))
		}
	}
	for t := range steps {
		live[t+1] += live[t]
		activations[t+1] += activations[t]
	}
	return live, activations
}

// span adds n to a running sum from step first to step last. change holds the differences of the
// sum from step to step.
func span(change []int, first, last, n int) {
	change[first] += n
	if last+1 < len(change) {
		change[last+1] -= n
	}
}
