package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/internal/file"
)

// A baseline says what share of the peak cases reach, by kind of machine and placement of its cores
// and by case.
type baseline map[string]map[string]float64

// place is what the baseline of a result is found by.
func place(r cases.Result) string {
	if r.Placement == "" {
		return r.Machine
	}
	return r.Machine + ", " + r.Placement
}

func readBaseline(path string) (baseline, error) {
	b := baseline{}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// record writes what cases reach into a file, in place of what it has of them for this kind of
// machine, and says which were disturbed: these are left out.
func record(w io.Writer, path string, all []cases.Result) error {
	b, err := readBaseline(path)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = baseline{}, nil
	}
	if err != nil {
		return err
	}
	kept := 0
	fmt.Fprintln(w)
	for _, r := range all {
		if r.Disturbed > 0 || !(r.Share > 0) {
			fmt.Fprintf(w, "not recorded: %s: a share of %.3f, disturbed: %d of %d times\n",
				identity(r), r.Share, r.Disturbed, len(r.Seconds))
			continue
		}
		kept++
		if b[place(r)] == nil {
			b[place(r)] = map[string]float64{}
		}
		b[place(r)][identity(r)] = float64(int(1000*r.Share+0.5)) / 1000
	}
	fmt.Fprintf(w, "%d of %d cases are recorded\n", kept, len(all))
	return file.WriteJSON(path, b)
}

// under is how far all runs of a case must be under the baseline to fail.
const under = 0.15

// holds reads several runs and holds them to the baseline.
func (o *options) holds(w io.Writer) error {
	b, err := readBaseline(o.hold)
	if err != nil {
		return err
	}
	var runs [][]cases.Result
	for _, path := range o.files {
		run, err := readTimes(path)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	return hold(w, b, runs)
}

// hold prints what each case reached in each of the runs beside the baseline of this kind of
// machine, at the placement of its cores in the first run. It is an error if a case is well under
// it in all of them, and all of them were quiet. Without a baseline of the kind, or without quiet,
// it says so.
func hold(w io.Writer, b baseline, runs [][]cases.Result) error {
	kinds := map[string]bool{}
	for _, run := range runs {
		for _, r := range run {
			kinds[r.Machine] = true
		}
	}
	if len(kinds) != 1 {
		return fmt.Errorf("the runs are of %d kinds of machines", len(kinds))
	}
	kind := slices.Collect(maps.Keys(kinds))[0]
	fmt.Fprintf(w, "%s%s: shares of the peak in %d runs\n", nickname(kind), kind, len(runs))
	known, judged, slow := 0, 0, 0
	for _, first := range runs[0] {
		of := pick(runs, identity(first))
		text := ""
		for _, r := range of {
			text += fmt.Sprintf(" %6.1f %%", 100*r.Share)
		}
		base, ok := b[place(first)][identity(first)]
		if ok {
			known++
		}
		if first.Placement != "" {
			text += "  " + first.Placement
		}
		switch {
		case !ok:
			text += "  no baseline"
		case len(of) < len(runs):
			text += "  not in all runs"
		case !quiet(of):
			text += fmt.Sprintf("  baseline %.1f %%, not quiet", 100*base)
		default:
			judged++
			text += fmt.Sprintf("  baseline %.1f %%", 100*base)
			if isUnder(base, of) {
				slow++
				text += ", SLOW"
			}
		}
		fmt.Fprintf(w, "%-90s%s\n", identity(first), text)
	}
	switch {
	case known == 0:
		fmt.Fprintln(w, "nothing is held: there is no baseline for this kind of machine")
	case judged == 0:
		fmt.Fprintln(w, "nothing is held: the machine was not quiet")
	default:
		fmt.Fprintf(w, "%d of %d cases are held\n", judged, len(runs[0]))
	}
	if slow > 0 {
		return fmt.Errorf("%d cases are more than %.0f %% under the baseline in all %d runs", slow,
			100*under, len(runs))
	}
	return nil
}

// pick are the results of a case.
func pick(runs [][]cases.Result, of string) (all []cases.Result) {
	for _, run := range runs {
		for _, r := range run {
			if identity(r) == of {
				all = append(all, r)
			}
		}
	}
	return all
}

// quiet reports whether the probes of all runs agree, with each other and within each run, and
// whether the cores were placed alike.
func quiet(runs []cases.Result) bool {
	var peaks []float64
	for _, r := range runs {
		if r.Disturbed > 0 || len(r.Peaks) == 0 || r.Placement != runs[0].Placement {
			return false
		}
		peaks = append(peaks, r.Peaks...)
	}
	return cases.Agree(peaks...)
}

// isUnder reports whether all runs are well under a baseline. What is no number is.
func isUnder(base float64, runs []cases.Result) bool {
	return !slices.ContainsFunc(runs, func(r cases.Result) bool {
		return r.Share >= (1-under)*base
	})
}
