package cpu

import (
	"fmt"
	"math"
)

// normBodies go down the columns of matrices [rows,C], which lie in x, dz and dst.
type normBodies struct {
	// moments is first[c] = Σ x[c] and second[c] = Σ x[c]² over the rows.
	moments func(first, second []float64, x []float32)
	// normalize is dst = (x−mean[c])·rstd[c]·scale[c] + shift[c].
	normalize func(dst, x, mean, rstd, scale, shift []float32)
	// gradSums is first[c] = Σ dz and second[c] = Σ dz·(x−mean[c])·rstd[c] over the rows.
	gradSums func(first, second []float64, x, dz, mean, rstd []float32)
	// inputGrad is dst = dz·a[c] + (x−mean[c])·b[c] + d[c].
	inputGrad func(dst, x, dz, mean, a, b, d []float32)
}

// A NormShape is the shape of a normalization of x [N,P,C]: N samples of P positions of C channels.
// The channels are cut into Groups groups of neighbours. Each group of each sample has one mean and
// one variance, over all its positions. Layer norm is P = 1 and Groups = 1.
type NormShape struct {
	N, P, C, Groups int
	Eps             float64
	SiLU            bool // whether SiLU follows
}

// normRows is how many positions one part of a normalization has at most. It is the same on every
// machine.
const normRows = 256

func (s NormShape) check(kernel string, values []float32, channels ...[]float32) {
	if s.N < 0 || s.P < 1 || s.C < 1 || s.Groups < 1 || s.C%s.Groups != 0 || !(s.Eps > 0) {
		panic(fmt.Sprintf("cpu: %s: no such shape: %+v", kernel, s))
	}
	mustMatch(kernel, s.N*s.P*s.C, values)
	mustMatch(kernel, s.C, channels...)
}

// blocks returns how many parts the positions of a sample are cut into.
func (s NormShape) blocks() int { return ceilDiv(s.P, normRows) }

// parts returns how many parts all samples are cut into. Short samples go together.
func (s NormShape) parts() int { return ceilDiv(s.N, s.together()) * s.blocks() }

// together returns how many samples one part has.
func (s NormShape) together() int {
	if s.blocks() > 1 {
		return 1
	}
	return max(1, elementBlock/(s.P*s.C))
}

// Workspace returns how many values of workspace the normalizations need.
func (s NormShape) Workspace() int {
	if s.byRows() {
		return s.rowsWorkspace()
	}
	sums := 2 * s.N * s.blocks() * s.C // two float64 a channel
	slopes := 0
	if s.SiLU {
		slopes = s.N * s.P * s.C
	}
	return 2*2*sums + 5*s.N*s.C + slopes + 8
}

// A normPass does positions [lo,hi) of sample n, which are one of its blocks.
type normPass func(t *normTask, n, block, lo, hi int)

// A normTask is one pass over the values of a normalization.
type normTask struct {
	NormShape
	pass                     normPass
	dst, x, dy, scale, shift []float32
	dz                       []float32 // the gradient before SiLU; it is dy if there is no SiLU
	sums, gradSums           []float64 // [N,blocks,2,C] twice; [parts,2,C]
	mean, rstd               []float32 // [N,C], the group's value for each of its channels
	a, b, d                  []float32 // [N,C], of the gradient by x
}

var normTasks freeList[normTask]

func (t *normTask) Do(_, part int) {
	block, group := part%t.blocks(), part/t.blocks()
	lo, hi := span(block, normRows, t.P)
	from, to := span(group, t.together(), t.N)
	for n := from; n < to; n++ {
		t.pass(t, n, block, lo, hi)
	}
}

// run divides ws, computes the statistics and makes the passes.
func (s NormShape) run(pool *Pool, ws []float32, t normTask, passes ...normPass) {
	mustHold("norm", ws, s.Workspace())
	sums := 2 * s.N * s.blocks() * s.C
	all := doubles(ws, 2*sums)
	rest := ws[4*sums:]
	task := normTasks.get()
	*task = t
	task.NormShape, task.sums, task.gradSums = s, all[:sums], all[sums:]
	for _, v := range []*[]float32{&task.mean, &task.rstd, &task.a, &task.b, &task.d} {
		*v, rest = rest[:s.N*s.C], rest[s.N*s.C:]
	}
	if task.dz = task.dy; s.SiLU && task.dy != nil {
		task.dz = rest[:s.N*s.P*s.C]
	}
	for _, pass := range passes {
		task.pass = pass
		pool.Parallel(s.parts(), task)
	}
	normTasks.put(task)
}

// sumPass adds up x and x² of each channel.
func sumPass(t *normTask, n, block, lo, hi int) {
	first, second := t.pair(t.sums, n, block)
	vec.moments(first, second, t.rows(t.x, n, lo, hi))
}

// rows returns positions [lo,hi) of sample n of x.
func (t *normTask) rows(x []float32, n, lo, hi int) []float32 {
	return x[(n*t.P+lo)*t.C : (n*t.P+hi)*t.C]
}

// pair returns the two sums of a block for each channel.
func (t *normTask) pair(sums []float64, n, block int) (first, second []float64) {
	s := sums[2*(n*t.blocks()+block)*t.C:][:2*t.C]
	return s[:t.C], s[t.C:]
}

// channels returns the values of sample n of x [N,C].
func (t *normTask) channels(x []float32, n int) []float32 { return x[n*t.C:][:t.C] }

// statistics turns the sums of a sample into the mean and 1/√(variance+ε) of the group of each
// channel.
func (t *normTask) statistics(n int) (mean, rstd []float32) {
	mean, rstd = t.channels(t.mean, n), t.channels(t.rstd, n)
	width := t.C / t.Groups
	count := float64(t.P * width)
	for g := range t.Groups {
		var sum, square float64
		for b := range t.blocks() {
			first, second := t.pair(t.sums, n, b)
			sum += sum64(first[g*width:][:width])
			square += sum64(second[g*width:][:width])
		}
		m := sum / count
		r := 1 / math.Sqrt(max(square/count-m*m, 0)+t.Eps)
		for c := g * width; c < (g+1)*width; c++ {
			mean[c], rstd[c] = float32(m), float32(r)
		}
	}
	return mean, rstd
}

// groupSums adds up the gradient sums of a sample over group g: Σ scale·dz and Σ scale·dz·x̂.
func (t *normTask) groupSums(n, g int) (first, second float64) {
	width := t.C / t.Groups
	for b := range t.blocks() {
		dz, dzx := t.pair(t.gradSums, n, b)
		scale := t.scale[g*width:][:width]
		first += weighted64(dz[g*width:][:width], scale)
		second += weighted64(dzx[g*width:][:width], scale)
	}
	return first, second
}

// applyPass writes the result.
func applyPass(t *normTask, n, block, lo, hi int) {
	if block == 0 && t.blocks() == 1 {
		t.statistics(n)
	}
	dst, x := t.rows(t.dst, n, lo, hi), t.rows(t.x, n, lo, hi)
	vec.normalize(dst, x, t.channels(t.mean, n), t.channels(t.rstd, n), t.scale, t.shift)
	if t.SiLU {
		vec.silu(dst, dst)
	}
}

// statisticsPass computes the statistics of samples that have several blocks, so that each block
// then reads finished ones.
func statisticsPass(t *normTask, n, block, _, _ int) {
	if block == 0 && t.blocks() > 1 {
		t.statistics(n)
	}
}

// gradSumPass adds up dz and dz·x̂ of each channel, where dz is the gradient before SiLU.
func gradSumPass(t *normTask, n, block, lo, hi int) {
	if block == 0 && t.blocks() == 1 {
		t.statistics(n)
	}
	t.undoSiLU(n, lo, hi)
	first, second := t.pair(t.gradSums, n, block)
	x, dz := t.rows(t.x, n, lo, hi), t.rows(t.dz, n, lo, hi)
	vec.gradSums(first, second, x, dz, t.channels(t.mean, n), t.channels(t.rstd, n))
}

// undoSiLU writes to dz the gradient before SiLU of positions [lo,hi) of a sample.
func (t *normTask) undoSiLU(n, lo, hi int) {
	if !t.SiLU {
		return
	}
	x, dz := t.rows(t.x, n, lo, hi), t.rows(t.dz, n, lo, hi)
	vec.normalize(dz, x, t.channels(t.mean, n), t.channels(t.rstd, n), t.scale, t.shift)
	vec.siluGrad(dz, dz, t.rows(t.dy, n, lo, hi))
}

// coefficientsPass computes the a, b and d of vec.inputGrad for each channel. With r = 1/√(σ²+ε),
// and with m1 and m2 the means over the group of scale·dz and of scale·dz·x̂, they are those of
//
//	dx = r·(scale·dz − m1 − (x−μ)·r·m2)
func coefficientsPass(t *normTask, n, block, _, _ int) {
	if block > 0 {
		return
	}
	rstd := t.channels(t.rstd, n)
	a, b, d := t.channels(t.a, n), t.channels(t.b, n), t.channels(t.d, n)
	width := t.C / t.Groups
	count := float64(t.P * width)
	for g := range t.Groups {
		first, second := t.groupSums(n, g)
		r := rstd[g*width]
		shift, slope := -r*float32(first/count), -r*r*float32(second/count)
		for c := g * width; c < (g+1)*width; c++ {
			a[c], b[c], d[c] = r*t.scale[c], slope, shift
		}
	}
}

// inputGradPass writes the gradient by x.
func inputGradPass(t *normTask, n, _, lo, hi int) {
	vec.inputGrad(
		t.rows(t.dst, n, lo, hi), t.rows(t.x, n, lo, hi), t.rows(t.dz, n, lo, hi),
		t.channels(t.mean, n), t.channels(t.a, n), t.channels(t.b, n), t.channels(t.d, n),
	)
}

// sum64 returns Σ x, in four sums side by side.
func sum64(x []float64) float64 {
	var s [4]float64
	for ; len(x) >= 4; x = x[4:] {
		s[0] += x[0]
		s[1] += x[1]
		s[2] += x[2]
		s[3] += x[3]
	}
	for _, v := range x {
		s[0] += v
	}
	return s[0] + s[1] + (s[2] + s[3])
}

// weighted64 returns Σ w·x, in four sums side by side.
func weighted64(x []float64, w []float32) float64 {
	var s [4]float64
	for ; len(x) >= 4; x, w = x[4:], w[4:] {
		s[0] += float64(w[0]) * x[0]
		s[1] += float64(w[1]) * x[1]
		s[2] += float64(w[2]) * x[2]
		s[3] += float64(w[3]) * x[3]
	}
	for i, v := range x {
		s[0] += float64(w[i]) * v
	}
	return s[0] + s[1] + (s[2] + s[3])
}

// Norm is, for each sample n and group g with mean μ and population variance σ² over positions and
// channels,
//
//	y[n,p,c] = (x[n,p,c] − μ) / √(σ²+Eps) · scale[c] + shift[c]
//
// With s.SiLU it is SiLU of that. The statistics are accumulated in float64. It panics on wrong
// lengths.
func Norm(pool *Pool, s NormShape, y, x, scale, shift, ws []float32) {
	s.check("Norm", y, scale, shift)
	s.check("Norm", x)
	if s.byRows() {
		rowTask{NormShape: s, dst: y, x: x, scale: scale, shift: shift}.run(pool, ws)
		return
	}
	t := normTask{dst: y, x: x, scale: scale, shift: shift}
	s.run(pool, ws, t, sumPass, statisticsPass, applyPass)
}

// NormInputGrad is the gradient of Norm by x. It panics on wrong lengths.
func NormInputGrad(pool *Pool, s NormShape, dx, x, scale, shift, dy, ws []float32) {
	s.check("NormInputGrad", dx, scale, shift)
	s.check("NormInputGrad", x)
	s.check("NormInputGrad", dy)
	if s.byRows() {
		rowTask{NormShape: s, dst: dx, x: x, dy: dy, scale: scale}.run(pool, ws)
		return
	}
	t := normTask{dst: dx, x: x, scale: scale, shift: shift, dy: dy}
	s.run(pool, ws, t, sumPass, statisticsPass, gradSumPass, coefficientsPass, inputGradPass)
}

// NormParamGrad is the gradient of Norm by scale and by shift. It panics on wrong lengths.
func NormParamGrad(pool *Pool, s NormShape, dscale, dshift, x, scale, shift, dy, ws []float32) {
	s.check("NormParamGrad", x, dscale, dshift, scale, shift)
	s.check("NormParamGrad", dy)
	if s.byRows() {
		rowTask{NormShape: s, x: x, dy: dy}.run(pool, ws)
		s.columnsOf(dscale, dshift, ws)
		return
	}
	t := normTask{x: x, scale: scale, shift: shift, dy: dy}
	s.run(pool, ws, t, sumPass, statisticsPass, gradSumPass)
	sums := 2 * s.N * s.blocks() * s.C
	all := doubles(ws, 2*sums)[sums:]
	for c := range s.C {
		var first, second float64
		for b := range s.N * s.blocks() {
			first += all[2*b*s.C+c]
			second += all[(2*b+1)*s.C+c]
		}
		dshift[c], dscale[c] = float32(first), float32(second)
	}
}
