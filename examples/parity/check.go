package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// The tolerances. They are of the relative error ‖a−b‖/‖b‖, where the comment does not say
// otherwise. PyTorch's own float32 differs from its float64 by 3e-7 to 4e-7 in forward passes of
// small pipelines, by at most 6e-7 along a trajectory, and by at most 6e-6 in a gradient.
const (
	// forward is that of results, losses, norms of gradients and states of a trajectory.
	forward = 1e-5
	// gradient is that of a gradient: ‖a−b‖ ≤ 1e-4·‖b‖ + 1e-8·G. G is the largest norm of
	// all gradients of the case. Small gradients are sums of large numbers.
	gradient = 1e-4
	// delta is that of the change of a parameter. AdamW divides a gradient by its size, a small one
	// too.
	delta = 5e-4
	// guided is that of the latents of a whole guided generation, where the other side computed in
	// float32. Where it computed in float64, it is forward's.
	guided = 1e-3
	// levels is the largest difference of a pixel, 0 to 255, of that generation. Where the other
	// side computed in float64, it is 1.
	levels = 2.0
	// pixel is the largest difference of a preprocessed value.
	pixel = 1e-6
	// exact is how many numbers may differ.
	exact = 0
)

const casesFile = "cases.safetensors"

// A check is the comparison of a folder.
type check struct {
	dir      string
	data     *weights.File // cases.safetensors
	used     map[string]bool
	rows     []row
	progress io.Writer
}

func open(dir string, progress io.Writer) (*check, error) {
	f, err := weights.Open(filepath.Join(dir, casesFile))
	if err != nil {
		return nil, err
	}
	return &check{dir: dir, data: f, used: map[string]bool{}, progress: progress}, nil
}

// say tells people what is under way.
func (c *check) say(format string, args ...any) {
	fmt.Fprintf(c.progress, "parity: %s: %s\n", c.dir, fmt.Sprintf(format, args...))
}

// path returns the path of a part of the folder.
func (c *check) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

func (c *check) has(name string) bool {
	_, ok := c.data.Shape(name)
	return ok
}

// any reports whether a tensor's name begins with prefix.
func (c *check) any(prefix string) bool {
	begins := func(name string) bool { return strings.HasPrefix(name, prefix) }
	return slices.ContainsFunc(c.data.Names(), begins)
}

// read returns a tensor of so many dimensions and notes that it is used.
func (c *check) read(name string, dims int) (*tensor.Dense, error) {
	c.used[name] = true
	shape, ok := c.data.Shape(name)
	if !ok {
		return nil, fmt.Errorf("%s: tensor %s is missing", c.path(casesFile), name)
	}
	if len(shape) != dims || slices.Contains(shape, 0) {
		return nil, fmt.Errorf(
			"%s: tensor %s is %v, which has not %d dimensions, all more than 0",
			c.path(casesFile), name, shape, dims)
	}
	d, err := c.data.Tensor(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.path(casesFile), err)
	}
	return d, nil
}

// pictures is read of a tensor that is [...,C,H,W] in the file. It returns it as [...,H,W,C]. So
// kernels of convolutions, which are [O,I,H,W] there, come as [O,H,W,I], as they are here.
func (c *check) pictures(name string, dims int) (*tensor.Dense, error) {
	d, err := c.read(name, dims)
	if err != nil {
		return nil, err
	}
	s := d.Shape().Clone()
	k := len(s) - 3
	channels, plane := s[k], s[k+1]*s[k+2]
	dst := make([]float32, s.TotalSize())
	for i, v := range d.Float32s() {
		block, rest := i/(channels*plane), i%(channels*plane)
		dst[block*channels*plane+rest%plane*channels+rest/plane] = v
	}
	s[k], s[k+1], s[k+2] = s[k+1], s[k+2], channels
	return tensor.New(tensor.WithShape(s...), tensor.WithBacking(dst)), nil
}

// parameter is read of the gradient or the change of a parameter, which has the shape given.
func (c *check) parameter(name string, like tensor.Shape) (*tensor.Dense, error) {
	load := c.read
	if len(like) == 4 {
		load = c.pictures
	}
	d, err := load(name, len(like))
	if err == nil && !d.Shape().Eq(like) {
		shape, _ := c.data.Shape(name)
		err = fmt.Errorf("%s: tensor %s is %v, the parameter is, channels last, %v",
			c.path(casesFile), name, shape, like)
	}
	return d, err
}

// want is read of what the other side computed for got. With 4 dimensions it is one of pictures.
func (c *check) want(name string, got *tensor.Dense) (*tensor.Dense, error) {
	load := c.read
	if got.Dims() == 4 {
		load = c.pictures
	}
	d, err := load(name, got.Dims())
	if err == nil && !d.Shape().Eq(got.Shape()) {
		err = fmt.Errorf("it is %v here and %v there, channels last",
			got.Shape(), d.Shape())
	}
	return d, err
}

// near adds a row, of the name given, that compares a result with a tensor of the file. If the file
// lacks the tensor, it adds none.
func (c *check) near(rowName, name string, got *tensor.Dense) {
	if !c.has(name) {
		return
	}
	want, err := c.want(name, got)
	if err != nil {
		c.fail(rowName, err)
		return
	}
	e, at := relative(got.Float32s(), want.Float32s(), 0)
	c.add(rowName, name, e, element(at, got, want), forward)
}

// add adds a row with the shape of a tensor of the file.
func (c *check) add(rowName, name string, e float64, worst string, tolerance float64) {
	shape, _ := c.data.Shape(name)
	c.rows = append(c.rows, row{
		Name:      rowName,
		Shape:     shape,
		Error:     number(e),
		Worst:     worst,
		Tolerance: tolerance,
		OK:        e <= tolerance,
	})
}

// fail adds a row for what could not be compared.
func (c *check) fail(name string, err error) {
	c.rows = append(c.rows, row{
		Name:    name,
		Error:   number(math.NaN()),
		Problem: err.Error(),
	})
}

// unused adds a row for the tensors that no comparison has used, if there are any.
func (c *check) unused() {
	isUsed := func(name string) bool { return c.used[name] }
	names := slices.DeleteFunc(c.data.Names(), isUsed)
	if n := len(names); n > 0 {
		more := ""
		if n > 5 {
			names, more = names[:5], ", …"
		}
		c.fail("unused", fmt.Errorf("%d tensors of the file were not used: %s%s",
			n, strings.Join(names, ", "), more))
	}
}

// relative returns ‖got−want‖/(‖want‖+floor), which is NaN if any value is, and the index
// where the difference is largest. Two tensors of zeros differ by 0.
func relative(got, want []float32, floor float64) (e float64, at int) {
	diff := 0.0
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		diff += d * d
	}
	_, at = largestDifference(got, want)
	if diff == 0 {
		return 0, at
	}
	return math.Sqrt(diff) / (length(want) + floor), at
}

// largestDifference returns max |got−want| and its index. If a difference is NaN, it returns the
// first such.
func largestDifference(got, want []float32) (largest float64, at int) {
	largest = -1
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) {
			return d, i
		}
		if d > largest {
			largest, at = d, i
		}
	}
	return largest, at
}

// length is ‖x‖.
func length(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// element describes one element of two tensors: its index, channels last, and the values there.
func element(at int, got, want *tensor.Dense) string {
	shape := got.Shape()
	index := make([]int, len(shape))
	for i, rest := len(shape)-1, at; i >= 0; i-- {
		index[i], rest = rest%shape[i], rest/shape[i]
	}
	return fmt.Sprintf("%v: %.6g, not %.6g", index, got.Float32s()[at], want.Float32s()[at])
}

// A group is the comparison of many tensors as one row: that of the worst. NaN is the worst.
type group struct {
	count int
	row
}

func (g *group) add(name string, shape []int, e float64, worst string, tolerance float64) {
	known := float64(g.Error)
	if g.count++; g.count > 1 && (math.IsNaN(known) || e <= known) {
		return
	}
	g.row = row{
		Shape:     shape,
		Error:     number(e),
		Worst:     name + " " + worst,
		Tolerance: tolerance,
		OK:        e <= tolerance,
	}
}

// group adds the row of a group, if there is anything in the group.
func (c *check) group(name string, g group) {
	if g.count > 0 {
		g.Name = name
		g.Worst = fmt.Sprintf("of %d: %s", g.count, g.Worst)
		c.rows = append(c.rows, g.row)
	}
}

// evaluate runs a graph and calls show with the values of some of its nodes. The values are valid
// until show returns.
func evaluate(
	g *gorgonia.ExprGraph, nodes gorgonia.Nodes, show func(values []*tensor.Dense),
) error {
	m, err := kernels.NewMachine(g, kernels.Config{Want: nodes})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.RunAll(); err != nil {
		return err
	}
	values := make([]*tensor.Dense, len(nodes))
	for i, n := range nodes {
		values[i] = m.Value(n)
	}
	show(values)
	return nil
}
