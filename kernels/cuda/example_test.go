package cuda_test

import (
	"fmt"
	"log"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
)

// A machine computes on the first GPU.
func Example() {
	gpu, err := cuda.Open(0)
	if err != nil {
		log.Fatal(err)
	}
	defer gpu.Close()

	g := gorgonia.NewGraph()
	x := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{1, 2}))
	in := kernels.Input(g, "x", x)
	sum, err := kernels.Add(in, in)
	if err != nil {
		log.Fatal(err)
	}
	config := kernels.Config{Want: gorgonia.Nodes{sum}, Device: gpu}
	machine, err := kernels.NewMachine(g, config)
	if err != nil {
		log.Fatal(err)
	}
	defer machine.Close()
	if err := machine.RunAll(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(gpu, machine.Value(sum))
}
