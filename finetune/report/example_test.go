package report_test

import (
	"flag"
	"fmt"
	"strings"

	"github.com/kudos-ml/kudos/finetune/report"
)

// short says that something takes so many bytes, which there are not.
type short int64

func (s short) Error() string { return "too large" }
func (s short) Needs() (int64, string) {
	return int64(s), "the table takes " + report.Size(s).String()
}

// A program whose flags decide how much memory it takes says which of them would make it fit.
func ExampleFitsWith() {
	f := flag.NewFlagSet("count", flag.ContinueOnError)
	memory := report.Size(100 << 20)
	f.Var(&memory, "memory", "most memory to take")
	rows := f.Int("rows", 300, "rows of the table, of 1 MiB each")
	index := f.Bool("index", true, "keep an index, which doubles the table")
	fit := func() error {
		takes := int64(*rows) << 20
		if *index {
			takes *= 2
		}
		if takes > int64(memory) {
			return short(takes)
		}
		return nil
	}
	err := report.FitsWith(f, "memory", fit, []string{"-index false"}, report.Halves(f, "rows"))
	fmt.Println(strings.ReplaceAll(err.Error(), ". ", ".\n"))
	// Output:
	// the table takes 600.00MiB; -memory is 100.00MiB.
	// It would fit with -rows 38, or with -memory 600.00MiB
}
