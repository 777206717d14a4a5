// Command parity compares what kudos computes with what diffusers, transformers and peft computed
// on the same checkpoint:
//
//	go run ./examples/parity [-json] DIR...
//
// DIR is a pipeline's folder as diffusers writes it. In it is also cases.safetensors, which has the
// inputs and the results of the other side. The folders clip and lora and the file
// single.safetensors may be there too. testdata/golden/README.md says which tensors there are and
// how they are made.
//
// Any subset will do: what is there is compared. There is a row for each tensor, or for a group of
// tensors. The exit status is 1 if a row fails, if a tensor of cases.safetensors was not used, or
// if nothing was compared.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(args []string, out, progress io.Writer) int {
	f := flag.NewFlagSet("parity", flag.ContinueOnError)
	f.SetOutput(progress)
	asJSON := f.Bool("json", false,
		"print the rows as JSON; an error that is no finite number is null")
	f.Usage = func() {
		fmt.Fprintln(progress, "usage: parity [-json] DIR...")
		f.PrintDefaults()
	}
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 1
	}
	if f.NArg() == 0 {
		f.Usage()
		return 1
	}
	var reports []report
	status := 0
	for _, dir := range f.Args() {
		r := compare(dir, progress)
		if !r.OK {
			status = 1
		}
		if reports = append(reports, r); !*asJSON {
			r.print(out)
		}
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(reports); err != nil {
			fmt.Fprintln(progress, "parity:", err)
			return 1
		}
	}
	return status
}

// A report is the result of one folder.
type report struct {
	Dir  string `json:"dir"`
	Rows []row  `json:"rows"`
	OK   bool   `json:"ok"` // something was compared, nothing failed, and every tensor was used
}

// A row is a comparison. It passes if Error is at most Tolerance and Problem is empty. NaN does not
// pass.
type row struct {
	Name      string  `json:"name"`
	Shape     []int   `json:"shape,omitempty"` // in the file
	Error     number  `json:"error"`
	Worst     string  `json:"worst,omitempty"` // where the error is largest
	Tolerance float64 `json:"tolerance"`
	Problem   string  `json:"problem,omitempty"` // why nothing could be compared
	OK        bool    `json:"ok"`
}

// A number is a float64 that is null in JSON if it is not finite.
type number float64

// MarshalJSON writes the number or null.
func (n number) MarshalJSON() ([]byte, error) {
	if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

func (r report) print(out io.Writer) {
	fmt.Fprintln(out, r.Dir)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	failed := 0
	for _, row := range r.Rows {
		verdict := "ok"
		if !row.OK {
			verdict = "FAIL"
			failed++
		}
		if row.Problem != "" {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", verdict, row.Name, row.Problem)
			continue
		}
		fmt.Fprintf(w, "  %s\t%s\t%v\t%.2g of %g\t%s\n", verdict, row.Name, row.Shape,
			float64(row.Error), row.Tolerance, row.Worst)
	}
	w.Flush()
	fmt.Fprintf(out, "  %d rows, %d failed\n", len(r.Rows), failed)
}

// compare makes every comparison that a folder has tensors for.
func compare(dir string, progress io.Writer) report {
	c, err := open(dir, progress)
	if err != nil {
		return report{Dir: dir, Rows: []row{{Name: casesFile, Problem: err.Error()}}}
	}
	defer c.data.Close()
	tokenizer := func() error { return c.tokenizer("tokenizer") }
	for _, part := range []struct {
		name, needs string // the part compares tensors whose names begin with needs
		path        string // of the model in the folder
		run         func() error
	}{
		{"tokenizer", "tokenizer.ids.", "tokenizer", tokenizer},
		{"text", "text.", "text_encoder", c.text},
		{"vae", "vae.", "vae", c.vae},
		{"clip", "", "clip", c.clip},
		{"unet", "", "unet", c.unet},
		{"generate", "generate.", "model_index.json", c.generate},
		{"single", "", "single.safetensors", c.single},
	} {
		if _, err := os.Stat(filepath.Join(dir, part.path)); err != nil || !c.any(part.needs) {
			continue
		}
		c.say("%s", part.path)
		if err := part.run(); err != nil {
			c.fail(part.name, err)
		}
	}
	compared := len(c.rows)
	c.unused()
	if compared == 0 {
		c.fail(casesFile, errors.New("nothing was compared"))
	}
	r := report{Dir: dir, Rows: c.rows, OK: true}
	for _, row := range c.rows {
		r.OK = r.OK && row.OK
	}
	return r
}
