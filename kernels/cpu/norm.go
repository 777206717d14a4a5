package cpu

import (
	"fmt"
	"math"
)

// A NormShape is what a normalization of x [N,P,C] is about: N samples of P positions of C channels, whose statistics are
// taken over all positions of each of Groups groups of neighbouring channels. Layer norm is P = 1 and Groups = 1.
type NormShape struct {
	N, P, C, Groups int
	Eps             float64
	SiLU            bool // SiLU behind it
}

// normRows is how many positions one part of a normalization has at most, the same on every machine.
const normRows = 256

func (s NormShape) check(kernel string, values []float32, channels ...[]float32) {
	if s.N < 0 || s.P < 1 || s.C < 1 || s.Groups < 1 || s.C%s.Groups != 0 || !(s.Eps > 0) {
		panic(fmt.Sprintf("cpu: %s: no such shape: %+v", kernel, s))
	}
	mustMatch(kernel, s.N*s.P*s.C, values)
	mustMatch(kernel, s.C, channels...)
}

// blocks is how many parts a sample's positions are cut into.
func (s NormShape) blocks() int { return ceilDiv(s.P, normRows) }

// parts is how many parts all samples are cut into. Short samples go together.
func (s NormShape) parts() int { return ceilDiv(s.N, s.together()) * s.blocks() }

func (s NormShape) together() int {
	if s.blocks() > 1 {
		return 1
	}
	return max(1, elementBlock/(s.P*s.C))
}

// Workspace returns how many values of scratch memory the normalizations want.
func (s NormShape) Workspace() int {
	sums := 2 * s.N * s.blocks() * s.C // two float64 a channel
	slopes := 0
	if s.SiLU {
		slopes = s.N * s.P * s.C
	}
	return 2*2*sums + 2*s.N*s.C + slopes + 8
}

// A normTask is one pass over the values of a normalization.
type normTask struct {
	NormShape
	pass                     func(t *normTask, n, block, lo, hi int)
	dst, x, dy, scale, shift []float32
	dz                       []float32 // the gradient before SiLU: dy without it
	sums, gradSums           []float64 // [N,blocks,2,C] twice; [parts,2,C]
	mean, rstd               []float32 // [N,C], the group's value for each of its channels
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

// run cuts ws, takes the statistics and makes the passes.
func (s NormShape) run(ws []float32, t normTask, passes ...func(t *normTask, n, block, lo, hi int)) {
	mustHold("norm", ws, s.Workspace())
	sums := 2 * s.N * s.blocks() * s.C
	all := doubles(ws, 2*sums)
	rest := ws[4*sums:]
	task := normTasks.get()
	*task = t
	task.NormShape, task.sums, task.gradSums = s, all[:sums], all[sums:]
	task.mean, task.rstd = rest[:s.N*s.C], rest[s.N*s.C:2*s.N*s.C]
	if task.dz = task.dy; s.SiLU && task.dy != nil {
		task.dz = rest[2*s.N*s.C:][:s.N*s.P*s.C]
	}
	for _, pass := range passes {
		task.pass = pass
		Parallel(s.parts(), task)
	}
	normTasks.put(task)
}

// sumPass adds up x and x² of each channel.
func sumPass(t *normTask, n, block, lo, hi int) {
	sums := t.sums[2*(n*t.blocks()+block)*t.C:][:2*t.C]
	clear(sums)
	first, second := sums[:t.C], sums[t.C:]
	for p := lo; p < hi; p++ {
		row := t.x[(n*t.P+p)*t.C:][:t.C]
		for c, v := range row {
			first[c] += float64(v)
			second[c] += float64(v) * float64(v)
		}
	}
}

// statistics turns the sums of a sample into the mean and 1/√(variance+ε) of each channel's group.
func (t *normTask) statistics(n int) (mean, rstd []float32) {
	mean, rstd = t.mean[n*t.C:][:t.C], t.rstd[n*t.C:][:t.C]
	width := t.C / t.Groups
	count := float64(t.P * width)
	for g := range t.Groups {
		var sum, square float64
		for b := range t.blocks() {
			sums := t.sums[2*(n*t.blocks()+b)*t.C:][:2*t.C]
			for c := g * width; c < (g+1)*width; c++ {
				sum += sums[c]
				square += sums[t.C+c]
			}
		}
		m := sum / count
		r := 1 / math.Sqrt(max(square/count-m*m, 0)+t.Eps)
		for c := g * width; c < (g+1)*width; c++ {
			mean[c], rstd[c] = float32(m), float32(r)
		}
	}
	return mean, rstd
}

// groupSums adds up a sample's gradient sums over each group: Σ scale·dz and Σ scale·dz·x̂, for every channel of it.
func (t *normTask) groupSums(n, g int) (first, second float64) {
	width := t.C / t.Groups
	for b := range t.blocks() {
		sums := t.gradSums[2*(n*t.blocks()+b)*t.C:][:2*t.C]
		for c := g * width; c < (g+1)*width; c++ {
			first += float64(t.scale[c]) * sums[c]
			second += float64(t.scale[c]) * sums[t.C+c]
		}
	}
	return first, second
}

func applyPass(t *normTask, n, block, lo, hi int) {
	if block == 0 && t.blocks() == 1 {
		t.statistics(n)
	}
	mean, rstd := t.mean[n*t.C:][:t.C], t.rstd[n*t.C:][:t.C]
	for p := lo; p < hi; p++ {
		at := (n*t.P + p) * t.C
		x, dst := t.x[at:at+t.C], t.dst[at:at+t.C]
		for c, v := range x {
			dst[c] = (v-mean[c])*rstd[c]*t.scale[c] + t.shift[c]
		}
	}
	if t.SiLU {
		all := t.dst[(n*t.P+lo)*t.C : (n*t.P+hi)*t.C]
		vec.silu(all, all)
	}
}

// statisticsPass is made where a sample has several blocks, so that each reads finished statistics.
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
	sums := t.gradSums[2*(n*t.blocks()+block)*t.C:][:2*t.C]
	clear(sums)
	first, second := sums[:t.C], sums[t.C:]
	mean, rstd := t.mean[n*t.C:][:t.C], t.rstd[n*t.C:][:t.C]
	for p := lo; p < hi; p++ {
		at := (n*t.P + p) * t.C
		x, dz := t.x[at:at+t.C], t.dz[at:at+t.C]
		for c, v := range x {
			first[c] += float64(dz[c])
			second[c] += float64(dz[c]) * float64((v-mean[c])*rstd[c])
		}
	}
}

// undoSiLU writes to dz the gradient before SiLU of a sample's positions [lo,hi).
func (t *normTask) undoSiLU(n, lo, hi int) {
	if !t.SiLU {
		return
	}
	mean, rstd := t.mean[n*t.C:][:t.C], t.rstd[n*t.C:][:t.C]
	from, to := (n*t.P+lo)*t.C, (n*t.P+hi)*t.C
	for at := from; at < to; at += t.C {
		x, z := t.x[at:at+t.C], t.dz[at:at+t.C]
		for c, v := range x {
			z[c] = (v-mean[c])*rstd[c]*t.scale[c] + t.shift[c]
		}
	}
	vec.siluGrad(t.dz[from:to], t.dz[from:to], t.dy[from:to])
}

func inputGradPass(t *normTask, n, _, lo, hi int) {
	mean, rstd := t.mean[n*t.C:][:t.C], t.rstd[n*t.C:][:t.C]
	width := t.C / t.Groups
	count := float64(t.P * width)
	for g := range t.Groups {
		first, second := t.groupSums(n, g)
		m1, m2, m, r := float32(first/count), float32(second/count), mean[g*width], rstd[g*width]
		scale := t.scale[g*width : (g+1)*width]
		for p := lo; p < hi; p++ {
			at := (n*t.P+p)*t.C + g*width
			x, dz, dst := t.x[at:at+width], t.dz[at:at+width], t.dst[at:at+width]
			for i, v := range x {
				dst[i] = r * (dz[i]*scale[i] - m1 - (v-m)*r*m2)
			}
		}
	}
}

// Norm is, for each sample n and group g with its mean μ and variance σ² (of the population) over positions and channels,
//
//	y[n,p,c] = (x[n,p,c] − μ) / √(σ²+Eps) · scale[c] + shift[c]
//
// and SiLU of that if it is asked for. Statistics are accumulated in float64. It panics on wrong lengths.
func Norm(s NormShape, y, x, scale, shift, ws []float32) {
	s.check("Norm", y, scale, shift)
	s.check("Norm", x)
	s.run(ws, normTask{dst: y, x: x, scale: scale, shift: shift}, sumPass, statisticsPass, applyPass)
}

// NormInputGrad is the gradient of Norm by x.
func NormInputGrad(s NormShape, dx, x, scale, shift, dy, ws []float32) {
	s.check("NormInputGrad", dx, scale, shift)
	s.check("NormInputGrad", x)
	s.check("NormInputGrad", dy)
	s.run(ws, normTask{dst: dx, x: x, scale: scale, shift: shift, dy: dy}, sumPass, statisticsPass, gradSumPass, inputGradPass)
}

// NormParamGrad is the gradient of Norm by scale and by shift.
func NormParamGrad(s NormShape, dscale, dshift, x, scale, shift, dy, ws []float32) {
	s.check("NormParamGrad", x, dscale, dshift, scale, shift)
	s.check("NormParamGrad", dy)
	s.run(ws, normTask{x: x, scale: scale, shift: shift, dy: dy}, sumPass, statisticsPass, gradSumPass)
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
