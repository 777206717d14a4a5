package measure

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// meanOf is the mean of a table's cells, each as often as it was drawn.
func meanOf(x [][]float64) func(row, column []int) []float64 {
	return func(row, column []int) []float64 {
		var sum, n float64
		for i := range x {
			for j, v := range x[i] {
				times := float64(row[i] * column[j])
				sum += times * v
				n += times
			}
		}
		return []float64{sum / n}
	}
}

// Of the table
//
//	0 2 4    means of rows 2, 4 and 6, of columns 1, 5 and 6, of all 4
//	2 6 4
//	1 7 10
//
// the rows give (4 + 0 + 4)/9, the columns (9 + 1 + 4)/9, and the rest is 1, −1, 0; 1, 1, −2; −2,
// 0, 2, whose squares are 16, over 81. Together s² is 214/81, and with two degrees of freedom t is
// 4.302653.
func TestPigeonhole(t *testing.T) {
	x := [][]float64{{0, 2, 4}, {2, 6, 4}, {1, 7, 10}}
	want := 4.302653 * math.Sqrt(214.0/81)
	got := Pigeonhole(3, 3, 1, meanOf(x))
	require.Len(t, got, 1)
	assert.InEpsilon(t, want, got[0], 0.05, "three standard deviations of what 2,000 draws err")
	assert.Equal(t, got, Pigeonhole(3, 3, 1, meanOf(x)))
	assert.NotEqual(t, got, Pigeonhole(3, 3, 2, meanOf(x)))

	for _, size := range [][2]int{{1, 3}, {3, 1}, {0, 0}} {
		margin := Pigeonhole(size[0], size[1], 1, func(row, column []int) []float64 {
			return []float64{float64(len(row))}
		})
		assert.True(t, math.IsInf(margin[0], 1), "%v: %v", size, margin)
	}
	margin := Pigeonhole(3, 3, 1, func(row, _ []int) []float64 {
		return []float64{math.NaN(), float64(row[0]) / float64(min(1, row[1])) * 0}
	})
	assert.True(t, math.IsInf(margin[0], 1), "nothing has a value: %v", margin)
	assert.Zero(t, margin[1], "draws without a value do not count")
}

// Where rows and columns have effects of their own, the interval holds the true mean in 95 of 100
// tables, and where only cells vary in more.
func TestPigeonholeCovers(t *testing.T) {
	for _, c := range []struct {
		rows, columns, cells float64 // standard deviations
		least                int     // of 100 tables
	}{
		{1, 0.5, 1, 93}, {0.3, 1, 1, 93}, {0, 0, 1, 99},
	} {
		r := rand.New(rand.NewPCG(7, 0))
		const tables, rows, columns = 100, 20, 9
		held := 0
		for range tables {
			x := make([][]float64, rows)
			var byColumn [columns]float64
			for j := range byColumn {
				byColumn[j] = c.columns * r.NormFloat64()
			}
			ones := [2][]int{make([]int, rows), make([]int, columns)}
			for i := range x {
				byRow := c.rows * r.NormFloat64()
				for j := range columns {
					x[i] = append(x[i], byRow+byColumn[j]+c.cells*r.NormFloat64())
					ones[1][j] = 1
				}
				ones[0][i] = 1
			}
			mean := meanOf(x)(ones[0], ones[1])[0]
			if math.Abs(mean) <= Pigeonhole(rows, columns, 1, meanOf(x))[0] {
				held++
			}
		}
		t.Logf("%+v: %d of %d", c, held, tables)
		assert.GreaterOrEqual(t, held, c.least, "%+v", c)
	}
}
