package main

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
)

// moves are operations that move values.
func moves() (all []operation) {
	concat := func(axis int) op {
		return func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.ConcatAxis(axis, in...)
		}
	}
	slice := func(axis, start, end int) op {
		return func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Slice(in[0], axis, start, end)
		}
	}
	repeat := func(axis int) op {
		return func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Repeat(in[0], axis, 3)
		}
	}
	// The units that rows are copied in are 2, 4, 8 or 16 bytes.
	for _, c := range []int{1, 2, 4, 8, 24} {
		all = append(all,
			operation{
				name: fmt.Sprintf("concat/%d", c), of: concat(2),
				shapes: shapes([]int{2, 3, c}, []int{2, 3, 2 * c}, []int{2, 3, c}),
			},
			operation{
				name: fmt.Sprintf("slice/%d", c), of: slice(1, 1, 3),
				shapes: shapes([]int{3, 5, c}),
			},
		)
	}
	return append(all,
		operation{
			name: "concat/axis 1", of: concat(1), shapes: shapes([]int{2, 3, 7}, []int{2, 5, 7}),
		},
		operation{
			name: "slice/first axis", of: slice(0, 1, 3), shapes: shapes([]int{4, 5}),
		},
		operation{name: "repeat/0", of: repeat(0), shapes: shapes([]int{5, 7})},
		operation{name: "repeat/1", of: repeat(1), shapes: shapes([]int{5, 64})},
		operation{
			name: "add time", of: two(kernels.AddTime),
			shapes: shapes([]int{2, 3, 5, 12}, []int{2, 12}),
		},
		operation{
			name: "add time/even", of: two(kernels.AddTime),
			shapes: shapes([]int{2, 8, 8, 64}, []int{2, 64}),
		},
		operation{
			name: "add positions", of: two(kernels.AddPositions),
			shapes: shapes([]int{3, 7, 20}, []int{7, 20}),
		},
	)
}

func reductions() (all []operation) {
	for axis := range 3 {
		mean := func(x *gorgonia.Node) (*gorgonia.Node, error) { return kernels.Mean(x, axis) }
		sum := func(x *gorgonia.Node) (*gorgonia.Node, error) { return kernels.SumAxis(x, axis) }
		all = append(all,
			operation{
				name: fmt.Sprintf("mean/%d", axis), of: one(mean), shapes: shapes([]int{3, 5, 7}),
			},
			operation{
				name: fmt.Sprintf("sum/%d", axis), of: one(sum), shapes: shapes([]int{5, 700, 16}),
			},
		)
	}
	return append(all,
		// Few columns of many rows are added in parts.
		operation{
			name: "sum/tall", shapes: shapes([]int{1, 70_000, 8}),
			of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.SumAxis(in[0], 1)
			},
		},
		operation{name: "sum/large", of: one(kernels.Sum), shapes: shapes([]int{512, 256})},
		operation{
			name: "l2 normalize", of: one(kernels.L2Normalize), shapes: shapes([]int{5, 77}),
		},
		operation{
			name: "l2 normalize/even", of: one(kernels.L2Normalize), shapes: shapes([]int{3, 768}),
		},
	)
}

// tables are operations that look up rows.
func tables() (all []operation) {
	for _, d := range []int{5, 64} {
		all = append(all,
			operation{
				name: fmt.Sprintf("embedding/%d", d), of: two(kernels.Embedding),
				shapes: shapes([]int{11, d}, []int{3, 7}), fixed: []int{1}, fill: whole(1, 11),
			},
			// Many rows of a small table.
			operation{
				name: fmt.Sprintf("embedding/many/%d", d), of: two(kernels.Embedding),
				shapes: shapes([]int{50, d}, []int{20, 77}), fixed: []int{1}, fill: whole(1, 50),
			},
			operation{
				name: fmt.Sprintf("gather/%d", d), of: two(kernels.GatherRows),
				shapes: shapes([]int{4, 9, d}, []int{4}), fixed: []int{1}, fill: whole(1, 9),
			},
		)
	}
	for _, dim := range []int{7, 320} {
		all = append(all, operation{
			name: fmt.Sprintf("timestep/%d", dim), shapes: shapes([]int{3}), fixed: []int{0},
			of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.TimestepEmbedding(in[0], dim, true, 0)
			},
			fill: func(_ int, x []float32) { copy(x, []float32{0, 500, 999}) },
		})
	}
	return all
}

func resampling() (all []operation) {
	upsample := func(h, w int) op {
		return func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.UpsampleNearest(in[0], h, w)
		}
	}
	pool := func(k int) op {
		return func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.AveragePool(in[0], k)
		}
	}
	for _, c := range []int{5, 16} {
		s := shapes([]int{2, 5, 7, c})
		all = append(all,
			operation{name: fmt.Sprintf("upsample/%d", c), of: upsample(10, 14), shapes: s},
			operation{name: fmt.Sprintf("upsample/odd/%d", c), of: upsample(9, 11), shapes: s},
			operation{name: fmt.Sprintf("pool/%d", c), of: pool(2), shapes: s},
			operation{name: fmt.Sprintf("pool/3/%d", c), of: pool(3), shapes: s},
		)
	}
	return all
}

// norms are group norms and layer norms. Kernels for layer norms are made for lengths of rows.
func norms() (all []operation) {
	group := func(groups int, act kernels.Activation) op {
		return three(func(x, scale, shift *gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.GroupNorm(x, scale, shift, groups, 1e-5, act)
		})
	}
	layer := three(func(x, scale, shift *gorgonia.Node) (*gorgonia.Node, error) {
		return kernels.LayerNorm(x, scale, shift, 1e-5, kernels.Identity)
	})
	for _, c := range []struct {
		n, h, w, c, groups int
		act                kernels.Activation
	}{
		{2, 3, 3, 8, 4, kernels.Identity}, {1, 2, 5, 15, 3, kernels.SiLUActivation},
		{3, 1, 1, 6, 1, kernels.Identity}, {2, 16, 16, 64, 32, kernels.SiLUActivation},
		{1, 5, 5, 640, 2, kernels.Identity}, {1, 3, 2, 4099, 1, kernels.SiLUActivation},
	} {
		all = append(all, operation{
			name:   fmt.Sprintf("group/%dx%dx%dx%d in %d/%v", c.n, c.h, c.w, c.c, c.groups, c.act),
			of:     group(c.groups, c.act),
			shapes: shapes([]int{c.n, c.h, c.w, c.c}, []int{c.c}, []int{c.c}),
		})
	}
	for _, c := range []int{
		20, 37, 250, 256, 320, 500, 512, 640, 768, 1000, 1024, 1280, 2048, 4096, 8192, 8200, 16384,
	} {
		all = append(all, operation{
			name: fmt.Sprintf("layer/%d", c), of: layer,
			shapes: shapes([]int{2, 3, c}, []int{c}, []int{c}),
		})
	}
	return all
}
