package cuda_test

import (
	"flag"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cuda/primitive"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// record writes recorded.json, if that was not seen on a device.
var record = flag.Bool("record", false, "record what the emulation's primitives give")

// emulated returns what the emulation gives for a primitive.
func emulated(t *testing.T, p primitive.Primitive) []uint32 {
	t.Helper()
	operands := []cudatest.Operand{cudatest.Out(cuda.Float32, p.Out)}
	for _, words := range [][]uint32{p.A, p.B, p.C} {
		operands = append(operands, cudatest.In(cuda.Float32, floatsOf(words)))
	}
	got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		p.Run(q, at[0], at[1], at[2], at[3])
	}, operands...)
	words := make([]uint32, len(got[0]))
	for i, v := range got[0] {
		words[i] = math.Float32bits(v)
	}
	return words
}

func floatsOf(words []uint32) []float32 {
	x := make([]float32, len(words))
	for i, w := range words {
		x[i] = math.Float32frombits(w)
	}
	return x
}

// The emulation gives what is recorded, wherever that was seen.
func TestPrimitives(t *testing.T) {
	recorded, err := primitive.Recorded()
	require.NoError(t, err)
	got := primitive.Record{Seen: "emulation"}
	for _, p := range primitive.All() {
		t.Run(p.Name, func(t *testing.T) {
			words := emulated(t, p)
			got.Set(p.Name, words)
			want, err := recorded.Words(p.Name)
			require.NoError(t, err)
			if *record {
				want = words
			}
			d := p.Compare(words, want)
			require.Empty(t, d.Wrong)
			if d.Bits > 0 || p.Bounds != nil {
				t.Logf("%d of %d have other bits, the worst has %.2f of the error that is allowed",
					d.Bits, d.Values, d.Worst)
			}
		})
	}
	if *record && !t.Failed() {
		require.Contains(t, []string{"", "emulation"}, recorded.Seen, "what a device gave stays")
		require.NoError(t, os.WriteFile("primitive/recorded.json", got.Text(), 0o644))
		return
	}
	require.Len(t, recorded.Outputs, len(primitive.All()))
}
