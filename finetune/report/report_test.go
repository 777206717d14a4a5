package report

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sample is a report with one of everything.
func sample() Page {
	picture := func(seed int) image.Image {
		img := image.NewRGBA(image.Rect(0, 0, 64, 64))
		for y := range 64 {
			for x := range 64 {
				img.Set(x, y, color.RGBA{uint8(120 + x), uint8(160 + y/2), uint8(200 - x), 255})
				if (x-20-seed)*(x-20-seed)+(y-30)*(y-30) < 150 {
					img.Set(x, y, color.RGBA{220, 30, 40, 255})
				}
			}
		}
		return img
	}
	var x, total, term []float64
	for i := range 101 {
		x = append(x, float64(i*4))
		total = append(total, 0.9*math.Exp(-float64(i)/20)+0.2+0.03*math.Sin(float64(i)))
		term = append(term, 0.4*math.Exp(-float64(i)/20)+0.1+0.02*math.Cos(float64(i)))
	}
	term[50] = math.NaN()
	grid := Grid{
		Title:   "Pictures of unseen prompts",
		Note:    "Base and tuned start from the same noise. ✓ and ✗ are the judge's.",
		Columns: []string{"base", "tuned", "best of 4"},
	}
	for i, label := range []string{
		"two green circles on the beach", "a heart in the lavender", "six yellow stars",
		"<b>three</b> & more", "a red colored cross", "one diamond",
	} {
		grid.Rows = append(grid.Rows, GridRow{label, []Picture{
			{Image: picture(i), Mark: Wrong},
			{Image: picture(3 * i), Mark: Right},
			{Image: picture(5 * i), Mark: Mark(i % 3)},
		}})
	}
	return Page{
		Title: "Tuning on learned rewards <quickstart>",
		Lead: "1,200 pictures of the base model were labelled, a reward was learned from the " +
			"labels, and the base was tuned with it.",
		Footer: "go run ./examples/quickstart -seed 1",
		Blocks: []Block{
			Figures{
				{"Gain on unseen prompts", "+18.4 points", "95 % interval 12.1 to 24.9"},
				{"Fréchet distance", "× 1.06", "of the base's"},
				{"Reward accuracy", "84 %", "on unseen prompts"}, {"Time", "5m42s", "on 2 cores"},
			},
			Intervals{Title: "Alignment, unseen prompts", X: "judged good", Groups: []string{
				"all", "count", "colour", "background", "combination",
			}, Arms: []Arm{
				{"base", []float64{.45, .34, .7, .66, .2}, []float64{.4, .28, .63, .6, .15},
					[]float64{.5, .4, .77, .72, .26}},
				{"tuned", []float64{.63, .5, .85, .8, .4}, []float64{.58, .44, .8, .75, .33},
					[]float64{.68, .56, .9, .85, .46}},
				{"best of 4", []float64{.6, .55, .82, .77, .38}, []float64{.55, .49, .77, .7, .31},
					[]float64{.65, .61, .87, .82, .44}}}},
			Chart{
				Title: "Loss", Note: "Means of 10 steps.", X: "step", Y: "loss",
				Series: []Series{{"both terms", x, total}, {"reward term", x, term}},
			},
			Table{
				Title: "Alignment", Note: "Judged by pixels; 95 % intervals.",
				Header: []string{"prompts", "n", "base", "tuned", "best of 4"}, Strong: 3,
				Rows: [][]string{
					{"seen, all", "256", PercentIn(.5, .44, .56), PercentIn(.7, .64, .76),
						PercentIn(.66, .6, .72)},
					{"unseen, all", "256", PercentIn(.45, .4, .5), PercentIn(.63, .58, .68),
						PercentIn(.6, .55, .65)},
				},
			},
			grid,
			Text{"How it was measured", "The judge looks at pixels only."},
		},
	}
}

func TestReportIsOnePage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	if keep := os.Getenv("KUDOS_REPORT"); keep != "" { // to look at it
		path = keep
	}
	require.NoError(t, sample().WriteFile(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	html := string(text)
	outside := regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?([^"')\s]*)`)
	for _, attribute := range outside.FindAllStringSubmatch(html, -1) {
		require.True(t, strings.HasPrefix(attribute[1], "data:"), attribute[0])
	}
	require.NotContains(t, html, "http://")
	require.NotContains(t, html, "https://")
	require.NotContains(t, html, "@import")
	// What html/template writes for an address that it does not trust:
	require.NotContains(t, html, "ZgotmplZ")
	require.NotContains(t, html, "NaN")
	require.Contains(t, html, "Tuning on learned rewards &lt;quickstart&gt;")
	require.Contains(t, html, "&lt;b&gt;three&lt;/b&gt; &amp; more")
	require.Equal(t, 18, strings.Count(html, `src="data:image/png;base64,`))
	require.Equal(t, 2, strings.Count(html, `class="line`))
	require.Equal(t, 15, strings.Count(html, `<circle`))
	require.Contains(t, html, "63\u00a0% (58–68)")
	require.NotContains(t, html, "%!")
}

// Large pictures are JPEG and take more room; a note stands behind the column's name.
func TestGridOfLargePictures(t *testing.T) {
	grid := func(side int) string {
		g := Grid{
			Columns: []string{"base", "tuned"},
			Rows: []GridRow{{"a <dog>", []Picture{
				{Note: "0.50"},
				{Image: image.NewRGBA(image.Rect(0, 0, side, side)), Note: "0.75"},
			}}},
		}
		h, err := g.html()
		require.NoError(t, err)
		require.Contains(t, string(h), "tuned <b>0.75</b>")
		require.Contains(t, string(h), "base <b>0.50</b>")
		return string(h)
	}
	small, big := grid(128), grid(129)
	require.Contains(t, small, `src="data:image/png;base64,`)
	require.Contains(t, small, "--card-width: 200px")
	require.Contains(t, big, `src="data:image/jpeg;base64,`)
	require.Contains(t, big, "--card-width: 440px")
	require.Contains(t, big, `class="cards large"`)
	require.Contains(t, small, `class="cards"`)
	for side, want := range map[int]int{384: 384, 385: 384, 1000: 384} {
		_, data, ok := strings.Cut(grid(side), "base64,")
		require.True(t, ok)
		data, _, _ = strings.Cut(data, `"`)
		text := strings.NewReader(html.UnescapeString(data))
		shown, err := jpeg.DecodeConfig(base64.NewDecoder(base64.StdEncoding, text))
		require.NoError(t, err)
		require.Equal(t, image.Pt(want, want), image.Pt(shown.Width, shown.Height), side)
	}
}

func TestIntervalsInTheirOwnUnit(t *testing.T) {
	h, err := Intervals{
		Groups: []string{"tuned"}, Arms: []Arm{{"x", []float64{1}, []float64{-1}, []float64{3}}},
		Format: func(v float64) string { return fmt.Sprintf("%+.1f px", v) },
	}.html()
	require.NoError(t, err)
	require.Contains(t, string(h), "<title>tuned, x: +1.0 px (-1.0 px to +3.0 px)</title>")
	require.Contains(t, string(h), ">-1.0 px</text>")
	require.NotContains(t, string(h), "100 %")
}

// The marks lie where the values say: 96 is 0 %, 446 the largest end of an interval.
func TestIntervalsAreDrawnToScale(t *testing.T) {
	c := Intervals{
		Groups: []string{"a", "b"},
		Arms:   []Arm{{"x", []float64{0.4, 0.6}, []float64{0.2, 0.4}, []float64{0.7, 0.8}}},
	}
	h, err := c.html()
	require.NoError(t, err)
	// A group is 15 + 14 high.
	for _, want := range []string{
		`<line  x1="183.5" y1="14.5" x2="402.2" y2="14.5"/><circle cx="271.0" cy="14.5"`,
		`<line  x1="271.0" y1="43.5" x2="446.0" y2="43.5"/><circle cx="358.5" cy="43.5"`,
		`<line class="grid" x1="96.0" y1="4.0" x2="96.0" y2="62.0"/>`,
		`x="96.0" y="78.0">0 %</text>`,
	} {
		require.Contains(t, string(h), want)
	}
}

func TestChartIsDrawnToScale(t *testing.T) {
	h, err := Chart{Series: []Series{
		{"x", []float64{0, 10, 20, 30}, []float64{1, 3, math.Inf(1), 2}},
	}}.html()
	require.NoError(t, err)
	// x: 60 to 446, y: 220 up to 12; the value that is not finite leaves a gap.
	require.Contains(t, string(h), `d="M60.0 220.0L188.7 12.0M446.0 116.0"`)
	require.Contains(t, string(h),
		`<line class="grid" x1="60.0" y1="116.0" x2="446.0" y2="116.0"/>`)
}

func TestReportRefusesWhatDoesNotFit(t *testing.T) {
	for _, b := range []Block{
		Table{Header: []string{"a"}, Rows: [][]string{{"1", "2"}}},
		Grid{Columns: []string{"a"}, Rows: []GridRow{{"x", nil}}},
		Chart{Series: []Series{{"x", []float64{1}, nil}}},
		Intervals{Groups: []string{"a"}, Arms: []Arm{{"x", []float64{1}, nil, nil}}},
	} {
		require.ErrorContains(t, Page{Blocks: []Block{b}}.WriteHTML(io.Discard), "report: block 0")
	}
	// Charts of nothing, of one value and of none that is finite.
	for _, ys := range [][]float64{nil, {3}, {math.NaN()}, {0, 0}} {
		c := Chart{Series: []Series{{"x", make([]float64, len(ys)), ys}}}
		var b bytes.Buffer
		require.NoError(t, Page{Blocks: []Block{c}}.WriteHTML(&b))
		require.NotContains(t, b.String(), "NaN")
		require.NotContains(t, b.String(), "Inf")
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 1, "0.0 0.2 0.4 0.6 0.8 1.0"}, {0.13, 0.92, "0.2 0.4 0.6 0.8"},
		{0, 400, "0 100 200 300 400"},
		{-3, 7, "-2 0 2 4 6"}, {0.0012, 0.0019, "0.0012 0.0014 0.0016 0.0018"},
		{0, 100000, "0 20000 40000 60000 80000 100000"},
	} {
		at, text := axis{c.lo, c.hi, 0, 1}.ticks(5)
		var got []string
		for _, v := range at {
			got = append(got, text(v))
		}
		require.Equal(t, c.want, strings.Join(got, " "))
	}
}

func TestTablePrints(t *testing.T) {
	var b strings.Builder
	require.NoError(t, Table{
		Title: "Alignment", Header: []string{"", "base", "tuned"}, Note: "of 8",
		Rows: [][]string{{"count", "5 %", "100 %"}, {"Fréchet", "1.25"}},
	}.Print(&b))
	require.Equal(t, strings.Join([]string{
		"Alignment",
		"           base  tuned",
		"  ────────────────────",
		"  count     5 %  100 %",
		"  Fréchet  1.25",
		"  of 8", ""}, "\n"), b.String())
	require.Error(t, Table{}.Print(full{}))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	folder, err := NewFolder(filepath.Join(dir, "run", "1"))
	require.NoError(t, err)
	require.NoError(t, folder.JSON("report.json", map[string]any{"seed": 1, "a<b": "ü"}))
	text, err := os.ReadFile(filepath.Join(dir, "run", "1", "report.json"))
	require.NoError(t, err)
	require.Equal(t, "{\n  \"a<b\": \"ü\",\n  \"seed\": 1\n}\n", string(text))
	require.ErrorContains(t, folder.JSON("report.json", math.NaN()), folder.Path("report.json"))
	broken := errors.New("no space left on device")
	err = folder.Write("report.json", func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	require.ErrorIs(t, err, broken)
	after, err := os.ReadFile(folder.Path("report.json"))
	require.NoError(t, err)
	require.Equal(t, text, after)
	_, err = NewFolder(folder.Path("report.json"))
	require.ErrorContains(t, err, "report.json")
}

func TestEmptyFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // made by the first, and empty still
		folder, err := EmptyFolder(dir)
		require.NoError(t, err)
		require.DirExists(t, string(folder))
	}
	require.NoError(t, Folder(dir).JSON("config.json", 1))
	_, err := EmptyFolder(dir)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, dir+": the folder is not empty")
	_, err = EmptyFolder(filepath.Join(dir, "config.json"))
	require.ErrorContains(t, err, "config.json")
}

func TestConclude(t *testing.T) {
	folder, err := NewFolder(t.TempDir())
	require.NoError(t, err)
	var b strings.Builder
	table := Table{Header: []string{"", "n"}, Rows: [][]string{{"a", "1"}}}
	require.NoError(t, folder.Conclude(&b, 7, Page{Title: "found", Blocks: []Block{table}}, table))
	text, err := os.ReadFile(folder.Path("report.json"))
	require.NoError(t, err)
	require.Equal(t, "7\n", string(text))
	text, err = os.ReadFile(folder.Path("report.html"))
	require.NoError(t, err)
	require.Contains(t, string(text), "<title>found</title>")
	end := "  a  1\n\nWrote " + folder.Path("report.html") + "\n"
	require.True(t, strings.HasSuffix(b.String(), end), b.String())
	require.Error(t, folder.Conclude(full{}, 7, Page{}))
}

func TestProgressWithoutATerminal(t *testing.T) {
	var b strings.Builder
	now := time.Unix(0, 0)
	p := Plain(&b)
	p.now = func() time.Time { return now }
	s := p.Stage("generate", 100)
	for range 100 { // 1 s each: lines at 10 s, then 20 s and 40 s later
		now = now.Add(time.Second)
		s.Add(1)
	}
	require.Equal(t, 100*time.Second, s.End())
	s.End()
	s = p.Stage("tune", 10)
	now = now.Add(500 * time.Millisecond)
	s.Add(4)
	s.Note("loss %.2f", 0.5)
	s.End()
	s = p.Stage("endless", 0)
	for range 12 {
		now = now.Add(time.Second)
		s.Add(1)
	}
	s.End()
	s = p.Stage("late", 0)
	now = now.Add(15 * time.Second)
	s.Of(30)
	s.Add(1)
	now = now.Add(28 * time.Second)
	s.Add(14)
	s.End()
	p.Stage("never", 0).End()
	require.Equal(t, strings.Join([]string{
		"generate: 10 of 100 in 10s, about 1m30s left",
		"generate: 30 of 100 in 30s, about 1m10s left",
		"generate: 70 of 100 in 1m10s, about 30s left",
		"generate: 100 in 1m40s",
		"tune: stopped at 4 of 10 in 0.5s, loss 0.50",
		"endless: 10 in 10s",
		"endless: 12 in 12s",
		"late: 1 of 30 in 15s",
		"late: 15 of 30 in 43s, about 30s left",
		"late: stopped at 15 of 30 in 43s", ""}, "\n"), b.String())
}

// What is over within two seconds is not shown, on a terminal or elsewhere.
func TestLateProgress(t *testing.T) {
	for _, bars := range []bool{false, true} {
		var b bytes.Buffer
		now := time.Unix(0, 0)
		p := &Progress{w: &b, bars: bars, now: func() time.Time { return now }}
		s := p.Late("pictures", 4)
		now = now.Add(1900 * time.Millisecond)
		s.Add(4)
		s.End()
		require.Empty(t, b.String())
		s = p.Late("pictures", 4)
		now = now.Add(2100 * time.Millisecond)
		s.Add(3)
		require.Contains(t, b.String(), "pictures")
		require.Contains(t, b.String(), "3")
		s.Add(1)
		s.End()
		if !bars {
			require.Equal(t, "pictures: 3 of 4 in 2.1s\npictures: 4 in 2.1s\n", b.String())
		}
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var b strings.Builder
	p := &Progress{w: &b, bars: true, now: time.Now}
	s := p.Stage("generate", 0)
	s.Of(2)
	s.Add(1)
	s.Note("loss %d", 3)
	s.Add(1)
	s.End()
	require.Contains(t, b.String(), "generate")
	require.Contains(t, b.String(), "2/2")
	require.True(t, strings.HasSuffix(b.String(), "\n"))
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 420 * time.Millisecond: "0.4s", 9960 * time.Millisecond: "10s",
		59400 * time.Millisecond: "59s",
		59600 * time.Millisecond: "1m00s", 185 * time.Second: "3m05s",
		3599600 * time.Millisecond: "1h00m", 127 * time.Minute: "2h07m",
	} {
		require.Equal(t, want, Duration(d))
	}
}

// A command that is shown can be typed.
func TestCommand(t *testing.T) {
	require.Equal(t, "tune -model a/b-c -note 'two words' '' 'it'\\''s' -resume",
		Command("tune", "-model", "a/b-c", "-note", "two words", "", "it's", "-resume"))
}

// A name that is taken is taken over.
func TestRename(t *testing.T) {
	f, err := NewFolder(t.TempDir())
	require.NoError(t, err)
	for _, text := range []string{"first", "second"} {
		_, err := NewFolder(f.Path("new"))
		require.NoError(t, err)
		require.NoError(t, f.JSON("new/"+text, text))
		require.NoError(t, f.Rename("new", "result"))
		entries, err := os.ReadDir(f.Path("result"))
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.Equal(t, text, entries[0].Name())
	}
	require.NoDirExists(t, f.Path("new"))
	require.ErrorIs(t, f.Rename("gone", "result"), os.ErrNotExist)
}

// Sizes are read with their units, and what is written is no less.
func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"16GiB": 16 << 30, "1.5GB": 15e8, "700 MiB": 700 << 20, "12": 12, "12B": 12, "3KB": 3000,
		"0.5TiB": 1 << 39,
	} {
		var s Size
		require.NoError(t, s.Set(text), text)
		require.Equal(t, want, s, text)
	}
	for _, text := range []string{"", "GiB", "-1GiB", "0", "NaN",
		"InfGiB", "16Gib", "1e30TiB", "16 giga"} {
		require.Error(t, new(Size).Set(text), text)
	}
	for s, want := range map[Size]string{
		1: "1B", 1023: "1023B", 1024: "1.00KiB", 1025: "1.01KiB", 16 << 30: "16.00GiB",
		16<<30 + 1: "16.01GiB", 5 << 40: "5120.00GiB",
	} {
		require.Equal(t, want, s.String())
		var back Size
		require.NoError(t, back.Set(s.String()))
		require.GreaterOrEqual(t, back, s)
	}
}
