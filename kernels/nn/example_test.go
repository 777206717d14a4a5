package nn_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A Gate is a layer of one's own: y = x · (1 + gain), with one number for each channel.
type Gate struct {
	Gain *tensor.Dense `weight:"gain"` // [C]
}

// Forward maps x [N,C] to [N,C].
func (l *Gate) Forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	shape := b.Shape(x, 2)
	gain := b.Do(kernels.Repeat(b.Param(l.Gain), 0, shape[0])) // [N,C]
	return b.Add(x, b.Do(kernels.Mul(x, gain)))
}

// A Curve is a model of y = f(x): [N,1] to [N,1].
type Curve struct {
	In   *nn.Linear `weight:"in"`
	Gate *Gate      `weight:"gate"`
	Out  *nn.Linear `weight:"out"`
}

// NewCurve returns a model of zeros.
func NewCurve(width int) *Curve {
	gain := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(width))
	return &Curve{nn.NewLinear(1, width, true), &Gate{gain}, nn.NewLinear(width, 1, true)}
}

// Predict adds the model to x's graph.
func (m *Curve) Predict(x *gorgonia.Node) (*gorgonia.Node, error) {
	b := nn.On(x)
	h := b.Do(kernels.SiLU(m.In.Forward(b, x)))
	return b.Result(m.Out.Forward(b, m.Gate.Forward(b, h)))
}

// A model of one's own layers gets fresh weights, is trained on a parabola, saved and loaded.
func Example() {
	model := NewCurve(16)
	nn.Init(model, 1)

	// What it is to learn: y = x² at 32 places.
	const n = 32
	xs, ys := make([]float32, n), make([]float32, n)
	for i := range xs {
		xs[i] = 2*float32(i)/(n-1) - 1
		ys[i] = xs[i] * xs[i]
	}
	points := func(values []float32) *tensor.Dense {
		return tensor.New(tensor.WithShape(n, 1), tensor.WithBacking(values))
	}
	g := gorgonia.NewGraph()
	predicted, err := model.Predict(kernels.Input(g, "x", points(xs)))
	if err != nil {
		log.Fatal(err)
	}
	loss, err := kernels.MSE(predicted, kernels.Input(g, "y", points(ys)), nil)
	if err != nil {
		log.Fatal(err)
	}

	// An optimizer's step for each parameter, as soon as its gradient is there.
	parameters := nn.Parameters(model)
	adam, err := optim.NewAdamW(parameters...)
	if err != nil {
		log.Fatal(err)
	}
	adam.LR = 0.02
	var nodes gorgonia.Nodes
	for _, p := range parameters {
		nodes = append(nodes, kernels.Param(g, p.Value))
	}
	gradients, err := gorgonia.Grad(loss, nodes...)
	if err != nil {
		log.Fatal(err)
	}
	config := kernels.Config{Want: gorgonia.Nodes{loss}, Parameters: parameters}
	for i := range nodes {
		update := kernels.Update{Param: nodes[i], Grad: gradients[i], By: adam}
		config.Updates = append(config.Updates, update)
	}
	machine, err := kernels.NewMachine(g, config)
	if err != nil {
		log.Fatal(err)
	}
	defer machine.Close()
	for range 400 {
		if err := machine.RunAll(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("learned:", machine.Scalar(loss) < 1e-3)

	dir, err := os.MkdirTemp("", "curve")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "curve.safetensors")
	if err := nn.Save(file, model, kernels.Float32); err != nil {
		log.Fatal(err)
	}
	again := NewCurve(16)
	if err := nn.Load(file, again); err != nil {
		log.Fatal(err)
	}
	for _, p := range nn.Parameters(again) {
		fmt.Println(p.Name, p.Value.Shape())
	}
	fmt.Println("the same:", again.Out.Bias.Float32s()[0] == model.Out.Bias.Float32s()[0])

	// Output:
	// learned: true
	// in.weight (16, 1)
	// in.bias (16)
	// gate.gain (16)
	// out.weight (1, 16)
	// out.bias (1)
	// the same: true
}
