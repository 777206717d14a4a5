package optim_test

import (
	"fmt"
	"log"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// AdamW finds the least of (x−3)² + (y+1)², whose gradient is 2(x−3), 2(y+1).
func ExampleAdamW() {
	p := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{0, 0}))
	grad := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{0, 0}))
	adam, err := optim.NewAdamW(kernels.Parameter{Name: "p", Value: p})
	if err != nil {
		log.Fatal(err)
	}
	adam.LR, adam.WeightDecay = 0.1, 0
	x, g := p.Float32s(), grad.Float32s()
	for range 300 {
		g[0], g[1] = 2*(x[0]-3), 2*(x[1]+1)
		if err := adam.Update(p, grad); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%.2f\n", x)
	// Output: [3.00 -1.00]
}

// Gradients of norm 5 are scaled down to norm 1.
func ExampleClipper() {
	a := tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{3}))
	b := tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{4}))
	var clipper optim.Clipper
	norm, err := clipper.Clip(1, a, b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.1f: %.2f %.2f\n", norm, a.Float32s()[0], b.Float32s()[0])
	// Output: 5.0: 0.60 0.80
}

func ExampleCosine() {
	rate := optim.Cosine(3, 11)
	for step := range 12 {
		fmt.Printf("%.2f ", rate(step))
	}
	// Output: 0.25 0.50 0.75 1.00 0.96 0.85 0.69 0.50 0.31 0.15 0.04 0.00
}
