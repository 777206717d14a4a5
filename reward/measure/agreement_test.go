package measure

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// repeat is so many ratings of two raters.
func repeat(a, b *[]int, sayA, sayB, n int) {
	*a = append(*a, slices.Repeat([]int{sayA}, n)...)
	*b = append(*b, slices.Repeat([]int{sayB}, n)...)
}

// By hand: of 50 things both say 1 of 20, both 0 of 15, and they differ on 5 and 10. So
// p_o = 35/50 = 0.7, p_e = 25/50·30/50 + 25/50·20/50 = 0.5, and κ = 0.2/0.5 = 0.4.
func TestCohenKappa(t *testing.T) {
	var a, b []int
	repeat(&a, &b, 1, 1, 20)
	repeat(&a, &b, 1, 0, 5)
	repeat(&a, &b, 0, 1, 10)
	repeat(&a, &b, 0, 0, 15)
	repeat(&a, &b, -1, 0, 7)
	repeat(&a, &b, 1, -1, 7)
	kappa, err := CohenKappa(a, b)
	require.NoError(t, err)
	require.InDelta(t, 0.4, kappa, 1e-14)
	for _, wrong := range [][2][]int{
		{{1}, {1, 0}}, {{}, {}}, {{1, -1}, {-1, 1}}, {{1, 1}, {1, 1}},
	} {
		_, err := CohenKappa(wrong[0], wrong[1])
		require.Error(t, err)
	}
	opposite, err := CohenKappa([]int{0, 1}, []int{1, 0})
	require.NoError(t, err)
	require.InDelta(t, -1, opposite, 1e-15)
}

// 14 raters put 10 things into 5 categories. Of row 1 all 14 agree. The sum of P_i is 3.780, the
// shares of the categories are 20, 28, 39, 21 and 32 of 140, so P̄ = 0.378, P̄_e = 0.213 and
// κ = 0.210. It is the worked example of the article "Fleiss' kappa" of the English Wikipedia.
func TestFleissKappa(t *testing.T) {
	var ratings [][]int
	for _, counts := range [][5]int{
		{0, 0, 0, 0, 14}, {0, 2, 6, 4, 2}, {0, 0, 3, 5, 6}, {0, 3, 9, 2, 0}, {2, 2, 8, 1, 1},
		{7, 7, 0, 0, 0}, {3, 2, 6, 3, 0}, {2, 5, 3, 2, 2}, {6, 5, 2, 1, 0}, {0, 2, 2, 3, 7},
	} {
		row := []int{-1}
		for c, n := range counts {
			row = append(row, slices.Repeat([]int{c}, n)...)
		}
		ratings = append(ratings, row)
	}
	agreement, err := Agreement(ratings)
	require.NoError(t, err)
	require.InDelta(t, 0.378, agreement, 0.0005)
	kappa, err := FleissKappa(ratings)
	require.NoError(t, err)
	require.InDelta(t, 0.210, kappa, 0.0005)
	for _, wrong := range [][][]int{{}, {{1}}, {{1, 1}, {1, 0, 1}}, {{1, 1}, {1, 1}}} {
		_, err := FleissKappa(wrong)
		require.Error(t, err)
	}
}

// The examples of Krippendorff 2011: section A, two observers and two categories, α = 0.095;
// section C, four observers, five categories and missing ratings, α = 0.743.
func TestKrippendorffAlpha(t *testing.T) {
	for _, c := range []struct {
		observers [][]int
		want      float64
	}{
		{[][]int{
			{0, 1, 0, 0, 0, 0, 0, 0, 1, 0},
			{1, 1, 1, 0, 0, 1, 0, 0, 0, 0},
		}, 0.095},
		{[][]int{
			{1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1},
			{1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3},
			{-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1},
			{1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1},
		}, 0.743},
	} {
		ratings := make([][]int, len(c.observers[0]))
		for i := range ratings {
			for _, o := range c.observers {
				ratings[i] = append(ratings[i], o[i])
			}
		}
		alpha, err := KrippendorffAlpha(ratings)
		require.NoError(t, err)
		require.InDelta(t, c.want, alpha, 0.0005)
	}
	for _, wrong := range [][][]int{{}, {{1}}, {{1, -1}, {-1, 1}}, {{1, 1}, {1, 1}}} {
		_, err := KrippendorffAlpha(wrong)
		require.Error(t, err)
		_, err = Agreement(wrong[:min(1, len(wrong))])
		if len(wrong) == 0 || len(wrong[0]) == 1 || wrong[0][1] < 0 {
			require.Error(t, err)
		}
	}
}
