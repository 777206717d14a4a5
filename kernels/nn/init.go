package nn

import (
	"math"
	"strings"

	"github.com/kudos-ml/kudos/internal/rng"
)

// Init fills a model for training from scratch, each tensor from seed and its own name alone: matrices and
// convolutions evenly between ±1/√fan-in, the default of PyTorch's Linear and Conv2d; embedding tables and other
// vectors that are looked up with standard deviation 0.02; norms with scale 1; biases with 0.
func Init(model any, seed uint64) {
	for _, p := range Parameters(model) {
		r := rng.New(seed, "init "+p.Name, 0, 0)
		data, shape := p.Value.Float32s(), p.Value.Shape()
		last := p.Name[strings.LastIndexByte(p.Name, '.')+1:]
		switch {
		case strings.Contains(p.Name, "embedding") && !strings.Contains(p.Name, "time_embedding") && !strings.Contains(p.Name, "patch_embedding"):
			for i := range data {
				data[i] = float32(0.02 * r.NormFloat64())
			}
		case last == "bias":
			clear(data)
		case len(shape) == 1:
			for i := range data {
				data[i] = 1
			}
		default:
			bound := 1 / math.Sqrt(float64(len(data)/shape[0]))
			for i := range data {
				data[i] = float32(bound * (2*r.Float64() - 1))
			}
		}
	}
}
