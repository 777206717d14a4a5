package measure

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// drawn is how often Pigeonhole draws: a standard error then errs by 1/√(2·drawn), 1.6 %.
const drawn = 2000

// Pigeonhole returns half of the 95 % intervals of statistics of a table whose rows and columns are
// both samples, such as prompts and the raters who were asked about them:
//
//	margin = t_ν · s   with ν = min(rows, columns) − 1
//
// s is a statistic's standard deviation in the pigeonhole bootstrap (Owen 2007, The Pigeonhole
// Bootstrap, Annals of Applied Statistics 1(2)): as many rows as there are are drawn with
// replacement, and columns by themselves, 2,000 times, by seed alone. of gets how often each was
// drawn, so that a cell counts row[i]·column[j] times, and returns the statistics. One that is NaN
// does not count in that draw. t_ν is the 97.5 % quantile of Student's distribution: few raters
// say little of what others would say.
//
// Of a mean of cells s² is
//
//	Σ_i (x̄_i − x̄)²/rows² + Σ_j (x̄_j − x̄)²/columns² +
//		Σ_ij (x_ij − x̄_i − x̄_j + x̄)²/(rows·columns)²
//
// on the average. That is about right where rows or columns differ, and three times too much where
// each cell varies by itself: it errs to the safe side.
//
// The margin goes around the value in the table itself. The percentiles of the draws would not do
// for a statistic such as a share of rows with a majority: raters who are drawn twice agree with
// themselves, so draws have more of them. The margin is infinite with fewer than two rows or
// columns, or where fewer than two draws have a value.
func Pigeonhole(
	rows, columns int, seed uint64, of func(row, column []int) []float64,
) (margin []float64) {
	r := rand.New(rand.NewPCG(seed, 0x70696765))
	row, column := make([]int, rows), make([]int, columns)
	var spread []moments
	for range drawn {
		draw(r, row)
		draw(r, column)
		values := of(row, column)
		if spread == nil {
			spread = make([]moments, len(values))
		}
		for i, v := range values {
			spread[i].add(v)
		}
	}
	margin = make([]float64, len(spread))
	least := min(rows, columns)
	for i, m := range spread {
		margin[i] = math.Inf(1)
		if least >= 2 && m.n >= 2 {
			t := distuv.StudentsT{Sigma: 1, Nu: float64(least - 1)}
			margin[i] = t.Quantile(0.975) * math.Sqrt(m.squares/(m.n-1))
		}
	}
	return margin
}

// draw counts how often each is drawn.
func draw(r *rand.Rand, times []int) {
	clear(times)
	for range times {
		times[r.IntN(len(times))]++
	}
}

// moments are the number, the mean and the sum of squared distances from it (Welford 1962).
type moments struct{ n, mean, squares float64 }

func (m *moments) add(v float64) {
	if math.IsNaN(v) {
		return
	}
	m.n++
	d := v - m.mean
	m.mean += d / m.n
	m.squares += d * (v - m.mean)
}
