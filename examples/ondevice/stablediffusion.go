package main

import (
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
)

// stableDiffusion are operations of Stable Diffusion's network at 512×512 pixels.
func stableDiffusion() (all []operation) {
	same, plain := kernels.Same(3), kernels.Same(1)
	down := kernels.Conv{Stride: 2, Top: 1, Bottom: 1, Left: 1, Right: 1}
	for _, c := range []convolution{
		{1, 64, 64, 4, 320, 3, 3, same, true}, {1, 64, 64, 320, 320, 3, 3, same, true},
		{1, 64, 64, 320, 320, 3, 3, down, true}, {1, 16, 16, 1280, 640, 3, 3, same, true},
		{2, 8, 8, 1280, 1280, 3, 3, same, true}, {1, 32, 32, 960, 640, 1, 1, plain, true},
		{1, 64, 64, 320, 4, 3, 3, same, true},
	} {
		all = append(all, c.operation())
	}
	all = append(all,
		linear(4096, 320, 2560, true), linear(77, 768, 320, false), linear(2, 1280, 1280, true),
		attended{n: 1, heads: 8, d: 40, lq: 4096, lk: 4096}.operation(),
		attended{n: 2, heads: 8, d: 40, lq: 4096, lk: 77}.operation(),
		attended{n: 2, heads: 8, d: 80, lq: 1024, lk: 1024}.operation(),
		attended{n: 2, heads: 8, d: 160, lq: 256, lk: 77}.operation(),
		attended{n: 2, heads: 12, d: 64, lq: 77, lk: 77, causal: true}.operation(),
	)
	groups := three(func(x, scale, shift *gorgonia.Node) (*gorgonia.Node, error) {
		return kernels.GroupNorm(x, scale, shift, 32, 1e-5, kernels.SiLUActivation)
	})
	rows := three(func(x, scale, shift *gorgonia.Node) (*gorgonia.Node, error) {
		return kernels.LayerNorm(x, scale, shift, 1e-5, kernels.Identity)
	})
	all = append(all,
		operation{
			name: "group norm", of: groups,
			shapes: shapes([]int{2, 64, 64, 320}, []int{320}, []int{320}),
		},
		operation{
			name: "group norm/autoencoder", of: groups,
			shapes: shapes([]int{1, 256, 256, 128}, []int{128}, []int{128}),
		},
		operation{
			name: "layer norm", of: rows,
			shapes: shapes([]int{2, 4096, 320}, []int{320}, []int{320}),
		},
		operation{name: "geglu", of: one(kernels.GEGLU), shapes: shapes([]int{2, 4096, 2560})},
		operation{
			name: "upsample", of: one(kernels.UpsampleNearest2x),
			shapes: shapes([]int{2, 32, 32, 640}),
		},
		operation{
			name: "skip", shapes: shapes([]int{2, 32, 32, 640}, []int{2, 32, 32, 320}),
			of: func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return kernels.Concat(in...) },
		},
		operation{
			name: "tokens", of: two(kernels.Embedding),
			shapes: shapes([]int{49408, 768}, []int{2, 77}), fixed: []int{1}, fill: whole(1, 49408),
		},
	)
	for i := range all {
		all[i].large = true
	}
	return all
}
