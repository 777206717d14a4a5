package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/picture"
)

// A Page tells what came out of a run, in one HTML file that needs nothing beside it. Blocks are
// shown in order.
type Page struct {
	Title  string
	Lead   string // what was done and what came of it; a few sentences
	Blocks []Block
	Footer string // how to make it again: command, seed, version
}

// A Block is a part of a page: Table, Chart, Intervals, Grid, Figures or Text.
type Block interface{ html() (template.HTML, error) }

// Text is a paragraph under a heading; either may be empty.
type Text struct{ Title, Body string }

// Figures are a few numbers that matter most, large.
type Figures []Figure

// A Figure is one of them: what it is, its value, and a word on it.
type Figure struct{ Name, Value, Note string }

// A Grid shows pictures side by side: a card for each row, a column for each way they were made.
type Grid struct {
	Title   string
	Note    string
	Columns []string
	Rows    []GridRow
}

// A GridRow is the pictures that belong together, usually one prompt's.
type GridRow struct {
	Label string
	Cells []Picture // one for each column; a nil Image leaves it empty
}

// A Picture is a picture and what to mark it with. The page has small ones as they are, those of
// more than 128×128 pixels as JPEG, and those with a side above 384 shrunk to that.
type Picture struct {
	Image image.Image
	Mark  Mark
	Note  string // a word behind the column's name, such as its score
}

// A Mark says what a judge thinks of a picture.
type Mark int

// The marks.
const (
	NoMark Mark = iota
	Right
	Wrong
)

//go:embed report.html
var pageText string

var templates = template.Must(template.New("page").
	Funcs(template.FuncMap{"uri": dataURI, "unit": unit}).Parse(pageText))

// WriteHTML writes the page, which refers to nothing outside itself. It is an error if a block's
// parts do not fit together.
func (p Page) WriteHTML(w io.Writer) error {
	var blocks []template.HTML
	for i, b := range p.Blocks {
		h, err := b.html()
		if err != nil {
			return fmt.Errorf("report: block %d (%T): %w", i, b, err)
		}
		blocks = append(blocks, h)
	}
	var out bytes.Buffer
	err := templates.ExecuteTemplate(&out, "page", map[string]any{
		"Title": p.Title, "Lead": p.Lead, "Footer": p.Footer, "Blocks": blocks,
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// WriteFile writes the page to a file that is whole or, after an error, as it was before.
func (p Page) WriteFile(path string) error {
	if err := file.Write(path, p.WriteHTML); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func render(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, name, data)
	return template.HTML(b.String()), err
}

func (t Text) html() (template.HTML, error)    { return render("text", t) }
func (f Figures) html() (template.HTML, error) { return render("figures", f) }

func (t Table) html() (template.HTML, error) {
	for i, row := range t.Rows {
		if len(row) != len(t.Header) {
			return "", fmt.Errorf("table %q: row %d has %d cells, not %d", t.Title, i, len(row),
				len(t.Header))
		}
	}
	return render("table", t)
}

func (g Grid) html() (template.HTML, error) {
	for i, row := range g.Rows {
		if len(row.Cells) != len(g.Columns) {
			return "", fmt.Errorf("grid %q: row %d has %d pictures, not %d", g.Title, i,
				len(row.Cells), len(g.Columns))
		}
	}
	return render("grid", map[string]any{"Title": g.Title, "Note": g.Note, "Rows": g.Rows,
		"Large": g.large(), "CardWidth": g.cardWidth(), "Columns": g.Columns})
}

// cardWidth is the least width of a row's card in pixels, as the page counts them: 100 a small
// picture, or 220 in grids that have large ones.
func (g Grid) cardWidth() int {
	if g.large() {
		return min(220*len(g.Columns), 900)
	}
	return min(100*len(g.Columns), 320)
}

// large reports a grid that has large pictures. A phone shows two of them side by side.
func (g Grid) large() bool {
	for _, row := range g.Rows {
		for _, cell := range row.Cells {
			if cell.Image != nil && large(cell.Image) {
				return true
			}
		}
	}
	return false
}

// large pictures are shown for what is in them, small ones for their pixels.
func large(img image.Image) bool { return img.Bounds().Dx()*img.Bounds().Dy() > 128*128 }

// unit keeps a number and its percent sign on one line.
func unit(s string) string { return strings.ReplaceAll(s, " %", "\u00a0%") }

// side is the most pixels that a side of a picture has.
const side = 384

// dataURI is the picture itself, as an address.
func dataURI(img image.Image) (template.URL, error) {
	if size := img.Bounds().Size(); max(size.X, size.Y) > side {
		most := max(size.X, size.Y)
		w, h := max(1, size.X*side/most), max(1, size.Y*side/most)
		img = picture.FromImage(img).Resize(w, h, picture.Bicubic).Image()
	}
	var b bytes.Buffer
	kind, err := "png", error(nil)
	if large(img) {
		kind, err = "jpeg", jpeg.Encode(&b, img, &jpeg.Options{Quality: 90})
	} else {
		err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img)
	}
	if err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(b.Bytes())
	return template.URL("data:image/" + kind + ";base64," + text), nil
}
