package kernels_test

import (
	"fmt"
	"log"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// A linear layer, its loss, and the loss's gradient by the weight.
func Example() {
	weight := tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]float32{1, -1}))
	data := tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float32{1, 2, 3, 5}))
	zeros := tensor.New(tensor.WithShape(2, 1), tensor.WithBacking([]float32{0, 0}))

	g := gorgonia.NewGraph()
	y, err := kernels.Linear(kernels.Input(g, "x", data), kernels.Param(g, weight), nil)
	if err != nil {
		log.Fatal(err)
	}
	loss, err := kernels.MSE(y, kernels.Input(g, "target", zeros), nil)
	if err != nil {
		log.Fatal(err)
	}
	grads, err := gorgonia.Grad(loss, kernels.Param(g, weight))
	if err != nil {
		log.Fatal(err)
	}

	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{y, loss, grads[0]}})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if err := m.RunAll(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("y:", m.Value(y).Float32s())
	fmt.Println("loss:", m.Scalar(loss))
	fmt.Println("gradient:", m.Value(grads[0]).Float32s())

	copy(weight.Float32s(), []float32{5, -3}) // the next run reads the weight anew
	if err := m.RunAll(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("y:", m.Value(y).Float32s())
	// Output:
	// y: [-1 -2]
	// loss: 2.5
	// gradient: [-7 -12]
	// y: [-1 0]
}
