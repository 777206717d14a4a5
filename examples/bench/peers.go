package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/examples/internal/cases"
)

// A peer is a time of another program for one of our cases.
type peer struct {
	name      string // of the program
	cases     []string
	precision string
	threads   int
	seconds   float64
}

// times reports whether p is a time of what r is a time of.
func (p peer) times(r cases.Result) bool {
	return slices.Contains(p.cases, r.Name) && p.precision == r.Precision && p.threads == r.Threads
}

// A format is how a program prints a time. The named groups of line are what is in it.
type format struct {
	name  string
	line  *regexp.Regexp
	cases func(g groups) []string
}

// groups are the parts of a line, by name.
type groups map[string]string

func (g groups) number(name string) int {
	n, _ := strconv.Atoi(g[name]) // the expression takes digits alone
	return n
}

func (g groups) float(name string) float64 {
	x, _ := strconv.ParseFloat(g[name], 64)
	return x
}

// passes are what other programs call our passes.
var passes = map[string]string{
	"fwd": "forward", "dgrad": "input", "wgrad": "weight", "bwd_d": "input", "bwd_w": "weight",
	"NT": "forward", "NN": "input", "TN": "weight",
}

// linear is the case of a product of so many rows.
func linear(rows, in, out int, pass string) []string {
	return []string{fmt.Sprintf("linear/%d→%d/tokens=%d/batch=1/%s", in, out, rows, passes[pass])}
}

// product is the case of a product M×N×K: a layer is NT, the gradient of its input NN, that of its
// weight TN.
func product(g groups) []string {
	m, n, k := g.number("m"), g.number("n"), g.number("k")
	switch g["pass"] {
	case "NN":
		return linear(m, n, k, "NN")
	case "TN":
		return linear(k, n, m, "TN")
	}
	return linear(m, k, n, "NT")
}

// linearOf is the case of a layer, whose gradients have its shape too.
func linearOf(g groups) []string {
	return linear(g.number("m"), g.number("k"), g.number("n"), g["pass"])
}

func attention(g groups) []string {
	pass := map[string]string{"fwd": "forward", "bwd": "forward+backward"}[g["attention"]]
	return []string{fmt.Sprintf("attention/d=%s/queries=%s/keys=%s/batch=1/%s", g["d"],
		g["queries"], g["keys"], pass)}
}

func convolution(g groups) []string {
	kernel, stride := "3", "1"
	if g["kernel"] != "" {
		kernel, stride = g["kernel"], g["stride"]
	}
	return []string{fmt.Sprintf("conv/%s→%s/side=%s/kernel=%s/stride=%s/batch=1/%s",
		g["in"], g["out"], g["side"], kernel, stride, passes[g["pass"]])}
}

// step are the cases of a training step, or of an evaluation.
func step(g groups) []string {
	batch := g.number("batch")
	if g["fwd"] == "True" {
		return []string{fmt.Sprintf("sd15/evaluation/batch=%d", batch)}
	}
	all := []string{fmt.Sprintf("sd15/step/batch=%d", batch)}
	if batch%2 == 0 {
		all = append(all, fmt.Sprintf("sd15/step/batch=%d+%d", batch/2, batch/2))
	}
	return all
}

// called is always the same case.
func called(name string) func(groups) []string {
	return func(groups) []string { return []string{name} }
}

const (
	shape = `\s+(?P<m>\d+)x\s*(?P<n>\d+)x\s*(?P<k>\d+)\s`
	image = `(?P<in>\d+)->(?P<out>\d+)@(?P<side>\d+) `
	rate  = `.*?med\s+(?P<gflops>[\d.]+) GF/s`
)

// formats are what is known. The first that fits a line counts.
var formats = []format{
	lines("PyTorch linear", linearOf, `linear (?P<pass>\w+)\s+(?P<m>\d+)x(?P<k>\d+)->(?P<n>\d+) `,
		`(?P<precision>\w+)\s+(?P<ms>[\d.]+) ms`),
	lines("PyTorch convolution", convolution, `conv3x3 (?P<pass>\w+)\s+`, image,
		`(?P<precision>\w+) (?P<how>\w+)\s+(?P<ms>[\d.]+) ms`),
	lines("PyTorch attention", attention, `attention (?P<attention>fwd|bwd) (?P<queries>\d+)x`,
		`(?P<keys>\d+) d=(?P<d>\d+) (?P<precision>\w+).*?\s(?P<ms>[\d.]+) ms`),
	lines("PyTorch model", step, `MEDIAN total (?P<s>[\d.]+) .*'dtype': '(?P<precision>\w+)'`,
		`.*'batch': (?P<batch>\d+), 'latent': 64,.*'fwd': (?P<fwd>\w+)`,
		`, 'threads': (?P<threads>\d+)`),
	lines("CBLAS", product, `(?P<precision>fp32|bf16) (?P<threads>\d+)T (?P<pass>NN|NT|TN)`,
		shape, rate),
	lines("dnnl_sgemm", product, `dnnl_sgemm (?P<pass>NT) (?P<threads>\d+)T`, shape, rate),
	lines("oneDNN packed matmul", product, `matmul (?P<precision>f32|bf16) \(W packed\)\s+`,
		`(?P<threads>\d+)T`, shape, rate),
	lines("oneDNN convolution", convolution, `(?P<how>\w+/\w+) (?P<precision>f32|bf16) `,
		`(?P<pass>\w+)\s+(?P<threads>\d+)T `, image, `k(?P<kernel>\d) s(?P<stride>\d)\s`, rate,
		`.*?t=(?P<ms>[\d.]+)ms`),
	lines("diffusers", called("sd15/evaluation/batch=1"),
		`UNet evaluation: median (?P<s>[\d.]+) s`),
	lines("diffusers", called("sd15/evaluation/batch=2"), `guided step: median (?P<s>[\d.]+) s`),
	lines("diffusers", called("VAE/decode/batch=1"), `VAE decode (?P<s>[\d.]+) s`),
	lines("peft", called("sd15/LoRA step/batch=1"), // the first step is apart
		`step [1-9]\d*: (?P<s>[\d.]+) s, peak memory`),
	lines("transformers", called("ViT-L14/pictures/batch=8"),
		`ViT-L/14, batch 8: (?P<each>[\d.]+) s an image`),
}

// lines is the format of lines that begin so.
func lines(name string, of func(g groups) []string, line ...string) format {
	return format{name, regexp.MustCompile("^" + strings.Join(line, "")), of}
}

// readPeers reads what programs have printed: the files .txt of a folder.
func readPeers(dir string) (all []peer, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		some, err := parsePeers(f, strings.TrimSuffix(filepath.Base(path), ".txt"))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("-peers %s has no file .txt with times: examples/bench/README.md "+
			"says how programs print them", dir)
	}
	return all, nil
}

// inName says how a file's name gives what its lines do not: the precision, and the threads.
var inName = regexp.MustCompile(`-(bf16|\d+t)\b`)

// parsePeers reads what a program has printed.
func parsePeers(r io.Reader, name string) (all []peer, err error) {
	usual := peer{precision: "float32", threads: runtime.NumCPU()}
	for _, m := range inName.FindAllStringSubmatch(name, -1) {
		if m[1] == "bf16" {
			usual.precision = "bfloat16"
			continue
		}
		usual.threads, _ = strconv.Atoi(strings.TrimSuffix(m[1], "t"))
	}
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return joined(all), s.Err()
		}
		for _, f := range formats {
			m := f.line.FindStringSubmatch(s.Text())
			if m == nil {
				continue
			}
			g := groups{}
			for i, part := range f.line.SubexpNames() {
				g[part] = m[i]
			}
			p := usual
			p.name, p.cases = strings.TrimSpace(f.name+" "+g["how"]), f.cases(g)
			p.name += " (" + name + ")"
			p.fill(g)
			all = append(all, p)
			break
		}
	}
}

// fill takes over what a line says of a time.
func (p *peer) fill(g groups) {
	switch g["precision"] {
	case "fp32", "f32":
		p.precision = "float32"
	case "bf16":
		p.precision = "bfloat16"
	}
	if n := g.number("threads"); n > 0 {
		p.threads = n
	}
	switch {
	case g["ms"] != "":
		p.seconds = g.float("ms") / 1e3
	case g["s"] != "":
		p.seconds = g.float("s")
	case g["each"] != "":
		p.seconds = 8 * g.float("each")
	case g["gflops"] != "":
		flops := 2 * float64(g.number("m")) * float64(g.number("n")) * float64(g.number("k"))
		p.seconds = flops / (1e9 * g.float("gflops"))
	}
}

// joined makes one of the times of a case: the median. Our gradient of attention is timed together
// with its result, theirs without.
func joined(all []peer) (some []peer) {
	type key struct {
		name, of, precision string
		threads             int
	}
	times := map[key][]float64{}
	of := func(p peer) key { return key{p.name, p.cases[0], p.precision, p.threads} }
	for _, p := range all {
		times[of(p)] = append(times[of(p)], p.seconds)
	}
	for _, p := range all {
		k := of(p)
		seconds, ok := times[k]
		if !ok {
			continue
		}
		delete(times, k)
		slices.Sort(seconds)
		p.seconds = middle(seconds)
		some = append(some, p)
	}
	for i, p := range some {
		k := of(p)
		var backward bool
		if k.of, backward = strings.CutSuffix(k.of, "+backward"); !backward {
			continue
		}
		for _, q := range some {
			if of(q) == k {
				some[i].seconds += q.seconds
			}
		}
	}
	return some
}
