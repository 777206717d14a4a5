package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// result is report.json.
type result struct {
	Prompts   int     `json:"prompts"`
	PerPrompt int     `json:"per_prompt"`
	BestOf    int     `json:"best_of"` // 1: there is no such arm
	Sampler   string  `json:"sampler"`
	Steps     int     `json:"steps"`
	Eta       float64 `json:"eta"`
	Guidance  float64 `json:"guidance"`
	Negative  string  `json:"negative"`
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Seed      uint64  `json:"seed"`
	CLIP      string  `json:"clip"`             // its folder
	Reward    string  `json:"reward,omitempty"` // its folder

	Arms        []armResult           `json:"arms"`
	Differences []evaluate.Difference `json:"differences"`
}

// An armResult is what made an arm's pictures, and what they are like.
type armResult struct {
	Name      string  `json:"name"`
	Model     string  `json:"model"`
	LoRA      string  `json:"lora,omitempty"`
	LoRAScale float64 `json:"lora_scale,omitempty"`
	UNet      string  `json:"unet"`    // hash of its weights
	Samples   string  `json:"samples"` // the file that lists the pictures
	evaluate.Summary
}

// result adds to what was found how it was made.
func (s *session) result(found *evaluate.Result) *result {
	r := &result{
		Prompts: len(s.prompts), PerPrompt: s.perPrompt, Sampler: s.Sampler.Name, Steps: s.Steps,
		Eta: s.Eta, Guidance: s.Guidance, Negative: s.Negative,
		Width: s.Width, Height: s.Height, Seed: s.Seed, CLIP: s.clip, Reward: s.reward, BestOf: s.n,
		Differences: found.Differences,
	}
	for i, a := range append(s.arms[:len(s.arms):len(s.arms)], s.bestOf())[:len(found.Arms)] {
		one := armResult{Name: a.name, Model: a.model, LoRA: a.lora, UNet: s.hashes[a.unet()],
			Samples: a.name + "/samples.jsonl", Summary: found.Arms[i]}
		if a.lora != "" {
			one.LoRAScale = s.loraScale
		}
		r.Arms = append(r.Arms, one)
	}
	return r
}

// tables are what the terminal and the page both show.
func (s *session) tables(found *evaluate.Result) []report.Table {
	note := fmt.Sprintf("With 95 %% intervals of %d pairs of pictures from the same noise",
		s.places())
	if len(s.prompts) > 1 {
		note += ", clustered by prompt"
	}
	return found.Tables(note + ".")
}

// page is report.html.
func (s *session) page(ctx context.Context, r *result, found *evaluate.Result,
	all []*evaluate.Arm) (page report.Page, err error) {
	of := fmt.Sprintf("%d pictures", s.perPrompt)
	if s.perPrompt == 1 {
		of = "one picture"
	}
	page = report.Page{
		Title: s.title(), Footer: "go run ./examples/evaluate " + quoted(s.args),
		Lead: fmt.Sprintf("%d prompts, %s of each from every model, from the same noise for "+
			"all. %s", len(s.prompts), of, found.Verdict()),
	}
	grid, err := s.grid(ctx, all)
	if err != nil {
		return page, err
	}
	page.Blocks = append(page.Blocks, found.Figures())
	page.Blocks = append(page.Blocks, found.Charts()...)
	page.Blocks = append(page.Blocks, grid)
	for _, t := range s.tables(found) {
		page.Blocks = append(page.Blocks, t)
	}
	page.Blocks = append(page.Blocks, report.Text{Title: "How the pictures were made", Body: r.how()})
	return page, nil
}

// how says which models made the pictures, and how.
func (r *result) how() string {
	var models []string
	for _, a := range r.Arms {
		model := a.Title + ": " + a.Model
		if a.LoRA != "" {
			model += fmt.Sprintf(" with %g × %s", a.LoRAScale, a.LoRA)
		}
		models = append(models, model)
	}
	how := strings.Join(models, "; ") + fmt.Sprintf(". Sampler %s, %d steps, guidance %g, %d×%d pixels, seed %d", r.Sampler, r.Steps, r.Guidance, r.Width, r.Height, r.Seed)
	if r.Negative != "" {
		how += fmt.Sprintf(", away from %q", r.Negative)
	}
	return how + "."
}

// quoted are arguments as a shell takes them, those that need it in quotes.
func quoted(args []string) string {
	words := slices.Clone(args)
	for i, w := range words {
		if strings.ContainsAny(w, " \t\n'\"$`\\*?[]{}()<>|&;#~!") || w == "" {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// title says what is compared, by the names of files.
func (s *session) title() string {
	name := func(a arm) string { return filepath.Base(cmp.Or(a.lora, a.model)) }
	if len(s.arms) == 1 {
		return fmt.Sprintf("%s against its best of %d", name(s.arms[0]), s.n)
	}
	var tuned []string
	for _, a := range s.arms[1:] {
		tuned = append(tuned, name(a))
	}
	return strings.Join(tuned, ", ") + " against " + name(s.arms[0])
}

// rows is how many prompts the page shows.
const rows = 24

// grid shows each prompt's first picture, one column an arm.
func (s *session) grid(ctx context.Context, all []*evaluate.Arm) (report.Grid, error) {
	g := report.Grid{Title: "From the same noise", Note: "The first picture of every prompt."}
	if n := len(s.prompts); n > rows {
		g.Note = fmt.Sprintf("The first picture of each of the first %d prompts; none was chosen.", rows)
	}
	if s.reward != "" {
		g.Note += " Beside each arm, the picture's reward."
	}
	for _, a := range all {
		g.Columns = append(g.Columns, a.Title)
	}
	for i, prompt := range s.prompts[:min(rows, len(s.prompts))] {
		row := report.GridRow{Label: prompt}
		for _, a := range all {
			sample, err := s.file(a.Name).Decode(ctx, a.Samples[i*s.perPrompt])
			if err != nil {
				return g, err
			}
			cell := report.Picture{Image: sample.Image}
			if sample.Reward != nil {
				cell.Note = fmt.Sprintf("%.2f", *sample.Reward)
			}
			row.Cells = append(row.Cells, cell)
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}
