package kernels

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
)

// Results of steps 0 and 1, of 64 and 128 bytes, are read last at steps 2 and 4. The first of them
// lives two steps longer if they are joined.
func TestLifetimeJoin(t *testing.T) {
	of := func(all, intermediate []int) *lifetime {
		return &lifetime{
			curves: [2][]int{all, intermediate}, peaks: [2]int{500, 300}, step: []int{0, 1},
			last: []int{2, 4, 4, 4, 4}, reused: make([]bool, 5),
		}
	}
	for _, swap := range []bool{false, true} {
		l := of([]int{500, 500, 436, 300, 436, 500}, []int{300, 300, 236, 200, 0, 300})
		join := func() bool {
			if swap {
				return l.join(1, 0, 128, 64)
			}
			return l.join(0, 1, 64, 128)
		}
		require.True(t, join())
		require.Equal(t, []int{500, 500, 500, 364, 500, 500}, l.curves[0])
		require.Equal(t, []int{300, 300, 300, 264, 64, 300}, l.curves[1])
		require.False(t, join(), "there is no memory left")
	}
	for i, peak := range []int{500, 300} {
		for at := 2; at <= 4; at++ {
			l := of(make([]int, 6), make([]int, 6))
			l.curves[i][at] = peak - 63
			require.False(t, l.join(0, 1, 64, 128))
			require.Zero(t, l.curves[1-i][3], "nothing is changed")
		}
		l := of(make([]int, 6), make([]int, 6))
		l.reused[i] = true
		require.False(t, l.join(0, 1, 64, 128), "its memory is taken over")
	}
}

// What a fused product costs is its own multiply-adds, and the traffic of all that is read and
// written. What is added is no factor, though it is an input. The result may be half the product.
func TestCostOfFused(t *testing.T) {
	g := gorgonia.NewGraph()
	h, err := Linear(variable(g, "x", 6, 4), variable(g, "w", 32, 4), nil)
	require.NoError(t, err)
	sum, err := Add(h, variable(g, "r", 6, 32))
	require.NoError(t, err)
	h, err = Linear(variable(g, "y", 6, 4), variable(g, "v", 32, 4), nil)
	require.NoError(t, err)
	half, err := GEGLU(h)
	require.NoError(t, err)
	want := gorgonia.Nodes{sum, half}
	p, err := newProgram(g, want, want, Float32)
	require.NoError(t, err)
	p, _, _ = p.fuse(nil, true)
	for n, traffic := range map[*gorgonia.Node]int{
		sum: 6*4 + 32*4 + 6*32 + 6*32, half: 6*4 + 32*4 + 6*16,
	} {
		i := p.index[n]
		require.IsType(t, &fused{}, p.values[i].rule)
		require.EqualValues(t, valueCost*traffic+6*32*4, p.costOf(i))
	}
}
