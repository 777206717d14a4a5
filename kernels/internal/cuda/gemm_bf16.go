package cuda

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A tileBF16 is a tile of C, the part that a block computes.
type tileBF16 struct {
	name     string
	m, n     int
	resident int // blocks that a multiprocessor holds
}

// tilesBF16 are the tiles of product_bf16.cuh, and elementsBF16 is the one for factors that are not
// read in units of 8 values.
var (
	tilesBF16 = []tileBF16{
		{"128x128", 128, 128, 2}, {"128x64", 128, 64, 3}, {"64x64", 64, 64, 4},
	}
	elementsBF16 = tileBF16{"elements", 64, 64, 2}
)

// Constants of product_bf16.cuh.
const (
	depthBF16   = 32  // kDepth
	stagesBF16  = 4   // kStages
	threadsBF16 = 128 // kGemmThreads
)

// shared returns how many bytes of shared memory a block needs.
func (t tileBF16) shared() int { return stagesBF16 * (t.m + t.n) * depthBF16 * BFloat16.Size() }

// tiles returns how many tiles a result has.
func (t tileBF16) tiles(m, n int) int { return ceilDiv(m, t.m) * ceilDiv(n, t.n) }

// A cutBF16 is how a product is cut: into tiles, and along K into parts of so many steps.
type cutBF16 struct {
	tile         tileBF16
	parts, steps int
}

// cutInto cuts K into at most so many parts.
func (t tileBF16) cutInto(parts, k int) cutBF16 {
	all := ceilDiv(k, depthBF16)
	steps := ceilDiv(all, parts)
	return cutBF16{tile: t, parts: max(1, ceilDiv(all, max(1, steps))), steps: steps}
}

// chooseBF16 cuts a product so that cycles are least. Tiles are chosen for one device, so that all
// devices add in one order. A row's bits depend on the number of parts and on nothing else of the
// other rows. It is a variable for tests. The environment can choose, for measuring: see
// CutVariable.
var chooseBF16 = func(m, n, k int) cutBF16 {
	if c, ok := forcedCutBF16(k); ok {
		return c
	}
	var best cutBF16
	least := 0.0
	for _, t := range tilesBF16 {
		most := min(max(1, k/(8*depthBF16)), 256) // a part has 8 steps at least
		for parts := 1; parts <= most; parts++ {
			c := t.cutInto(parts, k)
			if cycles := c.cycles(m, n); least == 0 || cycles < least {
				best, least = c, cycles
			}
		}
	}
	return best
}

// CutVariable is the environment variable that says how products of bfloat16 are cut, to measure
// what the choice is worth: a tile and the number of parts of K, such as 128x64/2.
const CutVariable = "KUDOS_CUDA_CUT"

// forcedCutBF16 is what the environment chooses, if it does. It panics on what is no cut.
func forcedCutBF16(k int) (c cutBF16, ok bool) {
	text := os.Getenv(CutVariable)
	if text == "" {
		return c, false
	}
	name, number, _ := strings.Cut(text, "/")
	i := slices.IndexFunc(tilesBF16, func(t tileBF16) bool { return t.name == name })
	parts, err := strconv.Atoi(number)
	if i < 0 || err != nil || parts < 1 || parts > 256 {
		panic(fmt.Sprintf("cuda: %s=%s is no cut: 128x64/2 is", CutVariable, text))
	}
	return tilesBF16[i].cutInto(parts, k), true
}

// cycles estimates how many cycles an H100 takes for a product. It has 132 multiprocessors. Each of
// them does at most 1300 multiply-adds of mma.sync in a cycle, and comes close to that with much
// work in flight: with one tile of 128×128 to about 70%. A block waits about 2000 cycles for its
// first tiles and for its last. To add the parts costs a launch, and memory traffic at 2000 bytes a
// cycle.
func (c cutBF16) cycles(m, n int) float64 {
	t := c.tile
	turns := ceilDiv(t.tiles(m, n)*c.parts, 132) // blocks that one multiprocessor computes
	flight := float64(min(turns, t.resident)*t.m*t.n) / (128 * 128)
	rate := 1300 * flight / (flight + 0.4)
	work := float64(turns) * float64(c.steps*depthBF16) * float64(t.m*t.n)
	cycles := work/rate + 2000*float64(ceilDiv(turns, t.resident))
	if c.parts > 1 {
		cycles += 4000 + float64(c.parts)*float64(m)*float64(n)*8/2000
	}
	return cycles
}

// partial returns how many values there are from one part of C to the next in the workspace.
func (c cutBF16) partial(m, n int) int { return ceilDiv(m*n, 4) * 4 }

// workspace returns how many bytes the parts of C take.
func (c cutBF16) workspace(m, n int) int {
	if c.parts == 1 {
		return 0
	}
	return c.parts * c.partial(m, n) * Float32.Size()
}

// A productBF16 is C[m,n] = A[m,k]·B[k,n] + bias for the kernels. The factors are what the kernel
// takes them for.
type productBF16 struct {
	kernel     string
	m, n, k    int
	a, b       Tensor
	rowA, rowB int // values that lie side by side
	c, bias    Tensor
	epilogue   Epilogue
	paired     bool // whether the columns of B are paired for it
	accumulate bool
	windows    gridBF16 // of a convolution
	channels   int      // of a window
	columns    int
	flip       flipBF16
	scatter    gridBF16 // where the rows of C are, if they are not one after another
}

// A gridBF16 is a set of positions (n,i,j) in images [N,h,w,c], numbered row by row. An image has
// gh×gw of them. Position (i,j) is at the pixel (i*step+y, j*step+x). It stands for that pixel, or
// for the window that begins there. Pixels of a window may lie outside the image.
type gridBF16 struct {
	gh, gw     int
	h, w       int
	step, y, x int
}

// A flipBF16 says that tap (r,s) of a window is that of weights [channels,height,width,n] at
// (y − step·r, x − step·s).
type flipBF16 struct{ height, width, step, y, x int }

// params returns g as fields of the kernels' parameter.
func (g gridBF16) params() []any {
	p := append(division(g.gh*g.gw), division(g.gw)...)
	return append(p, g.h, g.w, g.step, g.y, g.x)
}

// division returns a divisor d as fields of the kernels' parameter: d, and m and s so that
//
//	⌊x/d⌋ = (⌊x·m/2³²⌋ + x) / 2ˢ
//
// for 0 ≤ x < 2³¹. It is the method of Granlund and Montgomery, Division by invariant integers
// using multiplication (1994), figure 4.1.
func division(d int) []any {
	if d == 0 {
		return []any{0, 0, 0} // of no grid
	}
	s := bits.Len(uint(d - 1))
	m := (1<<32*(1<<s-d))/d + 1
	return []any{d, int(int32(uint32(m))), s}
}

// workspace returns how many bytes of workspace launch needs. It depends on the sizes alone.
func (p productBF16) workspace() int { return chooseBF16(p.m, p.n, p.k).workspace(p.m, p.n) }

// launch appends the product. ws holds the parts of C.
func (p productBF16) launch(q *Queue, ws Tensor) {
	const most = 1 << 30 // so that sums of indices fit into 32 bits
	if max(p.m, p.n, p.k) > most {
		panic(fmt.Sprintf("cuda: product of %d×%d×%d", p.m, p.n, p.k))
	}
	cut := chooseBF16(p.m, p.n, p.k)
	unitsA, unitsB := p.rowA%8 == 0 && aligned(p.a), p.rowB%8 == 0 && aligned(p.b)
	if !unitsA || !unitsB {
		cut.tile = elementsBF16
	}
	if p.bias.Len == 0 {
		p.bias = Tensor{}
	}
	out := p.output(0)
	writes := append(p.epilogue.writes(), p.c)
	reads := append(p.epilogue.reads(), p.a, p.b, p.bias)
	partial := cut.partial(p.m, p.n)
	parts := Tensor{Address: ws.Address, Len: cut.parts * partial}
	if cut.parts > 1 {
		sums := productBF16{n: p.n, c: parts, paired: p.paired}
		out = sums.output(partial)
		writes, reads = []Tensor{parts}, []Tensor{p.a, p.b}
	}
	params := append([]any{p.a, p.b}, out...)
	params = append(params, p.m, p.k, cut.steps, unitsA, unitsB)
	params = append(params, p.windows.params()...)
	params = append(params, division(p.channels)...)
	params = append(params, division(p.columns)...)
	params = append(params, p.flip.height, p.flip.width, p.flip.step, p.flip.y, p.flip.x)
	q.add(p.kernel+"_"+cut.tile.name+"_bf16", [3]int{cut.tile.tiles(p.m, p.n), 1, cut.parts},
		threadsBF16, cut.tile.shared(), writes, reads, params...)
	if cut.parts == 1 {
		return
	}
	out = p.output(partial)
	params = append(append([]any{parts}, out...), p.m, cut.parts)
	units := p.m * ceilDiv(p.epilogue.width(p.n), 8)
	q.add("gemm_sum_bf16", [3]int{ceilDiv(units, threadsBF16), 1, 1}, threadsBF16, 0,
		append(p.epilogue.writes(), p.c), append(p.epilogue.reads(), parts, p.bias), params...)
}

// output returns Output of product_bf16.cuh as fields of the kernels' parameter.
func (p productBF16) output(partial int) []any {
	units := p.n%8 == 0 && aligned(p.c, p.bias) && p.epilogue.aligned()
	fields := append([]any{p.c, p.bias}, p.epilogue.params(p.n, p.paired)...)
	fields = append(fields, uint64(partial), p.n, p.c.Type == Float32, units, p.accumulate,
		p.scatter != gridBF16{})
	return append(fields, p.scatter.params()...)
}

// bf16 is p for the kernels.
func (p Product) bf16() productBF16 {
	r := productBF16{
		kernel: "gemm_", m: p.M, n: p.N, k: p.K, a: p.A, b: p.B, rowA: p.K, rowB: p.N,
		c: p.C, bias: p.Bias, epilogue: p.Epilogue,
		paired: p.Epilogue.pairs(), accumulate: p.Accumulate,
	}
	if p.TransA {
		r.kernel, r.rowA = r.kernel+"t", p.M
	} else {
		r.kernel += "n"
	}
	if p.TransB {
		r.kernel, r.rowB = r.kernel+"t", p.K
	} else {
		r.kernel += "n"
	}
	return r
}
