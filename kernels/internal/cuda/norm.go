package cuda

import (
	"fmt"
	"math"
)

// A NormShape is the shape of a normalization of x [N,P,C]: N samples of P positions of C channels.
// The channels are cut into Groups groups of neighbours. Each group of each sample has one mean and
// one variance, over all its positions. Layer norm is P = 1 and Groups = 1.
type NormShape struct {
	N, P, C, Groups int
	Eps             float64
	SiLU            bool // whether SiLU follows
}

const (
	// normThreads is kNormThreads of norm.cu.
	normThreads = 256
	// normBatch is kBatch of norm.cu.
	normBatch = 4
	// normBlocks is how many blocks are enough: a few for each multiprocessor.
	normBlocks = 1024
	// normTile is how many bytes of a row a block reads at least, a line of the cache. Where it is
	// little, the groups of a block are few, and so is what it has to combine.
	normTile = 128
	// layerVectors is the longest row that a block holds in registers, in vectors of 16 bytes.
	layerVectors = 8 * 256
)

// check panics unless the shape is one, xs are [N,P,C] of one type, and params are float32 [C].
func (s NormShape) check(kernel string, xs []Tensor, params ...Tensor) {
	if s.N < 0 || s.P < 1 || s.C < 1 || s.Groups < 1 || s.C%s.Groups != 0 || !(s.Eps > 0) {
		panic(fmt.Sprintf("cuda: %s: no such shape: %+v", kernel, s))
	}
	mustBe(kernel, xs[0].Type, s.N*s.P*s.C, xs...)
	mustBe(kernel, Float32, s.C, params...)
}

// A normCut says how a normalization is cut into blocks. Its fields are those of Norm in norm.cu.
type normCut struct {
	NormShape
	vector                    bool
	width                     int
	tile, span, slices, tiles int
	phases, rows, chunks      int
	together                  int
	threads                   int
}

// cut cuts values of type t, with 16 bytes at a time if vector allows it. Positions are cut into
// chunks pieces at most.
func (s NormShape) cut(t Type, vector bool, chunks int) normCut {
	c := normCut{NormShape: s, width: s.C / s.Groups}
	most := 16 / t.Size() // values that are moved at once
	wide := c.width > normThreads*most
	c.vector = vector && s.C%most == 0 && (!wide || c.width%most == 0)
	if !c.vector {
		most = 1
	}
	unit := lcm(c.width, most)
	if unit > normThreads*most {
		vectors := c.width / most
		c.tile = ceilDiv(vectors, ceilDiv(vectors, normThreads)) * most
		c.span, c.slices = c.width, ceilDiv(c.width, c.tile)
		c.tiles = s.Groups * c.slices
	} else {
		c.tile = normUnits(s.C/unit, unit*t.Size(), normThreads*most/unit) * unit
		c.span, c.slices = c.tile, 1
		c.tiles = ceilDiv(s.C, c.tile)
	}
	columns := c.tile / most
	c.phases = max(1, min(normThreads/columns, s.P))
	c.threads = ceilDiv(c.phases*columns, 32) * 32
	batch := normBatch * c.phases
	chunks = min(chunks, ceilDiv(s.P, batch), ceilDiv(normBlocks, max(1, s.N)*c.tiles))
	c.rows = min(s.P, ceilDiv(ceilDiv(s.P, chunks), batch)*batch)
	c.chunks = ceilDiv(s.P, c.rows)
	c.together = 1
	return c
}

// normUnits returns how many of units, of so many bytes, make a tile: the fewest that are whole
// sectors of memory and no less than normTile, if they divide all units. most is a limit.
func normUnits(units, bytes, most int) int {
	for n := 1; n <= min(units, most); n++ {
		if units%n == 0 && n*bytes >= normTile && n*bytes%32 == 0 {
			return n
		}
	}
	return min(units, most, ceilDiv(normTile, bytes))
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// norms cuts a normalization. A block of a second pass reads what all blocks of its groups found in
// the first, so there are not too many of them.
func (s NormShape) norms(t Type, vector bool) normCut {
	return s.cut(t, vector, max(1, int(math.Sqrt(float64(s.P*s.C/s.Groups)/32))))
}

// columns cuts a normalization whose channels are added up. Blocks take several short samples.
func (s NormShape) columns(t Type, vector bool) normCut {
	c := s.norms(t, vector)
	if c.chunks == 1 {
		c.together = max(1, ceilDiv(s.N, ceilDiv(normBlocks, c.tiles)))
	}
	return c
}

// rowColumns cuts the rows of a layer norm whose channels are added up.
func (s NormShape) rowColumns(t Type) normCut {
	s.Groups, s.N, s.P = s.C, 1, s.N
	return s.cut(t, true, normBlocks)
}

// partials returns how many pieces there are of all groups.
func (c normCut) partials() int { return c.N * c.Groups * c.chunks * c.slices }

// parts returns how many sums a channel has.
func (c normCut) parts() int { return ceilDiv(c.N, c.together) * c.chunks }

// add appends a launch of a kernel for c. Its blocks have so many values of shared memory for each
// of their threads' values.
func (c normCut) add(
	q *Queue, kernel string, items int, writes, reads []Tensor,
	out, x, dy, scale, shift, stats, sums Tensor,
) {
	groups := max(1, c.tile/c.width)
	shared := 4 * (5*c.tile + 5*groups + items*c.phases*c.tile)
	grid := [3]int{ceilDiv(c.N, c.together) * c.chunks * c.tiles, 1, 1}
	q.add(kernel+x.Type.suffix(), grid, c.threads, shared, writes, reads,
		out, x, dy, scale, shift, stats, sums, c.N, c.P, c.C, c.width, c.tile, c.span, c.slices,
		c.tiles, c.phases, c.rows, c.chunks, c.together, c.vector, c.SiLU, c.Eps)
}

// moments appends the first pass, which finds the moments of each piece.
func (c normCut) moments(q *Queue, x, stats Tensor) {
	none := Tensor{}
	c.together = 1
	c.add(q, "norm_moments", 1, []Tensor{stats}, []Tensor{x},
		none, x, none, none, none, stats, none)
}

// workspace returns parts of ws of so many float32, one after another.
func workspace(kernel string, ws Tensor, lengths ...int) []Tensor {
	rest := Tensor{Address: ws.Address, Type: Float32, Len: ws.bytes() / 4}
	parts := make([]Tensor, len(lengths))
	for i, n := range lengths {
		if n > rest.Len {
			panic(fmt.Sprintf("cuda: %s: a workspace of %d bytes is too small", kernel, ws.bytes()))
		}
		parts[i], rest = rest.First(n), rest.From(n)
	}
	return parts
}

// most returns the most float32 that f says of all ways to cut a shape.
func most(cut func(t Type, vector bool) normCut, f func(c normCut) int) int {
	n := 0
	for _, t := range []Type{Float32, BFloat16} {
		n = max(n, f(cut(t, false)), f(cut(t, true)))
	}
	return n
}

// layer returns the kernel for a layer norm whose rows are held in registers, and how many threads
// and rows a block has. There is none for rows that are too long or not aligned.
func (s NormShape) layer(kernel string, xs []Tensor, params ...Tensor) (string, int, int) {
	t := xs[0].Type
	width := 16 / t.Size()
	vectors := s.C / width
	fits := s.P == 1 && s.Groups == 1 && s.C%width == 0 && vectors <= layerVectors
	if !fits || !aligned(xs...) || !aligned(params...) {
		return "", 0, 0
	}
	team, threads, rows := 32, 128, 4
	if vectors > 8*32 {
		team, threads, rows = 256, 256, 1
	}
	each := 2
	for vectors > each*team {
		each *= 2
	}
	return fmt.Sprintf("%s_%dx%d%s", kernel, team, each, t.suffix()), threads, rows
}

// addLayer appends a layer norm's kernel, if there is one.
func (s NormShape) addLayer(
	q *Queue, kernel string, out, x, dy, scale, shift, stats Tensor,
) bool {
	xs, written := []Tensor{x}, stats
	if dy.Len > 0 {
		xs = append(xs, dy)
	}
	if stats.Len == 0 {
		xs, written = append(xs, out), out
	}
	name, threads, rows := s.layer(kernel, xs, scale, shift)
	if name == "" {
		return false
	}
	q.add(name, [3]int{ceilDiv(s.N, rows), 1, 1}, threads, 4*threads/32,
		[]Tensor{written}, []Tensor{x, dy, scale, shift},
		out, x, dy, scale, shift, stats, uint64(s.N), s.C, s.SiLU, s.Eps)
	return true
}

// NormWorkspace returns how many bytes of workspace Norm needs.
func NormWorkspace(s NormShape) int {
	return 4 * most(s.norms, func(c normCut) int { return 3 * c.partials() })
}

// NormInputGradWorkspace returns how many bytes of workspace NormInputGrad needs.
func NormInputGradWorkspace(s NormShape) int {
	return 4 * most(s.norms, func(c normCut) int { return (3 + 2) * c.partials() })
}

// NormParamGradWorkspace returns how many bytes of workspace NormParamGrad needs.
func NormParamGradWorkspace(s NormShape) int {
	values := func(c normCut) int { return 3*c.partials() + 2*c.parts()*c.C }
	n := most(s.columns, values)
	if s.P == 1 && s.Groups == 1 {
		n = max(n, most(
			func(t Type, _ bool) normCut { return s.rowColumns(t) },
			func(c normCut) int { return 3*s.N + 2*c.parts()*c.C },
		))
	}
	return 4 * n
}

// Norm is, for each sample n and group g with mean μ and population variance σ² over positions and
// channels,
//
//	y[n,p,c] = (x[n,p,c] − μ) / √(σ²+Eps) · scale[c] + shift[c]
//
// With s.SiLU it is SiLU of that. x and y are of one type, scale and shift float32.
func Norm(q *Queue, s NormShape, y, x, scale, shift, ws Tensor) {
	s.check("Norm", []Tensor{y, x}, scale, shift)
	none := Tensor{}
	if s.N == 0 || s.addLayer(q, "layer_norm", y, x, none, scale, shift, none) {
		return
	}
	c := s.norms(x.Type, aligned(x, y))
	stats := workspace("Norm", ws, 3*c.partials())[0]
	c.moments(q, x, stats)
	c.add(q, "norm_apply", 0, []Tensor{y}, []Tensor{x, scale, shift, stats},
		y, x, none, scale, shift, stats, none)
}

// NormInputGrad is the gradient of Norm by x. x, dy and dx are of one type.
func NormInputGrad(q *Queue, s NormShape, dx, x, scale, shift, dy, ws Tensor) {
	s.check("NormInputGrad", []Tensor{dx, x, dy}, scale, shift)
	none := Tensor{}
	if s.N == 0 || s.addLayer(q, "layer_norm_gradient", dx, x, dy, scale, shift, none) {
		return
	}
	c := s.norms(x.Type, aligned(x, dy, dx))
	parts := workspace("NormInputGrad", ws, 3*c.partials(), 2*c.partials())
	stats, sums := parts[0], parts[1]
	c.moments(q, x, stats)
	reads := []Tensor{x, dy, scale, shift, stats}
	c.add(q, "norm_group_gradients", 2, []Tensor{sums}, reads,
		none, x, dy, scale, shift, stats, sums)
	c.add(q, "norm_input_gradient", 0, []Tensor{dx}, append(reads, sums),
		dx, x, dy, scale, shift, stats, sums)
}

// NormParamGrad is the gradient of Norm by scale and by shift, which are float32. x and dy are of
// one type.
func NormParamGrad(q *Queue, s NormShape, dscale, dshift, x, scale, shift, dy, ws Tensor) {
	s.check("NormParamGrad", []Tensor{x, dy}, dscale, dshift, scale, shift)
	parts, sums := 0, Tensor{}
	if s.N > 0 {
		parts, sums = s.channelSums(q, x, scale, shift, dy, ws)
	}
	const columns, phases = 32, 8 // of norm.cu
	q.add("norm_param_gradient", [3]int{ceilDiv(s.C, columns), 2, 1}, columns*phases,
		4*columns*phases, []Tensor{dshift, dscale}, []Tensor{sums},
		dshift, dscale, sums, parts, s.C)
}

// channelSums appends what adds up dz and dz·x̂ of each channel. It returns the sums [2,parts,C].
func (s NormShape) channelSums(q *Queue, x, scale, shift, dy, ws Tensor) (int, Tensor) {
	none := Tensor{}
	name, _, _ := s.layer("layer_norm", []Tensor{x, dy}, scale, shift)
	c := s.columns(x.Type, aligned(x, dy))
	partials, kernel := 3*c.partials(), "norm_column_gradients"
	if name != "" {
		c = s.rowColumns(x.Type)
		partials, kernel = 3*s.N, "norm_row_gradients"
	}
	both := workspace("NormParamGrad", ws, partials, 2*c.parts()*c.C)
	stats, sums := both[0], both[1]
	if name != "" {
		s.addLayer(q, "layer_norm", none, x, none, scale, shift, stats)
	} else {
		c.moments(q, x, stats)
	}
	c.add(q, kernel, 2, []Tensor{sums}, []Tensor{x, dy, scale, shift, stats},
		none, x, dy, scale, shift, stats, sums)
	return c.parts(), sums
}
