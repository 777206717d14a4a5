package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// A Chart shows curves.
type Chart struct {
	Title, Note string
	X, Y        string // what the axes show, with units
	Series      []Series
}

// A Series is one curve. Points that are not finite are left out and leave a gap.
type Series struct {
	Name string
	X, Y []float64
}

// Intervals shows values with their intervals: a row for each group, a dot for each arm in it.
type Intervals struct {
	Title, Note string
	X           string // what the axis shows
	Groups      []string
	Arms        []Arm
	// Format prints a value. Nil is Percent, which takes it for a share of 1.
	Format func(v float64) string
}

// An Arm is one value for every group, in order, with the ends of its interval. A group whose value
// is not finite has no dot.
type Arm struct {
	Name             string
	Value, Low, High []float64
}

// A chart's size in its own units. Small, so that its text stays legible when a phone shows it.
const (
	chartWidth  = 460
	chartHeight = 260
	left, right = 60, 14
	top, bottom = 12, 40
)

// An axis maps lo…hi to from…to.
type axis struct{ lo, hi, from, to float64 }

func (a axis) at(v float64) float64 { return a.from + (v-a.lo)/(a.hi-a.lo)*(a.to-a.from) }

// newAxis covers the finite values.
func newAxis(values []float64, from, to float64) axis {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if finite(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if lo > hi {
		lo, hi = 0, 1
	}
	if lo == hi {
		pad := max(math.Abs(lo)*0.1, 1e-9)
		lo, hi = lo-pad, hi+pad
	}
	return axis{lo, hi, from, to}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// ticks are about n round values between lo and hi: multiples of 1, 2 or 5 times a power of ten.
func (a axis) ticks(n int) (at []float64, format func(float64) string) {
	step := math.Pow(10, math.Floor(math.Log10((a.hi-a.lo)/float64(n))))
	for _, m := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (a.hi-a.lo)/step > float64(n) {
			step *= m
		}
	}
	for k := math.Ceil(a.lo/step - 1e-9); k*step <= a.hi+1e-9*step; k++ {
		at = append(at, k*step+0) // + 0: no negative zero
	}
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	return at, func(v float64) string {
		if digits > 5 || math.Abs(v) >= 1e6 {
			return strconv.FormatFloat(v, 'g', 3, 64)
		}
		return strconv.FormatFloat(v, 'f', digits, 64)
	}
}

func (c Chart) html() (template.HTML, error) {
	var xs, ys []float64
	for _, s := range c.Series {
		if len(s.X) != len(s.Y) {
			return "", fmt.Errorf("chart %q: series %q has %d x and %d y",
				c.Title, s.Name, len(s.X), len(s.Y))
		}
		for i := range s.X {
			if finite(s.X[i]) && finite(s.Y[i]) {
				xs, ys = append(xs, s.X[i]), append(ys, s.Y[i])
			}
		}
	}
	x := newAxis(xs, left, chartWidth-right)
	y := newAxis(ys, chartHeight-bottom, top)
	var b strings.Builder
	open(&b, chartHeight, c.Title)
	grid(&b, x, y)
	label(&b, "axis", "end", chartWidth-right, chartHeight-6, c.X)
	for i, s := range c.Series {
		fmt.Fprintf(&b, `<path class="line s%d" d="%s"/>`, i%palette, path(s, x, y))
	}
	b.WriteString("</svg>")
	var names []string
	for _, s := range c.Series {
		names = append(names, s.Name)
	}
	return figure(c.Title, c.Note, c.Y, names, b.String())
}

// path is the curve as SVG draws it.
func path(s Series, x, y axis) string {
	var b strings.Builder
	pen := "M"
	for i := range s.X {
		if !finite(s.X[i]) || !finite(s.Y[i]) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, x.at(s.X[i]), y.at(s.Y[i]))
		pen = "L"
	}
	return b.String()
}

func open(b *strings.Builder, height int, title string) {
	fmt.Fprintf(b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`,
		chartWidth, height, html.EscapeString(title))
}

// grid draws round values of both axes.
func grid(b *strings.Builder, x, y axis) {
	at, text := y.ticks(5)
	for _, v := range at {
		segment(b, `class="grid"`, left, y.at(v), chartWidth-right, y.at(v))
		label(b, "axis", "end", left-7, y.at(v)+4, text(v))
	}
	at, text = x.ticks(5)
	for _, v := range at {
		label(b, "axis", "middle", x.at(v), chartHeight-bottom+17, text(v))
	}
}

// segment draws a line from (x1, y1) to (x2, y2).
func segment(b *strings.Builder, attributes string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line %s x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, attributes, x1, y1, x2, y2)
}

// label writes text whose start, middle or end is at (x, y).
func label(b *strings.Builder, class, anchor string, x, y float64, text string) {
	fmt.Fprintf(b, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`,
		class, anchor, x, y, html.EscapeString(text))
}

func (c Intervals) html() (template.HTML, error) {
	format := c.Format
	if format == nil {
		format = Percent
	}
	var values []float64
	for _, a := range c.Arms {
		n := len(c.Groups)
		if len(a.Value) != n || len(a.Low) != n || len(a.High) != n {
			return "", fmt.Errorf("intervals %q: arm %q has %d values, %d and %d ends "+
				"for %d groups", c.Title, a.Name, len(a.Value), len(a.Low), len(a.High), n)
		}
		values = append(append(append(values, a.Low...), a.High...), a.Value...)
	}
	const labels, row, foot = 96, 15, 44
	x := newAxis(append(values, 0), labels, chartWidth-right)
	group := row*len(c.Arms) + 14
	height := group*len(c.Groups) + foot
	var b strings.Builder
	open(&b, height, c.Title)
	at, _ := x.ticks(5)
	for _, v := range at {
		segment(&b, `class="grid"`, x.at(v), 4, x.at(v), float64(height-foot+4))
		anchor, place := "middle", x.at(v)
		if place > chartWidth-2*right { // it would be cut at the edge
			anchor, place = "end", chartWidth
		}
		label(&b, "axis", anchor, place, float64(height-foot+20), format(v))
	}
	label(&b, "axis", "end", chartWidth-right, float64(height-6), c.X)
	for g, name := range c.Groups {
		y := float64(group*g) + float64(group)/2
		label(&b, "label", "end", labels-10, y+4, name)
		for i, a := range c.Arms {
			if finite(a.Value[g]) {
				a.mark(&b, format, i, g, name, x, y+(float64(i)-float64(len(c.Arms)-1)/2)*row)
			}
		}
	}
	b.WriteString("</svg>")
	var names []string
	for _, a := range c.Arms {
		names = append(names, a.Name)
	}
	return figure(c.Title, c.Note, "", names, b.String())
}

// mark draws the arm's interval for group g, a line, and its value, a dot on it.
func (a Arm) mark(
	b *strings.Builder, format func(float64) string, index, g int, group string, x axis, y float64,
) {
	text := fmt.Sprintf("%s, %s: %s (%s to %s)",
		group, a.Name, format(a.Value[g]), format(a.Low[g]), format(a.High[g]))
	fmt.Fprintf(b, `<g class="mark s%d"><title>%s</title>`, index%palette, html.EscapeString(text))
	segment(b, "", x.at(a.Low[g]), y, x.at(a.High[g]), y)
	fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4.5"/></g>`, x.at(a.Value[g]), y)
}

// palette is how many colours the page has for series. More series share them.
const palette = 6

func figure(title, note, y string, names []string, svg string) (template.HTML, error) {
	type entry struct {
		Name  string
		Color int
	}
	var legend []entry
	for i, name := range names {
		legend = append(legend, entry{name, i % palette})
	}
	return render("chart", map[string]any{
		"Title": title, "Note": note, "Y": y, "Names": legend, "SVG": template.HTML(svg),
	})
}
