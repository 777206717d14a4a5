package nn

import (
	"math"
	"math/rand/v2"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/internal/weights"
)

// An Initializer is a model, or a part of one, that draws some of its fresh weights itself.
type Initializer interface {
	// InitWeights overwrites weights that Init has drawn. rand returns a source of random numbers
	// for a tensor, by the name that the tensor has in the part. The numbers depend on the seed of
	// Init and on the tensor's whole name alone.
	InitWeights(rand func(name string) *rand.Rand)
}

// Init fills a model with fresh weights to train from. The values of a tensor depend on seed and on
// its own name, and on nothing else in the model.
//
// Layers of this package are drawn as PyTorch draws its own:
//
//   - Linear and Conv2D: weights and biases uniformly between ±1/√fan-in. Fan-in is how many
//     products an output is the sum of.
//   - Embedding: normally, with standard deviation 1.
//   - GroupNorm and LayerNorm: weights 1 and biases 0.
//
// Other tensors of several axes are drawn as the weight of a Linear. Other tensors of one axis stay
// as they are. After that every Initializer overwrites what it wants to. Those within others come
// first.
func Init(model any, seed uint64) {
	source := func(name string) *rand.Rand { return rng.New(seed, "init "+name, 0, 0) }
	var own []func()
	drawn := map[*tensor.Dense]bool{}
	for name, part := range weights.Parts(model) {
		prefix := name + "."
		if name == "" {
			prefix = ""
		}
		if p, ok := part.(Initializer); ok {
			own = append(own, func() {
				p.InitWeights(func(name string) *rand.Rand { return source(prefix + name) })
			})
		}
		even := func(weight, bias *tensor.Dense) {
			bound := 1 / math.Sqrt(float64(weight.Size()/weight.Shape()[0]))
			drawn[weight], drawn[bias] = true, true
			Uniform(weight, bound, source(prefix+"weight"))
			if bias != nil {
				Uniform(bias, bound, source(prefix+"bias"))
			}
		}
		switch l := part.(type) {
		case *Linear:
			even(l.Weight, l.Bias)
		case *Conv2D:
			even(l.Weight, l.Bias)
		case *Embedding:
			drawn[l.Weight] = true
			Normal(l.Weight, 1, source(prefix+"weight"))
		case *GroupNorm:
			unit(l.Weight, l.Bias)
		case *LayerNorm:
			unit(l.Weight, l.Bias)
		case *tensor.Dense:
			if !drawn[l] && l.Dims() > 1 {
				Uniform(l, 1/math.Sqrt(float64(l.Size()/l.Shape()[0])), source(name))
			}
		}
	}
	for i := len(own) - 1; i >= 0; i-- {
		own[i]()
	}
}

// unit makes a norm leave its normalized values as they are.
func unit(scale, shift *tensor.Dense) {
	for i := range scale.Float32s() {
		scale.Float32s()[i] = 1
	}
	clear(shift.Float32s())
}

// Uniform fills t with values that are uniform between −bound and bound.
func Uniform(t *tensor.Dense, bound float64, r *rand.Rand) {
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(bound * (2*r.Float64() - 1))
	}
}

// Normal fills t with values of a normal distribution of mean 0 and the given standard deviation.
func Normal(t *tensor.Dense, deviation float64, r *rand.Rand) {
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(deviation * r.NormFloat64())
	}
}
