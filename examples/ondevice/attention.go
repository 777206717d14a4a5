package main

import (
	"fmt"
	"regexp"
	"strconv"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
)

// An attended is an attention of lq queries and lk keys.
type attended struct {
	n, heads, d, lq, lk int
	causal, masked      bool
}

func (c attended) operation() operation {
	q, k := []int{c.n, c.lq, c.heads * c.d}, []int{c.n, c.lk, c.heads * c.d}
	o := operation{
		name:   fmt.Sprintf("%d/%d heads, %d by %d", c.d, c.heads, c.lq, c.lk),
		shapes: shapes(q, k, k),
		of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			options := kernels.AttentionOptions{Heads: c.heads, Causal: c.causal}
			options.KeyMask = append(in, nil)[3]
			return kernels.Attention(in[0], in[1], in[2], options)
		},
	}
	if c.causal {
		o.name += ", causal"
	}
	if c.masked {
		o.name += ", masked"
		o.shapes = append(o.shapes, []int{c.n, c.lk})
		o.fixed = []int{3}
		o.fill = func(input int, x []float32) {
			for i := range x {
				if input == 3 {
					x[i] = 1
					if i%5 == 1 || i < c.lk && c.n > 1 { // the first of several sees nothing
						x[i] = 0
					}
				}
			}
		}
	}
	// The probabilities of a row are rounded, and so are their gradients. Those of a single key
	// are 0 but for rounding.
	o.loose, o.least = 2, 1e-6
	return o
}

// emulated are the sizes of heads that the emulation has kernels for in bfloat16.
var emulated = map[int]bool{
	8: true, 16: true, 24: true, 32: true, 40: true, 64: true, 80: true, 160: true, 72: true,
	96: true, 128: true, 136: true, 192: true, 256: true,
}

// isAbsent reports whether a kernel is for heads of a size that the emulation does not have.
func isAbsent(kernel string) bool {
	m := ofHeads.FindStringSubmatch(kernel)
	if m == nil {
		return false
	}
	d, err := strconv.Atoi(m[1])
	return err == nil && !emulated[d]
}

var ofHeads = regexp.MustCompile(`^attention(?:_grad_keys|_grad_queries)?_(\d+)_bf16$`)

// attentions are of heads of all sizes that there are kernels for, and of others, which take the
// kernels for float32.
func attentions() (all []operation) {
	for d := 8; d <= 256; d += 8 {
		if d > 160 && d != 192 && d != 256 {
			continue
		}
		for _, c := range []attended{
			{2, 2, d, 33, 77, false, false}, {2, 1, d, 77, 77, true, false},
			{2, 1, d, 20, 77, false, true},
		} {
			o := c.operation()
			o.absent = !emulated[d]
			all = append(all, o)
		}
	}
	for _, c := range []attended{
		{2, 2, 5, 9, 7, false, false}, {2, 2, 12, 33, 77, false, true},
		{1, 1, 100, 65, 65, true, false}, {1, 2, 40, 1, 1, false, false},
		{2, 1, 40, 130, 129, true, true}, {1, 1, 64, 300, 257, false, false},
	} {
		all = append(all, c.operation())
	}
	return all
}
