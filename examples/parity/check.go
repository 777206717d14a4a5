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

// Tolerances are of the relative error ‖a−b‖/‖b‖ unless it says otherwise. PyTorch's own float32 is off from its float64 by 3e-7 to 4e-7
// in forward passes of small pipelines, by at most 6e-7 along a trajectory and by at most 6e-6 in a gradient.
const (
	forward  = 1e-5 // results, losses, gradients' norms and states of a trajectory
	gradient = 1e-4 // ‖a−b‖ ≤ 1e-4·‖b‖ + 1e-8·G, where G is the largest norm of all gradients of the case: small ones are sums of large numbers
	delta    = 5e-4 // the change of a parameter: AdamW divides a gradient by its size, small ones too
	guided   = 1e-3 // latents of a whole guided generation, against another's float32; against float64 it is forward's
	levels   = 2.0  // the largest difference of a pixel of 0 to 255 after that; against float64 it is 1
	pixel    = 1e-6 // the largest difference of a preprocessed value
	exact    = 0    // how many numbers differ
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

// path is that of a part in the folder.
func (c *check) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

func (c *check) has(name string) bool {
	_, ok := c.data.Shape(name)
	return ok
}

// any reports whether a tensor's name begins with prefix.
func (c *check) any(prefix string) bool {
	return slices.ContainsFunc(c.data.Names(), func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// read returns a tensor of so many dimensions and notes that it is used.
func (c *check) read(name string, dims int) (*tensor.Dense, error) {
	c.used[name] = true
	shape, ok := c.data.Shape(name)
	if !ok {
		return nil, fmt.Errorf("%s: tensor %s is missing", c.path(casesFile), name)
	}
	if len(shape) != dims || slices.Contains(shape, 0) {
		return nil, fmt.Errorf("%s: tensor %s is %v, which has not %d dimensions, all more than 0", c.path(casesFile), name, shape, dims)
	}
	d, err := c.data.Tensor(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.path(casesFile), err)
	}
	return d, nil
}

// pictures is read of a tensor [...,C,H,W] as [...,H,W,C]. Kernels of convolutions, [O,I,H,W], come as [O,H,W,I] as they are here.
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

// parameter is read of what belongs to a parameter: its gradient or change.
func (c *check) parameter(name string, like tensor.Shape) (*tensor.Dense, error) {
	load := c.read
	if len(like) == 4 {
		load = c.pictures
	}
	d, err := load(name, len(like))
	if err == nil && !d.Shape().Eq(like) {
		shape, _ := c.data.Shape(name)
		err = fmt.Errorf("%s: tensor %s is %v, the parameter is, channels last, %v", c.path(casesFile), name, shape, like)
	}
	return d, err
}

// want names what the other side computed: a tensor of pictures, if it has 4 dimensions, or of anything else.
func (c *check) want(name string, got *tensor.Dense) (*tensor.Dense, error) {
	load := c.read
	if got.Dims() == 4 {
		load = c.pictures
	}
	d, err := load(name, got.Dims())
	if err == nil && !d.Shape().Eq(got.Shape()) {
		err = fmt.Errorf("it is %v here and %v there, channels last", got.Shape(), d.Shape())
	}
	return d, err
}

// near adds a row that compares a result with a tensor of the file under a row's name. What the file lacks is not compared.
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
	c.rows = append(c.rows, row{Name: rowName, Shape: shape, Error: number(e), Worst: worst, Tolerance: tolerance, OK: e <= tolerance})
}

// fail adds a row for what could not be compared.
func (c *check) fail(name string, err error) {
	c.rows = append(c.rows, row{Name: name, Error: number(math.NaN()), Problem: err.Error()})
}

// unused adds a row for the tensors that no comparison has used, if there are any.
func (c *check) unused() {
	names := slices.DeleteFunc(c.data.Names(), func(name string) bool { return c.used[name] })
	if n := len(names); n > 0 {
		more := ""
		if n > 5 {
			names, more = names[:5], ", …"
		}
		c.fail("unused", fmt.Errorf("%d tensors of the file were not used: %s%s", n, strings.Join(names, ", "), more))
	}
}

// relative is ‖got−want‖/(‖want‖+floor), NaN if anything is, and where the difference is largest. Nothing is off from nothing by 0.
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

// largestDifference is max |got−want|, and where; the first NaN if there is one.
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

// element describes one element of two tensors: its index, channels last, and its values.
func element(at int, got, want *tensor.Dense) string {
	shape := got.Shape()
	index := make([]int, len(shape))
	for i, rest := len(shape)-1, at; i >= 0; i-- {
		index[i], rest = rest%shape[i], rest/shape[i]
	}
	return fmt.Sprintf("%v: %.6g, not %.6g", index, got.Float32s()[at], want.Float32s()[at])
}

// A group is the comparison of many tensors as one row, that of the worst.
type group struct {
	count int
	row
}

func (g *group) add(name string, shape []int, e float64, worst string, tolerance float64) {
	if g.count++; g.count == 1 || float64(g.Error) == float64(g.Error) && !(e <= float64(g.Error)) {
		g.row = row{Shape: shape, Error: number(e), Worst: name + " " + worst, Tolerance: tolerance, OK: e <= tolerance}
	}
}

// group adds the row of a group, if anything is in it.
func (c *check) group(name string, g group) {
	if g.count > 0 {
		g.Name = name
		g.Worst = fmt.Sprintf("of %d: %s", g.count, g.Worst)
		c.rows = append(c.rows, g.row)
	}
}

// evaluate runs the graph of some nodes and shows their values, which are valid until show returns.
func evaluate(g *gorgonia.ExprGraph, nodes gorgonia.Nodes, show func(values []*tensor.Dense)) error {
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
