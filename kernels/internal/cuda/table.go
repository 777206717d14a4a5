package cuda

import (
	"fmt"
	"math"
)

const (
	// tableThreads is kTableThreads of table.cu.
	tableThreads = 256
	// tableShared is what scatter of table.cu needs: two counts for each thread, and a list.
	tableShared = 4 * (2*tableThreads + 4*tableThreads)
)

// GatherRows is
//
//	for i, k := range index {
//		copy(dst[i*columns:][:columns], src[(i*step+int(k))*columns:])
//	}
//
// With step 0 an index is the number of a row of src. Otherwise sample i has step rows of src, and
// its index is the number of one of them. index is float32. A row of dst becomes NaN if its index
// is not the number of a row. dst is of src's type, or bfloat16 where src is float32.
func GatherRows(q *Queue, dst, src, index Tensor, columns, step int) {
	mustBe("GatherRows", dst.Type, index.Len*columns, dst)
	rows := mustBeTable("GatherRows", src, index, columns, step)
	kernel := "gather" + src.Type.suffix()
	if dst.Type != src.Type {
		mustBe("GatherRows", Float32, src.Len, src)
		kernel += dst.Type.suffix()
	}
	if dst.Len == 0 {
		return
	}
	values := 16 / dst.Type.Size()
	wide := columns%values == 0 && aligned(dst, src)
	q.add(kernel, [3]int{index.Len, 1, 1}, rowThreads(columns, values, wide), 0,
		[]Tensor{dst}, []Tensor{src, index},
		dst, src, index, uint64(index.Len), rows, step > 0, columns, wide)
}

// rowThreads returns how many threads share a row: whole warps, of which each thread has values at
// once, or one value.
func rowThreads(columns, values int, wide bool) int {
	if !wide {
		values = 1
	}
	return min(32*ceilDiv(columns, 32*values), tableThreads)
}

// ScatterRows is the gradient of GatherRows by src. It sets dst to zero, and then
//
//	for i, k := range index {
//		dst[(i*step+int(k))*columns:][:columns] += dy[i*columns:][:columns]
//	}
//
// in float32 and in this order. A row of dy whose index is not the number of a row counts nowhere.
// With step 0 dst is float32. Otherwise it is of dy's type. With step 0 each of the len(index) rows
// looks through all of index.
func ScatterRows(q *Queue, dst, dy, index Tensor, columns, step int) {
	mustBe("ScatterRows", dy.Type, index.Len*columns, dy)
	rows := mustBeTable("ScatterRows", dst, index, columns, step)
	values := 16 / dy.Type.Size()
	wide := columns%values == 0 && aligned(dst, dy)
	launch := func(kernel string, grid [3]int, threads, shared int) {
		q.add(kernel+dy.Type.suffix(), grid, threads, shared, []Tensor{dst}, []Tensor{dy, index},
			dst, dy, index, uint64(index.Len), rows, step > 0, columns, wide)
	}
	if dst.Len == 0 {
		return
	}
	if step > 0 {
		mustBe("ScatterRows", dy.Type, dst.Len, dst)
		launch("spread", [3]int{index.Len * step, 1, 1}, rowThreads(columns, values, wide), 0)
		return
	}
	mustBe("ScatterRows", Float32, dst.Len, dst)
	Fill(q, dst, 0)
	if index.Len == 0 {
		return
	}
	if !wide {
		values = 1
	}
	launch("scatter", [3]int{index.Len, ceilDiv(columns, values*tableThreads), 1}, tableThreads,
		tableShared)
}

// mustBeTable returns how many rows of x an index may name.
func mustBeTable(kernel string, x, index Tensor, columns, step int) (rows int) {
	mustBe(kernel, Float32, index.Len, index)
	rows = step
	if step == 0 && columns > 0 {
		rows = x.Len / columns
	}
	if columns < 1 || x.Len%columns != 0 || step != 0 && x.Len != step*index.Len*columns {
		const wrong = "cuda: %s: %d values are no rows of %d for %d indices"
		panic(fmt.Sprintf(wrong, kernel, x.Len, columns, index.Len))
	}
	return rows
}

// TimestepEmbedding is, with half = dim/2 and every term in float64,
//
//	f[j] = exp(−ln(10000) · j/(half − shift))
//	dst[n,j] = sin(t[n]·f[j]),  dst[n,half+j] = cos(t[n]·f[j])
//
// rounded once. With flip, sines and cosines change places. If dim is odd, a zero comes last. dst
// and t are float32. The timesteps are below 2²⁴.
func TimestepEmbedding(q *Queue, dst, t Tensor, dim int, shift float64, flip bool) {
	mustBe("TimestepEmbedding", Float32, t.Len*dim, dst)
	mustBe("TimestepEmbedding", Float32, t.Len, t)
	half := dim / 2
	if half < 1 {
		panic(fmt.Sprintf("cuda: TimestepEmbedding: %d dimensions", dim))
	}
	if dst.Len == 0 {
		return
	}
	sine, cosine := 0, half
	if flip {
		sine, cosine = half, 0
	}
	step := -math.Log(10000) / (float64(half) - shift)
	grid := [3]int{ceilDiv(t.Len*half, tableThreads), 1, 1}
	q.add("timestep_embedding_f32", grid, tableThreads, 0, []Tensor{dst}, []Tensor{t},
		dst, t, math.Float64bits(step), uint64(t.Len), dim, sine, cosine)
}
