package cpu

import (
	"math"
	"unsafe"
)

// A rowOf is what layer norm knows of a row. mean and rstd normalize it. The gradient by x is
// dz·scale·rstd + (x−mean)·slope + offset.
type rowOf struct{ mean, rstd, slope, offset float32 }

// layerNormBodies take rows of x, dz and dst, as many as there are in of.
type layerNormBodies struct {
	// rowWeights returns Σ scale·dz and Σ scale·dz·(x−mean)·rstd of a row.
	rowWeights func(x, dz, scale []float32, of rowOf) (first, second float64)
	// normalizeRows is dst = (x−mean)·rstd·scale[c] + shift[c].
	normalizeRows func(dst, x []float32, of []rowOf, scale, shift []float32)
	// rowGradSums is first[c] = Σ dz and second[c] = Σ dz·(x−mean)·rstd over the rows.
	rowGradSums func(first, second []float64, x, dz []float32, of []rowOf)
	// rowInputGrad is dst = dz·scale[c]·rstd + (x−mean)·slope + offset.
	rowInputGrad func(dst, x, dz []float32, of []rowOf, scale []float32)
	// columnSums is sums[c] = Σ x over the rows.
	columnSums func(sums []float64, x []float32)
}

// byRows reports whether s is a layer norm, whose statistics are those of rows.
func (s NormShape) byRows() bool { return s.P == 1 && s.Groups == 1 && !s.SiLU }

// rows is how many rows of a layer norm one part has.
func (s NormShape) rows() int { return max(1, elementBlock/s.C) }

// rowColumns is how many columns the sums over a row have first.
const rowColumns = 16

// sumsOfPart is how many float64 sums a part has: two for each column, and those of a row.
func (s NormShape) sumsOfPart() int { return 2 * (s.C + rowColumns) }

// rowsWorkspace returns how many values of workspace a layer norm and its gradients need: what is
// known of the rows, the sums of each part, and those of all.
func (s NormShape) rowsWorkspace() int {
	return 4*s.N + 2*s.sumsOfPart()*(ceilDiv(s.N, s.rows())+1) + 8
}

// A rowTask is layer norm, or its gradient by x if there is dy, or those by scale and shift if
// there is no dst.
type rowTask struct {
	NormShape
	dst, x, dy, scale, shift []float32
	of                       []rowOf   // [N]
	sums                     []float64 // [parts,sumsOfPart]
}

var rowTasks freeList[rowTask]

// run divides ws and does the parts.
func (t rowTask) run(pool *Pool, ws []float32) {
	mustHold("norm", ws, t.rowsWorkspace())
	task, parts := rowTasks.get(), ceilDiv(t.N, t.rows())
	*task = t
	if parts > 0 {
		task.sums = doubles(ws, t.sumsOfPart()*parts)
		rest := ws[2*t.sumsOfPart()*(parts+1):]
		task.of = unsafe.Slice((*rowOf)(unsafe.Pointer(&rest[:4*t.N][0])), t.N)
		pool.Parallel(parts, task)
	}
	rowTasks.put(task)
}

func (t *rowTask) Do(_, part int) {
	lo, hi := span(part, t.rows(), t.N)
	x, of := t.x[lo*t.C:hi*t.C], t.of[lo:hi]
	sums := t.sums[part*t.sumsOfPart():][:t.sumsOfPart()]
	t.statistics(of, x, sums[2*t.C:])
	if t.dy == nil {
		vec.normalizeRows(t.dst[lo*t.C:hi*t.C], x, of, t.scale, t.shift)
		return
	}
	dy := t.dy[lo*t.C : hi*t.C]
	if t.dst == nil {
		vec.rowGradSums(sums[:t.C], sums[t.C:2*t.C], x, dy, of)
		return
	}
	for i := range of {
		first, second := vec.rowWeights(x[i*t.C:][:t.C], dy[i*t.C:][:t.C], t.scale, of[i])
		r := of[i].rstd
		of[i].offset = -r * float32(first/float64(t.C))
		of[i].slope = -r * r * float32(second/float64(t.C))
	}
	vec.rowInputGrad(t.dst[lo*t.C:hi*t.C], x, dy, of, t.scale)
}

// statistics computes the mean and 1/√(variance+ε) of rows. A row is summed as columns, if these
// divide it.
func (t *rowTask) statistics(of []rowOf, x []float32, sums []float64) {
	columns := rowColumns
	if t.C%columns != 0 {
		columns = 1
	}
	first, second := sums[:columns], sums[columns:2*columns]
	for i := range of {
		vec.moments(first, second, x[i*t.C:][:t.C])
		mean := sum64(first) / float64(t.C)
		square := sum64(second) / float64(t.C)
		rstd := 1 / math.Sqrt(max(square-mean*mean, 0)+t.Eps)
		of[i] = rowOf{mean: float32(mean), rstd: float32(rstd)}
	}
}

// columnsOf writes the sums of all parts.
func (s NormShape) columnsOf(dscale, dshift, ws []float32) {
	parts, size := ceilDiv(s.N, s.rows()), s.sumsOfPart()
	all := doubles(ws, size*(parts+1))
	total := all[size*parts:][:2*s.C]
	clear(total)
	for part := range parts {
		for c, v := range all[size*part:][:2*s.C] {
			total[c] += v
		}
	}
	for c := range s.C {
		dshift[c], dscale[c] = float32(total[c]), float32(total[s.C+c])
	}
}
