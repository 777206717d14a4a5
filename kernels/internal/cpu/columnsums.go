package cpu

import "fmt"

// sumRows is how many rows one part of a column sum has. It is the same on every machine.
const sumRows = 512

// ColumnSumsWorkspace returns how many values of workspace ColumnSums needs.
func ColumnSumsWorkspace(rows, columns int) int { return 2*ceilDiv(rows, sumRows)*columns + 1 }

// ColumnSums is
//
//	for j := range columns {
//		sums[j] = Σ_i x[i*columns+j]
//	}
//
// The sums are accumulated in float64 and rounded once. It panics on wrong lengths.
func ColumnSums(pool *Pool, sums, x []float32, rows, columns int, ws []float32) {
	if len(sums) != columns || len(x) != rows*columns {
		const wrong = "cpu: ColumnSums: %d sums and %d values for %d×%d"
		panic(fmt.Sprintf(wrong, len(sums), len(x), rows, columns))
	}
	mustHold("ColumnSums", ws, ColumnSumsWorkspace(rows, columns))
	parts := ceilDiv(rows, sumRows)
	t := sumTasks.get()
	*t = sumTask{x: x, rows: rows, columns: columns, partial: doubles(ws, parts*columns)}
	pool.Parallel(parts, t)
	for j := range sums {
		var s float64
		for i := range parts {
			s += t.partial[i*columns+j]
		}
		sums[j] = float32(s)
	}
	sumTasks.put(t)
}

type sumTask struct {
	x             []float32
	rows, columns int
	partial       []float64
}

var sumTasks freeList[sumTask]

func (t *sumTask) Do(_, part int) {
	lo, hi := span(part, sumRows, t.rows)
	vec.columnSums(t.partial[part*t.columns:][:t.columns], t.x[lo*t.columns:hi*t.columns])
}
