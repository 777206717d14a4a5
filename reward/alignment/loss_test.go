package alignment

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

func dense(shape []int, values ...float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
}

// A lossOf adds one of a batch's losses to the graph of its logits.
type lossOf func(b batch, nb *nn.Builder, logits *gorgonia.Node) *gorgonia.Node

// run gives a loss's value and gradient by the logits.
func run(
	t *testing.T, b batch, logits, labels, good []float32, loss lossOf,
) (float64, []float32) {
	t.Helper()
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "logits", dense([]int{b.m * b.n, 1}, logits...))
	b.labels = kernels.Input(g, "labels", dense([]int{b.m, 1}, labels...))
	b.good = kernels.Input(g, "good", dense([]int{b.m}, good...))
	b.zeros = kernels.Input(g, "zeros", dense([]int{b.m}, make([]float32, b.m)...))
	nb := nn.On(x)
	value := loss(b, nb, x)
	require.NoError(t, nb.Err())
	d, err := gorgonia.Grad(value, x)
	require.NoError(t, err)
	machine, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{value, d[0]}})
	require.NoError(t, err)
	t.Cleanup(func() { machine.Close() })
	require.NoError(t, machine.RunAll())
	return machine.Scalar(value), machine.Value(d[0]).Float32s()
}

// classification is L_pc with a temperature.
func classification(temperature float64, presigmoid bool) lossOf {
	return func(b batch, nb *nn.Builder, logits *gorgonia.Node) *gorgonia.Node {
		return b.classification(nb, logits, temperature, presigmoid)
	}
}

// TestLossesInTheHead is two pictures with two prompts each. The first is good: its prompts' logits
// are 0 and ln 3, rewards 1/2 and 3/4. The second is bad, with the logit −ln 3 and the reward 1/4;
// its other prompt counts nowhere.
//
//	L_MSE = ((1 − 1/2)² + (0 − 1/4)²) / 2 = 5/32,
//	         by the logits −(1 − 1/2)·1/4 = −1/8 and 1/4·3/16 = 3/64
//	T = 1/4: L_pc = −ln(e² / (e² + e³)) = ln(1 + e), on the good one alone;
//	         P = 1/(1 + e) for the true prompt,
//	         by the logits (P − 1)·4·1/4 and (1 − P)·4·3/16
//	presigmoid, T = 1: L_pc = ln(1 + 3) = ln 4, by the logits P − 1 = −3/4 and 3/4
func TestLossesInTheHead(t *testing.T) {
	ln3 := float32(math.Log(3))
	logits, labels, good := []float32{0, ln3, -ln3, 5}, []float32{1, 0}, []float32{1, 0}
	b := batch{m: 2, n: 2}
	mse, slope := run(t, b, logits, labels, good, batch.mse)
	require.InDelta(t, 5.0/32, mse, 1e-7)
	require.InDeltaSlice(t, []float32{-1. / 8, 0, 3. / 64, 0}, slope, 1e-7)

	pc, slope := run(t, b, logits, labels, good, classification(0.25, false))
	require.InDelta(t, math.Log(1+math.E), pc, 3e-7)
	p := 1 / (1 + math.E)
	require.InDeltaSlice(t, []float32{float32(p - 1), float32((1 - p) * 0.75), 0, 0}, slope, 3e-7)

	pc, slope = run(t, b, logits, labels, good, classification(1, true))
	require.InDelta(t, math.Log(4), pc, 3e-7)
	require.InDeltaSlice(t, []float32{-0.75, 0.75, 0, 0}, slope, 3e-7)
}

// TestSoftLossesInTheHead is the two pictures again, with the labels y = 3/4 and 1/3 and the
// weights 2 and 1/2. With r = 1/2 and 1/4,
//
//	L_MSE = (2·(3/4 − 1/2)² + 1/2·(1/3 − 1/4)²) / 2 = 1/16 + 1/576 = 37/576,
//	         by the logits −2·1/4·1/4 = −1/8 and −1/2·1/12·3/16 = −1/128
//	presigmoid, T = 1: wy = 3/2 and 1/6, which are 9/10 and 1/10 of their sum; true prompts have
//	         P = 1/(1 + 3) and, with the logits −ln 3 and 0, (1/3)/(1/3 + 1) = 1/4:
//	         L_pc = 9/10·ln 4 + 1/10·ln 4, by the logits (P − 1) times 9/10 and 1/10
func TestSoftLossesInTheHead(t *testing.T) {
	ln3 := float32(math.Log(3))
	logits, labels := []float32{0, ln3, -ln3, 0}, []float32{0.75, 1. / 3}
	weighted := func(b batch, nb *nn.Builder, logits *gorgonia.Node) *gorgonia.Node {
		b.weights = kernels.Input(logits.Graph(), "weights", dense([]int{2}, 1, 0.25)) // w/M
		return b.mse(nb, logits)
	}
	good := []float32{0.9, 0.1}
	mse, slope := run(t, batch{m: 2, n: 2}, logits, labels, good, weighted)
	require.InDelta(t, 37.0/576, mse, 1e-7)
	require.InDeltaSlice(t, []float32{-1. / 8, 0, -1. / 128, 0}, slope, 1e-7)
	pc, slope := run(t, batch{m: 2, n: 2}, logits, labels, good, classification(1, true))
	require.InDelta(t, math.Log(4), pc, 3e-7)
	require.InDeltaSlice(t, []float32{-0.675, 0.675, -0.075, 0.075}, slope, 3e-7)

	// These are what a batch of such examples reads.
	s := &session{Training: Training{Prompts: 1}, head: emptyHead(headConfig{Embedding: 1})}
	one := []float32{1}
	s.train = []example{
		{image: one, texts: [][]float32{one}, target: 0.75, weight: 2},
		{image: one, texts: [][]float32{one}, target: 1. / 3, weight: 0.5},
	}
	s.rows, s.labels = dense([]int{2, 2}, 0, 0, 0, 0), dense([]int{2, 1}, 0, 0)
	s.weights, s.good = dense([]int{2}, 0, 0), dense([]int{2}, 0, 0)
	s.fill([]int{0, 1})
	require.Equal(t, labels, s.labels.Float32s())
	require.Equal(t, []float32{1, 0.25}, s.weights.Float32s())
	require.InDeltaSlice(t, good, s.good.Float32s(), 1e-7)
	s.train[0].target, s.train[1].weight = 0, 0 // nothing is good
	s.fill([]int{0, 1})
	require.Equal(t, []float32{0, 0}, s.good.Float32s())
}

// handLoss is Eq. 1 in float64 for images' examples; p are a head's parameters one behind the
// other.
func handLoss(
	p []float64, c headConfig, examples []example, t *Training,
) (mse, classification float64) {
	good := 0.0
	for _, e := range examples {
		good += e.weight * e.target
	}
	for _, e := range examples {
		r := make([]float64, len(e.texts))
		for j, text := range e.texts {
			r[j] = handLogit(p, c, e.image, text)
		}
		reward := 1 / (1 + math.Exp(-r[0]))
		mse += e.weight * (e.target - reward) * (e.target - reward) / float64(len(examples))
		if e.target == 0 {
			continue
		}
		sum := 0.0
		for j := range r {
			if !t.Presigmoid {
				r[j] = 1 / (1 + math.Exp(-r[j]))
			}
			sum += math.Exp(r[j] / t.Temperature)
		}
		p := math.Exp(r[0]/t.Temperature) / sum
		classification -= e.weight * e.target * math.Log(p) / good
	}
	return mse, classification
}

// handLogit is the perceptron: inputs are the embeddings times √width, and their product.
func handLogit(p []float64, c headConfig, picture, text []float32) float64 {
	root := math.Sqrt(float64(c.Embedding))
	var x []float64
	for _, v := range picture {
		x = append(x, root*float64(v))
	}
	for _, v := range text {
		x = append(x, root*float64(v))
	}
	if c.Product {
		for i := range picture {
			x = append(x, x[i]*x[c.Embedding+i])
		}
	}
	w1, rest := p[:c.Hidden*len(x)], p[c.Hidden*len(x):]
	out := rest[2*c.Hidden]
	for j := range c.Hidden {
		unit := rest[j]
		for i, v := range x {
			unit += w1[j*len(x)+i] * v
		}
		out += rest[c.Hidden+j] * math.Max(unit, 0)
	}
	return out
}

func vector(h *head) (out []float64) {
	for _, p := range nn.Parameters(h) {
		for _, v := range p.Value.Float32s() {
			out = append(out, float64(v))
		}
	}
	return out
}

// Whole passes of training, losses and weights, are Eq. 1 and AdamW by hand, in every variant.
func TestTrainingByHand(t *testing.T) {
	for name, change := range map[string]func(t *Training){
		"the paper's": func(t *Training) {
			t.Lambda, t.Temperature, t.Product = 0.5, 2, false
		},
		"λ 1.5, T 0.25":     func(t *Training) { t.Lambda, t.Temperature = 1.5, 0.25 },
		"before sigmoid":    func(t *Training) { t.Presigmoid, t.Temperature = true, 1.5 },
		"no prompts":        func(t *Training) { t.Lambda = 0 },
		"N 2":               func(t *Training) { t.Prompts = 2; t.Lambda = 2 },
		"the whole at once": func(t *Training) { t.Batch = 1000 },
		"soft":              func(t *Training) { judged(t); t.Soft = true },
		"weighted":          func(t *Training) { judged(t); t.Weight = ByJudgements },
		"soft, balanced, weighted": func(t *Training) {
			judged(t)
			t.Soft, t.Balance, t.Weight = true, true, ByJudgements
		},
	} {
		t.Run(name, func(t *testing.T) {
			training := training(labelled(2, 3, "cup", "box"))
			training.Hidden, training.Batch, training.LR, training.Temperature = 4, 6, 0.01, 2
			change(training)
			s, err := training.start(context.Background())
			require.NoError(t, err)
			defer s.stepper.Close()
			p := vector(s.head)
			m, v := make([]float64, len(p)), make([]float64, len(p))
			step := 0.0
			for index := range 3 {
				epoch, err := s.epoch(context.Background(), index)
				require.NoError(t, err)
				r := rng.New(training.Seed, "alignment order", uint64(index), 0)
				order := r.Perm(len(s.train))
				size := min(training.Batch, len(s.train))
				batches := len(order) / size
				var mse, classification float64
				for b := range batches {
					var examples []example
					for _, i := range order[b*size : (b+1)*size] {
						examples = append(examples, s.train[i])
					}
					first, second := handLoss(p, s.head.config, examples, training)
					mse += first / float64(batches)
					classification += second / float64(batches)
					step++
					adamByHand(p, m, v, slope(p, func(p []float64) float64 {
						first, second := handLoss(p, s.head.config, examples, training)
						return first + training.Lambda*second
					}), step, training.LR)
				}
				if training.Lambda == 0 {
					classification = 0
				}
				require.InDelta(t, mse, epoch.MSE, 2e-6)
				require.InDelta(t, classification, epoch.Classification, 4e-6)
				held, _ := handLoss(p, s.head.config, s.heldOut, training)
				require.Positive(t, held)
				require.InDelta(t, held, epoch.HeldOutMSE, 2e-6)
				require.InDeltaSlice(t, p, vector(s.head), 2e-5, "epoch %d", index)
			}
			require.GreaterOrEqual(t, step, 3.0)
		})
	}
}

func slope(p []float64, loss func(p []float64) float64) []float64 {
	const h = 1e-5
	out, at := make([]float64, len(p)), append([]float64{}, p...)
	for i := range p {
		at[i] = p[i] + h
		out[i] = loss(at)
		at[i] = p[i] - h
		out[i] = (out[i] - loss(at)) / (2 * h)
		at[i] = p[i]
	}
	return out
}

// adamByHand is AdamW with PyTorch's defaults.
func adamByHand(p, m, v, g []float64, t, lr float64) {
	for i := range p {
		p[i] -= lr * 0.01 * p[i]
		m[i] = 0.9*m[i] + 0.1*g[i]
		v[i] = 0.999*v[i] + 0.001*g[i]*g[i]
		mean, square := m[i]/(1-math.Pow(0.9, t)), v[i]/(1-math.Pow(0.999, t))
		p[i] -= lr * mean / (math.Sqrt(square) + 1e-8)
	}
}

// The score in float64 that a model gives is the graph's.
func TestScoreIsTheGraphs(t *testing.T) {
	for _, product := range []bool{false, true} {
		c := headConfig{Embedding: 6, Hidden: 5, Product: product}
		h := newHead(c, 1)
		var rows []float32
		var want []float64
		for i := range 20 {
			picture, text := make([]float32, 6), make([]float32, 6)
			rng.Normal(picture, 2, "picture", 0, uint64(i))
			rng.Normal(text, 2, "text", 0, uint64(i))
			row := make([]float32, c.width())
			c.join(row, picture, text)
			rows, want = append(rows, row...), append(want, h.score(row))
			require.InDelta(t, 1/(1+math.Exp(-handLogit(vector(h), c, picture, text))),
				h.score(row), 1e-6)
		}
		g := gorgonia.NewGraph()
		x := kernels.Input(g, "x", dense([]int{20, c.width()}, rows...))
		nb := nn.On(x)
		r := nb.Do(kernels.Sigmoid(h.logits(nb, x)))
		machine, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{r}})
		require.NoError(t, err)
		require.NoError(t, machine.RunAll())
		for i, v := range machine.Value(r).Float32s() {
			require.InDelta(t, want[i], v, 1e-6)
		}
		require.NoError(t, machine.Close())
	}
}
