package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Table is a table of text, the first column to the left and all others to the right. On a page,
// each row has as many cells as the header.
type Table struct {
	Title  string
	Note   string // what a reader must know to read it; a sentence or two
	Header []string
	Rows   [][]string
	Strong int // the column that is printed bold in HTML; 0 for none
}

// Print writes the table for a terminal, Escaped.
func (t Table) Print(w io.Writer) error {
	t = t.escaped()
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			if i < len(widths) {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	var b strings.Builder
	if t.Title != "" {
		fmt.Fprintf(&b, "%s\n", t.Title)
	}
	line := func(row []string) {
		var l strings.Builder
		for i, width := range widths {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			pad := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
			if i == 0 {
				l.WriteString("  " + cell + pad)
			} else {
				l.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(t.Header)
	total := 0
	for _, width := range widths {
		total += width + 2
	}
	fmt.Fprintf(&b, "  %s\n", strings.Repeat("─", max(0, total-2)))
	for _, row := range t.Rows {
		line(row)
	}
	if t.Note != "" {
		fmt.Fprintf(&b, "  %s\n", t.Note)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// escaped is the table with all its text Escaped, and each cell in one line.
func (t Table) escaped() Table {
	t.Title, t.Note, t.Header = Escaped(t.Title), Escaped(t.Note), oneLines(t.Header)
	rows := t.Rows
	t.Rows = nil
	for _, row := range rows {
		t.Rows = append(t.Rows, oneLines(row))
	}
	return t
}

func oneLines(cells []string) (out []string) {
	for _, cell := range cells {
		out = append(out, oneLine(cell))
	}
	return out
}

// Percent prints a share of 0 to 1, "47 %".
func Percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

// PercentIn prints a share with its interval, "47 % (42–52)".
func PercentIn(x, low, high float64) string {
	return fmt.Sprintf("%.0f %% (%.0f–%.0f)", 100*x, 100*low, 100*high)
}
